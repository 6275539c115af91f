"""Events → rows: the one way that projections are written, for the live step and for the rebuild alike."""

from __future__ import annotations

from loom.coordinator.errors import StoreConflict
from loom.coordinator.gather import Gather, WriteMany
from loom.coordinator.rows_home import HOME_ROWS
from loom.coordinator.rows_task import TASK_ROWS
from loom.coordinator.rows_tick import Execute, TaskRows, Wave
from loom.kernel import events as e

EVENTS_PER_ENTRY = 10_000
"""A row that an event makes has the id seq * EVENTS_PER_ENTRY + place of the event."""
MAX_KNOWN_TASKS = 20_000
"""Tasks whose spawns' rows are remembered between groups; beyond it they are looked up again."""


class Rows:
    """The projections of a group of entries."""

    def __init__(self, execute: Execute, gather: Gather) -> None:
        """execute: for what must be looked up. gather: where rows go that no other entry of the group changes."""
        self._execute = execute
        self._gather = gather
        self._tasks: dict[int, TaskRows] = {}
        self._changed: list[TaskRows] = []
        self._decided: Wave | None = None

    def forget(self) -> None:
        """After a rollback: what was remembered may not have happened."""
        self._tasks.clear()
        self._changed = []
        self._decided = None

    def add(self, seq: int, task: int | None, n: int, now_ms: int, events: tuple[e.Event, ...]) -> None:
        """Gather the rows of one entry. task None: about the home. Raises StoreConflict when the rows are not as expected:
        then the group cannot be written."""
        if len(events) >= EVENTS_PER_ENTRY:
            raise StoreConflict(f"Entry {seq} has {len(events)} events; at most {EVENTS_PER_ENTRY - 1} have room.")
        if task is None:
            for event in events:
                HOME_ROWS[type(event)](self._gather.put, event, now_ms)
            return
        rows = self._tasks.get(task)
        if rows is None:
            rows = self._tasks[task] = TaskRows(task, self._execute, self._gather.put)
        if rows.dirty and "verdict" in rows.changes:
            self._decide(rows)
        if rows.begin(n, now_ms):
            self._changed.append(rows)
        handlers = TASK_ROWS
        for row, event in enumerate(events, seq * EVENTS_PER_ENTRY):
            handlers[type(event)](rows, event, row)

    def _decide(self, rows: TaskRows) -> None:
        """What follows a verdict in the same group (the grant of a delivery) is written after it: nothing runs at a verdict,
        and the trigger that says so has to see the spawns as they were then."""
        if self._decided is None:
            self._decided = Wave()
        self._decided.add(rows)
        self._changed.remove(rows)
        rows.settle()

    def write(self, write_many: WriteMany) -> None:
        """Everything gathered to the database. Raises StoreConflict."""
        self._gather.write(write_many)
        decided, self._decided = self._decided, None
        if decided is not None:
            decided.write(write_many)
        changed, self._changed = self._changed, []
        wave = Wave()
        for rows in changed:
            wave.add(rows)
        wave.write(write_many)
        for rows in changed:
            if rows.changes.get("status") == "done":
                del self._tasks[rows.task]
            else:
                rows.settle()
        if len(self._tasks) > MAX_KNOWN_TASKS:
            self._tasks.clear()
