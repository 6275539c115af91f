"""The clients' desk: tokens, roles, answers to the right question, watchers."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import msgspec
import pytest

from loom.coordinator.api import (
    Answered,
    Call,
    Denied,
    Describe,
    Description,
    FromClient,
    Leave,
    Live,
    Poke,
    ToClient,
    Unwatch,
    Watch,
    encode,
)
from loom.coordinator.codec import encode_command
from loom.coordinator.desk import ADMIN, APPROVER, DELEGATE, SUBMITTER, VIEWER, WATCH_MS, Desk, Principals
from loom.coordinator.inbox import Outcome, Reply, Request, Turned
from loom.coordinator.keys import token_digest
from loom.kernel import commands as c
from loom.kernel.events import PrincipalEnrolled
from loom.kernel.values import AnswerWord, End, Principal, PrincipalKind
from loom.kernel.work import Refused
from loom.workers.protocol import Progress, Text, salted_id

ROLES = (VIEWER, SUBMITTER, APPROVER, ADMIN, DELEGATE)
PEER = b"peer"
A = TypeVar("A")


def desk() -> Desk:
    """A desk that knows one person of each role; the token is the role's name. A delegate is an approver, too."""
    people = [
        PrincipalEnrolled(
            principal=Principal(id=role, kind=PrincipalKind.PERSON, via="test"),
            token_digest=token_digest(role),
            labels=(role, APPROVER) if role == DELEGATE else (role,),
        )
        for role in ROLES
    ]
    return Desk(
        Principals(people),
        has_blob=lambda identifier: identifier == "there",
        describe=lambda task: {"epoch": 1},
        log=lambda action, **fields: None,
        complete=complete,
    )


def complete(take: c.Take) -> c.Take:
    """What is kept under number 1."""
    if take.orphan != 1:
        raise Refused("no_such_orphan", "nothing is kept there")
    return replace(take, report=LATE)


LATE = c.AttemptEnded("t/work.1/worker", 1, 1, End.REPORTED, outcome="done")


def call(command: c.Command, token: str = ADMIN, **changes: object) -> Call:
    made = Call(token=token, key="k", via="test", command=msgspec.Raw(encode_command(command)), task="t", nonce="n1")
    return msgspec.structs.replace(made, **changes)


def hear(at: Desk, message: FromClient, peer: bytes = PEER) -> tuple[Request | None, list[ToClient]]:
    """The request that it becomes, and what is answered at once."""
    request = at.hear(peer, encode(message), 0)
    return request, [said for to, said in at.take_outbox() if to == peer]


def codes(said: list[ToClient]) -> list[str]:
    return [one.code for one in said if isinstance(one, Denied)]


def turned(*replies: Reply, entries: int = 1, tasks: tuple[str, ...] = ("t",)) -> Turned:
    return Turned(
        replies=replies, granted=(), halts=(), first_seq=5, next_seq=5 + entries, tasks=tasks, due_ms=0, ready=0
    )


ANSWER = c.Answer(gate="g1", word=AnswerWord.ACCEPT)
GRANT = c.AttemptEnded(spawn="t/s.1/a", attempt=1, fence=1, end=End.REPORTED)


@pytest.mark.parametrize(
    ("role", "command", "allowed"),
    [
        (VIEWER, c.Pause(), False),
        (SUBMITTER, c.Pause(), True),
        (SUBMITTER, ANSWER, False),
        (APPROVER, ANSWER, True),
        (APPROVER, c.ChangeSetting("workers", "3"), False),
        (ADMIN, c.ChangeSetting("workers", "3"), True),
        (ADMIN, GRANT, False),
        (ADMIN, c.Start(9, "v", "b"), False),
        (ADMIN, c.Wake("wall"), False),
    ],
)
def test_roles_may_what_they_may(role: str, command: c.Command, allowed: bool) -> None:
    """Each role its kinds; the fabric's own kinds nobody."""
    request, said = hear(desk(), call(command, role))
    assert (allowed, [] if allowed else ["forbidden"]) == (request is not None, codes(said))


def test_who_is_not_known_asks_nothing() -> None:
    """An unknown token and a frame that is no message are denied; the key is named, so that the caller knows which."""
    at = desk()
    request, said = hear(at, call(c.Pause(), "made-up"))
    assert (None, ["token"], ["k"]) == (request, codes(said), [one.key for one in said if isinstance(one, Denied)])
    assert at.hear(PEER, b"{", 0) is None
    assert ["malformed"] == codes([said for _, said in at.take_outbox()])


def test_only_a_delegate_acts_for_somebody() -> None:
    """The person acted for stands in the principal."""
    assert ["forbidden"] == codes(hear(desk(), call(c.Pause(), ADMIN, acting_for="kim"))[1])
    request, _ = hear(desk(), call(c.Pause(), DELEGATE, acting_for="kim"))
    assert request is not None
    assert ("kim", "test") == (request.principal.acting_for, request.principal.via)


def test_texts_are_what_their_ids_say() -> None:
    """Other bytes are malformed; a large one must have been put before."""
    good = Text(id=salted_id(b"s", b"abc"), salt=b"s", size=3, data=b"abc")
    assert hear(desk(), call(c.Pause(), texts=(good,)))[0] is not None
    assert ["malformed"] == codes(hear(desk(), call(c.Pause(), texts=(msgspec.structs.replace(good, data=b"abd"),)))[1])
    missing = Text(id="missing", salt=b"s", size=3)
    assert ["blob_missing"] == codes(hear(desk(), call(c.Pause(), texts=(missing,)))[1])
    assert hear(desk(), call(c.Pause(), texts=(msgspec.structs.replace(missing, id="there"),)))[0] is not None


def test_a_call_is_asked_once_and_answered_everybody() -> None:
    """While it waits a copy is not asked again; each who asked gets the answer to his own question."""
    at = desk()
    assert hear(at, call(c.Pause()))[0] is not None
    assert (None, []) == hear(at, call(c.Pause(), nonce="n2"), b"other")
    assert (None, []) == hear(at, call(c.Pause(), nonce="n3"))
    at.settle(turned(Reply("k", Outcome.APPLIED, 7, task="t")), 0)
    answers = {peer: said for peer, said in at.take_outbox() if isinstance(said, Answered)}
    assert {PEER: "n3", b"other": "n2"} == {peer: said.nonce for peer, said in answers.items()}
    assert {("applied", 7)} == {(said.outcome, said.seq) for said in answers.values()}
    assert 0 == at.waiting


def test_a_key_that_waits_is_not_for_another_call() -> None:
    """Another command, task, principal or person acted for under it is refused; the call that waits stays as it is."""
    at = desk()
    assert hear(at, call(c.Pause(), DELEGATE, acting_for="kim"))[0] is not None
    others = (
        call(c.Resume(), DELEGATE, acting_for="kim"),
        call(c.Pause(), DELEGATE, acting_for="kim", task="u"),
        call(c.Pause(), DELEGATE, acting_for="ann"),
        call(c.Pause(), SUBMITTER),
    )
    assert [(None, ["key_reused"])] * len(others) == [
        (request, codes(said)) for request, said in (hear(at, other, b"other") for other in others)
    ]
    assert ["forbidden"] == codes(hear(at, call(c.Pause(), VIEWER), b"other")[1])
    at.settle(turned(Reply("k", Outcome.APPLIED, 7, task="t")), 0)
    assert [PEER] == [peer for peer, said in at.take_outbox() if isinstance(said, Answered)]


def test_what_was_not_written_is_told() -> None:
    """refuse answers those who wait, and says whether anybody did."""
    at = desk()
    hear(at, call(c.Pause()))
    assert (True, False) == (at.refuse("k", "read_only", "full"), at.refuse("k", "read_only", "full"))
    assert ["read_only"] == codes([said for _, said in at.take_outbox()])


def test_keys_of_the_fabric_are_not_for_clients() -> None:
    """Nobody can take the key of an attempt's end, or come without one."""
    assert ["malformed"] == codes(hear(desk(), call(c.Pause(), key="t/s.1/a#1:1:end"))[1])
    assert ["malformed"] == codes(hear(desk(), call(c.Pause(), key=""))[1])


def test_watchers_are_poked_for_their_task_until_they_fall_silent() -> None:
    """One poke a turn that wrote something of the task; live progress; none after Unwatch or 60 s."""
    at = desk()
    hear(at, Watch(token=VIEWER, task="t"))
    hear(at, Watch(token=VIEWER), b"all")
    at.settle(turned(entries=0), 0)
    at.settle(turned(tasks=("other",)), 0)
    at.live([("t", Progress(attempt="t/s.1/a#1", fence=1, kind="phase", note="x"))])
    said = at.take_outbox()
    assert [(b"all", Poke(next_seq=6))] == [one for one in said if isinstance(one[1], Poke)]
    assert [PEER, b"all"] == [peer for peer, one in said if isinstance(one, Live)]
    hear(at, Unwatch(token=VIEWER), b"all")
    at.settle(turned(), WATCH_MS)
    assert [(PEER, Poke(next_seq=6))] == at.take_outbox()
    at.settle(turned(), WATCH_MS + 1)
    assert ([], 0) == (at.take_outbox(), at.watchers)


def test_describe_and_leave() -> None:
    """Anybody known may look; only an admin sends the coordinator away."""
    at = desk()
    (said,) = hear(at, Describe(token=VIEWER, nonce="n"))[1]
    assert isinstance(said, Description)
    assert (b'{"epoch":1}', "n") == (bytes(said.status), said.nonce)
    assert ["forbidden"] == codes(hear(at, Leave(token=APPROVER))[1])
    assert at.leave is None
    hear(at, Leave(token=ADMIN, workers=True))
    assert Leave(token=ADMIN, workers=True) == at.leave


def test_a_late_result_is_put_in_by_the_coordinator() -> None:
    """A client names the number; what stands under it is what the kernel gets, for an approver only."""
    found = desk()
    request = found.hear(b"p", encode(call(c.Take(orphan=1), APPROVER)), 0)
    assert request is not None
    assert c.Take(orphan=1, report=LATE) == request.command
    assert None is found.hear(b"p", encode(call(c.Take(orphan=1), SUBMITTER, key="k2")), 0)
    assert None is found.hear(b"p", encode(call(c.Take(orphan=2), APPROVER, key="k3")), 0)
    said = [message for _, message in found.take_outbox()]
    assert [("forbidden", "Denied"), ("no_such_orphan", "Answered")] == [(m.code, type(m).__name__) for m in said]  # type: ignore[union-attr]
