"""What the entries of a group change in the rows of a task and of its spawns: gathered, merged, each row written once.

So a serial step costs one write of the task's row, one of the spawn that ended and one of the spawn that comes next, which is
inserted as granted already. The number of the task is compared and set: from what it was before the group to what it is after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

from loom.coordinator.codec import dump
from loom.coordinator.errors import StoreConflict, StoreRefused
from loom.coordinator.gather import SQL, Put, Row, WriteMany
from loom.coordinator.statements import load

READ = load("read")
LIVE = ("ready", "granted")
Changes: TypeAlias = dict[str, Any]
Execute: TypeAlias = Callable[..., Any]
Grant: TypeAlias = tuple[int, str, str, str, int, int]
"""binding, bound, worker, boot, granted_ms, reserved: what the row of an attempt takes from its grant."""

_COLUMNS = itemgetter(
    "id", "task", "spawn", "agent", "stage", "iteration", "status", "chain", "attempt", "not_before_ms", "binding", "why",
    "fence", "worker", "boot", "price", "reserved", "bound", "granted_ms", "outcome", "summary",
)  # fmt: skip
_NEW: Changes = {
    "chain": "[]", "attempt": 1, "not_before_ms": 0, "binding": 0, "why": "", "fence": 0, "worker": "", "boot": "", "price": "",
    "reserved": 0, "bound": "", "granted_ms": 0, "outcome": "", "summary": None,
}  # fmt: skip
_DROPPED: Changes = {"status": "dropped", "worker": "", "boot": "", "reserved": 0}


class SpawnRow:
    """A spawn's row as it will be after this group, as far as later events need it."""

    __slots__ = ("attempt", "changes", "fence", "grant", "id", "new", "status")

    def __init__(self, row: int, status: str, attempt: int, fence: int, grant: Grant | None, changes: Changes | None):
        """changes: of a row that is not in the table yet, all its columns."""
        self.id = row
        self.status = status
        self.attempt = attempt
        self.fence = fence
        self.grant = grant
        self.new = changes is not None
        self.changes: Changes = changes or {}
        """What is not written yet."""


class TaskRows:
    """A task's row and the rows of the spawns of its present stage. Handlers of events see one of these."""

    __slots__ = (
        "_execute", "added", "before", "changes", "dirty", "entered", "facts", "n", "now_ms", "put", "spawns", "task",
        "touched", "verdict", "whole",
    )  # fmt: skip

    def __init__(self, task: int, execute: Execute, put: Put) -> None:
        self._execute = execute
        self.put = put
        self.task = task
        self.now_ms = 0
        self.n = self.before = 0
        self.dirty = False
        self.changes: Changes = {}
        self.added: dict[str, int] = {}
        self.facts: dict[str, str] = {}
        """In the order in which they came: json_patch keeps it, so the column is the same however entries are grouped."""
        self.touched: list[SpawnRow] = []
        self.spawns: dict[str, SpawnRow] = {}
        self.whole = False
        """Whether `spawns` has all of the present stage, and not only those that were asked for since the start."""
        self.entered = 0
        self.verdict = ""

    # --------------------------------------------------------------------------------------------------- gathering

    def begin(self, n: int, now_ms: int) -> bool:
        """The task's next entry comes; whether it is the first of the group. Raises StoreConflict: a gap."""
        first = not self.dirty
        if first:
            self.before = n - 1
            self.dirty = True
        elif n != self.n + 1:
            raise StoreConflict(f"Entry {n} of task row {self.task} does not follow entry {self.n}.")
        self.n = n
        self.now_ms = now_ms
        return first

    def add(self, column: str, amount: int) -> None:
        if amount:
            self.added[column] = self.added.get(column, 0) + amount

    def decide(self, verdict: str) -> None:
        """The verdict; two different ones in one group would hide the first from the trigger."""
        if self.verdict not in ("", verdict):
            raise StoreRefused(f"Task row {self.task} got a verdict before: a verdict is final.")
        self.verdict = self.changes["verdict"] = verdict

    def open(self, row: int, spawn: str, **columns: Any) -> None:
        """A new spawn."""
        made = {**_NEW, "id": row, "task": self.task, "spawn": spawn, **columns}
        opened = self.spawns[spawn] = SpawnRow(row, made["status"], 1, 0, None, made)
        self.touched.append(opened)

    def change(self, row: SpawnRow, changes: Changes) -> None:
        """Change a spawn's row; the last word on a column counts."""
        if row.changes:
            row.changes.update(changes)
        else:
            row.changes = changes
            self.touched.append(row)
        row.status = changes["status"]

    def drop_live_spawns(self) -> None:
        """The flow goes on: what the stage left ready or running is no longer anybody's work."""
        if not self.whole:
            self._look_up_all()
        for row in self.spawns.values():
            if row.status in LIVE:
                self.change(row, _DROPPED.copy())

    def enter(self, row: int) -> None:
        """The spawns from here on are those of a new stage."""
        self.drop_live_spawns()
        self.changes["entered"] = self.entered = row

    # ---------------------------------------------------------------------------------------------------- reading

    def find(self, spawn: str) -> SpawnRow:
        """The row of a spawn of this task. Raises StoreConflict when there is none."""
        found = self.spawns.get(spawn)
        if found is None:
            row = self._execute(READ["spawn_row"], (self.task, spawn)).fetchone()
            if row is None:
                raise StoreConflict(f"There is no row of spawn {spawn}.")
            found = self.spawns[spawn] = _spawn_row(row)
        return found

    def _look_up_all(self) -> None:
        """After a start or a rollback: what the table has, under what this group changed since."""
        rows = self._execute(READ["stage_rows"], (self.task,))
        self.spawns = {**{row[1]: _spawn_row(row) for row in rows}, **self.spawns}
        self.whole = True

    # ---------------------------------------------------------------------------------------------------- writing

    def settle(self) -> None:
        """Everything gathered is written: start anew."""
        for row in self.touched:
            row.changes, row.new = {}, False
        self.touched = []
        if self.entered:
            entered, self.entered = self.entered, 0
            self.spawns = {name: row for name, row in self.spawns.items() if row.id >= entered}
        self.dirty = False
        self.changes, self.added, self.facts = {}, {}, {}


def _spawn_row(row: tuple[Any, ...]) -> SpawnRow:
    return SpawnRow(row[0], row[2], row[3], row[4], row[5:], None)


class Wave:
    """Rows of spawns and tasks that are written together: spawns first, since a task's triggers look at them."""

    __slots__ = ("_opened", "_spawns", "_tasks")

    def __init__(self) -> None:
        self._opened: list[Row] = []
        self._spawns: dict[str, list[Row]] = {}
        self._tasks: dict[str, list[Row]] = {}

    def add(self, task: TaskRows) -> None:
        """Everything that is gathered for a task."""
        for row in task.touched:
            if row.new:
                self._opened.append(_COLUMNS(row.changes))
            else:
                sql, values = _spawn_update(row)
                self._spawns.setdefault(sql, []).append(values)
        sql, values = _task_update(task)
        self._tasks.setdefault(sql, []).append(values)

    def write(self, write_many: WriteMany) -> None:
        """Each kind of change in one statement. Raises StoreConflict when a number or a fence is not what it was when the
        entries were made."""
        if self._opened:
            write_many(SQL["insert_spawn"], self._opened)
        for sql, rows in self._spawns.items():
            if write_many(sql, rows) != len(rows):
                raise StoreConflict(
                    f"One of the spawn rows {_ids(rows, sql)} is not there, or its fence does not grow."
                )
        for sql, rows in self._tasks.items():
            if write_many(sql, rows) != len(rows):
                raise StoreConflict(
                    f"One of the task rows {_ids(rows, sql)} has another number than its entry follows."
                )


def _ids(rows: list[Row], sql: str) -> str:
    place = -2 if sql.endswith((" AND fence < ?", " AND n = ?")) else -1
    return ", ".join(str(row[place]) for row in rows)


def _spawn_update(row: SpawnRow) -> tuple[str, Row]:
    changes = row.changes
    if "fence" in changes:
        return _update_spawn(tuple(changes), True), (*changes.values(), row.id, changes["fence"])
    return _update_spawn(tuple(changes), False), (*changes.values(), row.id)


def _task_update(task: TaskRows) -> tuple[str, Row]:
    changes, added = task.changes, task.added
    sql = _update_task(tuple(changes), tuple(added), bool(task.facts))
    head = (task.n, task.now_ms, *changes.values(), *added.values())
    if task.facts:
        return sql, (*head, dump(task.facts).decode(), task.task, task.before)
    return sql, (*head, task.task, task.before)


@lru_cache(maxsize=512)
def _update_spawn(names: tuple[str, ...], granted: bool) -> str:
    """The UPDATE for one set of columns; there are few such sets."""
    where = "id = ? AND fence < ?" if granted else "id = ?"
    return f"UPDATE spawn SET {', '.join(f'{name} = ?' for name in names)} WHERE {where}"


@lru_cache(maxsize=512)
def _update_task(names: tuple[str, ...], added: tuple[str, ...], facts: bool) -> str:
    parts = [f"{name} = ?" for name in ("n", "now_ms", *names)] + [f"{name} = {name} + ?" for name in added]
    if facts:
        parts.append("facts = json_patch(facts, ?)")
    return f"UPDATE task SET {', '.join(parts)} WHERE id = ? AND n = ?"
