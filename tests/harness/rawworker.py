"""A worker by hand: speaks the real wire, does nothing by itself. For proving what the coordinator answers."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import zmq

from loom.coordinator.home import Home
from loom.workers.protocol import FromWorker, Hello, ToWorker, decode_to_worker, encode

M = TypeVar("M")


class RawWorker:
    """One DEALER on the control socket."""

    def __init__(self, home: Home, name: str = "raw", boot: str = "boot-1") -> None:
        self.home, self.name, self.boot = home, name, boot
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(home.endpoint("control"))
        self.heard: list[ToWorker] = []

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def hello(self, **changes: Any) -> None:
        token = (self.home.keys / "worker.token").read_text().strip()
        said: dict[str, Any] = {"slots": 1, "low": 1, "high": 1, "host": "test", "token": token, "families": ("stub",)}
        self.say(Hello(worker=self.name, boot=self.boot, **{**said, **changes}))

    def say(self, *messages: FromWorker) -> None:
        self._socket.send(encode(messages))

    def say_bytes(self, frame: bytes) -> None:
        self._socket.send(frame)

    def expect(self, kind: type[M], seconds: float = 10) -> M:
        """The next message of this kind; what comes before it is kept in `heard`."""
        end = time.monotonic() + seconds
        while True:
            for index, message in enumerate(self.heard):
                if isinstance(message, kind):
                    del self.heard[: index + 1]
                    return message
            left_ms = int((end - time.monotonic()) * 1000)
            if left_ms <= 0 or not self._socket.poll(left_ms):
                raise AssertionError(f"no {kind.__name__} within {seconds:g} s, but {self.heard}")
            self.heard.extend(decode_to_worker(self._socket.recv()))
