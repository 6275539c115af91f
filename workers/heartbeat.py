"""Heartbeats on a thread and a socket of their own, so that no transcript and no busy loop delays them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from loom.workers.clock import boot_ms
from loom.workers.link import Link
from loom.workers.protocol import Malformed, Nack, Ping, Pong, decode_to_worker, encode

WAIT_MS = 250
"""How long the thread sleeps at most before it looks for a new session or its end."""


@dataclass(frozen=True, slots=True)
class _Target:
    endpoint: str
    session: str
    ping_ms: int


class Heartbeat:
    """Pings the session's endpoint. `lost`: called, in the thread, when the coordinator does not know the session."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], lost: Callable[[], None], link: Link | None = None
    ) -> None:
        self._context, self._lost, self._link = context, lost, link or Link()
        self._target: _Target | None = None
        self._over = threading.Event()
        self.heard_ms = 0
        """When the last answer came, on the boot clock."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def aim(self, endpoint: str, session: str, ping_ms: int) -> None:
        """From now on, this session."""
        self._target = _Target(endpoint, session, ping_ms) if endpoint else None

    def close(self) -> None:
        self._over.set()
        self._thread.join(2)

    def _run(self) -> None:
        socket, aimed, sequence, next_ms = None, None, 0, 0
        while not self._over.is_set():
            target = self._target
            if target != aimed:
                if socket is not None and (target is None or aimed is None or target.endpoint != aimed.endpoint):
                    socket.close(linger=0)
                    socket = None
                aimed, next_ms = target, 0
            if target is None:
                self._over.wait(WAIT_MS / 1000)
                continue
            if socket is None:
                socket = self._open(target.endpoint)
            now_ms = boot_ms()
            if now_ms >= next_ms:
                sequence, next_ms = sequence + 1, now_ms + target.ping_ms
                with contextlib.suppress(zmq.Again):
                    socket.send(encode([Ping(session=target.session, sequence=sequence)]), zmq.NOBLOCK)
            if socket.poll(min(WAIT_MS, max(1, next_ms - now_ms))):
                self._hear(socket.recv())
        if socket is not None:
            socket.close(linger=0)

    def _hear(self, frame: bytes) -> None:
        try:
            messages = decode_to_worker(frame)
        except Malformed:
            return
        for message in messages:
            if isinstance(message, Pong):
                self.heard_ms = boot_ms()
            elif isinstance(message, Nack):
                self._target = None
                self._lost()

    def _open(self, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._link.dealer(self._context)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.connect(endpoint)
        return socket
