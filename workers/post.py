"""A worker at its post: lock, spool, hands and loop of one worker process, wherever its coordinator is."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loom.workers.link import Link
from loom.workers.logs import open_log
from loom.workers.loop import Loop
from loom.workers.protocol import PROTOCOL_HIGH, PROTOCOL_LOW, Hello
from loom.workers.secrets import secret_reader
from loom.workers.signer import Signer
from loom.workers.spool import FileSpool
from loom.workers.stub import FAMILY, Stub

if TYPE_CHECKING:
    from loom.workers.hands import Executes

LOCK_S = 2.0
"""How long to wait for the slot lock: the coordinator looks at it for a moment now and then."""
UNUSABLE, TAKEN = 2, 3
RECORDED = "recorded"
"""The family of replies from files: paths that mean something where they were written."""


@dataclass(frozen=True, slots=True)
class Post:
    """Which worker, where, for whom. state: its directory. shared_files: it sees the same files as who submits tasks."""

    endpoint: str
    name: str
    slots: int
    state: Path
    labels: tuple[str, ...] = ()
    token: str = ""
    secrets_file: Path | None = None
    link: Link = field(default_factory=Link)
    shared_files: bool = True


def work(post: Post) -> int:
    """Runs until told to leave; returns the exit code."""
    boot = os.urandom(8).hex()
    log = open_log(worker=post.name, boot=boot)
    post.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(post.state / "lock")
    if lock is None:
        log("slot_taken", state=str(post.state))
        return TAKEN
    host = socket.gethostname()
    try:
        stub = Stub(os.environ, boot=boot, host=host)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    try:
        signer = Signer(post.name, post.state)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    sandboxes, harnesses, families = _abilities(shared_files=post.shared_files)
    hello = Hello(
        worker=post.name,
        boot=boot,
        low=PROTOCOL_LOW,
        high=PROTOCOL_HIGH,
        host=host,
        slots=post.slots,
        pid=os.getpid(),
        labels=post.labels,
        token=post.token,
        key=signer.line,
        sandboxes=sandboxes,
        harnesses=harnesses,
        families=families,
    )
    log("started", slots=post.slots, endpoint=post.endpoint)
    secret = secret_reader(os.environ, post.secrets_file)
    make = _executor_maker(post.state, secret, boot, host)
    loop = Loop(hello, post.endpoint, FileSpool(post.state / "spool"), make, stub, log, link=post.link, signer=signer)
    code = loop.run()
    if code and post.link.far:
        sys.stderr.write(f"error: {loop.reason}\n")
    os.close(lock)
    return code


def _lock(path: Path) -> int | None:
    """The slot lock, held as long as this process lives; None when another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                return None
            time.sleep(0.01)
        else:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor


Names = tuple[str, ...]


def _abilities(*, shared_files: bool) -> tuple[Names, Names, Names]:
    """Sandboxes, harnesses and families that work here, by having been tried; a benchmark's worker has only the stub."""
    if "LOOM_BENCH_EXECUTOR" in os.environ:
        return (), (), (FAMILY,)
    from loom.workers.harnesses.registry import Harnesses
    from loom.workers.providers.registry import families
    from loom.workers.sandboxes import available

    harnesses = Harnesses().working()
    served = {*families(), "local", FAMILY} | ({"claude"} if "claude" in harnesses else set())
    return available(), harnesses, tuple(sorted(served if shared_files else served - {RECORDED}))


def _executor_maker(state: Path, secret: Callable[[str], str | None], boot: str, host: str) -> Callable[[], Executes]:
    def make() -> Executes:
        from loom.workers.executor import Executor
        from loom.workers.providers.registry import Providers
        from loom.workers.workspaces import Pool

        return Executor(
            scratch=state / "scratch",
            mirrors=state / "mirrors",
            pool=Pool(state / "pool"),
            providers=Providers(secret),
            secret=secret,
            boot=boot,
            host=host,
        )

    return make
