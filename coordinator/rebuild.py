"""Making the projections again from the entries' events, and proving that they came out the same.

Everything happens in one transaction: digests of the rows as they are, all projections dropped and created, every entry's
events written through the same function as when they happened, digests again. No bundle's code runs.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loom.coordinator import database, merkle
from loom.coordinator.entry import decode_happened
from loom.coordinator.errors import StoreCorrupt
from loom.coordinator.gather import Gather
from loom.coordinator.rows import Rows
from loom.coordinator.statements import load

READ = load("read")
GROUP = 256
"""Entries whose rows are gathered before they are written."""
_CREATED = re.compile(r"^CREATE (?:UNIQUE )?(TABLE|VIEW|TRIGGER|INDEX) (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found. before, after: table → hex digest of its rows ("" : the table was missing)."""

    entries: int
    before: dict[str, str]
    after: dict[str, str]

    @property
    def different(self) -> tuple[str, ...]:
        """Tables whose rows were not what the entries say."""
        return tuple(name for name, digest in self.after.items() if self.before.get(name) != digest)


def rebuild(path: Path) -> Rebuilt:
    """Make the projections of a database again. Needs to be the only writer. Raises StoreError's tree."""
    connection, _ = database.open_writer(path)
    try:
        return rebuild_projections(connection)
    except sqlite3.Error as error:
        raise database.classify(error, str(path)) from error
    finally:
        connection.close()


def rebuild_projections(connection: sqlite3.Connection) -> Rebuilt:
    """The same, over the writer's connection, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = digests(connection)
        _drop(connection)
        database.make_projections(connection)
        entries = _refill(connection)
        after = digests(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return Rebuilt(entries, before, after)


def digests(connection: sqlite3.Connection) -> dict[str, str]:
    """projection → SHA-256 over its rows in the order of their keys ("" : there is no such table)."""
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return {name: _digest(connection, name) if name in there else "" for name in projections()}


def projections() -> list[str]:
    """The names of the derived tables."""
    return [name for kind, name in _created() if kind == "TABLE"]


def _created() -> list[tuple[str, str]]:
    text = (database.SCHEMA / "projections.sql").read_text(encoding="utf-8")
    return _CREATED.findall(text)


def _digest(connection: sqlite3.Connection, table: str) -> str:
    digest = hashlib.sha256()
    keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    for row in connection.execute(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}"):
        digest.update(msgspec.json.encode(row) + b"\n")
    return digest.hexdigest()


def _drop(connection: sqlite3.Connection) -> None:
    """Views first, then tables with their indexes and triggers; what is not there is no matter."""
    for wanted in ("VIEW", "TABLE"):
        for kind, name in _created():
            if kind == wanted:
                connection.execute(f"DROP {kind} IF EXISTS {name}")


def _refill(connection: sqlite3.Connection) -> int:
    """As when it happened: gathered in groups, each row of a group written once."""
    gather = Gather()
    rows = Rows(connection.execute, gather)
    count = 0
    for seq, task, body, leaf in _entries(connection):
        if merkle.leaf_hash(body.encode()) != leaf:
            raise StoreCorrupt(f"Entry {seq} is not what its leaf says.")
        happened = decode_happened(seq, body)
        rows.add(seq, task, happened.n, happened.now_ms, happened.events)
        count += 1
        if count % GROUP == 0:
            rows.write(lambda sql, many: connection.executemany(sql, many).rowcount)
    rows.write(lambda sql, many: connection.executemany(sql, many).rowcount)
    return count


def _entries(connection: sqlite3.Connection) -> Iterator[tuple[int, int | None, str, bytes]]:
    yield from connection.cursor().execute(READ["all_entries"], (0,))
