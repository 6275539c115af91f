"""A real coordinator with real worker processes on a scratch home, and means to kill them."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from loom.coordinator.api import Answered
from loom.coordinator.client import Client
from loom.coordinator.home import Home
from loom.kernel.commands import Submit
from loom.kernel.values import Text
from loom.transports.stubbed import order
from loom.workers.protocol import Text as SentText

STEPS = 9
"""Agent calls of one task of the bench bundle's main flow."""
WAIT_S = 60.0
WORDS = Text(value="measure", size=7)


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    """Look again and again until the condition holds; fails with `what` at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {what}", pytrace=False)
        time.sleep(0.005)


@dataclass
class RealFabric:
    """One home with its processes. `arguments`: of the coordinator."""

    home: Home
    starts_file: Path
    arguments: tuple[str, ...]
    clients: list[Client] = field(default_factory=list)

    def client(self) -> Client:
        """Connects, and starts the coordinator if none runs."""
        client = Client.connect(self.home, arguments=self.arguments)
        self.clients.append(client)
        return client

    def submit(
        self,
        client: Client,
        task: str,
        *,
        key: str = "",
        flow: str = "main",
        text: Text = WORDS,
        texts: Sequence[SentText] = (),
    ) -> Answered:
        """A task of the bench bundle, its agents played by the stub."""
        return client.call(self.order(task, flow=flow, text=text), task=task, key=key, texts=texts)

    def order(self, task: str, *, flow: str = "main", text: Text = WORDS) -> Submit:
        """What `submit` asks for."""
        return order(task, flow=flow, text=text, attempts=10_000)

    # ------------------------------------------------------------------------------------------------- reading

    def rows(self, sql: str, *arguments: object) -> list[tuple[object, ...]]:
        """A query over a read-only connection."""
        uri = f"{self.home.database.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            return connection.execute(sql, arguments).fetchall()

    def done(self, count: int) -> bool:
        (found,) = self.rows("SELECT count(*) FROM task WHERE status = 'done'")[0]
        return found == count

    def starts(self) -> Counter[tuple[str, str]]:
        """(attempt, fence) → how often the agent itself counted a start."""
        return Counter((attempt, fence) for attempt, fence, _ in self.start_times())

    def start_times(self) -> list[tuple[str, str, int]]:
        """(attempt, fence, ms UTC) of each start, in the order in which the agents wrote them."""
        if not self.starts_file.exists():
            return []
        lines = (line.split() for line in self.starts_file.read_text().splitlines())
        return [(attempt, fence, int(at_ms)) for attempt, fence, _, at_ms in lines]

    def started(self, count: int) -> bool:
        """Whether so many attempts were begun."""
        return len(self.starts()) >= count

    def log(self) -> str:
        return (self.home.logs / "coordinator.log").read_text()

    # ------------------------------------------------------------------------------------------------- killing

    def worker_pids(self) -> list[int]:
        """Processes that hold a slot lock now."""
        from loom.coordinator.local_workers import held

        locks = sorted(self.home.spool.glob("*/lock"))
        return [int(lock.read_text()) for lock in locks if held(lock) and lock.read_text().strip().isdigit()]

    def kill_coordinator(self) -> None:
        """SIGKILL, and wait until the home is free."""
        if pid := self.home.running():
            kill(pid)
            until(lambda: self.home.running() != pid, "the coordinator is gone", 10)

    def close(self) -> None:
        for client in self.clients:
            client.starts_nothing()
        end = time.monotonic() + 10
        while pids := self._processes():
            for pid in pids:
                kill(pid)
            if time.monotonic() > end:
                break
            time.sleep(0.01)
        for client in self.clients:
            client.close()

    def _processes(self) -> list[int]:
        """Everything that was started on this home; a worker that just starts has no lock yet, and would stay."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                here = any(str(self.home.path) in word for word in process.cmdline())
                if here and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def fabric(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, mode: str = "instant", arguments: tuple[str, ...] = ()
) -> Iterator[RealFabric]:
    """A home in `folder` whose agents answer after `mode`; everything is killed at the end."""
    starts = folder / "starts"
    monkeypatch.setenv("LOOM_BENCH_EXECUTOR", mode)
    monkeypatch.setenv("LOOM_BENCH_STARTS", str(starts))
    running = RealFabric(Home(folder / "home"), starts, ("--idle-exit-ms", "120000", *arguments))
    try:
        yield running
    finally:
        running.close()
