"""Starting a home's coordinator from a client: detached, in a session of its own, waited for until it answers or dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from loom.coordinator.errors import HomeError, HomeLocked, HomeUnwritable
from loom.coordinator.home import Home

TAIL_BYTES = 2_000
OUTPUT_BYTES = 1024 * 1024
"""What coordinators printed is thrown away when it is longer."""
UNUSABLE = 4
"""How a coordinator ends that cannot use its home."""
MAX_DEATHS = 3
"""So many coordinators that ended without an answer are enough; one that ends by itself with an error is enough."""


class CoordinatorFailed(HomeError):
    """The home's coordinator could not be started, or does not answer."""

    code = "L006"
    mend = "See logs/coordinator.log in the home, and `loom doctor`."


@dataclass(slots=True)
class Starter:
    """Starts the coordinator of a home when none runs. `arguments`: further options for it."""

    home: Home
    arguments: Sequence[str] = ()
    _child: subprocess.Popen[bytes] | None = None
    _deaths: int = 0
    _said_before: int = 0

    def ensure(self) -> None:
        """Start one if none holds the home. Raises CoordinatorFailed when the one that was started died, or there could be
        none; HomeUnwritable when the home cannot be written."""
        if self._child is not None:
            code = self._child.poll()
            if code is None:
                return
            self._child = None
            if not self._was_late(code):
                self._deaths += 1
                if not self.home.running() and (code > 0 or self._deaths >= MAX_DEATHS):
                    said = self.tail()
                    raise CoordinatorFailed(f"The coordinator of {self.home.path} ended with code {code}: {said}")
        if not self.home.running():
            self._start()

    def _was_late(self, code: int) -> bool:
        """Another client's coordinator was quicker: no failure, even if that one is gone again by now."""
        return code == UNUSABLE and HomeLocked.code in self.tail()

    def answered(self) -> None:
        """It lives: deaths are counted anew."""
        self._deaths = 0

    def _start(self) -> None:
        self.home.make()
        command = [sys.executable, "-m", "loom.coordinator", "--home", str(self.home.path), *self.arguments]
        try:
            descriptor = self._open_output()
        except OSError as error:
            raise HomeUnwritable(f"{self.home.path} cannot be written: {error.strerror}.") from error
        try:
            try:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=descriptor,
                    stderr=descriptor,
                    cwd=self.home.path,
                    start_new_session=True,
                )
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CoordinatorFailed(f"The coordinator of {self.home.path} could not be started: {error}.") from error

    def _open_output(self) -> int:
        """Several clients may start one at the same time, and each has to find what its own said: nobody cuts off what
        stands there, unless it is very much."""
        descriptor = os.open(self._output(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(descriptor).st_size > OUTPUT_BYTES:
            os.ftruncate(descriptor, 0)
        self._said_before = os.fstat(descriptor).st_size
        return descriptor

    def _output(self) -> str:
        return str(self.home.logs / "coordinator.out")

    def tail(self) -> str:
        """The end of what it printed."""
        try:
            with open(self._output(), "rb") as file:
                file.seek(self._said_before)
                return file.read()[-TAIL_BYTES:].decode(errors="replace").strip() or "it said nothing"
        except OSError:
            return "it said nothing"

    def disown(self) -> None:
        """The client goes; the coordinator stays."""
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # keeps subprocess from warning that a child still runs
        self._child = None
