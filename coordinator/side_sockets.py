"""Two sockets with a thread each, so that no transcript delays a heartbeat and no fsync of a large text delays a turn.

`Heartbeats` answers Ping with Pong. `Blobs` takes chunks of large texts into the home's files and gives stored texts out;
whoever asks brings a session or a client's token.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import zmq

from loom.coordinator.blobs import BlobFiles
from loom.coordinator.errors import BlobError, BlobMissing
from loom.workers.protocol import (
    BLOB_CHUNK,
    MAX_FRAME,
    BlobAck,
    BlobGet,
    BlobPut,
    Malformed,
    Nack,
    OnBlobSocket,
    Ping,
    Pong,
    decode_blob,
    decode_from_worker,
    encode,
    encode_blob,
)

WAIT_MS = 200
"""How long a thread sleeps at most before it looks whether it is over."""
SEND_MS = 1_000

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
Log = Callable[..., None]


def router(
    context: Context, endpoint: str, *, max_bytes: int, secure: Callable[[zmq.Socket[bytes]], None] | None = None
) -> zmq.Socket[bytes]:
    """A bound ROUTER that says when a peer is gone, never waits to send for long, and keeps nothing when it closes.
    secure: what it gets before it is bound."""
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.SNDTIMEO, SEND_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    if secure is not None:
        secure(socket)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError:
        socket.close(linger=0)
        raise
    return socket


class Side(ABC):
    """A thread with a ROUTER, and one more for other hosts. `answer` gets a message's frames without its peer, and returns
    the frames to send back."""

    def __init__(
        self, context: Context, endpoint: str, *, max_bytes: int, name: str, log: Log, far: Socket | None = None
    ) -> None:
        self._log = log
        self._sockets = [router(context, endpoint, max_bytes=max_bytes), *([far] if far is not None else [])]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        for socket in self._sockets:
            socket.close(linger=0)

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in self._sockets:
            poller.register(socket, zmq.POLLIN)
        while not self._over.is_set():
            for socket, _ in poller.poll(WAIT_MS):
                self._hear(socket)

    def _hear(self, socket: Socket) -> None:
        peer, *frames = socket.recv_multipart()
        try:
            answer = self._answer(frames)
        except Exception as error:  # no single message may end the thread
            self._log("side_failed", thread=self._thread.name, error=f"{type(error).__name__}: {error}")
            return
        if answer:
            with contextlib.suppress(zmq.ZMQError):  # the peer is gone, or does not read: it asks again
                socket.send_multipart([peer, *answer])

    @abstractmethod
    def _answer(self, frames: list[bytes]) -> list[bytes]:
        """The frames to send back; none: nothing is answered."""


class Heartbeats(Side):
    """Ping → Pong, tied in by the session."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        ping: Callable[[Ping], Pong | Nack],
        log: Log,
        far: Socket | None = None,
    ) -> None:
        super().__init__(context, endpoint, max_bytes=MAX_FRAME, name="heartbeats", log=log, far=far)
        self._ping = ping
        self.start()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        try:
            messages = decode_from_worker(frames[0])
        except (Malformed, IndexError):
            return [encode([Nack(code="malformed", sentence="a heartbeat is one frame with a Ping")])]
        return [encode([self._ping(message) for message in messages if isinstance(message, Ping)])]


class Blobs(Side):
    """Large texts, in and out. `allowed`: whether a token or session may."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        *,
        folder: Path,
        database: Path,
        allowed: Callable[[str], bool],
        log: Log,
        far: Socket | None = None,
    ) -> None:
        super().__init__(context, endpoint, max_bytes=BLOB_CHUNK + MAX_FRAME, name="blobs", log=log, far=far)
        self._files = BlobFiles(folder)
        self._database = database
        self._reader: sqlite3.Connection | None = None
        self._allowed = allowed
        self.start()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        try:
            return self._taken(decode_blob(frames[0]), frames[1] if len(frames) > 1 else b"")
        except (IndexError, ValueError) as error:
            return _nack("malformed", f"not a message of the blob socket: {error}")
        except BlobError as error:
            return _nack(error.code, str(error))
        except (OSError, sqlite3.Error) as error:
            return _nack("storage", f"the text could not be stored or read: {error}")

    def _taken(self, message: OnBlobSocket, chunk: bytes) -> list[bytes]:
        if isinstance(message, BlobPut | BlobGet) and not self._allowed(message.token):
            return _nack("token", "neither a session nor a token of this home")
        match message:
            case BlobPut():
                return [encode_blob(self._put(message, chunk))]
            case BlobGet(id=identifier, offset=offset):
                data, salt = self._read(identifier)
                answer = BlobAck(id=identifier, size=len(data), have=len(data), salt=salt)
                return [encode_blob(answer), data[offset : offset + BLOB_CHUNK]]
            case _:
                return _nack("unexpected", "the coordinator takes BlobPut and BlobGet here")

    def _put(self, put: BlobPut, chunk: bytes) -> BlobAck:
        try:
            have = self._files.append(put.id, put.offset, chunk)
        except BlobMissing:  # not begun by this process, or complete already
            have = self._files.begin(put.id, put.salt, put.size)
            if have == put.offset and not self._files.has(put.id):
                have = self._files.append(put.id, put.offset, chunk)
        if have == put.size:
            self._files.finish(put.id)
        return BlobAck(id=put.id, size=put.size, have=have)

    def _read(self, identifier: str) -> tuple[bytes, bytes]:
        """(bytes, salt) of a text that the record names."""
        if self._reader is None:
            self._reader = sqlite3.connect(
                f"{self._database.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
        row = self._reader.execute("SELECT data, salt FROM blob WHERE id = ?", (bytes.fromhex(identifier),)).fetchone()
        if row is None:
            raise BlobMissing(f"Text {identifier} is not stored.")
        return (self._files.read(identifier) if row[0] is None else bytes(row[0])), bytes(row[1])

    def close(self) -> None:
        super().close()
        if self._reader is not None:
            self._reader.close()


def _nack(code: str, sentence: str) -> list[bytes]:
    return [encode_blob(Nack(code=code, sentence=sentence))]
