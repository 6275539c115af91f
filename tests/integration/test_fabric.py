"""The fabric over real sockets, processes and disks: what survives kill -9, and what is refused."""

from __future__ import annotations

import functools
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import zmq
from msgspec import structs

from harness.fabrics import STEPS, RealFabric, fabric, kill, until
from harness.rawworker import RawWorker
from loom.coordinator.api import Poke
from loom.coordinator.client import CallDenied, Client, make_text
from loom.coordinator.keys import client_token
from loom.kernel.commands import Cancel
from loom.workers.blobs import BlobClient, BlobError
from loom.workers.protocol import (
    Accepted,
    Assign,
    Committed,
    Credit,
    Duplicate,
    End,
    Nack,
    Refused,
    Report,
    Result,
    Stale,
    Welcome,
)

Start = Callable[..., RealFabric]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """`start(mode=…, arguments=…)`: a home with processes that are gone after the test."""
    with ExitStack() as stack:

        def begin(**options: object) -> RealFabric:
            made: AbstractContextManager[RealFabric] = fabric(tmp_path, monkeypatch, **options)  # type: ignore[arg-type]
            return stack.enter_context(made)

        yield begin


def reply(assign: Assign) -> Report:
    """What an agent of the bench bundle says."""
    output = '{"outcome": "done", "summary": "s"}'
    return Report(attempt=assign.attempt, fence=assign.fence, end=End.REPORTED, result=Result(output=output), boot="b")


def test_a_task_runs_through_real_processes(start: Start) -> None:
    """Submit, nine agent calls in two worker processes, accepted; each agent was started once."""
    running = start()
    client = running.client()
    assert "applied" == running.submit(client, "t1").outcome
    until(lambda: running.done(1), "the task is done")
    assert [("accepted",)] == running.rows("SELECT verdict FROM task")
    assert STEPS == len(running.starts())
    assert {1} == set(running.starts().values())


def test_a_second_coordinator_is_refused(start: Start) -> None:
    """One home has one coordinator: the second says so, with the process that has it, and exits 4."""
    running = start()
    running.client()
    command = [sys.executable, "-m", "loom.coordinator", "--home", str(running.home.path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert 4 == second.returncode
    assert "L003" in second.stderr
    assert str(running.home.running()) in second.stderr


def test_an_address_that_is_none_is_refused(start: Start) -> None:
    """Where other hosts are to come in is checked before anything is opened: a sentence, and exit code 4."""
    running = start()
    command = [
        sys.executable,
        "-m",
        "loom.coordinator",
        "--home",
        str(running.home.path),
        "--listen",
        "udp://0.0.0.0:0",
    ]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert 4 == refused.returncode
    assert "L050" in refused.stderr


def test_a_killed_coordinator_costs_no_call(start: Start) -> None:
    """kill -9 of the coordinator in the middle: running attempts are adopted, no agent is started twice."""
    running = start(mode="sleep:250")
    client = running.client()
    for number in range(4):
        running.submit(client, f"t{number}")
    for count in (3, 9, 18):
        until(functools.partial(running.started, count), f"{count} agents were started")
        running.kill_coordinator()
        client.describe()
    until(lambda: running.done(4), "all tasks are done")
    assert 4 * STEPS == len(running.starts())
    assert {1} == set(running.starts().values())
    assert 4 == running.log().count('"event": "started"')


def test_a_killed_worker_costs_only_its_own_attempts(start: Start) -> None:
    """kill -9 of a worker: its attempts are lost at once (not after a lease), everything else goes on."""
    running = start(mode="sleep:300", arguments=("--workers", "2", "--slots", "2"))
    client = running.client()
    for number in range(3):
        running.submit(client, f"t{number}")
    until(lambda: len(running.starts()) >= 4, "agents were started")
    kill(running.worker_pids()[0])
    until(lambda: running.done(3), "all tasks are done", 30)
    lost = running.rows("SELECT count(*) FROM attempt WHERE end = 'lost'")
    assert 1 <= int(str(lost[0][0])) <= 2
    assert {1} == set(running.starts().values())
    assert len(running.starts()) <= 3 * STEPS + 2


@pytest.mark.slow
def test_killing_at_random_loses_nothing(start: Start) -> None:
    """kill -9 of coordinator, workers or both at random moments: every task ends, no committed call is made again."""
    running = start(mode="sleep:60", arguments=("--lease-ms", "3000", "--slots", "4"))
    client = running.client()
    dice = random.Random(7)

    def goes_on(more: int) -> bool:
        return running.started(more) or running.done(8)

    for number in range(8):
        running.submit(client, f"t{number}")
    for _ in range(10):
        before = len(running.starts())
        more = before + dice.randint(1, 6)
        until(functools.partial(goes_on, more), "work goes on")
        what = dice.choice(("coordinator", "worker", "both"))
        if what != "coordinator" and (pids := running.worker_pids()):
            kill(dice.choice(pids))
        if what != "worker":
            running.kill_coordinator()
        client.describe()
    until(lambda: running.done(8), "all tasks are done")
    assert {1} == set(running.starts().values())
    twice = "SELECT spawn, count(*) FROM attempt WHERE end = 'reported' GROUP BY spawn HAVING count(*) > 1"
    assert [] == running.rows(twice)
    assert [(8,)] == running.rows("SELECT count(*) FROM task WHERE verdict = 'accepted'")


def test_a_worker_that_slept_past_its_lease_does_no_harm(start: Start) -> None:
    """SIGSTOP past the lease: the attempt goes to another worker; what the sleeper brings is stale."""
    running = start(mode="sleep:400", arguments=("--workers", "1", "--slots", "1", "--lease-ms", "900"))
    client = running.client()
    running.submit(client, "t1")
    until(lambda: len(running.starts()) >= 1, "an agent was started")
    (sleeper,) = running.worker_pids()
    kill(sleeper, signal.SIGSTOP)
    until(lambda: running.rows("SELECT 1 FROM attempt WHERE end = 'lost'") != [], "its lease ran out", 20)
    kill(sleeper, signal.SIGCONT)
    until(lambda: running.done(1), "the task is done")
    assert {1} == set(running.starts().values())


def test_the_same_call_again_happens_once(start: Start) -> None:
    """Same key, same body: the recorded outcome. Same key, another body: rejected. Unknown task: rejected."""
    running = start()
    client = running.client()
    first = running.submit(client, "t1", key="key-1")
    again = running.submit(client, "t1", key="key-1")
    other = running.submit(client, "t2", key="key-1")
    assert ("applied", "duplicate", "rejected") == (first.outcome, again.outcome, other.outcome)
    assert (first.seq, "applied") == (again.seq, again.was)
    assert "rejected" == client.call(Cancel(), task="nobody").outcome
    assert [(1,)] == running.rows("SELECT count(*) FROM task")


def test_a_stranger_is_denied(start: Start) -> None:
    """A client without a token of this home gets a code and a sentence, and nothing happens."""
    running = start()
    running.client()
    with pytest.raises(CallDenied) as denied:
        Client.connect(running.home, token="made-up", start=False)
    assert "token" == denied.value.code_word


def test_a_worker_must_say_hello_first(start: Start) -> None:
    """Before Hello everything is answered Nack; a wrong token, another protocol or garbage opens no session."""
    running = start(arguments=("--workers", "0"))
    running.client()
    worker = RawWorker(running.home)
    try:
        worker.say(Credit(free=1, as_of=1))
        assert "hello_first" == worker.expect(Nack).code
        worker.hello(token="made-up")
        assert "token" == worker.expect(Refused).code
        worker.hello(low=90, high=99)
        assert "protocol" == worker.expect(Refused).code
        worker.say_bytes(b"no json")
        worker.hello()
        assert worker.expect(Welcome).session
    finally:
        worker.close()


def test_reports_are_answered_every_time(start: Start) -> None:
    """Committed after the turn, Duplicate when it comes again; the assignment is sent again until it is answered."""
    running = start(arguments=("--workers", "0"))
    client = running.client()
    worker = RawWorker(running.home)
    try:
        worker.hello()
        worker.expect(Welcome)
        running.submit(client, "t1")
        assign = worker.expect(Assign)
        assert assign == worker.expect(Assign)
        worker.say(Accepted(attempt=assign.attempt, fence=assign.fence))
        report = reply(assign)
        worker.say(report)
        assert assign.fence == worker.expect(Committed).fence
        worker.say(report)
        assert assign.fence == worker.expect(Duplicate).fence
    finally:
        worker.close()


def test_a_stale_fence_is_kept_as_an_orphan(start: Start) -> None:
    """Who reports after his lease was taken back is answered Stale; the result is kept for a person to take."""
    running = start(arguments=("--workers", "0", "--lease-ms", "600"))
    client = running.client()
    worker = RawWorker(running.home)
    try:
        worker.hello()
        worker.expect(Welcome)
        running.submit(client, "t1")
        assign = worker.expect(Assign)
        worker.say(Accepted(attempt=assign.attempt, fence=assign.fence))
        until(lambda: running.rows("SELECT 1 FROM attempt WHERE end = 'lost'") != [], "the lease ran out")
        worker.hello()
        worker.expect(Welcome)
        worker.say(reply(assign))
        assert assign.fence == worker.expect(Stale).fence
        assert [("t1", assign.fence)] == running.rows("SELECT task, fence FROM orphan")
    finally:
        worker.close()


def test_a_watcher_hears_what_happens(start: Start) -> None:
    """A first Poke at once, one for every turn of the task, and one after a restart; a reader misses nothing."""
    running = start(mode="sleep:20")
    client, watcher = running.client(), running.client()
    heard = watcher.watch("t1", tick_ms=500)
    assert Poke(next_seq=-1) == next(heard)
    running.submit(client, "t1")
    pokes: list[int] = []
    while not running.done(1):
        said = next(heard)
        pokes += [said.next_seq] if isinstance(said, Poke) else []
    assert pokes == sorted(pokes)
    assert len(pokes) >= STEPS // 2
    heard.close()


def test_large_texts_go_over_the_blob_socket(start: Start) -> None:
    """A text of three chunks is stored, checked and given back byte for byte; a stranger gets none."""
    running = start(arguments=("--workers", "0"))
    client = running.client()
    data = bytes(range(256)) * 9_000
    text, sent = make_text(data)
    answered = running.submit(client, "t1", text=text, texts=sent)
    assert "applied" == answered.outcome
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    blobs = BlobClient(context)
    try:
        blobs.connect(running.home.endpoint("blob"), client_token(running.home.keys))
        assert data == blobs.get(text.blob)
        with pytest.raises(BlobError, match="L040"):
            blobs.get("0" * 64)
        blobs.connect(running.home.endpoint("blob"), "made-up")
        with pytest.raises(BlobError, match="token"):
            blobs.get(text.blob)
        blobs.connect(running.home.endpoint("blob"), client_token(running.home.keys))
        with pytest.raises(BlobError, match="L041"):
            blobs.put(structs.replace(sent[0], id="a" * 64), data)
    finally:
        blobs.close()
        context.term()


def test_an_idle_coordinator_leaves(start: Start) -> None:
    """With nothing ready, leased or due it goes by itself; its workers stay, and the next one finds them again."""
    running = start(arguments=("--idle-exit-ms", "1000"))
    running.client()
    until(lambda: len(running.worker_pids()) == 2, "workers are there")
    until(lambda: not running.home.running(), "the coordinator left")
    left = set(running.worker_pids())
    client = running.client()

    def found() -> bool:
        return left <= {worker["pid"] for worker in client.describe()["workers"]}

    until(found, "the same workers said Hello")
    assert 2 == len(left)
