"""Approvals enter the core: exactly this command, by an enrolled key, once, in time; everything else is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from harness import toy
from harness.play import text
from harness.signing import Signer
from loom.coordinator.core import COORDINATOR, Core
from loom.coordinator.inbox import Outcome, Reply, Request, Slot
from loom.coordinator.proof import approvals
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.state import GateState
from loom.kernel.values import AgentBinding, AnswerWord, End, Principal, PrincipalKind
from loom.kernel.work import rules_for

pytestmark = pytest.mark.needs("ssh-keygen")
ANNA = Principal("anna", PrincipalKind.PERSON, "cli")
EVE = Principal("eve", PrincipalKind.PERSON, "cli")
RULES = {bundle.digest: rules_for(bundle) for bundle in toy.ALL}
S = TypeVar("S", c.Answer, c.EnrolKey, c.RevokeKey, c.ChangeSetting)
ORIGIN, NOW = "loom.local/test", 5_000_000


class Desk:
    """A core with a task at its gate `final`, which has to be signed."""

    def __init__(self, path: Path) -> None:
        self.core = Core(Store.create(path), rules=RULES.__getitem__)
        self.ask(c.CreateHome(ORIGIN, "k", 1), by=COORDINATOR, key="home")
        self.core.start(version="0", boot="boot", now_ms=NOW)

    def ask(self, command: c.Command, *, by: Principal = ANNA, key: str, task: str = "", now_ms: int = NOW) -> Reply:
        (reply,) = self.core.turn([Request(key, by, task, command)], (), now_ms).replies
        return reply

    def gate(self, task: str) -> GateState:
        """The gate of a new task."""
        submit = c.Submit(
            task=task, project="p", bundle=toy.TOY.name, rules_digest=toy.TOY.digest, semantics=1, text=text("do it"),
            flow="", preset="autonomous", policies=(), base="base", subject="subject",
            bindings=(AgentBinding("*", ("recorded:x",)),), caps=toy.TOY.caps,
        )  # fmt: skip
        (granted,) = self.core.turn([Request(f"key-{task}", ANNA, "", submit)], [Slot("w1", "b", 9)], NOW).granted
        worker = Principal("w1", PrincipalKind.WORKER, "fabric")
        ended = c.AttemptEnded(
            granted.spawn,
            granted.attempt,
            granted.fence,
            End.REPORTED,
            outcome="done",
            subject="s2",
            work="w",
            change="ch",
        )
        assert Outcome.APPLIED is self.ask(ended, by=worker, key=f"end-{task}", task=task).outcome
        state = self.core.task(task)
        assert state is not None
        assert state.gate is not None
        return state.gate


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signer, Signer]:
    folder = tmp_path_factory.mktemp("keys")
    return Signer.make(folder / "anna"), Signer.make(folder / "eve")


@pytest.fixture
def desk(home: Path, keys: tuple[Signer, Signer]) -> Iterator[Desk]:
    made = Desk(home / "state.db")
    demand = c.ChangeSetting("signed_roles", "final")
    assert Outcome.APPLIED is made.ask(demand, key="demand").outcome
    assert Outcome.APPLIED is made.ask(c.EnrolKey("anna", PrincipalKind.PERSON, keys[0].public), key="enrol").outcome
    yield made
    made.core.store.close()


def accept(gate: GateState) -> c.Answer:
    return c.Answer(
        gate.id, AnswerWord.ACCEPT, base=gate.base, subject=gate.subject, change=gate.change,
        policy_digest=gate.policy_digest, root=gate.root,
    )  # fmt: skip


def signed(
    command: S, signer: Signer, *, key: str, task: str = "t1", origin: str = ORIGIN, principal: str = "anna",
    until_ms: int = NOW + 1_000,
) -> S:  # fmt: skip
    """The command with an approval; the parameters are what the payload says."""
    payload = approvals.payload(command, origin=origin, task=task, principal=principal, key=key, not_after_ms=until_ms)
    made = approvals.approval(payload, signer.public, signer.sign(payload.encode(), approvals.TYPE))
    return replace(command, approval=made)


def test_a_signed_answer_is_a2(desk: Desk, keys: tuple[Signer, Signer]) -> None:
    """The decision is recorded with the person's own key, and the task goes on; unsigned it does not."""
    gate = desk.gate("t1")
    assert "signature_needed" == desk.ask(accept(gate), key="a", task="t1").code
    reply = desk.ask(signed(accept(gate), keys[0], key="b"), key="b", task="t1")
    assert Outcome.APPLIED is reply.outcome, reply
    (by,) = desk.core.store._connection.execute("SELECT by FROM decision WHERE gate = ?", (gate.id,)).fetchone()
    assert '"assurance":"A2"' in by
    again = desk.ask(signed(accept(gate), keys[0], key="b"), key="b", task="t1")
    assert Outcome.DUPLICATE is again.outcome, again


def test_what_is_signed_counts_nowhere_else(desk: Desk, keys: tuple[Signer, Signer]) -> None:
    """Moved to another key, task, gate, change, log, name or time; with anything added; by another's key: refused."""
    gate, other = desk.gate("t1"), desk.gate("t2")
    mine, eves = keys
    answer = accept(gate)
    bare = signed(answer, mine, key="x")
    cases: list[tuple[c.Command, str, str, Principal]] = [
        (bare, "y", "t1", ANNA),
        (bare, "x", "t2", ANNA),
        (replace(bare, gate=other.id), "x", "t2", ANNA),
        (replace(bare, change="other"), "x", "t1", ANNA),
        (replace(bare, word=AnswerWord.REVISE), "x", "t1", ANNA),
        (replace(bare, message=text("and more")), "x", "t1", ANNA),
        (bare, "x", "t1", EVE),
        (signed(answer, mine, key="x", origin="loom.local/other"), "x", "t1", ANNA),
        (signed(answer, mine, key="x", principal="eve"), "x", "t1", ANNA),
        (signed(answer, mine, key="x", until_ms=NOW - 1), "x", "t1", ANNA),
        (signed(answer, mine, key="x", until_ms=NOW + 10**12), "x", "t1", ANNA),
        (signed(answer, eves, key="x"), "x", "t1", ANNA),
        (signed(answer, eves, key="x", principal="eve"), "x", "t1", EVE),
    ]  # fmt: skip
    for command, key, task, by in cases:
        reply = desk.ask(command, key=key, task=task, by=by)
        assert (Outcome.REJECTED, "bad_approval") == (reply.outcome, reply.code), (reply, command)
    assert Outcome.APPLIED is desk.ask(bare, key="x", task="t1").outcome


def test_a_damaged_approval_is_refused(desk: Desk, keys: tuple[Signer, Signer]) -> None:
    """Of another type or scheme, with another signature, with no JSON in it."""
    gate = desk.gate("t1")
    answer = signed(accept(gate), keys[0], key="x")
    given = answer.approval
    assert given is not None
    for wrong in (
        replace(given, type="other"),
        replace(given, scheme="ed25519"),
        replace(given, parts=given.parts[:1]),
        replace(given, parts=(given.parts[0], "no signature")),
        replace(given, parts=("ssh-ed25519 AAAA", given.parts[1])),
        replace(given, payload="{"),
        replace(given, payload="[]"),
        replace(given, payload=given.payload.replace("}", ',"more":1}')),
        replace(given, payload=given.payload + " "),
    ):
        reply = desk.ask(replace(answer, approval=wrong), key="x", task="t1")
        assert "bad_approval" == reply.code, (wrong, reply)


def test_a_revoked_key_signs_nothing(desk: Desk, keys: tuple[Signer, Signer]) -> None:
    """Who signs changes who signs: the second key by the first, the first one's end by the second."""
    gate, (mine, second) = desk.gate("t1"), keys
    enrol = c.EnrolKey("anna", PrincipalKind.PERSON, second.public)
    assert "signature_needed" == desk.ask(enrol, key="e1").code
    assert Outcome.APPLIED is desk.ask(signed(enrol, mine, key="e2", task=""), key="e2").outcome
    revoke = c.RevokeKey(mine.public)
    assert Outcome.APPLIED is desk.ask(signed(revoke, second, key="r", task=""), key="r").outcome
    assert "bad_approval" == desk.ask(signed(accept(gate), mine, key="a"), key="a", task="t1").code
    assert Outcome.APPLIED is desk.ask(signed(accept(gate), second, key="b"), key="b", task="t1").outcome
