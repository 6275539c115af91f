"""One entry's changes to the rows of its task and of its spawns: gathered first, then each row written once.

So a serial step costs few row writes, and the number of the task is compared and set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from loom.coordinator.columns import map_column
from loom.coordinator.errors import StoreConflict
from loom.coordinator.statements import load

SQL = load("write")
LIVE = ("ready", "granted")
MAX_KNOWN_SPAWNS = 50_000
"""Ids of spawns remembered between ticks; beyond it they are looked up again."""

Changes: TypeAlias = dict[str, Any]
Execute: TypeAlias = Callable[..., Any]


class SpawnIds:
    """spawn → id of its row; looked up once, forgotten at a rollback."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._known: dict[str, int] = {}

    def forget(self) -> None:
        self._known.clear()

    def find(self, task: int, spawn: str) -> int:
        """The row of a spawn of this task. Raises StoreConflict when there is none."""
        known = self._known.get(spawn)
        if known is None:
            row = self._execute("SELECT id FROM spawn WHERE task = ? AND spawn = ?", (task, spawn)).fetchone()
            if row is None:
                raise StoreConflict(f"There is no row of spawn {spawn}.")
            known = self.remember(spawn, row[0])
        return known

    def remember(self, spawn: str, row: int) -> int:
        """Keep the row of a spawn for the ticks that follow."""
        if len(self._known) >= MAX_KNOWN_SPAWNS:
            self._known.clear()
        self._known[spawn] = row
        return row


class Tick:
    """What one entry changes in its task's row and in the rows of its spawns, until it is written."""

    __slots__ = ("added", "dropping", "execute", "facts", "ids", "now_ms", "opened", "spawns", "task", "task_changes")

    def __init__(self, execute: Execute, ids: SpawnIds, task: int, now_ms: int) -> None:
        self.ids = ids
        self.execute = execute
        self.task = task
        self.now_ms = now_ms
        self.task_changes: Changes = {}
        self.added: dict[str, int] = {}
        self.facts: dict[str, str] = {}
        self.spawns: dict[str, Changes] = {}
        self.opened: dict[str, list[Any]] = {}
        self.dropping = False

    def add(self, column: str, amount: int) -> None:
        if amount:
            self.added[column] = self.added.get(column, 0) + amount

    def spawn(self, spawn: str, changes: Changes) -> None:
        """Change a spawn's row; the last word on a column counts."""
        self.spawns.setdefault(spawn, {}).update(changes)

    def drop_live_spawns(self) -> None:
        """The flow goes on: what the stage left ready or running is no longer anybody's work."""
        self.dropping = True
        for row in self.opened.values():
            row[_STATUS] = "dropped" if row[_STATUS] in LIVE else row[_STATUS]

    def finish(self, n: int) -> None:
        """Write what was gathered: spawns, then the task with its number compared and set."""
        for spawn, changes in self.spawns.items():
            self._update_spawn(spawn, changes)
        if self.dropping:
            self.execute(SQL["drop_spawns"], (self.task, self.task))
        for spawn, row in self.opened.items():
            self.execute(SQL["insert_spawn"], row)
            self.ids.remember(spawn, row[0])
        changes = {"n": n, "now_ms": self.now_ms, **self.task_changes}
        values = [*changes.values(), *self.added.values()]
        patched: tuple[str, ...] = ()
        if self.facts:
            patched = ("facts",)
            values.append(map_column(self.facts))
        sql = _update("task", tuple(changes), tuple(self.added), patched, "id = ? AND n = ?")
        done = self.execute(sql, (*values, self.task, n - 1))
        if done.rowcount != 1:
            raise StoreConflict(f"Entry {n} of task row {self.task} does not follow the one before.")

    def _update_spawn(self, spawn: str, changes: Changes) -> None:
        row = self.ids.find(self.task, spawn)
        fence = changes.get("fence")
        if fence is None:
            done = self.execute(_update("spawn", tuple(changes), (), (), "id = ?"), (*changes.values(), row))
        else:
            sql = _update("spawn", tuple(changes), (), (), "id = ? AND fence < ?")
            done = self.execute(sql, (*changes.values(), row, fence))
        if done.rowcount != 1:
            raise StoreConflict(f"There is no row of spawn {spawn}, or its fence does not grow.")


_STATUS = 6
"""Place of the status among the values of insert_spawn."""


@lru_cache(maxsize=512)
def _update(table: str, names: tuple[str, ...], added: tuple[str, ...], patched: tuple[str, ...], where: str) -> str:
    """The UPDATE for one set of columns (set, added to, JSON merged into); there are few such sets."""
    parts = [f"{name} = ?" for name in names] + [f"{name} = {name} + ?" for name in added]
    parts += [f"{name} = json_patch({name}, ?)" for name in patched]
    return f"UPDATE {table} SET {', '.join(parts)} WHERE {where}"
