"""Workers of other hosts against a real coordinator: invitations, keys, raw connections, whole processes, a cutting proxy."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import zmq

from harness.fabrics import RealFabric
from loom.coordinator.client import Client
from loom.coordinator.enrolment import secret_digest
from loom.kernel.commands import InviteWorker
from loom.workers.joining import Membership, join
from loom.workers.protocol import (
    FromWorker,
    Hello,
    Invitation,
    ToWorker,
    decode_to_worker,
    encode,
    read_invitation,
    write_invitation,
)

M = TypeVar("M")


def free_ports(count: int = 5) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for base in range(20_000 + secrets.randbelow(20_000), 60_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    taken = stack.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no five free ports")


def token(client: Client, *labels: str, minutes_ms: int = 60_000, host: str = "127.0.0.1") -> str:
    """What `loom workers token` makes."""
    secret, until_ms = secrets.token_urlsafe(16), time.time_ns() // 1_000_000 + minutes_ms
    answered = client.call(InviteWorker(secret_digest(secret), until_ms, labels))
    assert "applied" == answered.outcome, answered
    listen = client.describe()["listen"]
    enrol = f"tcp://{host}:{listen['ports']['enrol']}"
    return write_invitation(Invitation(server=listen["key"], enrol=enrol, secret=secret, until_ms=until_ms))


def member(client: Client, state: Path, name: str, *labels: str) -> Membership:
    """A worker that was let in, without a process."""
    return join(state, read_invitation(token(client, *labels)), name, "box")


class FarWorker:
    """A raw connection to the control door with a member's keys."""

    def __init__(self, keys: Membership) -> None:
        self._keys = keys
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = keys.link.dealer(self._context)
        self._socket.sndtimeo = 5_000
        self._socket.connect(keys.control)
        self._heard: list[ToWorker] = []

    def __enter__(self) -> FarWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def hello(self, **changes: Any) -> None:
        said: dict[str, Any] = {
            "worker": self._keys.worker,
            "boot": "b1",
            "low": 1,
            "high": 1,
            "host": "box",
            "slots": 1,
        }
        self.say(Hello(**{**said, "families": ("stub",), **changes}))

    def say(self, *messages: FromWorker) -> None:
        self._socket.send(encode(messages))

    def expect(self, kind: type[M], seconds: float = 10) -> M:
        """The next message of this kind."""
        end = time.monotonic() + seconds
        while (left_ms := int((end - time.monotonic()) * 1_000)) > 0:
            for place, message in enumerate(self._heard):
                if isinstance(message, kind):
                    del self._heard[: place + 1]
                    return message
            if self._socket.poll(left_ms):
                self._heard.extend(decode_to_worker(self._socket.recv()))
        raise AssertionError(f"no {kind.__name__} within {seconds:g} s, but {self._heard}")


@dataclass
class Remote:
    """A worker's process in its own directory. `said`: its standard error."""

    process: subprocess.Popen[str]
    folder: Path

    def ended(self, seconds: float = 20) -> tuple[int, str]:
        """Its exit code, and what it said."""
        code = self.process.wait(seconds)
        return code, (self.folder / "err").read_text()

    def log(self) -> str:
        return (self.folder / "out").read_text()


@contextlib.contextmanager
def remote(
    folder: Path,
    word: str = "",
    *,
    name: str = "far",
    slots: int = 4,
    options: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
) -> Iterator[Remote]:
    """`python -m loom.workers.remote`; with a token it joins first. prefix: what it is run by (a network namespace)."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*prefix, sys.executable, "-m", "loom.workers.remote", "--state", str(folder / "state"), *options]
    command += ["--slots", str(slots), "--name", name, *(["--join"] if word else [])]
    with (folder / "out").open("a") as out, (folder / "err").open("a") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, env=dict(os.environ), cwd=folder
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(word + "\n")
        process.stdin.close()
    try:
        yield Remote(process, folder)
    finally:
        process.kill()
        process.wait()


@dataclass
class CuttingProxy:
    """TCP between two ends; cuts the connection once, when so many bytes went to the server."""

    port: int
    cut_after: int
    passed: int = 0
    cuts: int = 0
    _server: socket.socket = field(default_factory=socket.socket)

    def __enter__(self) -> int:
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return int(self._server.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if up:
                    self.passed += len(data)
                    if self.passed > self.cut_after and not self.cuts:
                        self.cuts += 1
                        break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def workers_of(running: RealFabric) -> set[str]:
    """Who ended attempts."""
    return {str(name) for (name,) in running.rows("SELECT DISTINCT worker FROM attempt")}
