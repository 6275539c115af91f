"""A read-only connection to `state.db` through aiosqlite, and the texts that rows name. The writer is never waited for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from loom.coordinator import database
from loom.coordinator.blobs import BlobFiles
from loom.coordinator.errors import BlobMissing, StoreForeign, StoreMissing, StoreNewer
from loom.coordinator.statements import load

SQL = load("queries") | load("spent")
MAX_SHOWN_BYTES = 1024 * 1024
"""Of a longer text, this much is shown; `text(id)` gives the whole."""
Row = dict[str, Any]


class Reader:
    """Rows as dicts, JSON columns as values, texts as strings. One statement is one hop to the connection's thread."""

    def __init__(self, connection: aiosqlite.Connection, files: BlobFiles) -> None:
        self._connection = connection
        self._files = files
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """All statements inside see one state of the database."""
        async with self._turn:
            await self._connection.execute("BEGIN")
            try:
                yield
            finally:
                await self._connection.execute("ROLLBACK")

    async def rows(self, name: str, **values: Any) -> list[Row]:
        """The rows of one named query."""
        try:
            cursor = await self._connection.execute(SQL[name], values)
            names = [column[0] for column in cursor.description]
            found = await cursor.fetchall()
            await cursor.close()
        except sqlite3.Error as error:
            raise database.classify(error) from error
        return [dict(zip(names, row, strict=True)) for row in found]

    async def row(self, name: str, **values: Any) -> Row | None:
        """The first row, if there is one."""
        found = await self.rows(name, **values)
        return found[0] if found else None

    async def read_text(self, identifier: str) -> bytes:
        """The bytes of a stored text. Raises BlobMissing."""
        try:
            key = bytes.fromhex(identifier)
        except ValueError:
            raise BlobMissing(f"{identifier[:80]!r} is no id of a text.") from None
        row = await self.row("blob", id=key)
        if row is None or row["forgotten"]:
            raise BlobMissing(f"Text {identifier} is not stored.")
        if row["data"] is None:
            return await asyncio.to_thread(self._files.read, identifier)
        return bytes(row["data"])

    async def show(self, column: str | None) -> str:
        """What a text column says, for people: "" for none, the beginning of a very long one, a note for a missing one."""
        if column is None:
            return ""
        text = msgspec.json.decode(column)
        if not text.get("blob"):
            return str(text.get("value", ""))
        try:
            data = await self.read_text(text["blob"])
        except BlobMissing:
            return f"[text {text['blob']} is not stored any more]"
        if len(data) > MAX_SHOWN_BYTES:
            rest = len(data) - MAX_SHOWN_BYTES
            return data[:MAX_SHOWN_BYTES].decode(errors="replace") + f"\n[… {rest} more bytes in text {text['blob']}]"
        return data.decode(errors="replace")

    async def unfold(self, row: Row, *, texts: tuple[str, ...] = (), values: tuple[str, ...] = ()) -> Row:
        """The row with its text columns shown and its JSON columns decoded."""
        for name in texts:
            row[name] = await self.show(row[name])
        for name in values:
            row[name] = None if row[name] is None else msgspec.json.decode(row[name])
        return row

    async def close(self) -> None:
        """Close the connection and end its thread."""
        await self._connection.close()


async def open_reader(path: Path, blobs: Path | None = None) -> Reader:
    """A reader of an existing database. Raises StoreMissing, StoreForeign, StoreNewer, StoreCorrupt, StoreUnavailable."""
    address, quiet = _look(path)
    files = BlobFiles(blobs or path.parent / "blobs")
    try:
        return Reader(await _connect(path, f"{address}?mode=ro"), files)
    except sqlite3.OperationalError as error:
        if not quiet:
            raise database.classify(error, str(path)) from error
    except sqlite3.Error as error:
        raise database.classify(error, str(path)) from error
    try:  # a read-only directory without a write-ahead log: nobody writes
        return Reader(await _connect(path, f"{address}?mode=ro&immutable=1"), files)
    except sqlite3.Error as error:
        raise database.classify(error, str(path)) from error


def _look(path: Path) -> tuple[str, bool]:
    """The database's address, and whether it has no write-ahead log."""
    if not path.exists():
        raise StoreMissing(f"There is no {path}.")
    return path.absolute().as_uri(), not path.with_name(path.name + "-wal").exists()


async def _connect(path: Path, address: str) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(address, uri=True, isolation_level=None)
    try:
        await connection.execute("PRAGMA query_only = ON")
        await connection.execute(f"PRAGMA busy_timeout = {database.BUSY_MS}")
        application = await _pragma(connection, "application_id")
        version = await _pragma(connection, "user_version")
        if application != database.APPLICATION_ID:
            raise StoreForeign(f"{path} is not a database of loom.")
        if version > database.VERSION:
            raise StoreNewer(f"{path} has schema {version}; this loom knows {database.VERSION}.")
    except BaseException:
        await connection.close()
        raise
    return connection


async def _pragma(connection: aiosqlite.Connection, name: str) -> int:
    cursor = await connection.execute(f"PRAGMA {name}")
    row = await cursor.fetchone()
    await cursor.close()
    return int(row[0]) if row else 0
