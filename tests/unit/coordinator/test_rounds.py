"""Rounds with every part behind them but the sockets: no word of a client or a worker ends the coordinator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import zmq

from loom.bundles import registry
from loom.coordinator import store
from loom.coordinator.api import Answered, Call, Denied, ToClient
from loom.coordinator.api import encode as encode_client
from loom.coordinator.codec import encode_command
from loom.coordinator.errors import BlobMissing
from loom.coordinator.fabric import Fabric, Options
from loom.coordinator.home import Home
from loom.coordinator.inbox import Granted
from loom.coordinator.machine import OFF
from loom.coordinator.opening import open_home
from loom.coordinator.side_sockets import Heartbeats
from loom.kernel import commands as c
from loom.kernel.values import Acceptance, AgentBinding, AnswerWord, End, Text
from loom.workers import protocol as p

TASK, TOKEN = "abcdefghjk", "token"
NEVER_SENT = Text(blob="ab" * 32, size=300)
DEEP = b"[" * 100_000 + b"]" * 100_000
A = TypeVar("A")


class Bench:
    """A home on the disk, and the fabric on it, which never opens a socket."""

    def __init__(self, place: Path) -> None:
        self.home = Home(place / "home")
        self._mono_ms = 1_000
        self.told: list[p.ToWorker] = []
        self.answers: list[ToClient] = []
        self.logged: list[str] = []
        opened = open_home(self.home, version="test", now_ms=time.time_ns() // 10**6)
        options = Options(workers=0, worker_token=TOKEN, machine_slots=OFF)
        self.fabric = Fabric(self.home, opened, options, lambda action, **fields: self.logged.append(action))
        self.token = (self.home.keys / "client.token").read_text().strip()

    def round(self, times: int = 2) -> None:
        for _ in range(times):
            self._mono_ms += 300
            self.fabric.rounds.round(self._mono_ms, time.time_ns() // 10**6)
            for messages in self.fabric.sessions.take_outbox().values():
                self.told += messages
            self.answers += [message for _, message in self.fabric.desk.take_outbox()]

    def call(self, command: c.Command, key: str, peer: bytes = b"c", **more: Any) -> None:
        made = Call(token=self.token, key=key, via="cli", command=msgspec.Raw(encode_command(command)), **more)
        self.fabric.rounds.hear_client(peer, encode_client(made), self._mono_ms)

    def submit(self, text: Text) -> None:
        bundle = registry.load("code")
        command = c.Submit(
            task=TASK,
            project="",
            bundle="code",
            rules_digest=bundle.digest,
            semantics=1,
            text=text,
            flow="question",
            preset=bundle.default_preset,
            policies=(),
            base="b" * 40,
            subject="s" * 40,
            bindings=(AgentBinding("*", ("stub:m",)),),
            caps=bundle.caps,
        )
        self.call(command, f"submit:{TASK}", task=TASK)

    def hello(self, worker: str = "w", peer: bytes = b"w") -> None:
        hello = p.Hello(
            worker=worker, boot=f"{worker}1", low=1, high=1, host="h", slots=2, token=TOKEN, families=("stub",)
        )
        self.say(peer, hello)

    def say(self, peer: bytes, *messages: p.FromWorker) -> None:
        self.fabric.rounds.hear_worker(peer, p.encode(messages), self._mono_ms)

    def assigned(self) -> p.Assign:
        """What the worker is to do, after a task was submitted."""
        self.hello()
        self.submit(Text("hi", size=2))
        self.round()
        return self.found(p.Assign)

    def report(self, assign: p.Assign, output: str, peer: bytes = b"w", **more: Any) -> None:
        result = p.Result(output=output)
        self.say(peer, p.Report(attempt=assign.attempt, fence=assign.fence, end=p.End.REPORTED, result=result, **more))
        self.round()

    def found(self, kind: type[A]) -> A:
        return next(message for message in (*self.told, *self.answers) if isinstance(message, kind))

    def denied(self) -> list[str]:
        """Codes of what was refused, at the desk or in a turn."""
        refused = [one for one in self.answers if isinstance(one, Answered | Denied) and one.code]
        return [one.code for one in refused]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.fabric.core.store._connection.execute(sql).fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.fabric.core.store.close()
    made.fabric._context.term()


FRAMES = {
    "no UTF-8": b'[{"t":"Goodbye","reason":"\xff"}]',
    "deep": DEEP,
    "deep in it": b'[{"t":"Goodbye","x":' + DEEP + b"}]",
}


@pytest.mark.parametrize("frame", [*FRAMES.values(), b'[{"t":"None"}]', b""], ids=[*FRAMES, "unknown", "empty"])
def test_a_frame_of_no_protocol_is_left_out(bench: Bench, frame: bytes) -> None:
    """Bytes that are no UTF-8, too deep, or outside the union: refused to a client, logged of a worker."""
    bench.fabric.rounds.hear_worker(b"w", frame, 0)
    bench.fabric.rounds.hear_client(b"c", frame, 0)
    bench.round(1)
    assert (["malformed"], 1) == (bench.denied(), bench.logged.count("frame_refused"))
    for decode in (p.decode_to_worker, p.decode_blob):
        with pytest.raises(p.Malformed):
            decode(frame)


COMMANDS = {"no UTF-8": b'["Pause",{"reason":{"value":"\xff"}}]', "deep": b'["Pause",{"x":' + DEEP + b"}]"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_cannot_be_read_is_refused(bench: Bench, command: bytes) -> None:
    """The frame is sound; what stands in its command is not."""
    frame = encode_client(Call(token=bench.token, key="k", via="cli", command=msgspec.Raw(b"0")))
    bench.fabric.rounds.hear_client(b"c", frame.replace(b'"command":0', b'"command":' + command), 0)
    bench.round(1)
    assert ["malformed"] == bench.denied()


def test_a_side_thread_outlives_its_faults(tmp_path: Path) -> None:
    """What is thrown about one message is logged; the next is answered."""
    logged: list[str] = []

    def ping(one: p.Ping) -> p.Pong:
        if one.sequence == 1:
            raise RuntimeError("a fault of ours")
        return p.Pong(sequence=one.sequence)

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    endpoint = f"ipc://{tmp_path}/ping"
    side = Heartbeats(context, endpoint, ping, lambda action, **fields: logged.append(action))
    socket = context.socket(zmq.DEALER)
    socket.connect(endpoint)
    try:
        for frame in (p.encode([p.Ping(session="s", sequence=1)]), b'[{"t":"Goodbye","reason":"\xff"}]'):
            socket.send(frame)
        socket.send(p.encode([p.Ping(session="s", sequence=2)]))
        heard = [p.decode_to_worker(socket.recv())[0] for _ in range(2) if socket.poll(5_000)]
    finally:
        socket.close(linger=0)
        side.close()
        context.term()
    assert (["Nack", "Pong"], ["side_failed"]) == ([type(one).__name__ for one in heard], logged)


DONE = '{"outcome":"done","answer":"x","summary":"s"}'
BEYOND = 2**60


def test_numbers_of_hands_are_held_to_the_range(bench: Bench) -> None:
    """Counts beyond the range end nothing: the report is committed with the nearest number that the ledger takes."""
    assign = bench.assigned()
    usage = p.Usage(input_tokens=BEYOND, output_tokens=-1, calls=2**70, cost_microusd=-5)
    bench.report(assign, DONE, usage=usage, wall_ms=-3, not_before_ms=BEYOND, binding=BEYOND)
    assert "Committed" in [type(one).__name__ for one in bench.told]
    task = bench.fabric.core.task(TASK)
    assert task is not None
    assert (2**53 - 1, 0) == (task.spent.tokens, task.spent.cost)


def test_a_line_beyond_the_range_is_an_unparseable_output(bench: Bench) -> None:
    """It is the agent's own fault: the attempt ends so that the repair runs, with the sentence."""
    assign = bench.assigned()
    bench.report(assign, '{"outcome":"done","answer":"x","findings":[{"severity":"warn","line":9007199254740993}]}')
    again = [one for one in bench.told if isinstance(one, p.Assign)][-1]
    assert again.repair is not None
    assert "line of finding 0" in again.repair.error


def test_a_report_with_a_number_that_names_nothing_ends_nothing(bench: Bench) -> None:
    """A fence beyond the range is no fence of ours: stale."""
    assign = bench.assigned()
    bench.say(b"w", p.Report(attempt=assign.attempt, fence=2**70, end=p.End.REPORTED))
    bench.round()
    assert 2**70 == bench.found(p.Stale).fence


def test_a_stale_report_is_one_orphan_however_often_it_comes(bench: Bench) -> None:
    """Of another worker, with numbers beyond the range: answered each time, kept once."""
    assign = bench.assigned()
    bench.hello("other", b"o")
    for _ in range(3):
        bench.report(assign, "{}", peer=b"o", usage=p.Usage(input_tokens=BEYOND))
    assert ([(1,)], 3) == (bench.rows("SELECT count(*) FROM orphan"), sum(isinstance(m, p.Stale) for m in bench.told))
    assert "orphan_dropped" not in bench.logged


def test_orphans_that_cannot_be_kept_whole_are_kept_without(bench: Bench) -> None:
    """A text that is not what its id names is left out; a report that no row can hold does not take others with it."""
    assign = bench.assigned()
    bench.hello("other", b"o")
    texts = (p.Text(id="ab" * 32, salt=b"s" * 16, size=2**70, data=b"other bytes"),)
    stale = p.Report(attempt=assign.attempt, fence=7, end=p.End.FAILED)
    bench.say(b"o", msgspec.structs.replace(stale, texts=texts, transcript="ab" * 32))
    bench.say(b"o", msgspec.structs.replace(stale, fence=-(2**70)), msgspec.structs.replace(stale, attempt="nothing"))
    bench.round()
    assert 3 == sum(isinstance(message, p.Stale) for message in bench.told)
    assert [("nothing", 7), (assign.attempt[:-2], 0), (assign.attempt[:-2], 7)] == sorted(
        bench.rows("SELECT spawn, fence FROM orphan"), key=lambda row: (row[0] != "nothing", row[1])
    )
    assert [] == bench.rows(f"SELECT id FROM blob WHERE hex(id) = '{('ab' * 32).upper()}'")


def test_denials_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept."""
    monkeypatch.setattr(store, "MAX_DENIALS", 3)
    for number in range(5):
        bench.call(c.Pause(), f"k{number}", task="nothing")
        bench.round(1)
    assert [("k2",), ("k3",), ("k4",)] == bench.rows("SELECT key FROM denial ORDER BY id")


NAMING = {
    "answer": c.Answer(gate="g1", word=AnswerWord.ACCEPT, message=NEVER_SENT),
    "accepts": c.Answer(gate="g1", word=AnswerWord.ACCEPT, accepts=(Acceptance("f1", NEVER_SENT),)),
    "pause": c.Pause(reason=NEVER_SENT),
    "resume": c.Resume(reason=NEVER_SENT),
    "cancel": c.Cancel(reason=Text(blob="no id", size=5)),
    "act": c.Act("push", reason=NEVER_SENT),
    "trust": c.TrustProject(project="p1", digest="d", content=NEVER_SENT),
    "bundle": c.KeepBundle(name="b", digest="d", archive=NEVER_SENT),
}


@pytest.mark.parametrize("command", NAMING.values(), ids=NAMING)
def test_a_command_that_names_a_text_nobody_has_is_refused(bench: Bench, command: c.Command) -> None:
    """Before anything of it is applied, and before the kernel says what else is wrong with it."""
    bench.submit(Text("hi", size=2))
    bench.call(command, "k", task="" if isinstance(command, c.TrustProject | c.KeepBundle) else TASK)
    bench.round()
    assert ["blob_missing"] == bench.denied()


def test_a_task_whose_text_nobody_has_is_refused_until_it_is_sent(bench: Bench) -> None:
    """The same submit is refused, then taken with its text; afterwards the text may be named without it."""
    data, salt = b"x" * 300, b"s" * 16
    named = Text(blob=p.salted_id(salt, data), size=300)
    bench.hello()
    bench.submit(named)
    bench.round()
    assert ["blob_missing"] == bench.denied()
    text = p.Text(id=named.blob, salt=salt, size=300, data=data)
    bench.call(c.AddProject(project="p1", name="n", place="/x", kind="git"), "project", texts=(text,))
    bench.submit(named)
    bench.round()
    assert (["blob_missing"], 1) == (bench.denied(), sum(isinstance(one, p.Assign) for one in bench.told))


def test_an_assignment_that_cannot_be_made_ends_the_attempt(bench: Bench) -> None:
    """A text that is gone from the store, or anything else that is missing: the attempt fails with the sentence."""
    bench.submit(Text("hi", size=2))
    bench.round()

    def assign(granted: Granted) -> p.Assign:
        raise BlobMissing("Text ab is not stored.")

    bench.fabric.sessions._assign = assign
    bench.hello()
    bench.round(3)
    (row,) = bench.rows("SELECT body FROM entry WHERE body LIKE '%no assignment could be made: L040: Text ab%'")[:1]
    assert '"end":"failed"' in row[0]
    assert '"error_class":"permanent"' in row[0]


def test_a_report_about_the_attempt_of_another_worker_ends_nothing(bench: Bench) -> None:
    """It is kept and answered Stale; the report of the worker that runs the attempt is committed, also in the same round."""
    assign = bench.assigned()
    bench.hello("other", b"o")
    forged = p.Report(attempt=assign.attempt, fence=assign.fence, end=p.End.FAILED, error_class=p.ErrorClass.PERMANENT)
    bench.say(b"o", forged)
    bench.report(assign, DONE)
    assert ["Committed", "Stale"] == sorted(
        type(m).__name__ for m in bench.told if isinstance(m, p.Stale | p.Committed)
    )
    assert [("other",)] == bench.rows("SELECT worker FROM orphan")


def late(bench: Bench) -> p.Assign:
    """An attempt whose worker died, and whose report comes all the same, from the next process of that worker."""
    assign = bench.assigned()
    bench.say(b"w", p.Accepted(attempt=assign.attempt, fence=assign.fence))
    hello = p.Hello(worker="w", boot="w2", low=1, high=1, host="h", slots=1, token=TOKEN, families=("none",))
    bench.say(b"w2", hello)
    bench.round()
    bench.report(assign, DONE, peer=b"w2")
    assert ["lost"] == [end for (end,) in bench.rows("SELECT end FROM attempt")]
    return assign


def test_a_late_result_is_taken_as_it_was_kept(bench: Bench) -> None:
    """By its number: what the worker said is the command that stands in the ledger, and its texts are there."""
    late(bench)
    ((number,),) = bench.rows("SELECT id FROM orphan")
    for _ in range(2):  # sent again, it is one
        bench.call(c.Take(orphan=number, reason=Text("good", size=4)), "take", task=TASK)
        bench.round()
    taken = [one for one in bench.answers if isinstance(one, Answered) and one.key == "take"]
    assert ["applied", "duplicate"] == [one.outcome for one in taken]
    assert [("done", "answered")] == bench.rows("SELECT status, verdict FROM task")
    assert [("taken",)] == bench.rows("SELECT end FROM attempt")
    ((kept,),) = bench.rows("SELECT command FROM orphan")
    ((body,),) = bench.rows("SELECT body FROM entry WHERE key = 'take'")
    assert msgspec.json.decode(kept)[1] == msgspec.json.decode(body)["command"][1]["report"]


def test_what_was_kept_of_another_worker_is_not_taken(bench: Bench) -> None:
    """The record says to whom the attempt was given; nor is there anything under a number that nobody has, or of a client's."""
    assign = bench.assigned()
    bench.hello("other", b"o")
    bench.report(assign, DONE, peer=b"o")
    ((number,),) = bench.rows("SELECT id FROM orphan")
    made_up = c.AttemptEnded("x", 1, 1, End.REPORTED, outcome="done")
    for key, take in enumerate((c.Take(number), c.Take(99), c.Take(number, report=made_up))):
        bench.call(take, f"k{key}", task=TASK)
        bench.round()
    assert ["foreign", "no_such_orphan", "malformed"] == bench.denied()
    assert [] == bench.rows("SELECT 1 FROM entry WHERE body LIKE '%\"Take\"%'")


@pytest.mark.parametrize("kept", ["{}", '["Pause",{}]'])
def test_what_was_kept_raw_is_not_taken(bench: Bench, kept: str) -> None:
    """What makes no report, since it could not be read when it came, is shown and no more."""
    late(bench)
    bench.rows(f"UPDATE orphan SET command = '{kept}'")
    bench.call(c.Take(1), "k", task=TASK)
    bench.round()
    assert ["unreadable"] == bench.denied()
