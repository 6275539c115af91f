"""What surfaces read: the shapes of --json, texts resolved, one state of the database, and never a write."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from harness import toy
from harness.ledger import BUNDLES, PERSON, SYSTEM, WORKER, Ledger, salted
from harness.play import finding, text
from loom.coordinator import queries as queries_module
from loom.coordinator import reader
from loom.coordinator.errors import BlobMissing, StoreCorrupt, StoreForeign, StoreMissing, StoreNewer
from loom.coordinator.queries import Queries
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.values import Bound, End, Execution, Severity, Status, Text, Usage

REVIEW = BUNDLES.index(toy.REVIEW)
LONG = salted("Größe ".encode() * 100)
DIFF = salted(b"--- a\n+++ b\n-\xff\n+x\n" * 30)


@pytest.fixture
def ledger(home: Path) -> Any:
    """A reviewed task that waits at a supervised gate with an open warning, and a fresh one."""
    made = Ledger(Store.create(home / "state.db"))
    made.create_home()
    made.about_home(c.AddProject("p1", "here", "/somewhere", "git"))
    made.about_home(c.ChangeSetting("limit", "3"))
    task = made.submit(REVIEW, "supervised")
    made.store.put_text(LONG)
    made.store.put_text(DIFF)
    work(made, task, subject="s1", work="commit1", change="c1", change_text=blob(DIFF), prompt=blob(LONG))
    work(made, task, outcome="approve", findings=(finding("could be shorter", Severity.WARN),), output=text("fine"))
    made.submit(0)
    made.commit()
    yield made
    made.store.close()


@pytest.fixture
async def queries(ledger: Ledger, home: Path) -> AsyncIterator[Queries]:
    async with Queries.opened(home / "state.db") as opened:
        yield opened


def blob(one: Any) -> Text:
    return Text(blob=one.id, size=one.size)


def work(ledger: Ledger, task: str, *, outcome: str = "done", **report: Any) -> None:
    """Grant the ready spawn, and report."""
    state = ledger.tasks[task]
    spawn = state.spawns[0].id
    assert ledger.take(task, SYSTEM, c.Grant(spawn, 1, state.fence + 1, "w1", "boot", 0, "p", 5, Bound.METERED))
    ended = c.AttemptEnded(
        spawn, 1, state.fence + 1, End.REPORTED, outcome=outcome, usage=Usage(10, 5, 0, 1, 70, "est"),
        execution=Execution("w1", "boot", "host", served_by="model-x", sandbox="none"), **report,
    )  # fmt: skip
    assert ledger.take(task, WORKER, ended)


async def test_tasks(queries: Queries, ledger: Ledger) -> None:
    """Newest first, with status, verdict and what each does; filters and pages hold."""
    reviewed, fresh = ledger.tasks
    listed = (await queries.tasks())["tasks"]
    assert [(fresh, "open", "", "queued"), (reviewed, "open", "", "waiting")] == [
        (task["id"], task["status"], task["verdict"], task["state"]) for task in listed
    ]
    assert ("do what review does", "review", "supervised", "p1", 30, 140) == tuple(
        listed[1][name] for name in ("text", "bundle", "preset", "project", "tokens", "cost")
    )
    json.dumps(listed)
    assert [fresh] == [task["id"] for task in (await queries.tasks(limit=1))["tasks"]]
    assert [reviewed] == [task["id"] for task in (await queries.tasks(before=fresh))["tasks"]]
    assert [] == (await queries.tasks(status="done"))["tasks"]
    assert [] == (await queries.tasks(project="p2"))["tasks"]
    assert [reviewed, fresh] == await queries.resolve("task")
    assert [fresh] == await queries.resolve(fresh)


async def test_what_a_task_does(queries: Queries, ledger: Ledger) -> None:
    """Running, paused, parked and done are told apart."""
    fresh = list(ledger.tasks)[1]
    steps: list[Callable[[], bool]] = [
        lambda: ledger.take(
            fresh, SYSTEM, c.Grant(ledger.tasks[fresh].spawns[0].id, 1, 1, "w1", "b", 0, "", 0, Bound.NONE)
        ),
        lambda: ledger.take(fresh, PERSON, c.Pause()),
        lambda: ledger.take(fresh, PERSON, c.Resume()),
        lambda: ledger.take(
            fresh, WORKER, c.AttemptEnded(ledger.tasks[fresh].spawns[0].id, 1, 1, End.REPORTED, outcome="stuck")
        ),
        lambda: ledger.take(fresh, PERSON, c.Cancel()),
    ]
    seen = []
    for step in steps:
        assert step()
        ledger.commit()
        seen.append((await queries.tasks(limit=1))["tasks"][0]["state"])
    assert ["running", "paused", "running", "parked", "done"] == seen
    assert Status.DONE is ledger.tasks[fresh].status


async def test_one_task_whole(queries: Queries, ledger: Ledger) -> None:
    """Spawns with prompt, output and attempts; findings, gates, decisions, evidence, subjects; all of it JSON."""
    shown = await queries.task(next(iter(ledger.tasks)))
    assert shown is not None
    json.dumps(shown)
    assert {
        "task",
        "spawns",
        "findings",
        "gates",
        "decisions",
        "evidence",
        "artifacts",
        "objections",
        "subjects",
        "late",
    } == set(shown)
    worker, reviewer = shown["spawns"]
    assert ("worker", "work", 1, "settled", LONG.data.decode() if LONG.data else "") == tuple(
        worker[name] for name in ("agent", "stage", "iteration", "status", "prompt")
    )
    assert ("approve", "fine") == (reviewer["outcome"], reviewer["output"])
    (attempt,) = worker["attempts"]
    assert ("reported", "recorded:x", "model-x", 70, True) == (
        attempt["end"], attempt["ref"], attempt["execution"]["served_by"], attempt["usage"]["cost"], attempt["counted"],
    )  # fmt: skip
    assert [("f1", "warn", "could be shorter", "open")] == [
        (each["id"], each["severity"], each["message"], each["status"]) for each in shown["findings"]
    ]
    assert [("review.reviewer", "approve", "w1")] == [
        (each["kind"], each["outcome"], each["by"]["id"]) for each in shown["evidence"]
    ]
    assert [("s1", "commit1")] == [(each["subject"], each["work"]) for each in shown["subjects"]]
    assert "do what review does" == shown["task"]["text"]
    assert await queries.task("nobody") is None


async def test_gates_and_decisions(queries: Queries, ledger: Ledger) -> None:
    """An open gate says what it offers and over which subject; answered, it is a decision with who and why."""
    task = next(iter(ledger.tasks))
    (gate,) = (await queries.gates())["gates"]
    assert (f"{task}-1", task, "final", ["accept", "revise", "abandon"], "s1") == tuple(
        gate[name] for name in ("id", "task", "role", "answers", "subject")
    )
    assert gate == await queries.gate(gate["id"])
    ledger.take(task, PERSON, c.Answer(gate["id"], ledger.tasks[task].gate.answers[0], message=text("good")))  # type: ignore[union-attr]
    ledger.commit()
    assert [] == (await queries.gates())["gates"]
    assert ["decided"] == [each["status"] for each in (await queries.gates(every=True))["gates"]]
    shown = await queries.task(task)
    assert shown is not None
    (decision,) = shown["decisions"]
    assert ("accept", "ada", "cli", "good", None) == (
        decision["word"], decision["by"]["id"], decision["by"]["via"], decision["message"], decision["approval"],
    )  # fmt: skip
    assert "accepted" == shown["task"]["verdict"]


async def test_the_log_can_be_read_on(queries: Queries, ledger: Ledger) -> None:
    """Events with their place; from next_seq on there is only what is new."""
    task = next(iter(ledger.tasks))
    log = await queries.log(task)
    kinds = [event["kind"] for event in log["events"]]
    assert ["TaskSubmitted", "GateOpened"] == [kind for kind in kinds if kind in ("TaskSubmitted", "GateOpened")]
    assert {task} == {event["task"] for event in log["events"]}
    whole = await queries.log()
    assert "HomeCreated" == whole["events"][0]["kind"]
    assert await queries.head() == whole["next_seq"] == ledger.kept.edge.size
    assert [] == (await queries.log(since=whole["next_seq"]))["events"]
    first = await queries.log(limit=1)
    assert 1 == first["next_seq"]
    ledger.take(task, PERSON, c.Pause())
    ledger.commit()
    assert ["TaskPaused"] == [event["kind"] for event in (await queries.log(since=whole["next_seq"]))["events"]]


async def test_entries_are_the_stored_bytes(queries: Queries, ledger: Ledger) -> None:
    """In order, over more than one page, as they were hashed."""
    for number in range(1_100):
        ledger.about_home(c.ChangeSetting("n", str(number)))
    ledger.commit()
    stored = list(ledger.store._connection.execute("SELECT seq, body FROM entry ORDER BY seq"))
    assert [(seq, body.encode()) for seq, body in stored] == [entry async for entry in queries.entries()]
    task = next(iter(ledger.tasks))
    assert [(seq, body.encode()) for seq, body in ledger.store.task_entries(task)] == [
        entry async for entry in queries.entries(task)
    ]
    assert [] == [entry async for entry in queries.entries("nobody")]


async def test_the_diff_keeps_every_byte(queries: Queries, ledger: Ledger) -> None:
    """Bytes that are not UTF-8 survive the way through text."""
    reviewed, fresh = ledger.tasks
    diff = await queries.diff(reviewed)
    assert diff is not None
    assert DIFF.data == diff["text"].encode(errors="surrogateescape")
    assert ("base", "s1", "commit1") == (diff["base"], diff["subject"], diff["work"])
    nothing = await queries.diff(fresh)
    assert nothing is not None
    assert "" == nothing["text"]
    assert await queries.diff("nobody") is None
    assert DIFF.data == await queries.text(DIFF.id)
    with pytest.raises(BlobMissing):
        await queries.text("0" * 64)
    with pytest.raises(BlobMissing):
        await queries.text("nonsense")


async def test_the_home(queries: Queries, ledger: Ledger) -> None:
    """Origin and epoch, projects, settings, cost, counts."""
    made = await queries.home()
    assert made is not None
    assert ("loom.local/test", 1) == (made["origin"], made["epoch"])
    assert [("p1", "here", 2)] == [
        (p["id"], p["name"], p["open_tasks"]) for p in (await queries.projects())["projects"]
    ]
    assert {"limit": "3"} == await queries.settings()
    cost = await queries.cost(next(iter(ledger.tasks)))
    assert [(140, [("reviewer", "model-x", 70), ("worker", "model-x", 70)])] == [
        (task["cost"], [(part["agent"], part["served_by"], part["cost"]) for part in task["parts"]])
        for task in cost["tasks"]
    ]
    assert {"tasks": 2, "open_tasks": 2, "running": 0, "ready": 1, "open_gates": 1} == await queries.counts()
    assert [] == await queries.bundles() == await queries.denials() == await queries.orphans()


def test_every_query_is_asked() -> None:
    """No statement of the file is left over."""
    source = "".join(Path(str(module.__file__)).read_text() for module in (queries_module, reader))
    assert [] == [name for name in reader.SQL if f'"{name}"' not in source]


async def test_reading_cannot_write(queries: Queries) -> None:
    """The connection refuses."""
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await queries._reader._connection.execute("DELETE FROM task")


async def test_a_snapshot_is_one_state(queries: Queries, ledger: Ledger) -> None:
    """What is committed meanwhile is not seen inside, and is seen after."""
    before = await queries.head()
    async with queries._reader.snapshot():
        assert before == await queries.head()
        ledger.about_home(c.ChangeSetting("a", "1"))
        ledger.commit()
        assert before == await queries.head()
    assert before + 1 == await queries.head()


@pytest.mark.parametrize(
    ("statement", "error"),
    [("PRAGMA application_id = 7", StoreForeign), ("PRAGMA user_version = 99", StoreNewer)],
)
async def test_what_cannot_be_read(ledger: Ledger, home: Path, statement: str, error: type[Exception]) -> None:
    """Readers say it as the writer does."""
    ledger.store._connection.execute(statement)
    with pytest.raises(error):
        async with Queries.opened(home / "state.db"):
            pass


async def test_no_database(home: Path) -> None:
    """Missing or no database: each its own error, and nothing is made."""
    with pytest.raises(StoreMissing):
        async with Queries.opened(home / "state.db"):
            pass
    (home / "state.db").write_bytes(b"nonsense" * 1_000)
    with pytest.raises(StoreCorrupt):
        async with Queries.opened(home / "state.db"):
            pass
