"""The rig: a throw-away home with a real coordinator and real workers, driven over its real socket.

The agents are stubs (`stub:` binding): instant, or a fixed sleep; everything else is what a user runs. Tasks are of the
bundle `bench`: classify → plan → implement → four reviewers → validate → finish, nine calls of 2 KB in six stages.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec
import psutil
import zmq

from loom.coordinator import api
from loom.coordinator.client import Client
from loom.coordinator.codec import encode_command
from loom.coordinator.home import Home
from loom.coordinator.keys import client_token
from loom.transports.stubbed import order

WAIT_S = 120.0
"""How long any one part of the benchmark may take."""
LOOK_S, LOOK_ONE_S = 0.005, 0.002


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds used, and the peak of the memory (resident bytes) of all of loom's processes together."""

    cpu_s: float
    peak_bytes: int


class Rig:
    """A home that lives as long as the benchmark. executor: `instant` or `sleep:MILLISECONDS`."""

    def __init__(self, *, executor: str = "instant", workers: int = 2, slots: int = 128) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="loom-bench-"))
        self.home = Home(self.folder / "home")
        self.starts = self.folder / "starts"
        self.starts.touch()
        self._arguments = ("--workers", str(workers), "--slots", str(slots), "--machine-slots", "-1", "--stay")
        self._workers = workers
        self.environment = {"LOOM_BENCH_EXECUTOR": executor, "LOOM_BENCH_STARTS": str(self.starts)}
        self._count = 0

    def __enter__(self) -> Rig:
        with self._set_environment():
            self.client = Client.connect(self.home, arguments=self._arguments, via="bench")
            self.wait_for(self._workers)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(self.home.endpoint("client"))
        self._token = client_token(self.home.keys)
        self._read = sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True, isolation_level=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.close()
        self._socket.close(linger=0)
        self._context.term()
        with contextlib.suppress(Exception):
            self.client.leave(workers=True)
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for(self, workers: int) -> None:
        """Until so many said Hello. Raises TimeoutError."""
        end = time.monotonic() + WAIT_S
        while len(self.client.describe()["workers"]) < workers:
            if time.monotonic() > end:
                raise TimeoutError(f"the workers of {self.home.path} did not come; see its logs")
            time.sleep(0.05)

    @contextlib.contextmanager
    def _set_environment(self) -> Iterator[None]:
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    # ------------------------------------------------------------------------------------------------------ tasks

    def submit(self, flow: str = "main") -> str:
        """Send one submission without waiting for its answer; returns the task's id."""
        self._count += 1
        task = f"b{self._count:09d}"
        command = order(task, flow=flow)
        call = api.Call(
            token=self._token, key=f"bench-{task}", via="bench", command=msgspec.Raw(encode_command(command))
        )
        self._socket.send(api.encode(call))
        return task

    def hear(self) -> None:
        """Take the answers; a refusal ends the benchmark. Raises RuntimeError."""
        while self._socket.poll(0):
            said = api.decode_to_client(self._socket.recv())
            if isinstance(said, api.Denied) or (isinstance(said, api.Answered) and said.outcome != "applied"):
                raise RuntimeError(f"a task was not taken: {said.sentence}")

    def done(self) -> int:
        """Tasks that are done."""
        (count,) = self._read.execute("SELECT count(*) FROM task WHERE status = 'done'").fetchone()
        return int(count)

    def run(self, tasks: int, in_flight: int, flow: str = "main") -> float:
        """Run so many tasks, at most `in_flight` at once; returns the seconds from first submission to last verdict."""
        before, sent, finished = self.done(), 0, 0
        began = time.perf_counter()
        while finished < tasks:
            while sent < tasks and sent - finished < in_flight:
                self.submit(flow)
                sent += 1
            self.hear()
            finished = self.done() - before
            if time.perf_counter() - began > WAIT_S:
                raise TimeoutError(f"{finished} of {tasks} tasks were done after {WAIT_S:g} s; see {self.home.logs}")
            time.sleep(LOOK_S if in_flight > 1 else LOOK_ONE_S)
        return time.perf_counter() - began

    # ----------------------------------------------------------------------------------------------------- costs

    def processes(self) -> list[psutil.Process]:
        """The coordinator and its workers."""
        pids = [self.client.describe()["pid"], *(worker["pid"] for worker in self.client.describe()["workers"])]
        return [psutil.Process(pid) for pid in pids]

    def cpu_s(self) -> float:
        """CPU seconds that they have used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def memory_bytes(self) -> int:
        """What they hold in memory now (resident)."""
        return sum(process.memory_info().rss for process in self.processes())
