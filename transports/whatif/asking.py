"""The side of the surface: the process is started, fed recorded runs, and its answers are gathered."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import msgspec

from loom.transports.errors import UnavailableProblem, UsageProblem
from loom.transports.histories import Runs, encode_line, told
from loom.transports.whatif.wire import Question, Ready, Refused, Supposed, decode_answer, encode

SILENCE_S = 60.0
"""A process that neither reads nor answers for so long is ended: a rule of it does not come to an end."""
MAX_TOLD = 2_000
"""Characters of what the process wrote to standard error that are repeated."""
KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


def suppose(
    runs: Runs, question: Question, wanted: Callable[[str], bool] = lambda _: True, silence_s: float = SILENCE_S
) -> list[Supposed]:
    """What the other rules would have made of each of these runs. wanted: of a task's id.

    Raises UsageProblem (the rules cannot be used), UnavailableProblem.
    """
    with _child(silence_s) as child:
        child.send(encode(question))
        child.ready()
        for line in told(runs, wanted=wanted):
            child.send(encode_line(line))
        return child.answers()


class _Child:
    """One process. Every wait of ours ends with its answer, with its end, or after `silence_s`."""

    def __init__(self, process: subprocess.Popen[bytes], silence_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._silence_s = process, silence_s
        self._moved_s = time.monotonic()
        self._said: queue.Queue[bytes | None] = queue.Queue()
        self._errors: list[bytes] = []
        self._hung = False
        self._over = threading.Event()
        self._stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        for work, stream in ((self._hear, stdout), (self._keep, stderr)):
            threading.Thread(target=work, args=(stream,), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _hear(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._moved_s = time.monotonic()
            self._said.put(line)
        self._said.put(None)

    def _keep(self, stream: IO[bytes]) -> None:
        self._errors.append(stream.read())

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._silence_s / 4)):
            if time.monotonic() - self._moved_s > self._silence_s:
                self._hung = True
                self._process.kill()
                return

    def send(self, line: bytes) -> None:
        try:
            self._stdin.write(line + b"\n")
        except BrokenPipeError:
            raise self._trouble() from None
        self._moved_s = time.monotonic()

    def ready(self) -> None:
        """The rules are loaded. Raises UsageProblem with everything that is wrong with them."""
        try:
            self._stdin.flush()
        except BrokenPipeError:
            raise self._trouble() from None
        line = self._said.get()
        answer = decode_answer(line) if line else None
        if isinstance(answer, Refused):
            raise UsageProblem("These rules cannot be used: " + "; ".join(answer.faults) + ".")
        if not isinstance(answer, Ready):
            raise self._trouble()

    def answers(self) -> list[Supposed]:
        """All of them, after the last line was sent."""
        try:
            self._stdin.close()
        except BrokenPipeError:
            raise self._trouble() from None
        found: list[Supposed] = []
        while (line := self._said.get()) is not None:
            try:
                answer = decode_answer(line)
            except msgspec.MsgspecError:
                raise self._trouble() from None
            if isinstance(answer, Refused):
                raise UnavailableProblem("; ".join(answer.faults))
            if isinstance(answer, Supposed):
                found.append(answer)
        if self._process.wait() != 0:
            raise self._trouble()
        return found

    def _trouble(self) -> UnavailableProblem:
        if self._hung:
            return UnavailableProblem(f"A rule does not come to an end: nothing happened for {self._silence_s:.0f} s.")
        self._process.kill()
        self._process.wait()
        said = b"".join(self._errors).decode(errors="replace").strip().splitlines() or [
            f"exit {self._process.returncode}"
        ]
        return UnavailableProblem(f"The process that runs the rules ended early: {said[-1][:MAX_TOLD]}.")

    def end(self) -> None:
        self._over.set()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue


@contextmanager
def _child(silence_s: float) -> Iterator[_Child]:
    environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-P", "-B", "-m", "loom.transports.whatif"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    child = _Child(process, silence_s)
    try:
        yield child
    finally:
        child.end()
