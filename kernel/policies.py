"""Policies: who may take a decision. Three of them, pure; presets of a bundle map its roles to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from loom.kernel.evidence import missing
from loom.kernel.facts import Readable, View, holds
from loom.kernel.flow import Bundle, Role
from loom.kernel.values import TROUBLE, AnswerWord, Origin, Pairs, get


class Policy(StrEnum):
    HUMAN = "human"
    ON_BLOCKERS = "on-blockers"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy says at a gate: an answer, or None — a person decides, for this reason."""

    word: AnswerWord | None
    reason: str
    because: tuple[str, ...]


def effective(bundle: Bundle, preset: str, overrides: Pairs) -> Pairs:
    """Role → policy: the task's overrides, else the preset, else `human`. Trouble is always a person's."""
    of_preset = get(bundle.presets, preset, ())
    policies = {role.name: Policy.HUMAN.value for role in bundle.roles}
    policies.update(dict(of_preset))
    policies.update(dict(overrides))
    policies[TROUBLE] = Policy.HUMAN.value
    return tuple(sorted(policies.items()))


def digest(bundle: Bundle, policies: Pairs, signed: tuple[str, ...] = (), separate: tuple[str, ...] = ()) -> str:
    """Hex SHA-256 over the effective policies, what each role needs and reserves for a person under them, the roles
    whose decisions are signed, and the duties that are separate."""
    floors = ";".join(
        f"{r.name}={'none' if r.floor is None else ','.join(r.floor)}/{r.person_when}" for r in bundle.roles
    )
    rendered = ";".join(f"{role}={policy}" for role, policy in policies)
    demanded = f"|signed {','.join(signed)}" if signed else ""
    demanded += f"|separate {','.join(separate)}" if separate else ""
    return hashlib.sha256(f"{rendered}|{floors}{demanded}".encode()).hexdigest()


def rule(role: Role, policy: str, task: Readable, reworkable: bool) -> Ruling:
    """The policy's word at a gate of this role. A policy never accepts over an open blocker, without the floor of evidence,
    or what the role reserves for a person."""
    view = View(task)
    view.reads.append(f"policy {role.name}={policy}")

    def person(reason: str) -> Ruling:
        return Ruling(None, reason, tuple(view.reads))

    if policy == Policy.HUMAN:
        return person("this decision is a person's")
    if role.person_when is not None and holds(role.person_when, view):
        return person(f"reserved for a person: {view.reads[-1]}")
    if role.floor is None:
        return person("no floor of evidence is registered for this role")
    if troubles := view.blockers(Origin.HARNESS):
        return person("loom itself had trouble: " + ", ".join(f.id for f in troubles))
    blockers = view.blockers()
    if blockers and policy == Policy.AUTO and reworkable:
        return Ruling(AnswerWord.REVISE, "blockers are open", tuple(view.reads))
    if blockers:
        return person("blockers are open: " + ", ".join(f.id for f in blockers))
    lacking = missing(role.floor, task.subject, task.evidence)
    view.reads.append(f"missing {','.join(lacking) or 'nothing'}")
    if lacking:
        return person("evidence is missing: " + ", ".join(lacking))
    return Ruling(AnswerWord.ACCEPT, "nothing is missing", tuple(view.reads))
