"""Opening `state.db`: what it must be, its settings, forward migrations; and what SQLite's errors mean here.

The header says whose file it is (application_id) and how far it is migrated (user_version = number of the last
migration). Migrations change the ledger's tables and are numbered files; projections have one current file, and are made
again from the entries when a migration was needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from loom.coordinator.errors import (
    StoreBusy,
    StoreConflict,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreForeign,
    StoreFull,
    StoreMissing,
    StoreNewer,
    StoreRefused,
    StoreUnavailable,
)

APPLICATION_ID = 0x6C6F6F6D
"""loom, in ASCII."""
PAGE_BYTES = 16_384
CACHE_KIB = 32_768
BUSY_MS = 5_000
WAL_PAGES = 1_000
"""Pages after which the writer moves the write-ahead log into the file; only the writer does."""
WAL_KEPT_BYTES = 64 * 1024 * 1024
STATEMENTS = 512
"""Prepared statements kept by the connection: more than there are shapes of statements."""
SCHEMA = Path(__file__).parent / "schema"

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def migrations(folder: Path = SCHEMA) -> list[Path]:
    """The numbered migrations, in order; the number of the last one is the schema's version."""
    found = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    numbers = [int(path.name[:4]) for path in found]
    if numbers != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are numbered from 0001 without a gap: {numbers}")
    return found


VERSION = len(migrations())


def create(path: Path, folder: Path = SCHEMA) -> sqlite3.Connection:
    """A new database with all tables. Raises StoreExists."""
    if path.exists() and path.stat().st_size:
        raise StoreExists(f"{path} exists.")
    connection = _connect(path, "rwc")
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        _settings(connection)
        script = [f"PRAGMA application_id = {APPLICATION_ID};"]
        _migrate(connection, migrations(folder), script)
        make_projections(connection, folder)
    except sqlite3.Error as error:
        connection.close()
        raise classify(error, str(path)) from error
    return connection


def open_writer(path: Path, folder: Path = SCHEMA) -> tuple[sqlite3.Connection, bool]:
    """The one connection that writes, and whether it was migrated just now (so projections must be made again)."""
    if not path.exists():
        raise StoreMissing(f"There is no {path}.")
    try:
        connection = _connect(path, "rw")
    except sqlite3.Error as error:
        raise classify(error, str(path)) from error
    try:
        version = identify(connection, path)
        known = migrations(folder)
        if version > len(known):
            raise StoreNewer(f"{path} has schema {version}; this loom knows {len(known)}.")
        _settings(connection)
        _try_writing(connection, version)
        pending = known[version:]
        if pending:
            _migrate(connection, pending, [])
    except sqlite3.Error as error:
        connection.close()
        raise classify(error, str(path)) from error
    except StoreError:
        connection.close()
        raise
    return connection, bool(pending)


def identify(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's version. Raises StoreForeign when the file is not loom's, StoreCorrupt when it is no database."""
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise classify(error, str(path)) from error
    if application != APPLICATION_ID:
        raise StoreForeign(f"{path} is not a database of loom.")
    return version


def make_projections(connection: sqlite3.Connection, folder: Path = SCHEMA) -> None:
    """Create the projections' tables, triggers and views, inside the open transaction or in one of its own."""
    text = (folder / "projections.sql").read_text(encoding="utf-8")
    for statement in split(text):
        connection.execute(statement)


def split(script: str) -> list[str]:
    """The statements of a script: executescript would commit, so they are run one by one."""
    statements, here = [], ""
    for line in script.splitlines(keepends=True):
        here += line
        if sqlite3.complete_statement(here):
            statements.append(here.strip())
            here = ""
    return statements


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_MS / 1000,
        cached_statements=STATEMENTS,
        check_same_thread=False,
    )


def _settings(connection: sqlite3.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(f"The file system of the home cannot hold a write-ahead log (journal mode {mode}).")
    for setting in (
        "synchronous = FULL",
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {WAL_PAGES}",
        f"journal_size_limit = {WAL_KEPT_BYTES}",
        "temp_store = MEMORY",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {setting}")


def _try_writing(connection: sqlite3.Connection, version: int) -> None:
    """SQLite opens what it cannot write for reading, without a word; only a write tells."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, pending: list[Path], before: list[str]) -> None:
    for path in pending:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in [*before, *split(path.read_text(encoding="utf-8"))]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {int(path.name[:4])}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


# ------------------------------------------------------------------------------------------------------------ errors

_CLASSES: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_IOERR: StoreUnavailable,
    sqlite3.SQLITE_NOMEM: StoreUnavailable,
    sqlite3.SQLITE_READONLY: StoreUnavailable,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailable,
    sqlite3.SQLITE_PERM: StoreUnavailable,
    sqlite3.SQLITE_BUSY: StoreBusy,
    sqlite3.SQLITE_LOCKED: StoreBusy,
    sqlite3.SQLITE_CORRUPT: StoreCorrupt,
    sqlite3.SQLITE_NOTADB: StoreCorrupt,
    sqlite3.SQLITE_CONSTRAINT: StoreConflict,
}


def classify(error: sqlite3.Error, what: str = "state.db") -> StoreError:
    """The error of our tree for one of SQLite's. A defect of our own SQL is raised as it is."""
    extended = getattr(error, "sqlite_errorcode", None)
    if extended is None:
        raise error
    if extended == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return StoreRefused(f"{what} refused a row: {error}.")
    kind = _CLASSES.get(extended & 0xFF)
    if kind is None:
        raise error
    return kind(f"{what}: {error}.")


def guarded(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method whose SQLite errors come out as errors of our tree."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            raise classify(error) from error

    return call
