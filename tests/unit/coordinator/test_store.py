"""The one door that writes: the group, taking ticks back, keys, numbers, triggers, texts, logs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from harness import toy
from harness.ledger import BUNDLES, PERSON, SYSTEM, WORKER, Ledger, salted
from harness.play import finding, text
from loom.coordinator import merkle
from loom.coordinator.blobs import MAX_ROW
from loom.coordinator.codec import encode_command
from loom.coordinator.entry import Entry, command_bytes, decode_entry, encode_entry
from loom.coordinator.errors import (
    BlobMismatch,
    BlobMissing,
    CodecError,
    StoreConflict,
    StoreRefused,
)
from loom.coordinator.inbox import Outcome, Request, SaltedText
from loom.coordinator.store import Store, command_digest
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.values import AnswerWord, Bound, End, Finding, Text, Verdict

REVIEW = BUNDLES.index(toy.REVIEW)


@pytest.fixture
def path(home: Path) -> Path:
    return home / "state.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A home with its first two entries, committed."""
    made = Ledger(Store.create(path))
    made.create_home()
    made.commit()
    yield made
    made.store.close()


def task_event(ledger: Ledger, task: str, *events: e.Event) -> Entry:
    """The next entry of a task, with events that no kernel decided."""
    return ledger.entry(task, ledger.tasks[task].n + 1, SYSTEM, c.Wake("x"), events)


def granted(ledger: Ledger, bundle: int = 0) -> tuple[str, e.AttemptGranted]:
    """A task whose first spawn runs."""
    task = ledger.submit(bundle)
    spawn = ledger.tasks[task].spawns[0]
    ledger.take(task, SYSTEM, c.Grant(spawn.id, 1, 1, "w1", "boot", 0, "p", 5, Bound.METERED))
    ledger.commit()
    return task, e.AttemptGranted(spawn.id, 1, 1, "w1", "boot", 0, "p", 5, Bound.METERED)


def append_and_flush(ledger: Ledger, entry: Entry) -> None:
    """Where it is refused is the store's matter."""
    ledger.append(entry)
    ledger.flush()


def rows(ledger: Ledger, query: str) -> list[tuple[object, ...]]:
    return list(ledger.store._connection.execute(query))


# ------------------------------------------------------------------------------------------------------- the ledger


def test_stored_bytes_are_the_hashed_bytes(ledger: Ledger) -> None:
    """Each leaf is the hash of the row's body as it is stored, the edge is over all leaves, the body is the entry."""
    ledger.submit(0)
    ledger.commit()
    edge = merkle.Edge()
    for seq, body, leaf in rows(ledger, "SELECT seq, body, leaf FROM entry ORDER BY seq"):
        assert isinstance(body, str)
        assert merkle.leaf_hash(body.encode()) == leaf
        assert encode_entry(decode_entry(body)).decode() == body
        assert edge.size == seq
        edge = merkle.append(edge, bytes(leaf))
    assert edge == ledger.store.head().edge


def test_nodes_of_the_tree_are_there_for_proofs(ledger: Ledger) -> None:
    """Nodes of every level come from rows or from leaves, and together they make the root."""
    for number in range(600):
        ledger.about_home(c.ChangeSetting("a", str(number)))
    ledger.commit()
    leaves = [bytes(leaf) for (leaf,) in ledger.store._connection.execute("SELECT leaf FROM entry ORDER BY seq")]
    for level, place in ((0, 7), (3, 2), (8, 0), (8, 1), (9, 0)):
        expected = merkle.subtree(leaves[place << level : (place + 1) << level])
        assert expected == ledger.store.node(level, place)
    with pytest.raises(StoreConflict):
        ledger.store.node(8, 2)


def test_a_key_gives_what_was_recorded(ledger: Ledger) -> None:
    """The same key finds its entry, with the digest of the command that made it; an unknown one finds nothing."""
    ledger.about_home(c.ChangeSetting("a", "1"))
    recorded = ledger.store.known("key-2")
    assert recorded is not None
    digest = command_digest(encode_command(c.ChangeSetting("a", "1")))
    assert (2, Outcome.APPLIED, digest, "") == (recorded.seq, recorded.outcome, recorded.digest, recorded.code)
    assert digest != command_digest(encode_command(c.ChangeSetting("a", "2")))
    assert ledger.store.known("key-3") is None
    assert ledger.store.known("") is None


def test_an_objected_key_gives_the_objection(ledger: Ledger) -> None:
    """For an objected command the rule's sentence comes back."""
    task = ledger.submit(0)
    raised = e.ObjectionRaised("accepted", "not like this", (AnswerWord.RETRY,))
    ledger.append(
        structs.replace(task_event(ledger, task, raised), outcome=Outcome.OBJECTED, key="k", violations=("accepted",))
    )
    recorded = ledger.store.known("k")
    assert recorded is not None
    assert (Outcome.OBJECTED, "objected", "not like this", task) == (
        recorded.outcome, recorded.code, recorded.sentence, recorded.task,
    )  # fmt: skip


def test_a_key_makes_one_entry(ledger: Ledger) -> None:
    """A second entry under a key is refused; entries without key are not compared."""
    entry = ledger.entry("", 0, PERSON, c.ChangeSetting("a", "1"), (e.SettingChanged("a", "1", PERSON),))
    ledger.append(structs.replace(entry, key="once"))
    with pytest.raises(StoreConflict, match="key"):
        ledger.append(structs.replace(entry, key="once"))
    ledger.rollback()
    ledger.append(structs.replace(entry, key=""))
    ledger.append(structs.replace(entry, key=""))
    ledger.commit()
    assert 4 == ledger.store.head().seq


@pytest.mark.parametrize("step", [0, 2])
def test_numbers_of_a_task_have_no_gap(ledger: Ledger, step: int) -> None:
    """The number is compared and set: neither the same again nor one left out."""
    task = ledger.submit(0)
    entry = task_event(ledger, task, e.MessageCarried("ada", "", Text("hm", size=2)))
    with pytest.raises(StoreConflict):
        append_and_flush(ledger, structs.replace(entry, n=ledger.tasks[task].n + step))


@pytest.mark.parametrize("step", [0, 2])
def test_numbers_are_compared_with_the_rows(ledger: Ledger, step: int) -> None:
    """The first entry of a task in a group is held against what the table says."""
    task = ledger.submit(0)
    ledger.commit()
    entry = task_event(ledger, task, e.MessageCarried("ada", "", Text("hm", size=2)))
    ledger.append(structs.replace(entry, n=ledger.tasks[task].n + step))
    with pytest.raises(StoreConflict):
        ledger.flush()


def test_an_entry_of_an_unknown_task_is_refused(ledger: Ledger) -> None:
    """There is no row to compare the number with."""
    with pytest.raises(StoreConflict, match="no task"):
        ledger.append(ledger.entry("nobody", 2, SYSTEM, c.Wake("x"), ()))
    assert [] == list(ledger.store.load_events("nobody"))


def test_what_cannot_stand_in_the_ledger_changes_nothing(ledger: Ledger) -> None:
    """The codec refuses before the first row."""
    ledger.begin()
    with pytest.raises(CodecError):
        ledger.store.append(ledger.entry("", 0, PERSON, c.ChangeSetting("a", "\ud800"), ()), ledger.edge)
    assert not ledger.store.broken
    ledger.about_home(c.ChangeSetting("a", "1"))
    ledger.commit()
    assert 3 == ledger.store.head().seq


# --------------------------------------------------------------------------------------------------- taking back


def test_nothing_is_written_before_the_end_of_the_group(ledger: Ledger) -> None:
    """A group is a value until commit: no row of it, no transaction; then all of it at once."""
    task = ledger.submit(0)
    ledger.about_home(c.ChangeSetting("a", "1"))
    assert not ledger.store.in_transaction
    assert [] == rows(ledger, "SELECT 1 FROM task") + rows(ledger, "SELECT 1 FROM setting")
    ledger.commit()
    assert [(task,)] == rows(ledger, "SELECT task FROM task")
    assert 4 == ledger.store.head().seq


def test_an_entry_gathered_in_part_ends_the_group(ledger: Ledger) -> None:
    """Such a group cannot be committed; after a rollback the store goes on."""
    ledger.submit(0)
    ledger.commit()
    ledger.about_home(c.ChangeSetting("a", "1"))
    task = next(iter(ledger.tasks))
    with pytest.raises(StoreConflict, match="no row of spawn"):
        ledger.append(task_event(ledger, task, e.FlowChosen("other"), e.SpawnWaived("nothing", "coder", PERSON)))
    assert ledger.store.broken
    with pytest.raises(StoreConflict, match="in part"):
        ledger.commit()
    ledger.rollback()
    assert 3 == ledger.store.head().seq
    ledger.about_home(c.ChangeSetting("a", "2"))
    ledger.commit()
    assert (4, ledger.edge) == (ledger.store.head().seq, ledger.store.head().edge)
    assert [("2",)] == rows(ledger, "SELECT value FROM setting")
    assert [] == rows(ledger, "SELECT 1 FROM task WHERE flow = 'other'")


def test_a_refusal_at_the_end_takes_the_whole_group(ledger: Ledger) -> None:
    """A trigger's word comes with commit; then nothing of the group is there, and the edge is the old one."""
    task = ledger.submit(0)
    ledger.commit()
    ledger.about_home(c.ChangeSetting("a", "1"))
    ledger.append(task_event(ledger, task, e.TaskClosed()))
    with pytest.raises(StoreRefused, match="without a verdict"):
        ledger.commit()
    ledger.rollback()
    assert ledger.kept.edge == ledger.store.head().edge
    assert [] == rows(ledger, "SELECT 1 FROM setting")


def test_a_key_of_the_open_group_is_known(ledger: Ledger) -> None:
    """Also before its row is written; and forgotten with the group."""
    ledger.about_home(c.ChangeSetting("a", "1"))
    recorded = ledger.store.known("key-2")
    assert recorded is not None
    assert 2 == recorded.seq
    ledger.rollback()
    assert ledger.store.known("key-2") is None


def test_rolled_back_ids_are_not_remembered(ledger: Ledger) -> None:
    """A task that was taken back is no task, though its number in the log is another's now."""
    task = ledger.submit(0)
    ledger.rollback()
    assert [] == list(ledger.store.load_events(task))
    ledger.about_home(c.ChangeSetting("a", "1"))
    with pytest.raises(StoreConflict, match="no task"):
        ledger.append(ledger.entry(task, 2, SYSTEM, c.Wake("x"), ()))


# ------------------------------------------------------------------------------------------------- rules over rows


@pytest.mark.parametrize(
    "statement", ["UPDATE entry SET now_ms = 0", "UPDATE entry SET body = '{}'", "DELETE FROM entry"]
)
def test_entries_are_never_changed(ledger: Ledger, path: Path, statement: str) -> None:
    """Not by another honest program either."""
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        other.execute(statement)
    other.close()


def test_the_edge_never_shrinks(ledger: Ledger, path: Path) -> None:
    """A shorter log is refused."""
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="shorter"):
        other.execute("UPDATE edge SET size = 1")
    other.close()


def blocked(ledger: Ledger) -> str:
    """A task with an open blocking finding; nothing of it runs."""
    task = ledger.submit(REVIEW)
    spawn = ledger.tasks[task].spawns[0].id
    ledger.append(
        task_event(ledger, task, e.FindingRecorded(Finding("f1", "reviewer", spawn, 1, "s1", finding("it is wrong"))))
    )
    ledger.commit()
    return task


def test_acceptance_over_an_open_blocker_is_refused(ledger: Ledger, path: Path) -> None:
    """By the trigger, for any program; other verdicts are not its business."""
    task = blocked(ledger)
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="blocking"):
        other.execute("UPDATE task SET verdict = 'accepted' WHERE task = ?", (task,))
    other.execute("UPDATE finding SET status = 'superseded'")
    other.execute("UPDATE task SET verdict = 'accepted' WHERE task = ?", (task,))
    with pytest.raises(sqlite3.IntegrityError, match="final"):
        other.execute("UPDATE task SET verdict = 'failed' WHERE task = ?", (task,))
    other.close()


def test_the_store_refuses_it_of_an_entry_too(ledger: Ledger) -> None:
    """An entry whose events would accept over an open blocker does not get in."""
    task = blocked(ledger)
    state = ledger.tasks[task]
    entry = ledger.entry(task, state.n + 2, SYSTEM, c.Wake("x"), (e.VerdictReached(Verdict.ACCEPTED, SYSTEM),))
    ledger.append(entry)
    with pytest.raises(StoreRefused, match="open blocking finding"):
        ledger.flush()


def test_no_verdict_while_an_attempt_runs(ledger: Ledger) -> None:
    """Everything is stopped before the end."""
    task, _ = granted(ledger)
    ledger.append(task_event(ledger, task, e.VerdictReached(Verdict.CANCELLED, SYSTEM)))
    with pytest.raises(StoreRefused, match="running attempt"):
        ledger.flush()


def test_done_needs_a_verdict(ledger: Ledger) -> None:
    """A task does not just end."""
    task = ledger.submit(0)
    ledger.append(task_event(ledger, task, e.TaskClosed()))
    with pytest.raises(StoreRefused, match="without a verdict"):
        ledger.flush()


def test_a_fence_is_given_once(ledger: Ledger) -> None:
    """The same fence again, or a smaller one, is a conflict."""
    task, event = granted(ledger)
    with pytest.raises(StoreConflict, match="fence"):
        ledger.append(task_event(ledger, task, event))


def test_an_attempt_ends_under_the_fence_that_runs(ledger: Ledger) -> None:
    """A report for another fence makes no row."""
    task, event = granted(ledger)
    ledger.take(task, WORKER, c.AttemptEnded(event.spawn, 1, 1, End.LOST))
    ledger.flush()
    ended = next(happened for happened in ledger.store.load_events(task, 2)).events[0]
    ledger.rollback()
    assert isinstance(ended, e.AttemptClosed)
    with pytest.raises(StoreConflict, match="fence 2"):
        ledger.append(task_event(ledger, task, replace(ended, fence=2)))


def test_decisions_stay_as_they_are(ledger: Ledger, path: Path) -> None:
    """Each decision is its own row for ever."""
    ledger.submit(0, "supervised")
    for pick in range(60):
        ledger.advance(pick)
    ledger.commit()
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        other.execute("UPDATE decision SET word = 'accept'")
    other.close()


# ------------------------------------------------------------------------------------------------------ projections


def test_what_a_stage_leaves_behind_is_dropped(ledger: Ledger) -> None:
    """A cancelled task has no row that is ready or granted, and no wake."""
    task, _ = granted(ledger, BUNDLES.index(toy.FANOUT))
    other = ledger.submit(0)
    ledger.take(task, PERSON, c.Cancel())
    ledger.take(other, PERSON, c.Cancel())
    ledger.flush()
    assert [("stopped",), ("dropped",)] == rows(ledger, "SELECT status FROM spawn ORDER BY id")
    assert () == ledger.store.wakes()
    assert () == ledger.store.open_tasks()


def test_a_grant_costs_two_rows(ledger: Ledger) -> None:
    """Task and spawn, beside the entry and the edge: what is written with each tick stays small."""
    task = ledger.submit(0)
    ledger.commit()
    spawn = ledger.tasks[task].spawns[0]
    before = ledger.store._connection.total_changes
    ledger.take(task, SYSTEM, c.Grant(spawn.id, 1, 1, "w1", "boot", 0, "p", 5, Bound.METERED))
    ledger.commit()
    assert 3 + 1 == ledger.store._connection.total_changes - before


def test_every_event_has_its_rows_or_needs_none() -> None:
    """A new kind of event is either projected or named among those that are not."""
    from loom.coordinator.codec import EVENTS
    from loom.coordinator.rows_home import HOME_ROWS
    from loom.coordinator.rows_task import NO_ROWS, TASK_ROWS

    assert set(EVENTS.values()) == {*TASK_ROWS, *HOME_ROWS, *NO_ROWS}


def test_people_can_read_the_views(ledger: Ledger) -> None:
    """Every view answers, and structured columns are JSON that SQLite itself can open."""
    for pick, bundle in enumerate(range(len(BUNDLES))):
        ledger.submit(bundle, ("autonomous", "supervised")[pick % 2])
    for pick in range(120):
        ledger.advance(pick * 31)
    ledger.commit()
    for view in ("audit_trail", "open_gates", "task_cost", "agent_chain", "outcome", "usage", "reservation"):
        rows(ledger, f"SELECT * FROM {view}")
    trail = rows(ledger, "SELECT kind, outcome, principal, via, events FROM audit_trail WHERE seq = 0")
    assert [("CreateHome", "applied", "ada", "cli", "HomeCreated")] == trail
    assert [] == rows(ledger, "SELECT 1 FROM gate WHERE NOT json_valid(answers) OR NOT json_valid(reason)")
    assert [(1,)] == rows(ledger, "SELECT DISTINCT json_valid(body) FROM entry")


def test_texts_come_back(ledger: Ledger) -> None:
    """Short ones from the database, long ones from files; the same again is nothing new."""
    ledger.begin()
    for data in (b"", b"short", b"\xff\x00", b"x" * MAX_ROW, b"y" * (MAX_ROW + 1)):
        one = salted(data)
        ledger.store.put_text(one)
        ledger.store.put_text(one)
        assert data == ledger.store.text(one.id)
    ledger.commit()
    assert [(5, 4)] == rows(ledger, "SELECT count(*), count(data) FROM blob")


def test_texts_are_what_their_ids_say(ledger: Ledger) -> None:
    """Other bytes under an id are refused, and so is a name of what was never sent."""
    one = salted(b"that")
    ledger.begin()
    with pytest.raises(BlobMismatch):
        ledger.store.put_text(replace(one, data=b"this"))
    with pytest.raises(BlobMissing):
        ledger.store.put_text(SaltedText(one.id, one.salt, one.size, None))
    with pytest.raises(BlobMissing):
        ledger.store.text(one.id)


def test_logs_are_kept_beside_the_ledger(ledger: Ledger) -> None:
    """Denials and orphans are rows without an entry."""
    ledger.begin()
    request = Request("k", PERSON, "t", c.Pause())
    ledger.store.deny(5, request, "paused", "it is paused")
    late = encode_command(c.AttemptEnded("t/a.1/b", 1, 2, End.LOST))
    ledger.store.orphan(
        now_ms=6, task="t", spawn="t/a.1/b", attempt=1, fence=2, worker="w", reason="stale", command=late
    )
    ledger.store.keep_checkpoint(2, 7, "note")
    ledger.commit()
    assert [(5, "ada", "cli", "t", "Pause", "paused", "it is paused", "k")] == rows(
        ledger, "SELECT now_ms, principal, via, task, kind, code, sentence, key FROM denial"
    )
    assert [("stale", late.decode())] == rows(ledger, "SELECT reason, command FROM orphan")
    assert [(2, 7, "note")] == rows(ledger, "SELECT * FROM checkpoint")


def test_the_command_is_in_the_body_as_it_was(ledger: Ledger) -> None:
    """Its bytes can be taken out of the entry unchanged."""
    ((body,),) = rows(ledger, "SELECT body FROM entry WHERE seq = 1")
    assert isinstance(body, str)
    assert encode_command(c.Start(1, "0.1", "boot")) == command_bytes(body)


def test_texts_inline_are_json(ledger: Ledger) -> None:
    """A short text is readable in its column."""
    task = ledger.submit(0)
    ledger.flush()
    ((spec,),) = rows(ledger, "SELECT json_extract(spec, '$.text.value') FROM submission")
    assert ledger.tasks[task].spec.text.value == spec
    assert text("x").value == "x"


def test_the_end_of_a_history_can_be_folded_alone(ledger: Ledger) -> None:
    """The events after an entry can be asked for alone."""
    task, _ = granted(ledger)
    assert [] == list(ledger.store.load_events(task, ledger.tasks[task].n))
    assert [2] == [happened.n for happened in ledger.store.load_events(task, 1)]
