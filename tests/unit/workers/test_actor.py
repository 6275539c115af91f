"""The worker's mind, message by message: what it says, starts, kills and keeps."""

from __future__ import annotations

from typing import TypeVar

import pytest
from msgspec import structs

from loom.workers.actions import HELD_LEASES, Action, Forget, Keep, Kill, Leave, Start, Upload
from loom.workers.actor import HELLO_MS, IDLE_EXIT_MS, Actor
from loom.workers.protocol import (
    Accepted,
    Assign,
    Binding,
    Bound,
    Capability,
    Committed,
    Credit,
    Declined,
    Drain,
    End,
    Fenced,
    FromWorker,
    Goodbye,
    Hello,
    Nack,
    Prompt,
    Refused,
    Renew,
    Renewed,
    Report,
    Stop,
    Stopped,
    Text,
    Welcome,
)

LEASE_MS = 6_000
"""Grace 1 s: renewed every 2 s, killed at 5 s."""
HELLO = Hello(worker="w", boot="b", low=1, high=1, host="h", slots=2)
WELCOME = Welcome(session="s", epoch=1, lease_ms=LEASE_MS, ping_ms=1_000, idle_exit_ms=60_000)
A = TypeVar("A")


def assign(number: int = 1) -> Assign:
    return Assign(
        attempt=f"t/s.1/a#{number}",
        fence=number,
        task="t",
        agent="a",
        stage="s",
        iteration=1,
        capability=Capability.ANSWER,
        binding=Binding(ref="stub:stub", family="stub", model="stub"),
        prompt=Prompt(digest="", system="", user=""),
        bound=Bound(wall_ms=1_000),
        lease_ms=LEASE_MS,
    )


def report(number: int = 1, **changes: object) -> Report:
    return structs.replace(Report(attempt=f"t/s.1/a#{number}", fence=number, end=End.REPORTED), **changes)


def welcomed(*spooled: Report, slots: int = 2) -> Actor:
    """An actor with a session at time 0, its first words said."""
    actor = Actor(structs.replace(HELLO, slots=slots), spooled, 0)
    actor.tick(0)
    actor.take_outbox()
    actor.hear([WELCOME], 0)
    actor.take_actions()
    return actor


def of(kind: type[A], said: list[FromWorker] | list[Action]) -> list[A]:
    return [one for one in said if isinstance(one, kind)]


def test_hello_is_said_until_it_is_answered() -> None:
    """At once, then every second; nothing else goes out before Welcome."""
    actor = Actor(HELLO, (), 0)
    actor.tick(0)
    assert [1] == [hello.as_of for hello in of(Hello, actor.take_outbox())]
    actor.tick(HELLO_MS - 1)
    assert [] == actor.take_outbox()
    actor.tick(HELLO_MS)
    assert [2] == [hello.as_of for hello in of(Hello, actor.take_outbox())]


def test_an_assignment_is_begun_once_and_accepted_every_time() -> None:
    """Accepted with the new credit; a copy is accepted again and not begun again."""
    actor = welcomed()
    actor.hear([assign()], 10)
    assert [Start(assign())] == actor.take_actions()
    out = actor.take_outbox()
    assert [Accepted(attempt="t/s.1/a#1", fence=1)] == of(Accepted, out)
    assert [1] == [credit.free for credit in of(Credit, out)]
    actor.hear([assign()], 20)
    assert ([], 1) == (actor.take_actions(), len(of(Accepted, actor.take_outbox())))


def test_an_idle_worker_repeats_its_credit() -> None:
    """A Credit that was lost on the way heals, though nothing else happens: it is said again every third of the lease."""
    actor = welcomed()
    assert [2] == [credit.free for credit in of(Credit, actor.take_outbox())]
    said = []
    for now_ms in range(0, LEASE_MS, 100):
        actor.heard(now_ms)
        actor.tick(now_ms)
        said += [(now_ms, credit.free) for credit in of(Credit, actor.take_outbox())]
    assert [(LEASE_MS // 3, 2), (2 * LEASE_MS // 3, 2)] == said


def test_a_report_goes_out_only_when_it_is_durable() -> None:
    """Keep first; then the report, without a needless Accepted; Committed lets it go, and a late Assign begins nothing."""
    actor = welcomed()
    actor.hear([assign()], 0)
    actor.ended(report())
    assert [Start(assign()), Keep(report())] == actor.take_actions()
    assert [] == of(Report, actor.take_outbox())
    actor.kept(report(), 0)
    out = actor.take_outbox()
    assert ([report()], []) == (of(Report, out), of(Accepted, out))
    actor.hear([Committed(attempt="t/s.1/a#1", fence=1), assign()], 5)
    assert [Forget(report())] == actor.take_actions()


def test_a_report_is_said_again_until_it_is_answered() -> None:
    """After a sixth of the lease, and at once after a new Welcome."""
    actor = welcomed(report())
    actor.tick(0)
    assert [report()] == of(Report, actor.take_outbox())
    actor.tick(500)
    assert [] == of(Report, actor.take_outbox())
    actor.tick(1_000)
    assert [report()] == of(Report, actor.take_outbox())


def test_large_texts_go_before_their_report() -> None:
    """Upload, then the report; when the coordinator misses one, once more."""
    big = report(1, texts=(Text(id="i", salt=b"s", size=9),))
    actor = welcomed(big)
    actor.tick(0)
    assert ([Upload(big)], []) == (actor.take_actions(), of(Report, actor.take_outbox()))
    actor.uploaded(big, 10, done=True)
    assert [big] == of(Report, actor.take_outbox())
    actor.hear([Nack(code="blob_missing", sentence="")], 20)
    actor.tick(40)
    assert ([Upload(big)], []) == (actor.take_actions(), of(Report, actor.take_outbox()))


def test_it_kills_what_outlives_its_lease() -> None:
    """Five seconds after the assignment without an answer to Renew, and not a moment later; the report is kept all the same."""
    actor = welcomed()
    actor.hear([assign()], 0)
    actor.take_actions()
    actor.heard(4_000)
    actor.tick(4_990)
    assert [] == of(Kill, actor.take_actions())
    actor.tick(5_010)
    assert [Kill(("t/s.1/a#1", 1), hard=True)] == of(Kill, actor.take_actions())
    actor.ended(report())
    assert [Keep(report())] == actor.take_actions()


def test_what_waited_while_it_slept_is_not_begun() -> None:
    """After a suspend longer than the grace, an Assign and a Welcome of before it count nothing: it asks anew first."""
    actor = welcomed()
    actor.tick(100)
    actor.hear([WELCOME, assign()], 9_000)
    assert [] == of(Start, actor.take_actions())
    actor.tick(9_000)
    assert 1 == len(of(Hello, actor.take_outbox()))
    actor.hear([WELCOME, assign()], 9_010)
    assert [Start(assign())] == of(Start, actor.take_actions())


def test_a_renewal_counts_from_when_it_was_asked() -> None:
    """Renewed moves the deadline to the lease from its Renew, also when it comes late; an unknown one moves nothing."""
    actor = welcomed()
    actor.hear([assign()], 0)
    actor.tick(1_000)
    actor.tick(2_000)
    (renew,) = of(Renew, actor.take_outbox())
    assert (("t/s.1/a#1", 1),) == renew.attempts
    actor.hear([Renewed(attempts=renew.attempts, as_of=renew.as_of + 7)], 3_000)
    actor.hear([Renewed(attempts=renew.attempts, as_of=renew.as_of)], 3_500)
    actor.take_actions()
    actor.tick(6_900)
    assert [] == of(Kill, actor.take_actions())
    actor.tick(7_010)
    assert 1 == len(of(Kill, actor.take_actions()))


@pytest.mark.parametrize("kept", [False, True], ids=["not durable yet", "upload under way"])
def test_a_finished_attempt_keeps_its_lease_until_its_report_went_out(kept: bool) -> None:
    """While the disk or the upload is slow it is renewed like what runs, for ten leases at most; answered, no more."""
    big = report(1, texts=(Text(id="i", salt=b"s", size=9),))
    actor = welcomed()
    actor.hear([assign()], 0)
    actor.ended(big)
    if kept:
        actor.kept(big, 0)
    renewed = []
    for mono_ms in range(0, (HELD_LEASES + 3) * LEASE_MS, 500):
        actor.heard(mono_ms)
        actor.tick(mono_ms)
        renewed += [mono_ms for one in of(Renew, actor.take_outbox()) if (("t/s.1/a#1", 1),) == one.attempts]
    assert 2_000 == renewed[0]
    assert renewed == list(range(2_000, 2_000 + HELD_LEASES * LEASE_MS, 2_000))
    late = welcomed(report(9))
    late.hear([Committed(attempt="t/s.1/a#9", fence=9)], 10)
    late.tick(2_000)
    assert [] == of(Renew, late.take_outbox())


def test_fenced_kills_hard_and_keeps_the_spool() -> None:
    """What runs is killed; a report that waits stays."""
    actor = welcomed(report(9))
    actor.hear([assign(), Fenced(attempt="t/s.1/a#1", fence=1), Fenced(attempt="t/s.1/a#9", fence=9)], 0)
    assert [Kill(("t/s.1/a#1", 1), hard=True)] == of(Kill, actor.take_actions())
    actor.vanished(("t/s.1/a#1", 1), guaranteed=True)
    actor.tick(100)
    assert [report(9)] == of(Report, actor.take_outbox())


def test_stop_is_polite_then_hard_and_answered() -> None:
    """Killed politely once, hard when told so; Stopped when it is gone, or was never here, and then it never begins."""
    actor = welcomed()
    actor.hear([assign(), Stop(attempt="t/s.1/a#1", fence=1), Stop(attempt="t/s.1/a#1", fence=1)], 0)
    actor.hear([Stop(attempt="t/s.1/a#1", fence=1, hard=True)], 10)
    assert [False, True] == [kill.hard for kill in of(Kill, actor.take_actions())]
    actor.vanished(("t/s.1/a#1", 1), guaranteed=True)
    actor.hear([Stop(attempt="t/s.1/a#2", fence=2), assign(2)], 20)
    stopped = of(Stopped, actor.take_outbox())
    assert [(1, True), (2, True)] == [(one.fence, one.guaranteed) for one in stopped]
    assert [] == of(Start, actor.take_actions())


def test_no_slot_no_start() -> None:
    """A full worker declines, a draining one too; then it says Goodbye and leaves when that is acknowledged."""
    actor = welcomed(slots=1)
    actor.hear([assign(1), assign(2)], 0)
    assert ["no free slot"] == [one.reason for one in of(Declined, actor.take_outbox())]
    actor.hear([Drain(), assign(3)], 10)
    assert ["draining"] == [one.reason for one in of(Declined, actor.take_outbox())]
    actor.vanished(("t/s.1/a#1", 1), guaranteed=True)
    actor.tick(50)
    assert 1 == len(of(Goodbye, actor.take_outbox()))
    actor.hear([Goodbye()], 60)
    assert [""] == [leave.code for leave in of(Leave, actor.take_actions())]


def test_a_new_coordinator_is_told_what_runs_and_waits() -> None:
    """After a new connection: Hello with running and spooled attempts; the lease counts from that Hello."""
    actor = welcomed(report(9))
    actor.hear([assign()], 0)
    actor.reconnected(3_000)
    actor.tick(3_000)
    (hello,) = of(Hello, actor.take_outbox())
    assert {("t/s.1/a#1", 1), ("t/s.1/a#9", 9)} == set(hello.running)
    actor.hear([structs.replace(WELCOME, epoch=2)], 3_100)
    actor.take_actions()
    actor.tick(7_900)
    assert [] == of(Kill, actor.take_actions())
    actor.hear([WELCOME], 7_950)  # of the coordinator before: too late
    actor.tick(8_010)
    assert 1 == len(of(Kill, actor.take_actions()))


def test_silence_brings_hello_and_at_last_the_end() -> None:
    """Four silent intervals: Hello again. Idle and unanswered for the whole time: it leaves."""
    actor = welcomed()
    actor.tick(4_001)
    assert 1 == len(of(Hello, actor.take_outbox()))
    actor.tick(IDLE_EXIT_MS + 1)
    assert [""] == [leave.code for leave in of(Leave, actor.take_actions())]


def test_refused_is_the_end() -> None:
    """Everything is killed, and it leaves with the code."""
    actor = welcomed()
    actor.hear([assign(), Refused(code="superseded", sentence="")], 0)
    actions = actor.take_actions()
    assert (1, ["superseded"]) == (len(of(Kill, actions)), [leave.code for leave in of(Leave, actions)])
