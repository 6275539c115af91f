"""Events → rows: the one function that writes projections, for the live step and for the rebuild alike."""

from __future__ import annotations

import sqlite3

from loom.coordinator.errors import StoreConflict
from loom.coordinator.rows_home import HOME_ROWS
from loom.coordinator.rows_task import TASK_ROWS
from loom.coordinator.rows_tick import SpawnIds, Tick
from loom.kernel import events as e

EVENTS_PER_ENTRY = 10_000
"""A row that an event makes has the id seq * EVENTS_PER_ENTRY + place of the event."""


class Rows:
    """Writes the projections of one entry at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._ids = SpawnIds(connection.execute)

    def forget(self) -> None:
        """After a rollback: what was remembered may not have happened."""
        self._ids.forget()

    def write(self, seq: int, task: int | None, n: int, now_ms: int, events: tuple[e.Event, ...]) -> None:
        """The rows of one entry. task None: about the home. Raises StoreConflict when the rows are not as expected."""
        if len(events) >= EVENTS_PER_ENTRY:
            raise StoreConflict(f"Entry {seq} has {len(events)} events; at most {EVENTS_PER_ENTRY - 1} have room.")
        if task is None:
            for event in events:
                HOME_ROWS[type(event)](self._execute, event, now_ms)
            return
        tick = Tick(self._execute, self._ids, task, now_ms)
        first = seq * EVENTS_PER_ENTRY
        for place, event in enumerate(events):
            handler = TASK_ROWS.get(type(event))
            if handler is not None:
                handler(tick, event, first + place)
        tick.finish(n)
