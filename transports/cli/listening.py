"""Listening to a running task: what its agents say between two entries, in a thread with a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import cast

from loom.coordinator.api import Live
from loom.coordinator.errors import LoomError
from loom.coordinator.home import Home
from loom.transports.asking import connect

TICK_MS = 200
CLOSE_S = 5.0
RETRY_S = 1.0
"""Seconds before another try, when the coordinator could not be had."""


class Listener:
    """Keeps the last note of each attempt. While it listens, a coordinator that died is started again."""

    def __init__(self, home: Home, task: str) -> None:
        self._home, self._task = home, task
        self._over = threading.Event()
        self._notes: dict[str, str] = {}
        self._silent_since = 0.0
        self._why = ""
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def take(self) -> dict[str, str]:
        """attempt → what was last heard of it."""
        return dict(self._notes)

    def trouble(self) -> tuple[float, str]:
        """(for how many seconds no coordinator could be had, why); (0, "") when all is well."""
        return (time.monotonic() - self._silent_since, self._why) if self._why else (0.0, "")

    def close(self) -> None:
        """Ends the thread."""
        self._over.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._listen()
            except (LoomError, OSError) as error:
                if not self._why:
                    self._silent_since = time.monotonic()
                self._why = error.what if isinstance(error, LoomError) else str(error)
            self._over.wait(RETRY_S)

    def _listen(self) -> None:
        with connect(self._home) as client:
            watching = cast("Generator[object, None, None]", client.watch(self._task, tick_ms=TICK_MS))
            with closing(watching):
                for said in watching:
                    self._why = ""
                    if self._over.is_set():
                        return
                    if isinstance(said, Live):
                        self._notes[said.attempt] = said.note
