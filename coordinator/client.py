"""The client of a coordinator: one synchronous object for the command line, servers and bots.

    with Client.connect(home) as client:
        answered = client.call(Submit(…), task=task_id)
        for said in client.watch(task_id): …

It starts a coordinator when none runs, and again when it died while somebody waits. A call carries its idempotency key from
the first send on: it is sent again until it is answered, and happens once.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import zmq

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
    decode_to_client,
    encode,
)
from loom.coordinator.codec import encode_command
from loom.coordinator.errors import LoomError
from loom.coordinator.home import Home
from loom.coordinator.keys import client_token
from loom.coordinator.starting import CoordinatorFailed, Starter
from loom.kernel.commands import Command
from loom.kernel.limits import INLINE_TEXT_BYTES
from loom.kernel.values import Text
from loom.workers.protocol import (
    BLOB_CHUNK,
    MAX_INLINE,
    BlobAck,
    BlobPut,
    Malformed,
    Nack,
    decode_blob,
    encode_blob,
    salted_id,
)
from loom.workers.protocol import Text as SentText

START_MS = 20_000
"""How long a coordinator may take from its start to its first answer."""
CALL_MS = 30_000
RESEND_MS = 1_000
"""An unanswered question is asked again after this time; and it is looked whether a coordinator still runs."""
FIRST_RESEND_MS = 100
WATCH_MS = 20_000
"""How often a watcher says that it is still there."""
IN_FLIGHT = 256
"""Calls of `call_all` that wait for their answers at once."""
SALT_BYTES, KEY_BYTES = 16, 16

A = TypeVar("A", Answered, Description)


class CallDenied(LoomError):
    """The coordinator refused to take a message at all: `code_word` and a sentence say why."""

    code = "L060"

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.sentence)
        self.code_word = denied.code


class NoAnswer(LoomError):
    """The coordinator runs and gave no answer in time. What was asked may have happened: ask again with the same key."""

    code = "L061"
    mend = "Ask again, or see `loom daemon status` and logs/coordinator.log in the home."


def make_text(data: str | bytes) -> tuple[Text, tuple[SentText, ...]]:
    """A text for a command, and what must be sent with it: short ones stand inline, long ones are salted once, here."""
    raw = data.encode(errors="replace") if isinstance(data, str) else data
    if len(raw) <= INLINE_TEXT_BYTES and isinstance(data, str):
        return Text(value=raw.decode(), size=len(raw)), ()
    salt = os.urandom(SALT_BYTES)
    sent = SentText(id=salted_id(salt, raw), salt=salt, size=len(raw), data=raw)
    return Text(blob=sent.id, size=len(raw)), (sent,)


class Client:
    """A connection to the coordinator of one home. Not for use by two threads at once."""

    def __init__(self, home: Home, token: str, *, via: str = "cli", starter: Starter | None = None) -> None:
        """starter: how to start a coordinator (None: never; then a missing one is an error)."""
        self.home, self.via = home, via
        self._token, self._starter = token, starter
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._open()

    @classmethod
    def connect(
        cls,
        home: Home,
        *,
        start: bool = True,
        via: str = "cli",
        token: str = "",
        arguments: Sequence[str] = (),
        timeout_ms: int = START_MS,
    ) -> Client:
        """A client of the home's coordinator, which is started if none runs and `start`. arguments: for the one started.

        Raises CoordinatorFailed with the end of what the coordinator said, HomeError's.
        """
        starter = Starter(home, tuple(arguments)) if start else None
        if starter is not None:
            starter.ensure()
        elif not home.running():
            raise CoordinatorFailed(f"No coordinator runs on {home.path}.", "Start one with `loom daemon`.")
        client = cls(home, token or client_token(home.make().keys), via=via, starter=starter)
        try:
            client.describe(timeout_ms=timeout_ms)
        except NoAnswer as error:
            client.close()
            said = starter.tail() if starter else "it gave no answer"
            raise CoordinatorFailed(f"The coordinator of {home.path} does not answer: {said}") from error
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave; the coordinator stays."""
        self._socket.close(linger=0)
        self._context.term()
        self.starts_nothing()

    def starts_nothing(self) -> None:
        """From now on a missing coordinator is an error, not started."""
        if self._starter is not None:
            self._starter.disown()
            self._starter = None

    # ------------------------------------------------------------------------------------------------- questions

    def call(
        self,
        command: Command,
        *,
        task: str = "",
        key: str = "",
        texts: Sequence[SentText] = (),
        acting_for: str = "",
        timeout_ms: int = CALL_MS,
    ) -> Answered:
        """Ask for a command; sent again until it is answered. key "" : drawn here; give one to ask again later.

        Raises CallDenied, NoAnswer, CoordinatorFailed. What the kernel says (objected, rejected) is in the answer.
        """
        call = self._make_call(command, task, key, texts, acting_for)
        while True:
            try:
                answered = self._ask(call, Answered, call.key, timeout_ms, call.nonce)
            except CallDenied as error:
                if error.code_word != "blob_missing":
                    raise
                for text in texts:
                    self._sendable(text)
            else:
                return answered

    def call_all(
        self, commands: Sequence[tuple[Command, str, Sequence[SentText]]], *, timeout_ms: int = CALL_MS
    ) -> list[Answered]:
        """Many commands, each (command, task, texts), without waiting for one before the next is sent; in their order.

        Each goes through as with `call`, or, where its answer does not come at once, is asked for again by itself.
        """
        calls = [self._make_call(command, task, "", texts, "") for command, task, texts in commands]
        found: dict[str, Answered] = {}
        for start in range(0, len(calls), IN_FLIGHT):
            batch = calls[start : start + IN_FLIGHT]
            for call in batch:
                self._send(call)
            wanted = {call.key for call in batch}
            while wanted and (said := self._receive(RESEND_MS)) is not None:
                if isinstance(said, Answered) and said.key in wanted:
                    wanted.discard(said.key)
                    found[said.key] = said
        return [found.get(call.key) or self._ask(call, Answered, call.key, timeout_ms, call.nonce) for call in calls]

    def _make_call(self, command: Command, task: str, key: str, texts: Sequence[SentText], acting_for: str) -> Call:
        return Call(
            token=self._token,
            key=key or os.urandom(KEY_BYTES).hex(),
            via=self.via,
            command=msgspec.Raw(encode_command(command)),
            task=task,
            acting_for=acting_for,
            nonce=os.urandom(SALT_BYTES).hex(),
            texts=tuple(self._sendable(text) for text in texts),
        )

    def describe(self, timeout_ms: int = CALL_MS, *, task: str = "") -> dict[str, Any]:
        """The volatile state: version, epoch, workers, queue, leases, read-only, names of secrets; waiting attempts of a task."""
        nonce = os.urandom(KEY_BYTES).hex()
        described = self._ask(Describe(token=self._token, nonce=nonce, task=task), Description, "", timeout_ms, nonce)
        found: dict[str, Any] = json.loads(bytes(described.status))
        return found

    def leave(self, *, workers: bool = False, timeout_ms: int = CALL_MS) -> None:
        """Let the coordinator go (workers: with the local workers, when they are done); waits until it is gone."""
        self.starts_nothing()
        with contextlib.suppress(CoordinatorFailed):
            self._ask(Leave(token=self._token, workers=workers), Answered, "", timeout_ms)
        end = time.monotonic() + timeout_ms / 1000
        while self.home.running():
            if time.monotonic() > end:
                raise NoAnswer(f"The coordinator of {self.home.path} did not leave within {timeout_ms} ms.")
            time.sleep(0.01)

    def watch(self, task: str = "", *, tick_ms: int = 0) -> Generator[Poke | Live | None, None, None]:
        """What happens, as it happens: Poke (entries were committed: read on) and Live (lossy progress). Ends never.

        tick_ms: yield None when nothing came for so long (0: never). The first Poke comes at once, so that a reader that
        starts here misses nothing; so does one after every reconnection.
        """
        watch = Watch(token=self._token, task=task)
        try:
            said_ms = waited_ms = 0
            while True:
                now_ms = _now_ms()
                if now_ms >= said_ms:
                    self._ensure()
                    self._send(watch)
                    said_ms = now_ms + WATCH_MS
                    yield Poke(next_seq=-1)
                message = self._receive(min(RESEND_MS, tick_ms or RESEND_MS))
                match message:
                    case Poke() | Live():
                        waited_ms = 0
                        self._alive()
                        yield message
                    case Denied():
                        raise CallDenied(message)
                    case None:
                        waited_ms += min(RESEND_MS, tick_ms or RESEND_MS)
                        if not self.home.running():
                            said_ms = 0
                        if tick_ms and waited_ms >= tick_ms:
                            waited_ms = 0
                            yield None
                    case _:
                        continue
        finally:
            self._send(Unwatch(token=self._token))

    # ----------------------------------------------------------------------------------------------- the socket

    def _open(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.setsockopt(zmq.SNDTIMEO, RESEND_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, 10)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        socket.connect(self.home.endpoint("client"))
        return socket

    def _ask(self, message: FromClient, kind: type[A], key: str, timeout_ms: int, nonce: str = "") -> A:
        """One question and its answer, asked again until there is one."""
        end_ms = _now_ms() + timeout_ms
        wait_ms = FIRST_RESEND_MS
        while _now_ms() < end_ms:
            self._send(message)
            again_ms = min(_now_ms() + wait_ms, end_ms)
            while (left_ms := again_ms - _now_ms()) > 0:
                said = self._receive(left_ms)
                if isinstance(said, kind) and (getattr(said, "key", key), getattr(said, "nonce", nonce)) == (
                    key,
                    nonce,
                ):
                    self._alive()
                    return said
                if isinstance(said, Denied) and said.key in ("", key):
                    raise CallDenied(said)
            wait_ms = min(2 * wait_ms, RESEND_MS)
            self._ensure()
        raise NoAnswer(f"The coordinator of {self.home.path} gave no answer within {timeout_ms} ms.")

    def _alive(self) -> None:
        """The coordinator spoke: whoever dies from now on did not fail to start."""
        if self._starter is not None:
            self._starter.answered()

    def _ensure(self) -> None:
        """A waiting client starts the coordinator again."""
        if self._starter is not None:
            self._starter.ensure()
        elif not self.home.running():
            raise CoordinatorFailed(f"No coordinator runs on {self.home.path}.", "Start one with `loom daemon`.")

    def _send(self, message: FromClient) -> None:
        with contextlib.suppress(zmq.Again):
            self._socket.send(encode(message))

    def _receive(self, timeout_ms: int) -> ToClient | None:
        if not self._socket.poll(timeout_ms):
            return None
        try:
            return decode_to_client(self._socket.recv())
        except Malformed:
            return None  # of a newer coordinator: nothing that was asked for

    # ------------------------------------------------------------------------------------------------- long texts

    def _sendable(self, text: SentText) -> SentText:
        """The text as a call carries it: long bytes go over the blob socket first."""
        if text.data is None or text.size <= MAX_INLINE:
            return text
        self._put(text, text.data)
        return msgspec.structs.replace(text, data=None)

    def _put(self, text: SentText, data: bytes) -> None:
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.linger = 0
            socket.setsockopt(zmq.SNDTIMEO, CALL_MS)
            socket.connect(self.home.endpoint("blob"))
            have = 0
            while have < text.size:
                put = BlobPut(id=text.id, salt=text.salt, size=text.size, offset=have, token=self._token)
                socket.send_multipart([encode_blob(put), data[have : have + BLOB_CHUNK]])
                if not socket.poll(CALL_MS):
                    raise NoAnswer(f"The coordinator took no more of a text of {text.size} bytes.")
                match decode_blob(socket.recv_multipart()[0]):
                    case BlobAck(have=stored):
                        have = stored
                    case Nack(code=code, sentence=sentence):
                        raise CallDenied(Denied(code=code, sentence=sentence))
                    case _:
                        continue
        finally:
            socket.close(linger=0)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
