"""Letting workers in: an invitation's secret, shown by the holder of a key, becomes an entry. No socket, no clock.

What the network sees is small on purpose: one message kind, one use of a secret whose digest alone is recorded, a bounded
number of tries in a time for everybody together, and no word about which part of a wrong secret was right.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable
from typing import Protocol

from loom.coordinator.endings import Peer
from loom.coordinator.inbox import HOME_LABEL, Outcome, Request, Turned
from loom.coordinator.leases import COORDINATOR
from loom.kernel.commands import EnrolWorker
from loom.kernel.state import HomeState
from loom.workers.protocol import (
    PROTOCOL_HIGH,
    PROTOCOL_LOW,
    Enrol,
    Enrolled,
    Malformed,
    OnEnrolSocket,
    Refused,
    decode_enrol,
)

TRIES, TRIES_MS = 20, 10_000
"""So many messages within this time, of everybody together; beyond it the answer is "busy"."""
WAITING_MS = 10_000
"""An enrolment that the next turns have not taken by then is forgotten; its key is found again when it asks again."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
RESERVED = re.compile(r"local-\d+\Z")
"""Names of the workers that the coordinator starts itself."""
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,39}\Z")


def secret_digest(secret: str) -> str:
    """What the record holds of an invitation's secret."""
    return hashlib.sha256(f"loom invitation\0{secret}".encode()).hexdigest()


def bad_label(label: str) -> str:
    """Why a worker elsewhere cannot have this label ("" : it can)."""
    if label == HOME_LABEL:
        return f"{HOME_LABEL} is the label of the workers on the home's own machine"
    return "" if LABEL.match(label) else "a label is lower case letters, digits, _ and -, 40 at most"


class Log(Protocol):
    def __call__(self, action: str, **fields: object) -> None: ...


class Enrolment:
    """What is asked at the enrol socket, from its message to the answer after COMMIT."""

    def __init__(self, *, home: Callable[[], HomeState], control: str, log: Log) -> None:
        """control: where who is let in says Hello."""
        self._home, self._control, self._log = home, control, log
        self._tries: deque[int] = deque()
        self._waiting: dict[str, tuple[Peer, str, int]] = {}
        self._out: list[tuple[Peer, OnEnrolSocket]] = []

    def hear(self, peer: Peer, key: str, frame: bytes, mono_ms: int) -> Request | None:
        """One message of the holder of this key; None: it was answered, or is of no use."""
        if not self._may_try(mono_ms):
            self._refuse(peer, "busy", "too many workers ask to be let in; try again in a moment")
            return None
        try:
            message = decode_enrol(frame)
        except Malformed:
            message = None
        if not isinstance(message, Enrol):
            self._refuse(peer, "malformed", "this socket takes one message, Enrol")
            return None
        if refusal := _refusal(message):
            self._refuse(peer, *refusal)
            return None
        known = next((worker for worker in self._home().workers if worker.key == key), None)
        if known is not None:  # the answer was lost
            self._out.append((peer, Enrolled(worker=known.worker, control=self._control, labels=known.labels)))
            return None
        return self._request(peer, key, message, mono_ms)

    def _request(self, peer: Peer, key: str, message: Enrol, mono_ms: int) -> Request:
        request_key = f"enrol:{hashlib.sha256(f'{key} {message.secret} {message.worker}'.encode()).hexdigest()}"
        for old, (_, _, since_ms) in tuple(self._waiting.items()):
            if mono_ms - since_ms > WAITING_MS:
                del self._waiting[old]
        self._waiting[request_key] = (peer, key, mono_ms)
        command = EnrolWorker(
            worker=message.worker, key=key, invitation=secret_digest(message.secret), host=message.host[:100]
        )
        return Request(key=request_key, principal=COORDINATOR, task="", command=command)

    def settle(self, turned: Turned) -> None:
        """A turn was committed: answer those who asked."""
        if not self._waiting:
            return
        for reply in turned.replies:
            found = self._waiting.pop(reply.key, None)
            if found is None:
                continue
            peer, key, _ = found
            known = next((worker for worker in self._home().workers if worker.key == key), None)
            if known is not None and reply.outcome is not Outcome.REJECTED:
                self._log("worker_enrolled", worker=known.worker, host=known.host, key=key)
                self._out.append((peer, Enrolled(worker=known.worker, control=self._control, labels=known.labels)))
            else:
                self._refuse(peer, reply.code, reply.sentence or "this invitation was used already")

    def take_outbox(self) -> list[tuple[Peer, OnEnrolSocket]]:
        """To be sent after COMMIT only."""
        taken, self._out = self._out, []
        return taken

    def _may_try(self, mono_ms: int) -> bool:
        while self._tries and mono_ms - self._tries[0] >= TRIES_MS:
            self._tries.popleft()
        if len(self._tries) >= TRIES:
            return False
        self._tries.append(mono_ms)
        return True

    def _refuse(self, peer: Peer, code: str, sentence: str) -> None:
        self._log("enrol_refused", code=code)
        self._out.append((peer, Refused(code=code, sentence=sentence)))


def _refusal(message: Enrol) -> tuple[str, str] | None:
    """Why it cannot be taken, whatever its secret (None: it can)."""
    if message.low > PROTOCOL_HIGH or message.high < PROTOCOL_LOW:
        ours, theirs = f"{PROTOCOL_LOW}–{PROTOCOL_HIGH}", f"{message.low}–{message.high}"
        return "protocol", f"worker speaks protocol {theirs}, this coordinator {ours}: upgrade the older"
    if not NAME.match(message.worker) or RESERVED.match(message.worker):
        return (
            "bad_name",
            f"{message.worker[:80]!r} cannot be a worker's name: letters, digits, '.', '_', '-', not local-N",
        )
    return None
