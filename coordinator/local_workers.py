"""Workers on this machine: started detached, found again by their slot lock, started again when they die.

A worker outlives its coordinator: the next one finds the slot's lock held and waits for its Hello. A free lock is a dead
worker, seen at once; the process that takes its place says in its Hello what is left of the old one's work.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK_MS = 200
"""How often the slot locks are looked at."""
START_MS = 10_000
"""How long a worker may take from its start to its lock before it is taken for dead."""
BACKOFF_BASE_MS, BACKOFF_MAX_MS = 250, 30_000
UNSTARTED_MS = 5_000
"""A worker that the system could not start (no memory, a full disk) is tried again after this time."""
STEADY_MS = 60_000
"""A worker that lived so long is started again without waiting."""
GONE_MS = 10_000
"""A dead worker whose place nobody took for so long: what it held is lost."""
MAX_LOG_BYTES = 10 * 1024 * 1024


@dataclass(slots=True)
class _Place:
    """One local worker by its name."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started_ms: int = -STEADY_MS
    failures: int = 0
    next_ms: int = 0
    dead_since_ms: int = -1
    told: bool = False


class LocalWorkers:
    """`count` workers with `slots` slots each."""

    def __init__(
        self,
        *,
        count: int,
        slots: int,
        folder: Path,
        logs: Path,
        endpoint: str,
        token_file: Path,
        secrets_file: Path,
        labels: Sequence[str] = (),
        gone: Callable[[str, str], None],
        log: Callable[..., None],
    ) -> None:
        """folder: each worker has a directory in it; gone(worker, sentence): it is dead and not coming back."""
        self._slots, self._folder, self._logs = slots, folder, logs
        self._endpoint, self._token_file, self._secrets_file = endpoint, token_file, secrets_file
        self._labels = labels
        self._gone, self._log = gone, log
        self._places = [_Place(f"local-{number}") for number in range(1, count + 1)]
        self._look_ms = 0

    def look(self, mono_ms: int) -> None:
        """Start what is not there. Cheap to call often."""
        if mono_ms < self._look_ms:
            return
        self._look_ms = mono_ms + LOOK_MS
        for place in self._places:
            self._look_at(place, mono_ms)

    def _look_at(self, place: _Place, mono_ms: int) -> None:
        ended = place.process.poll() if place.process is not None else None
        if place.process is not None and ended is None:
            place.dead_since_ms, place.told = -1, False
            return
        if ended is not None:
            self._ended(place, ended, mono_ms)
        if held(self._folder / place.name / "lock"):
            place.dead_since_ms, place.told = -1, False
            return
        if place.dead_since_ms < 0:
            place.dead_since_ms = mono_ms
        if mono_ms - place.dead_since_ms > GONE_MS and not place.told:
            place.told = True
            self._gone(place.name, f"worker {place.name} died and could not be started again; see its log")
        if mono_ms >= place.next_ms:
            self._start(place, mono_ms)

    def _ended(self, place: _Place, code: int, mono_ms: int) -> None:
        lived_ms = mono_ms - place.started_ms
        place.process = None
        place.failures = 0 if lived_ms > STEADY_MS else place.failures + 1
        wait_ms = 0 if place.failures <= 1 else min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** min(place.failures, 10))
        place.next_ms = mono_ms + wait_ms
        self._log("worker_ended", worker=place.name, code=code, lived_ms=lived_ms)

    def _start(self, place: _Place, mono_ms: int) -> None:
        try:
            place.process = self._launched(place.name)
        except OSError as error:  # also a full disk: tried again
            self._log("worker_not_started", worker=place.name, error=str(error))
            place.next_ms = mono_ms + UNSTARTED_MS
        else:
            place.started_ms = mono_ms
            self._log("worker_started", worker=place.name, pid=place.process.pid)

    def _launched(self, name: str) -> subprocess.Popen[bytes]:
        """Its process, detached, with its log. Raises OSError."""
        state = self._folder / name
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._logs / f"worker-{name}.log"
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        command = [sys.executable, "-m", "loom.workers", "--endpoint", self._endpoint, "--name", name]
        command += ["--slots", str(self._slots), "--state", str(state), "--token-file", str(self._token_file)]
        command += ["--secrets-file", str(self._secrets_file), *(f"--label={label}" for label in self._labels)]
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=state,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    def disown(self) -> None:
        """The coordinator leaves, the workers stay: nobody waits for them here any more."""
        for place in self._places:
            if place.process is not None:
                place.process.returncode = 0  # keeps subprocess from warning that a child still runs

    def alive(self) -> int:
        """How many have their lock."""
        return sum(held(self._folder / place.name / "lock") for place in self._places)


def held(lock: Path) -> bool:
    """Whether a process has the slot lock."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
