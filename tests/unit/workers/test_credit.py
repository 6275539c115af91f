"""Credit: what a worker says of its free slots, and that it says it in time."""

from __future__ import annotations

from loom.workers.actor import Actor
from loom.workers.protocol import (
    MAX_SLOTS,
    PROTOCOL_HIGH,
    PROTOCOL_LOW,
    Committed,
    Credit,
    End,
    Hello,
    Report,
    Welcome,
)


def free_slots(actor: Actor) -> list[int]:
    return [message.free for message in actor.take_outbox() if isinstance(message, Credit)]


def test_slots_that_answers_free_are_offered_again() -> None:
    """A spool as full as it may be takes no work; when its reports are answered, the worker says so, unasked."""
    hello = Hello(worker="w", boot="b", low=PROTOCOL_LOW, high=PROTOCOL_HIGH, host="h", slots=4)
    spooled = [Report(attempt=f"t/s.1/a{i}#1", fence=i + 1, end=End.REPORTED) for i in range(MAX_SLOTS)]
    actor = Actor(hello, spooled, 0)
    actor.tick(0)  # says Hello, to which the Welcome is the answer
    actor.take_outbox()
    actor.hear([Welcome(session="s", epoch=1, lease_ms=90_000, ping_ms=5_000, idle_exit_ms=600_000)], 1)
    assert [0] == free_slots(actor)
    actor.hear([Committed(attempt=report.attempt, fence=report.fence) for report in spooled], 2)
    assert [4] == free_slots(actor)
    assert [] == free_slots(actor)
