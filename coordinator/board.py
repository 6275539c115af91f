"""The notice board: what waits, and why, in a small file of the home, so that `loom status` need not ask anybody.

`run/queue.json`, replaced whole at most once a second while something waits or changes; only this coordinator's word, as long as it
runs: who reads it compares the process.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVERY_MS = 1_000
FILE = "queue.json"


class Board:
    """Writes the file. say: what stands there now; it is asked once in EVERY_MS at most."""

    def __init__(self, folder: Path, say: Callable[[], dict[str, Any]]) -> None:
        self._path, self._say = folder / FILE, say
        self._next_ms = 0
        self._said = ""

    def look(self, mono_ms: int) -> None:
        """Write what is new. A file that cannot be written says nothing; it decides nothing either."""
        if mono_ms < self._next_ms:
            return
        self._next_ms = mono_ms + EVERY_MS
        said = json.dumps({"pid": os.getpid(), **self._say()})
        if said == self._said:
            return
        with contextlib.suppress(OSError):
            fresh = self._path.with_suffix(".new")
            fresh.write_text(said, encoding="utf-8")
            fresh.replace(self._path)
            self._said = said

    def take_down(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read(folder: Path, pid: int) -> dict[str, Any]:
    """What the coordinator of this process wrote last ({}: nothing)."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(found) if isinstance(found, dict) and found.get("pid") == pid else {}
