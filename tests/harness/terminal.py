"""A terminal for `loom`: a pseudo-terminal that the test reads and types at.

with Terminal(loom, "demo", "--ask", cwd=place) as terminal:
    terminal.wait_for("Your decision")
    terminal.type("a")
    assert 0 == terminal.wait()
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from types import TracebackType

from harness.cli import Cli

_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])|\r")
_MOVE = re.compile(r"(?:\x1b\[[0-9;]*[ABEFGHJKf]|\r|\n)+")


class Terminal:
    """One command at a terminal of `columns` by 40."""

    def __init__(self, cli: Cli, *args: str, cwd: Path, columns: int = 120) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environ = cli.environment({"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"})
        self.process = subprocess.Popen(
            cli.argv(*args), cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.raw = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        os.close(self._ours)

    @property
    def text(self) -> str:
        """What was printed, without what moves the cursor or colours."""
        return _CONTROL.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        """What was printed between two moves of the cursor: each line, as often as it was drawn."""
        return [_CONTROL.sub("", piece).rstrip() for piece in _MOVE.split(self.raw)]

    def wait_for(self, words: str, within: float = 40) -> None:
        """Reads on until these words were printed."""
        ends = time.monotonic() + within
        while words not in self.text:
            assert time.monotonic() < ends, f"{words!r} was not printed:\n{self.text}"
            assert self._read(0.1) or self.process.poll() is None, f"it ended without {words!r}:\n{self.text}"

    def type(self, line: str) -> None:
        """Types a line."""
        os.write(self._ours, f"{line}\n".encode())

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, within: float = 40) -> int:
        """The exit code, with everything read until then."""
        ends = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < ends, f"it did not end:\n{self.text}"
            self._read(0.1)
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, timeout: float) -> bool:
        if not select.select([self._ours], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)
