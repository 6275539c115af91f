"""Policies: who decides, and what they never decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import Player, finding
from harness.toy import CHECKED, FINALIZE, REVIEW, REVIEWER, TOY, WORK, WORKER, gate, make
from loom.kernel import events as e
from loom.kernel.facts import ALWAYS
from loom.kernel.flow import Flow, Role, Spawn
from loom.kernel.policies import digest, effective

NO_LOOP = make(
    "noloop",
    (WORKER, REVIEWER),
    Flow("main", (WORK, Spawn("review", "reviewer"), gate(), FINALIZE), rework="work"),
    floor=("review.reviewer",),
)
"""The gate sees the blockers: no move of a stage takes them back before."""


def reviewed(preset: str, outcome: str) -> Player:
    player = Player(NO_LOOP, {"preset": preset})
    player.report("worker", subject="s1")
    player.report("reviewer", outcome, findings=[finding("it leaks")] if outcome == "block" else ())
    return player


@pytest.mark.parametrize(
    ("preset", "outcome", "stage", "gate_open", "verdict"),
    [
        ("supervised", "approve", "decide", True, ""),
        ("supervised", "block", "decide", True, ""),
        ("on-blockers", "approve", "finalize", False, "accepted"),
        ("on-blockers", "block", "decide", True, ""),
        ("autonomous", "approve", "finalize", False, "accepted"),
        ("autonomous", "block", "work", False, ""),
    ],
)
def test_each_preset_with_and_without_a_blocker(
    preset: str, outcome: str, stage: str, gate_open: bool, verdict: str
) -> None:
    """human asks always, on-blockers only then, auto sends the work back instead."""
    player = reviewed(preset, outcome)
    assert (stage, gate_open, verdict) == (player.task.stage, player.task.gate is not None, player.task.verdict)


def test_a_policys_decision_is_a_decision() -> None:
    """It has its principal, its reasons, and is evidence that is not a person's."""
    player = reviewed("on-blockers", "approve")
    (decision,) = player.happened(e.DecisionRecorded)
    assert ("policy", "", "accept") == (decision.by.id, decision.gate, decision.word)
    assert ("policy final=on-blockers", "blockers=none", "missing nothing") == tuple(
        read for read in decision.because if not read.startswith("blockers harness")
    )


def test_a_policy_needs_its_floor() -> None:
    """Evidence of the floor that is missing or skipped asks a person."""
    for outcome, reason in (("skipped", "evidence is missing: check.test"), ("passed", "")):
        player = Player(CHECKED, {"preset": "autonomous"})
        player.report("worker", subject="s1", facts={"empty": "no"})
        player.report("checks", outcome, checks={"check.test": outcome})
        opened = player.happened(e.GateOpened)
        assert reason == (opened[0].reason.value if opened else "")


def test_a_check_that_does_not_apply_is_there() -> None:
    """What the project declares not applicable is not missing; it was declared, not skipped."""
    player = Player(CHECKED, {"preset": "autonomous"})
    player.report("worker", subject="s1", facts={"empty": "no"})
    player.report("checks", checks={"check.test": "not_applicable"})
    assert "accepted" == player.task.verdict


def test_a_role_without_a_floor_is_a_persons() -> None:
    """No policy decides what has no floor registered."""
    player = Player(make("bare", TOY.agents, *TOY.flows, floor=None), {"preset": "autonomous"})
    player.report("worker", subject="s1")
    assert "final" == player.gate.role


def test_what_a_role_reserves_for_a_person_is_a_persons() -> None:
    """person_when holds over every policy, and the reason is on record."""
    player = Player(CHECKED, {"preset": "autonomous"})
    player.report("worker", subject="s1", facts={"empty": "yes"})
    player.report("checks", checks={"check.test": "passed"})
    (opened,) = player.happened(e.GateOpened)
    assert "reserved for a person: fact empty=yes" == opened.reason.value


def test_a_single_roles_policy_can_be_overridden() -> None:
    """The task's own word for one role goes before the preset."""
    player = Player(TOY, {"preset": "autonomous", "policies": (("final", "human"),)})
    player.report("worker", subject="s1")
    assert "final" == player.gate.role


def test_the_digest_binds_policies_floors_and_what_is_a_persons() -> None:
    """Each of the three changes the digest that a decision carries."""
    policies = effective(TOY, "autonomous", ())
    digests = {digest(TOY, policies), digest(TOY, effective(TOY, "supervised", ()))}
    for role in (Role("final", None), Role("final", ("x",)), Role("final", (), ALWAYS)):
        digests.add(digest(replace(TOY, roles=(role,)), policies))
    assert 5 == len(digests)


def test_auto_without_a_way_back_asks() -> None:
    """A policy that could only accept or give up over a blocker leaves it to a person."""
    bundle = make(
        "oneway", (WORKER, REVIEWER), Flow("main", (WORK, Spawn("review", "reviewer"), gate(rework=""), FINALIZE))
    )
    player = Player(bundle, {"preset": "autonomous"})
    player.report("worker", subject="s1")
    player.block("reviewer")
    assert {"accept", "abandon"} == player.offers


def test_review_evidence_is_the_reviewers_own() -> None:
    """A review names the worker and the agent that it was for."""
    player = Player(REVIEW, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.report("reviewer")
    (review,) = player.task.evidence
    assert ("review.reviewer", "approve", "w1", "reviewer") == (
        review.kind, review.outcome, review.by.id, review.by.acting_for,
    )  # fmt: skip
