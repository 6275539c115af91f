"""One turn: a group is one transaction, and what the database refuses of it is refused alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import toy
from harness.ledger import PERSON, WORKER, salted
from harness.play import text
from loom.coordinator.core import COORDINATOR, GROUP, Core
from loom.coordinator.inbox import Granted, Outcome, Request, Slot, Turned
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.flow import Bundle
from loom.kernel.values import AgentBinding, End, ErrorClass, Text
from loom.kernel.work import rules_for

RULES = {bundle.digest: rules_for(bundle) for bundle in toy.ALL}
SLOT = Slot("w1", "boot", 1_000, ("home",))


@pytest.fixture
def path(home: Path) -> Path:
    return home / "state.db"


@pytest.fixture
def core(path: Path) -> Iterator[Core]:
    """A home that is in its first epoch."""
    made = Core(Store.create(path), rules=RULES.__getitem__)
    made.turn([Request("home", COORDINATOR, "", c.CreateHome("o", "k", 1))], (), 1_000)
    made.start(version="0", boot="boot", now_ms=1_001)
    yield made
    made.store.close()


def submit(number: int, preset: str = "autonomous", bundle: Bundle = toy.TOY) -> Request:
    command = c.Submit(
        task=f"task{number}",
        project="p",
        bundle=bundle.name,
        rules_digest=bundle.digest,
        semantics=1,
        text=text("do it"),
        flow="",
        preset=preset,
        policies=(),
        base="base",
        subject="subject",
        bindings=(AgentBinding("*", ("recorded:x",)),),
        caps=bundle.caps,
    )
    return Request(f"key{number}", PERSON, "", command)


def end(granted: Granted, data: bytes = b"what was said" * 50) -> Request:
    """A worker's report."""
    output = salted(data)
    command = c.AttemptEnded(
        granted.spawn, granted.attempt, granted.fence, End.REPORTED, outcome="done", subject="s2", work="w", change="ch",
        summary=text("well"), output=Text(blob=output.id, size=output.size),
    )  # fmt: skip
    key = f"{granted.spawn}#{granted.attempt}:{granted.fence}"
    return Request(key, WORKER, granted.task.spec.task, command, (output,))


def refuse(core: Core, task: str, event: str = "UPDATE") -> None:
    """From now on the database refuses any change of this task's row."""
    core.store._connection.execute(
        f"CREATE TEMP TRIGGER refuse BEFORE {event} ON task WHEN NEW.task = '{task}' "
        "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
    )


def rows(core: Core, query: str) -> list[tuple[object, ...]]:
    return list(core.store._connection.execute(query))


def outcomes(turned: Turned) -> dict[str, Outcome]:
    return {reply.key: reply.outcome for reply in turned.replies}


def test_one_bad_request_of_a_group_is_refused_alone(core: Core) -> None:
    """63 of 64 are applied, in order; the one that a trigger refuses is answered with the code and logged."""
    refuse(core, "task40", "INSERT")
    turned = core.turn([submit(number) for number in range(GROUP)], (), 2_000)
    assert [f"key{number}" for number in range(GROUP)] == [reply.key for reply in turned.replies]
    refused = [reply for reply in turned.replies if reply.outcome is not Outcome.APPLIED]
    assert [("key40", Outcome.REJECTED, "L018")] == [(one.key, one.outcome, one.code) for one in refused]
    assert "not this one" in refused[0].sentence
    assert [("L018", "key40")] == rows(core, "SELECT code, key FROM denial")
    assert GROUP - 1 == len(turned.tasks) == len(rows(core, "SELECT 1 FROM task"))
    assert core.store.head().edge == core.head.edge
    assert (2, 2 + GROUP - 1) == (turned.first_seq, turned.next_seq)
    assert [Outcome.DUPLICATE] == list(outcomes(core.turn([submit(39)], (), 2_001)).values())


def test_a_group_that_comes_through_is_one_transaction(core: Core) -> None:
    """One BEGIN and one COMMIT for 64 requests and their grants."""
    seen: list[str] = []
    core.store._connection.set_trace_callback(seen.append)
    turned = core.turn([submit(number) for number in range(GROUP)], (SLOT,), 2_000)
    core.store._connection.set_trace_callback(None)
    assert GROUP == len(turned.granted)
    assert [1, 1] == [len([each for each in seen if each.startswith(word)]) for word in ("BEGIN", "COMMIT")]
    assert [] == [each for each in seen if each.startswith("SAVEPOINT")]


def test_a_serial_step_writes_each_row_once(core: Core) -> None:
    """The end and the grant that follows it: two entries, a blob, an attempt, two spawns, the subject, the task, the edge."""
    (granted,) = core.turn([submit(1, bundle=toy.REVIEW)], (SLOT,), 2_000).granted
    before = core.store._connection.total_changes
    turned = core.turn([end(granted)], (SLOT,), 2_001)
    assert 1 == len(turned.granted)
    assert 9 == core.store._connection.total_changes - before
    assert [("settled",), ("granted",)] == rows(core, "SELECT status FROM spawn ORDER BY id")


def test_a_delivery_is_granted_in_the_group_of_its_verdict(core: Core) -> None:
    """The trigger holds the verdict against what ran before it, not against what the same group granted after it."""
    granted = core.turn([submit(number, bundle=toy.DELIVERED) for number in range(3)], (SLOT,), 2_000).granted
    seen: list[str] = []
    core.store._connection.set_trace_callback(seen.append)
    turned = core.turn([end(each) for each in granted], (SLOT,), 2_001)
    core.store._connection.set_trace_callback(None)
    assert 3 == len(turned.granted)
    assert [] == [each for each in seen if each.startswith("ROLLBACK")]
    assert [("accepted", "open")] * 3 == rows(core, "SELECT verdict, status FROM task")
    assert [("granted",)] * 3 == rows(core, "SELECT status FROM spawn WHERE agent = 'deliver'")


def test_the_same_key_twice_in_a_group(core: Core) -> None:
    """The second finds what the first recorded, though nothing is written yet; another body under the key is refused."""
    turned = core.turn([submit(1), submit(1), Request("key1", PERSON, "task1", c.Cancel())], (SLOT,), 2_000)
    applied, doubled, other = turned.replies
    assert (Outcome.APPLIED, Outcome.DUPLICATE, "key_reused") == (applied.outcome, doubled.outcome, other.code)
    assert applied.seq == doubled.seq
    (granted,) = turned.granted
    ended = core.turn([end(granted), end(granted)], (), 2_001)
    assert [Outcome.APPLIED, Outcome.DUPLICATE] == [reply.outcome for reply in ended.replies]


def test_a_text_that_is_not_what_its_id_says_costs_one_request(core: Core) -> None:
    """Refused before anything is gathered: the group stays one transaction."""
    turned = core.turn([submit(1), submit(2)], (SLOT,), 2_000)
    first, second = turned.granted
    wrong = end(first)
    wrong = Request(wrong.key, WORKER, wrong.task, wrong.command, (salted(b"other", b"salt2"),))
    forged = salted(b"this")
    bad = type(forged)(forged.id, forged.salt, forged.size, b"that")
    wrong = Request(wrong.key, WORKER, wrong.task, wrong.command, (bad,))
    answered = core.turn([wrong, end(second)], (), 2_001)
    assert ["L041", ""] == [reply.code for reply in answered.replies]
    assert [(1,)] == rows(core, "SELECT count(*) FROM blob")


@pytest.mark.parametrize("with_request", [False, True])
def test_a_grant_that_is_refused_holds_nobody_up(core: Core, path: Path, *, with_request: bool) -> None:
    """The others get their slots, it is logged and not tried again before the next start."""
    core.turn([submit(number) for number in range(4)], (), 2_000)
    refuse(core, "task1")
    turned = core.turn([submit(9)] if with_request else [], (SLOT,), 2_001)
    expected = {"task0", "task2", "task3"} | ({"task9"} if with_request else set())
    assert expected == {granted.task.spec.task for granted in turned.granted}
    assert [("L018", "task1")] == rows(core, "SELECT code, task FROM denial")
    assert () == core.turn([], (SLOT,), 2_002).granted
    assert 0 == core.queue.ready
    core.store._connection.execute("DROP TRIGGER refuse")
    again = Core(core.store, rules=RULES.__getitem__)
    assert ["task1"] == [granted.task.spec.task for granted in again.turn([], (SLOT,), 2_003).granted]


def test_a_wake_that_is_refused_holds_nobody_up(core: Core) -> None:
    """Two gates are overdue: one moves, the other's refusal is logged and waits for the next start."""
    granted = core.turn([submit(number, "supervised") for number in range(2)], (SLOT,), 2_000).granted
    while granted:
        granted = core.turn([end(each) for each in granted], (SLOT,), 2_001).granted
    due_ms = core.next_due_ms
    assert due_ms > 2_001
    refuse(core, "task0")
    core.turn([], (), due_ms)
    states = [core.task(f"task{number}") for number in range(2)]
    assert [due_ms, 2_001] == sorted((state.now_ms for state in states if state is not None), reverse=True)
    assert [("L018", "task0", "Wake")] == rows(core, "SELECT code, task, kind FROM denial")
    before = core.head.seq
    core.turn([], (), due_ms + 1)
    assert before == core.head.seq


def test_an_attempt_whose_time_has_come_is_not_due_for_ever(core: Core) -> None:
    """With no slot free, a delayed attempt waits in the queue: it asks for no turn after turn."""
    (granted,) = core.turn([submit(1)], [SLOT], 1_000).granted
    failed = c.AttemptEnded(granted.spawn, granted.attempt, granted.fence, End.FAILED, ErrorClass.TRANSIENT)
    due_ms = core.turn([Request("failed", WORKER, granted.task.spec.task, failed)], [], 1_001).due_ms
    assert 1_001 < due_ms < 120_000
    assert due_ms < core.turn([], [], due_ms).due_ms
    assert 1 == core.ready


def test_a_disk_that_fills_up_loses_nothing_that_was_acknowledged(core: Core, path: Path) -> None:
    """In the middle of a group: what fits is applied and there after a restart, the rest is not answered; then it goes on."""
    connection = core.store._connection
    requests = [submit(number, bundle=toy.REVIEW) for number in range(GROUP)]
    granted = core.turn(requests, (SLOT,), 2_000).granted
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 12}")
    requests = [end(each, f"{place}".encode() * 4_000) for place, each in enumerate(granted)]
    turned = core.turn(requests, (SLOT,), 2_001)
    assert "full" in turned.read_only
    assert 0 < len(turned.replies) < GROUP
    assert {Outcome.APPLIED} == set(outcomes(turned).values())
    kept = Store.open(path)
    assert core.head.edge == kept.head().edge
    assert all(kept.known(reply.key) is not None for reply in turned.replies)
    kept.close()
    connection.execute(f"PRAGMA max_page_count = {pages + 10_000}")
    again = core.turn(requests, (SLOT,), 2_002)
    assert "" == again.read_only
    expected = [Outcome.DUPLICATE] * len(turned.replies) + [Outcome.APPLIED] * (GROUP - len(turned.replies))
    assert expected == [reply.outcome for reply in again.replies]
    assert GROUP == len(again.granted)
