"""The rows of one transaction, gathered in memory and written once, at its end.

Ticks are pure, so a group of them is a value before the first row is written: the rows of one statement go to SQLite in one
call, whatever entry they come from. Within a table the order in which rows were gathered is kept; between tables it is
`TABLES`, and what the triggers of a task look at stands before the task (rows_tick.py writes tasks and spawns last).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from loom.coordinator.statements import load

SQL = load("write")
TABLES = (
    ("entry", ("insert_entry",)),
    ("node", ("insert_node",)),
    ("blob", ("insert_blob",)),
    ("submission", ("insert_submission", "update_caps")),
    ("attempt", ("insert_attempt", "take_attempt")),
    ("finding", ("insert_finding", "accept_finding", "supersede_findings")),
    ("evidence", ("insert_evidence",)),
    ("artifact", ("insert_artifact",)),
    ("subject", ("insert_subject",)),
    ("gate", ("insert_gate", "move_gate", "close_gate")),
    ("decision", ("insert_decision",)),
    ("approval", ("insert_approval",)),
    ("objection", ("insert_objection",)),
    ("wake", ("set_wake", "clear_wake", "clear_wakes")),
    ("home", ("insert_home", "start_home", "set_log_key", "set_origin")),
    ("project", ("set_project", "trust_project", "remove_project")),
    ("setting", ("set_setting", "unset_setting")),
    ("bundle", ("insert_bundle",)),
    ("principal", ("set_principal",)),
    ("worker", ("insert_worker", "revoke_worker")),
    ("invitation", ("insert_invitation", "use_invitation")),
    ("token", ("set_token",)),
    ("signer", ("set_key", "revoke_key")),
    ("checkpoint", ("insert_checkpoint",)),
    ("denial", ("insert_denial",)),
    ("denial_trim", ("trim_denials",)),
    ("orphan", ("insert_orphan",)),
    ("task", ("insert_task",)),
)
_PLACE = {name: place for place, (_, names) in enumerate(TABLES) for name in names}

Row: TypeAlias = tuple[Any, ...]
Put: TypeAlias = Callable[[str, Row], None]
WriteMany: TypeAlias = Callable[[str, list[Row]], int]
"""Runs one statement for many rows; returns how many rows of the table changed."""


class Gather:
    """Rows by table, in runs of one statement each."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[int, list[tuple[str, list[Row]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._tables)

    def put(self, name: str, row: Row) -> None:
        """One row for the statement of this name in write.sql."""
        place = _PLACE[name]
        runs = self._tables.get(place)
        if runs is None:
            self._tables[place] = [(name, [row])]
        elif runs[-1][0] == name:
            runs[-1][1].append(row)
        else:
            runs.append((name, [row]))

    def clear(self) -> None:
        self._tables = {}

    def write(self, write_many: WriteMany) -> None:
        """Everything to the database, and nothing is left here."""
        tables, self._tables = self._tables, {}
        for place in sorted(tables):
            for name, rows in tables[place]:
                write_many(SQL[name], rows)
