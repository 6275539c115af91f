"""Sessions, message by message: who may speak, who holds what, and what ends when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from harness import toy
from loom.coordinator.inbox import Granted, Halt, Outcome, Reply, Request, Turned
from loom.coordinator.leases import COORDINATOR, end_key
from loom.coordinator.roster import Timing
from loom.coordinator.sessions import ASSIGN_TRIES, STOP_HARD_MS, Sessions
from loom.kernel.commands import AttemptEnded, Grant, Submit
from loom.kernel.machine import Tick, tick
from loom.kernel.replay import RecordedHome
from loom.kernel.state import TaskState
from loom.kernel.values import AgentBinding, Bound, Caps, End, Principal, PrincipalKind, Text
from loom.kernel.work import rules_for
from loom.workers.protocol import (
    Accepted,
    Assign,
    Binding,
    Capability,
    Committed,
    Credit,
    Declined,
    Duplicate,
    Fenced,
    FromWorker,
    Goodbye,
    Hello,
    Nack,
    Ping,
    Pong,
    Prompt,
    Refused,
    Renew,
    Renewed,
    Report,
    Stale,
    Stop,
    Stopped,
    ToWorker,
    Welcome,
    attempt_id,
)
from loom.workers.protocol import Bound as WireBound
from loom.workers.protocol import End as WireEnd

LEASE_MS, FULL_MS = 6_000, 7_000
A = TypeVar("A")
PERSON = Principal(id="p", kind=PrincipalKind.PERSON, via="test")
HELLO = Hello(worker="w", boot="b1", low=1, high=1, host="h", slots=2, token="right")
RULES = rules_for(toy.TOY)


def granted(worker: str = "w", boot: str = "b1") -> Granted:
    """A task whose first attempt was granted, by the real kernel."""
    submit = Submit(
        task="t",
        project="",
        bundle="toy",
        rules_digest="toy-toy",
        semantics=1,
        text=Text("x", size=1),
        flow="",
        preset="autonomous",
        policies=(),
        base="b",
        subject="s",
        bindings=(AgentBinding("*", ("stub:m",)),),
        caps=Caps(),
    )
    task = _tick(None, submit, PERSON)
    spawn = task.spawns[0].id
    grant = Grant(
        spawn=spawn, attempt=1, fence=1, worker=worker, boot=boot, binding=0, price="", reserved=0, bound=Bound.NONE
    )
    return Granted(_tick(task, grant, COORDINATOR), spawn, 1, 1, worker)


def _tick(task: TaskState | None, command: Any, who: Principal) -> TaskState:
    taken = tick(RULES, task, RecordedHome(()), who, command, 1_000)
    assert isinstance(taken, Tick), taken
    return taken.task


GRANTED = granted()
ATTEMPT = attempt_id(GRANTED.spawn, 1)
KEY = (ATTEMPT, 1)


def assign_of(one: Granted) -> Assign:
    return Assign(
        attempt=attempt_id(one.spawn, one.attempt),
        fence=one.fence,
        task="t",
        agent="worker",
        stage="work",
        iteration=1,
        capability=Capability.EDIT,
        binding=Binding(ref="stub:m", family="stub", model="m"),
        prompt=Prompt(digest="", system="", user=""),
        bound=WireBound(wall_ms=1),
        lease_ms=LEASE_MS,
    )


def admit(report: Report, worker: str) -> Request:
    if report.message == "unreadable":
        raise ValueError("unreadable")
    command = AttemptEnded(spawn=GRANTED.spawn, attempt=1, fence=report.fence, end=End.REPORTED)
    return Request(key=end_key((report.attempt, report.fence)), principal=COORDINATOR, task="t", command=command)


def turned(*replies: Reply, grants: tuple[Granted, ...] = (), halts: tuple[Halt, ...] = ()) -> Turned:
    return Turned(
        replies=replies, granted=grants, halts=halts, first_seq=0, next_seq=1, tasks=("t",), due_ms=0, ready=0
    )


@dataclass
class Desk:
    """Sessions with a memory of what they said."""

    sessions: Sessions = field(
        default_factory=lambda: Sessions(
            epoch=3,
            secret=b"secret",
            token="right",
            assign=assign_of,
            admit=admit,
            has_blob=lambda identifier: identifier == "there",
            timing=Timing(lease_ms=LEASE_MS, ping_ms=1_000),
        )
    )

    def hear(self, *messages: FromWorker, peer: bytes = b"p1", at: int = 0) -> list[ToWorker]:
        """What it answers."""
        self.sessions.hear(peer, messages, at)
        return self.sessions.take_outbox().get(peer, [])

    def tick(self, *times: int) -> list[ToWorker]:
        """What it says to anybody by itself."""
        for mono_ms in times:
            self.sessions.tick(mono_ms)
        return [message for messages in self.sessions.take_outbox().values() for message in messages]

    def settle(self, made: Turned, at: int = 0) -> list[ToWorker]:
        self.sessions.settle(made, at)
        return [message for messages in self.sessions.take_outbox().values() for message in messages]

    def ends(self) -> list[tuple[str, str]]:
        """(end, key) of the requests that wait for a turn."""
        taken = self.sessions.endings.take_requests()
        return [
            (request.command.end.value, request.key) for request in taken if isinstance(request.command, AttemptEnded)
        ]


def at_work(at: int = 0) -> Desk:
    """A worker that was welcomed and given an attempt."""
    desk = Desk()
    desk.tick(at)
    desk.hear(HELLO, at=at)
    desk.settle(turned(grants=(GRANTED,)), at)
    return desk


def passing(start: int, end: int, step: int = 500) -> list[int]:
    """Times at which a busy loop looks."""
    return list(range(start, end + 1, step))


def of(kind: type[A], said: list[ToWorker]) -> list[A]:
    return [one for one in said if isinstance(one, kind)]


REPORT = Report(attempt=ATTEMPT, fence=1, end=WireEnd.REPORTED)
APPLIED = Reply(end_key(KEY), Outcome.APPLIED)


def test_nothing_is_heard_before_hello() -> None:
    """Nack, once a frame; a wrong token or protocol opens nothing; the right one gets a session and slots."""
    desk = Desk()
    assert ["hello_first"] == [
        one.code for one in of(Nack, desk.hear(Credit(free=1, as_of=1), Credit(free=1, as_of=2)))
    ]
    for changes, code in (
        ({"token": "wrong"}, "token"),
        ({"low": 2, "high": 9}, "protocol"),
        ({"slots": 0}, "malformed"),
    ):
        refused = Hello(**{f: getattr(HELLO, f) for f in HELLO.__struct_fields__} | changes)
        assert [code] == [one.code for one in of(Refused, desk.hear(refused))]
    assert () == desk.sessions.slots()
    (welcome,) = of(Welcome, desk.hear(HELLO))
    assert (3, LEASE_MS) == (welcome.epoch, welcome.lease_ms)
    assert [2] == [slot.free for slot in desk.sessions.slots()]


def test_an_assignment_is_sent_until_answered_and_not_for_ever() -> None:
    """Five times; Accepted ends it; credit counts what is not answered."""
    desk = at_work()
    assert [1] == [slot.free for slot in desk.sessions.slots()]
    again = sum(len(of(Assign, desk.tick(*passing(ms, ms + 500)))) for ms in range(500, 6_000, 500))
    assert ASSIGN_TRIES - 1 == again
    answered = at_work()
    answered.hear(Accepted(attempt=ATTEMPT, fence=1), Credit(free=1, as_of=1))
    assert [] == of(Assign, answered.tick(*passing(500, 3_500)))
    assert [1] == [slot.free for slot in answered.sessions.slots()]


def test_a_report_is_answered_after_its_turn() -> None:
    """Nothing before; Committed after COMMIT; a copy meanwhile asks nothing twice; later it is Duplicate."""
    desk = at_work()
    assert [] == desk.hear(REPORT)
    assert [] == desk.hear(REPORT)
    assert [("reported", end_key(KEY))] == desk.ends()
    assert [2] == [slot.free for slot in desk.sessions.slots()]
    assert [Committed(attempt=ATTEMPT, fence=1)] == desk.settle(turned(APPLIED))
    desk.hear(REPORT)
    duplicate = Reply(end_key(KEY), Outcome.DUPLICATE)
    assert [Duplicate(attempt=ATTEMPT, fence=1)] == desk.settle(turned(duplicate))
    assert 0 == len(desk.sessions.leases)


def test_a_stale_report_is_stored_before_it_is_answered() -> None:
    """Rejected: it waits in take_stale; Stale goes out when it was stored."""
    desk = Desk()
    desk.hear(HELLO)
    desk.hear(REPORT)
    assert [] == desk.settle(turned(Reply(end_key(KEY), Outcome.REJECTED, code="stale")))
    stale = desk.sessions.endings.take_stale()
    desk.sessions.endings.stored(stale)
    assert {b"p1": [Stale(attempt=ATTEMPT, fence=1)]} == desk.sessions.take_outbox()


def test_an_unreadable_report_ends_the_attempt() -> None:
    """It is kept as an orphan, and the attempt fails: nothing stays granted for ever."""
    desk = at_work()
    desk.hear(Report(attempt=ATTEMPT, fence=1, end=WireEnd.REPORTED, message="unreadable"))
    assert [("failed", end_key(KEY))] == desk.ends()
    assert ["malformed"] == [one.code for one in desk.sessions.endings.take_stale()]


def test_a_lease_is_lost_a_grace_after_its_end() -> None:
    """Seven seconds of silence, not before; a Renew moves it; a late one is Fenced."""
    desk = at_work()
    desk.hear(Accepted(attempt=ATTEMPT, fence=1))
    (renewed,) = of(Renewed, desk.hear(Renew(attempts=(KEY,), as_of=5), at=2_000))
    assert ((KEY,), 5) == (renewed.attempts, renewed.as_of)
    desk.tick(*passing(500, 2_000 + FULL_MS - 500))
    assert [] == desk.ends()
    desk.tick(*passing(2_000 + FULL_MS, 2_000 + FULL_MS + 500))
    assert [("lost", end_key(KEY))] == desk.ends()
    desk.settle(turned(APPLIED))
    assert [Fenced(attempt=ATTEMPT, fence=1)] == desk.hear(Renew(attempts=(KEY,)))


def test_who_could_not_listen_takes_nothing_back() -> None:
    """After a gap (suspend, a long commit) every lease is a full one again."""
    desk = at_work()
    desk.hear(Accepted(attempt=ATTEMPT, fence=1))
    desk.tick(1_000, 60_000)
    assert [] == desk.ends()
    desk.tick(*passing(60_500, 60_000 + FULL_MS + 500))
    assert [("lost", end_key(KEY))] == desk.ends()


def test_a_new_boot_ends_what_the_old_one_did_not_spool() -> None:
    """Lost at once; with the report in its spool it goes on; the old process is refused from now on."""
    lost, kept = at_work(), at_work()
    for desk, running in ((lost, ()), (kept, (KEY,))):
        desk.hear(Accepted(attempt=ATTEMPT, fence=1))
        again = Hello(worker="w", boot="b2", low=1, high=1, host="h", slots=2, token="right", running=running)
        assert 1 == len(of(Welcome, desk.hear(again, peer=b"p2")))
    assert ([("lost", end_key(KEY))], []) == (lost.ends(), kept.ends())
    assert ["superseded"] == [one.code for one in of(Refused, lost.hear(HELLO))]


def test_a_death_in_company_is_nobodys_fault() -> None:
    """A worker that dies with one attempt in hand died of it (no class); with two, of either (transient, and it says so).

    What is back in its successor's Hello did not run, and is no company."""
    blamed: dict[int, list[str]] = {}
    for count, kept in ((1, 0), (2, 0), (2, 1)):
        desk = at_work()
        others = [replace(GRANTED, fence=fence) for fence in range(2, 1 + count)]
        desk.settle(turned(grants=tuple(others)))
        running = tuple((ATTEMPT, 2 + number) for number in range(kept))
        desk.hear(Hello(worker="w", boot="b2", low=1, high=1, host="h", slots=2, token="right", running=running))
        asked = [request.command for request in desk.sessions.endings.take_requests()]
        ends = [command for command in asked if isinstance(command, AttemptEnded)]
        assert {End.LOST} == {end.end for end in ends}
        blamed[count - kept] = [end.error_class.value for end in ends]
        assert (count - kept > 1) == (", and 1 more" in ends[0].message.value)
    assert {1: [""], 2: ["transient"] * 2} == blamed


def test_what_was_never_sent_is_not_lost() -> None:
    """A worker that died before its assignment left: undelivered, nothing is consumed."""
    desk = Desk()
    desk.tick(0)
    desk.settle(turned(grants=(GRANTED,)))
    desk.hear(Hello(worker="w", boot="b2", low=1, high=1, host="h", slots=2, token="right"))
    assert [("undelivered", end_key(KEY))] == desk.ends()


def test_what_never_reached_the_same_boot_is_assigned_again() -> None:
    """Under the same fence. What it had and has no more is lost. A Hello overtaken by later words says nothing."""
    desk = at_work()
    again = Hello(worker="w", boot="b1", low=1, high=1, host="h", slots=2, token="right", as_of=1)
    assert 1 == len(of(Assign, desk.hear(again, peer=b"p2")))
    desk.hear(Accepted(attempt=ATTEMPT, fence=1), Credit(free=1, as_of=7), peer=b"p2")
    desk.hear(again, peer=b"p3")
    assert [] == desk.ends()
    later = Hello(worker="w", boot="b1", low=1, high=1, host="h", slots=2, token="right", as_of=9)
    desk.hear(later, peer=b"p3")
    assert [("lost", end_key(KEY))] == desk.ends()


def test_a_restart_adopts_what_is_named() -> None:
    """Granted before: waits a full lease for its worker; named in Hello it goes on, unknown attempts are Fenced."""
    desk = Desk()
    desk.tick(0)
    desk.sessions.adopt([GRANTED], 0)
    strange = ("t/work.9/worker#1", 9)
    said = desk.hear(
        Hello(worker="w", boot="b1", low=1, high=1, host="h", slots=2, token="right", running=(KEY, strange))
    )
    assert [Fenced(attempt=strange[0], fence=9)] == of(Fenced, said)
    assert ([], [1]) == (of(Assign, said), [slot.free for slot in desk.sessions.slots()])
    nobody = Desk()
    nobody.tick(0)
    nobody.sessions.adopt([GRANTED], 0)
    nobody.tick(*passing(500, FULL_MS + 500))
    assert [("lost", end_key(KEY))] == nobody.ends()


def test_a_stop_is_said_until_it_is_done() -> None:
    """Politely, hard after ten seconds; Stopped frees the slot; nothing more ends."""
    desk = at_work()
    desk.hear(Accepted(attempt=ATTEMPT, fence=1))
    halt = Halt("t", GRANTED.spawn, 1, 1, "w")
    assert [False] == [stop.hard for stop in of(Stop, desk.settle(turned(halts=(halt,))))]
    hards = []
    for ms in passing(500, STOP_HARD_MS + 3_000):
        desk.hear(Renew(attempts=(KEY,)), at=ms)
        hards += [stop.hard for stop in of(Stop, desk.tick(ms))]
    assert (False, True) == (hards[0], hards[-1])
    desk.hear(Stopped(attempt=ATTEMPT, fence=1, guaranteed=True))
    assert (0, []) == (len(desk.sessions.leases), desk.ends())


def test_declined_and_goodbye_end_at_once() -> None:
    """Declined: undelivered. Goodbye: acknowledged, and what it held is lost."""
    desk = at_work()
    desk.hear(Declined(attempt=ATTEMPT, fence=1, reason="no free slot"))
    assert [("undelivered", end_key(KEY))] == desk.ends()
    leaving = at_work()
    assert 1 == len(of(Goodbye, leaving.hear(Goodbye())))
    assert [("lost", end_key(KEY))] == leaving.ends()
    assert () == leaving.sessions.slots()


def test_silence_makes_suspect_and_heartbeats_heal() -> None:
    """No new work after four silent intervals, leases untouched; a Ping of the session brings it back."""
    desk = Desk()
    desk.tick(0)
    (welcome,) = of(Welcome, desk.hear(HELLO))
    desk.tick(*passing(500, 4_500))
    assert () == desk.sessions.slots()
    assert isinstance(desk.sessions.ping(Ping(session="other", sequence=1), 4_600), Nack)
    assert Pong(sequence=2) == desk.sessions.ping(Ping(session=welcome.session, sequence=2), 4_600)
    desk.tick(5_000)
    assert 1 == len(desk.sessions.slots())


def test_who_cannot_be_reached_is_sent_back_to_hello() -> None:
    """A send that failed: undelivered if it never left, and heartbeats are not enough any more."""
    desk = Desk()
    desk.tick(0)
    (welcome,) = of(Welcome, desk.hear(HELLO))
    desk.sessions.settle(turned(grants=(GRANTED,)), 0)
    for peer, messages in desk.sessions.take_outbox().items():
        desk.sessions.unsent(peer, messages)
    assert isinstance(desk.sessions.ping(Ping(session=welcome.session, sequence=1), 10), Nack)
    desk.tick(*passing(500, FULL_MS + 500))
    assert [("undelivered", end_key(KEY))] == desk.ends()


def test_a_missing_text_is_asked_for() -> None:
    """A report that names a large text which was not put is not taken."""
    from loom.workers.protocol import Text as Sent

    desk = at_work()
    text = Sent(id="missing", salt=b"s", size=1)
    said = desk.hear(Report(attempt=ATTEMPT, fence=1, end=WireEnd.REPORTED, texts=(text,)))
    assert ["blob_missing"] == [one.code for one in of(Nack, said)]
    there = Sent(id="there", salt=b"s", size=1)
    assert [] == desk.hear(Report(attempt=ATTEMPT, fence=1, end=WireEnd.REPORTED, texts=(there,)))
    assert [("reported", end_key(KEY))] == desk.ends()
