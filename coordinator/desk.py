"""The clients' desk: who speaks, what they may ask, and who waits for which answer. No socket, no clock.

Each message carries a token; its digest names a principal whose labels are its roles. A Call becomes a `Request` of the
next turn and is answered after COMMIT; the same call sent again while it waits is answered once more, not asked twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

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
    decode_from_client,
)
from loom.coordinator.codec import decode_command, encode_command
from loom.coordinator.endings import Peer
from loom.coordinator.errors import CodecError
from loom.coordinator.inbox import Reply, Request, SaltedText, Turned
from loom.coordinator.keys import token_digest
from loom.coordinator.store import command_digest
from loom.kernel import commands as c
from loom.kernel.events import Event, PrincipalEnrolled
from loom.kernel.values import Principal
from loom.kernel.work import Refused
from loom.workers.protocol import Malformed, Progress, salted_id

WATCH_MS = 60_000
"""A watcher that says nothing for this time is forgotten."""
MAX_WATCHERS = 256
MAX_WAITING = 10_000
"""Calls that may wait for a turn; beyond it the answer is "busy"."""

VIEWER, SUBMITTER, APPROVER, ADMIN, DELEGATE = "viewer", "submitter", "approver", "admin", "delegate"
SUBMITTING = (c.Submit, c.AddProject, c.Pause, c.Resume, c.Cancel)
APPROVING = (c.Answer, c.Act, c.Take)
ADMINISTERING = (
    c.RemoveProject,
    c.TrustProject,
    c.ChangeSetting,
    c.KeepBundle,
    c.EnrolPrincipal,
    c.EnrolKey,
    c.RevokeKey,
    c.InviteWorker,
    c.RevokeWorker,
)
ALLOWED: dict[str, tuple[type, ...]] = {
    VIEWER: (),
    SUBMITTER: SUBMITTING,
    APPROVER: (*SUBMITTING, *APPROVING),
    ADMIN: (*SUBMITTING, *APPROVING, *ADMINISTERING),
}
"""Role → kinds of commands. Grants, ends of attempts, wakes and epochs are nobody's to send."""
END_KEY = ":end"
"""Keys of attempts' ends are the fabric's."""


@dataclass(frozen=True, slots=True)
class Known:
    """Who a token stands for."""

    principal: Principal
    labels: frozenset[str]

    def may(self, command: c.Command) -> bool:
        return any(isinstance(command, ALLOWED.get(label, ())) for label in self.labels)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call on its way through a turn: what was asked, by whom, and who waits for the answer (peer → nonce)."""

    asked: tuple[str, str, str, bytes]
    """Principal, person it acts for, task, digest of the command: what the same key must bring again."""
    peers: dict[Peer, str]


class Principals:
    """Token digest → who. A fold of the home's entries."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._known: dict[str, Known] = {}
        for event in events:
            self.learn(event)

    def learn(self, event: Event) -> None:
        if isinstance(event, PrincipalEnrolled) and event.token_digest:
            self._known[event.token_digest] = Known(event.principal, frozenset(event.labels))

    def of(self, token: str) -> Known | None:
        return self._known.get(token_digest(token))


class Desk:
    """Calls, watchers and the rest that clients say. What is to be sent stands in `take_outbox`."""

    def __init__(
        self,
        principals: Principals,
        *,
        has_blob: Callable[[str], bool],
        describe: Callable[[str], dict[str, object]],
        log: Callable[..., None],
        complete: Callable[[c.Take], c.Take],
    ) -> None:
        """complete: puts the report in that was kept; raises Refused."""
        self.principals = principals
        self._has_blob, self._describe, self._log = has_blob, describe, log
        self._complete = complete
        self._waiting: dict[str, Waiting] = {}
        self._watchers: dict[Peer, tuple[str, int]] = {}
        self._out: list[tuple[Peer, ToClient]] = []
        self.leave: Leave | None = None
        """Somebody who may asked the coordinator to go."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    # ------------------------------------------------------------------------------------------- what comes in

    def hear(self, peer: Peer, frame: bytes, mono_ms: int) -> Request | None:
        """One message; a Call becomes a request."""
        try:
            message = decode_from_client(frame)
        except Malformed as error:
            self._deny(peer, "malformed", f"not a message of this protocol: {error}")
            return None
        known = self.principals.of(message.token)
        if known is None:
            self._log("client_denied", code="token", kind=type(message).__name__)
            key = message.key if isinstance(message, Call) else ""
            self._deny(peer, "token", "this token is not known in this home; keys/client.token has the owner's", key)
            return None
        return self._take(peer, known, message, mono_ms)

    def _take(self, peer: Peer, known: Known, message: FromClient, mono_ms: int) -> Request | None:
        match message:
            case Call():
                return self._call(peer, known, message)
            case Watch(task=task):
                if peer in self._watchers or len(self._watchers) < MAX_WATCHERS:
                    self._watchers[peer] = (task, mono_ms + WATCH_MS)
                else:
                    self._deny(peer, "busy", f"{MAX_WATCHERS} clients are watching; try again later")
            case Unwatch():
                self._watchers.pop(peer, None)
            case Describe(nonce=nonce, task=task):
                status = msgspec.Raw(msgspec.json.encode(self._describe(task)))
                self._out.append((peer, Description(status=status, nonce=nonce)))
            case Leave():
                if ADMIN in known.labels:
                    self.leave = message
                    self._out.append((peer, Answered(key="", outcome="applied")))
                else:
                    self._deny(peer, "forbidden", f"{known.principal.id} may not stop the coordinator")
        return None

    def _call(self, peer: Peer, known: Known, call: Call) -> Request | None:
        try:
            command = decode_command(call.command)
        except CodecError as error:
            self._deny(peer, "malformed", str(error), call.key)
            return None
        if refusal := self._refusal(known, call, command):
            self._log("client_denied", code=refusal.code, kind=type(command).__name__, principal=known.principal.id)
            self._out.append((peer, refusal))
            return None
        if type(command) is c.Take:
            try:
                command = self._complete(command)
            except Refused as no:
                rejected = Answered(
                    key=call.key, outcome="rejected", code=no.code, sentence=no.sentence, nonce=call.nonce
                )
                self._out.append((peer, rejected))
                return None
        who = known.principal
        principal = Principal(who.id, who.kind, call.via or who.via, call.acting_for or who.acting_for, who.assurance)
        asked = (who.id, principal.acting_for, call.task, command_digest(encode_command(command)))
        if waiting := self._waiting.get(call.key):
            if waiting.asked == asked:
                waiting.peers[peer] = call.nonce
            else:
                self._deny(peer, "key_reused", f"key {call.key} waits for another call", call.key)
            return None
        self._waiting[call.key] = Waiting(asked, {peer: call.nonce})
        return Request(
            key=call.key,
            principal=principal,
            task=call.task,
            command=command,
            texts=tuple(SaltedText(text.id, text.salt, text.size, text.data) for text in call.texts),
            nonce=call.nonce,
        )

    def _refusal(self, known: Known, call: Call, command: c.Command) -> Denied | None:
        kind = type(command).__name__
        if not call.key or call.key.endswith(END_KEY):
            return Denied(code="malformed", sentence="a call needs an idempotency key of its own", key=call.key)
        if not known.may(command):
            return Denied(code="forbidden", sentence=f"{known.principal.id} may not ask for {kind}", key=call.key)
        if call.acting_for and DELEGATE not in known.labels:
            sentence = f"{known.principal.id} acts for nobody else; the token is not a transport's"
            return Denied(code="forbidden", sentence=sentence, key=call.key)
        if len(self._waiting) >= MAX_WAITING and call.key not in self._waiting:
            sentence = f"{len(self._waiting)} calls are waiting; send it again in a moment"
            return Denied(code="busy", sentence=sentence, key=call.key)
        for text in call.texts:
            if text.data is None:
                if not self._has_blob(text.id):
                    sentence = f"text {text.id} was named before it was put"
                    return Denied(code="blob_missing", sentence=sentence, key=call.key)
            elif len(text.data) != text.size or salted_id(text.salt, text.data) != text.id:
                return Denied(code="malformed", sentence=f"text {text.id} has other bytes than its id", key=call.key)
        return None

    # ----------------------------------------------------------------------------------------------- what goes out

    def settle(self, turned: Turned, mono_ms: int) -> None:
        """A turn was committed: answer its calls, poke the watchers."""
        for reply in turned.replies:
            self._answer(reply)
        if turned.next_seq == turned.first_seq:
            return
        poke = Poke(next_seq=turned.next_seq)
        for peer, (task, until_ms) in tuple(self._watchers.items()):
            if until_ms < mono_ms:
                del self._watchers[peer]
            elif not task or task in turned.tasks:
                self._out.append((peer, poke))

    def _answer(self, reply: Reply) -> None:
        waiting = self._waiting.pop(reply.key, None)
        for peer, nonce in waiting.peers.items() if waiting else ():
            answered = Answered(
                key=reply.key,
                outcome=reply.outcome.value,
                seq=reply.seq,
                code=reply.code,
                sentence=reply.sentence,
                task=reply.task,
                was=reply.was,
                nonce=nonce,
            )
            self._out.append((peer, answered))

    def refuse(self, key: str, code: str, sentence: str) -> bool:
        """Tell those who wait for this key that nothing of it happened; False: nobody of ours does."""
        waiting = self._waiting.pop(key, None)
        for peer in waiting.peers if waiting else ():
            self._deny(peer, code, sentence, key)
        return waiting is not None

    def live(self, progress: Iterable[tuple[str, Progress]]) -> None:
        """Lossy progress, for those who watch the task."""
        for task, one in progress if self._watchers else ():
            usage = one.usage
            live = Live(
                task=task,
                attempt=one.attempt,
                kind=one.kind,
                note=one.note,
                output_tokens=usage.output_tokens if usage else 0,
                cost_microusd=usage.cost_microusd if usage else None,
            )
            for peer, (watched, _) in self._watchers.items():
                if watched in ("", task):
                    self._out.append((peer, live))

    def gone(self, peer: Peer) -> None:
        """The client's connection is closed."""
        self._watchers.pop(peer, None)

    def _deny(self, peer: Peer, code: str, sentence: str, key: str = "") -> None:
        self._out.append((peer, Denied(code=code, sentence=sentence, key=key)))

    def take_outbox(self) -> list[tuple[Peer, ToClient]]:
        """To be sent after COMMIT only."""
        taken, self._out = self._out, []
        return taken
