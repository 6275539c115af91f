"""Workers of other hosts over real TCP: who is let in, who is not and hears why, and what they do when they are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import zmq
from msgspec import structs

from harness.fabrics import STEPS, RealFabric, fabric, until
from harness.hosts import CuttingProxy, FarWorker, free_ports, member, remote, token, workers_of
from harness.rawworker import RawWorker
from loom.coordinator.client import make_text
from loom.coordinator.keys import client_token
from loom.kernel.commands import RevokeWorker
from loom.workers.blobs import BlobClient
from loom.workers.joining import JoinError, join
from loom.workers.protocol import Accepted, Assign, Hello, Refused, Report, Welcome, encode, read_invitation
from loom.workers.protocol import End as WireEnd

Start = Callable[..., RealFabric]
LISTENING = ("--workers", "0", "--listen", "127.0.0.1:0")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**options: object) -> RealFabric:
            options.setdefault("arguments", LISTENING)
            made: AbstractContextManager[RealFabric] = fabric(tmp_path, monkeypatch, **options)  # type: ignore[arg-type]
            return stack.enter_context(made)

        yield begin


def test_a_worker_that_joins_does_a_whole_task(start: Start, tmp_path: Path) -> None:
    """Token, own key, entry; then nine agent calls in a process that has nothing of the home but the network."""
    running = start()
    client = running.client()
    with remote(tmp_path / "far", token(client, "gpu")) as far:
        running.submit(client, "t1")
        until(lambda: running.done(1), "the task is done")
        assert [("accepted",)] == running.rows("SELECT verdict FROM task")
        assert {"far"} == workers_of(running)
        assert STEPS == len(running.starts())
        (described,) = client.describe()["workers"]
        assert (["gpu"], True) == (described["labels"], described["remote"])
        assert "enrolled as far" in (far.folder / "err").read_text()
        assert "let_in" not in far.log()
        assert [("far", "worker")] == running.rows("SELECT principal, kind FROM signer")
        assert "signature_wrong" not in running.log()
    kinds = [
        kind for (kind,) in running.rows("SELECT json_extract(body, '$.command[0]') FROM entry WHERE task IS NULL")
    ]
    assert ["InviteWorker", "EnrolWorker"] == [kind for kind in kinds if "Worker" in str(kind)]


def test_it_works_again_without_a_token(start: Start, tmp_path: Path) -> None:
    """What it keeps of its enrolment is enough; joining once more in the same directory is refused with the mend."""
    running = start()
    client = running.client()
    word = token(client)
    with remote(tmp_path / "far", word):
        until(lambda: len(client.describe()["workers"]) == 1, "it is there")
    with remote(tmp_path / "far", word) as again:
        code, said = again.ended()
        assert (1, True) == (code, "enrolled as worker far" in said)
    with remote(tmp_path / "far"):
        running.submit(client, "t1")
        until(lambda: running.done(1), "the task is done")


def test_a_token_is_used_once_and_in_time(start: Start, tmp_path: Path) -> None:
    """Used, expired, made up: refused with the reason on both sides, and nobody is enrolled by it."""
    running = start()
    client = running.client()
    word = token(client)
    join(tmp_path / "a", read_invitation(word), "a", "box")
    with pytest.raises(JoinError, match="used already"):
        join(tmp_path / "b", read_invitation(word), "b", "box")
    brief = read_invitation(token(client, minutes_ms=400))
    until(lambda: time.time_ns() // 1_000_000 > brief.until_ms, "it has expired")
    with pytest.raises(JoinError, match="expired"):
        join(tmp_path / "c", brief, "c", "box")
    with pytest.raises(JoinError, match="used already, or it is not one"):
        join(tmp_path / "d", structs.replace(brief, secret="made-up"), "d", "box")
    with pytest.raises(JoinError, match="there is a worker a already"):
        join(tmp_path / "e", read_invitation(token(client)), "a", "box")
    assert [("a",)] == running.rows("SELECT worker FROM worker")
    assert {"invitation_unknown", "invitation_expired", "worker_exists"} <= {
        str(code) for (code,) in running.rows("SELECT code FROM denial")
    }


def test_a_lost_answer_costs_nothing(start: Start, tmp_path: Path) -> None:
    """Enrolled, but the answer was lost: the next try shows the same key and is told its name."""
    running = start()
    client = running.client()
    invitation = read_invitation(token(client))
    first = join(tmp_path / "a", invitation, "a", "box")
    kept = tmp_path / "a" / "enrolment.json"
    kept.write_bytes(kept.read_bytes().replace(first.control.encode(), b""))
    again = join(tmp_path / "a", invitation, "a", "box")
    assert first == again
    assert [("a",)] == running.rows("SELECT worker FROM worker")


def test_an_unknown_key_is_refused_on_both_sides(start: Start, tmp_path: Path) -> None:
    """A key that nobody enrolled opens no connection; the process says why and ends, the coordinator logs the key."""
    running = start()
    client = running.client()
    known = member(client, tmp_path / "far" / "state", "far")
    public, secret = zmq.curve_keypair()
    stranger = structs.replace(known, public=public.decode(), secret=secret.decode())
    (tmp_path / "far" / "state" / "enrolment.json").write_bytes(_json(stranger))
    began = time.monotonic()
    with remote(tmp_path / "far") as far:
        code, said = far.ended(15)
    assert (1, True) == (code, "does not know this worker's key" in said), said
    assert time.monotonic() - began < 10
    assert stranger.public in running.log()
    assert [] == client.describe()["workers"]


def test_a_wrong_server_key_is_noticed_on_both_sides(start: Start, tmp_path: Path) -> None:
    """Somebody else's coordinator at the address: joining fails with the reason, a worker says it and goes on trying."""
    running = start()
    client = running.client()
    other, _ = zmq.curve_keypair()
    began = time.monotonic()
    invitation = structs.replace(read_invitation(token(client)), server=other.decode())
    with pytest.raises(JoinError, match="does not have the key"):
        join(tmp_path / "a", invitation, "a", "box")
    assert time.monotonic() - began < 11
    until(lambda: "handshake_failed" in running.log(), "the coordinator logs it")
    known = member(client, tmp_path / "far" / "state", "far")
    (tmp_path / "far" / "state" / "enrolment.json").write_bytes(_json(structs.replace(known, server=other.decode())))
    with remote(tmp_path / "far") as far:
        until(lambda: "not_let_in" in far.log(), "it says why", 10)
        assert far.process.poll() is None
    assert [] == client.describe()["workers"]


def test_without_a_key_nothing_is_heard(start: Start) -> None:
    """A plain connection to any of the doors gets not one byte of loom, and the home's own token is of no use there."""
    running = start()
    client = running.client()
    ports = client.describe()["listen"]["ports"]
    home_token = (running.home.keys / "worker.token").read_text().strip()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        for port in ports.values():
            plain = context.socket(zmq.DEALER)
            plain.linger = 0
            plain.connect(f"tcp://127.0.0.1:{port}")
            hello = Hello(worker="x", boot="b", low=1, high=1, host="h", slots=1, token=home_token)
            plain.send(encode([hello]))
            assert 0 == plain.poll(300)
            plain.close()
    finally:
        context.term()
    assert [] == client.describe()["workers"]
    until(lambda: "handshake_failed" in running.log(), "the coordinator logs it")


def test_a_key_speaks_for_one_worker(start: Start, tmp_path: Path) -> None:
    """The identity of another is refused with the reason; labels that it claims are not its own."""
    running = start()
    client = running.client()
    member(client, tmp_path / "b", "other")
    with FarWorker(member(client, tmp_path / "a", "far", "gpu")) as far:
        far.hello(worker="other")
        refused = far.expect(Refused)
        assert ("identity", True) == (refused.code, "enrolled as worker far" in refused.sentence)
        far.hello(low=90, high=99)
        refused = far.expect(Refused)
        assert ("protocol", True) == (refused.code, "upgrade the older" in refused.sentence)
        far.hello(labels=("home", "root"))
        assert far.expect(Welcome).ping_endpoint.startswith("tcp://*:")
        assert [["gpu"]] == [each["labels"] for each in client.describe()["workers"]]
    assert '"code": "identity"' in running.log()


def test_revoking_ends_a_worker_at_once(start: Start, tmp_path: Path) -> None:
    """Its session is refused, what it held is lost and done by another, its words are worth nothing, its key opens nothing."""
    running = start()
    client = running.client()
    keys = member(client, tmp_path / "a", "far")
    near = RawWorker(running.home)
    try:
        with FarWorker(keys) as far:
            far.hello()
            far.expect(Welcome)
            running.submit(client, "t1")
            assign = far.expect(Assign)
            far.say(Accepted(attempt=assign.attempt, fence=assign.fence))
            began = time.monotonic()
            assert "applied" == client.call(RevokeWorker("far")).outcome
            assert "revoked" == far.expect(Refused).code
            until(lambda: running.rows("SELECT end FROM attempt") == [("lost",)], "its attempt is lost")
            assert time.monotonic() - began < 3
            far.say(Report(attempt=assign.attempt, fence=assign.fence, end=WireEnd.REPORTED))
            assert "revoked" == far.expect(Refused).code
            near.hello()
            near.expect(Welcome)
            assert assign.fence < near.expect(Assign, 20).fence
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        late = keys.link.dealer(context)
        monitor = late.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        late.connect(keys.control)
        assert monitor.poll(5_000)
        late.disable_monitor()
        monitor.close()
        late.close()
        context.term()
    finally:
        near.close()
    assert [] == running.rows("SELECT 1 FROM orphan")


def test_a_new_coordinator_adopts_what_runs_far_away(start: Start, tmp_path: Path) -> None:
    """kill -9 of the coordinator: the worker connects again by itself, and no agent is started twice."""
    listen = f"127.0.0.1:{free_ports()}"
    running = start(mode="sleep:400", arguments=("--workers", "0", "--listen", listen))
    client = running.client()
    with remote(tmp_path / "far", token(client)):
        running.submit(client, "t1")
        until(lambda: running.started(2), "it works")
        running.kill_coordinator()
        client.describe()
        until(lambda: running.done(1), "the task is done")
    assert {1} == set(running.starts().values())
    assert STEPS == len(running.starts())
    assert 2 == running.log().count('"event": "listening"')


def test_a_large_text_goes_on_where_it_was_cut(start: Start, tmp_path: Path) -> None:
    """The connection breaks in the middle of 12 MiB: what had arrived is not sent again."""
    running = start()
    client = running.client()
    keys = member(client, tmp_path / "a", "far")
    data = os.urandom(12 * 1024 * 1024)
    _, (sent,) = make_text(data)
    proxy = CuttingProxy(client.describe()["listen"]["ports"]["blob"], cut_after=7 * 1024 * 1024)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with proxy as port:
        blobs = BlobClient(context, keys.link)
        try:
            blobs.connect(f"tcp://127.0.0.1:{port}", client_token(running.home.keys))
            blobs.put(structs.replace(sent, data=None), data)
            blobs.put(structs.replace(sent, data=None), data)
        finally:
            blobs.close()
            context.term()
    assert 1 == proxy.cuts
    assert len(data) < proxy.passed < len(data) + 5 * 1024 * 1024
    assert data == next(running.home.blobs.rglob(sent.id)).read_bytes()


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)
