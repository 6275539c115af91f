"""The log of a home as a prover reads it: one snapshot, over a read-only connection; a running coordinator is not disturbed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import msgspec

from loom.coordinator import database, merkle
from loom.coordinator.blobs import BlobFiles
from loom.coordinator.errors import BlobMissing, StoreCorrupt
from loom.coordinator.home import Home
from loom.coordinator.statements import load

READ = load("read")


class LogReader:
    """Entries, tree, signed heads and texts as they are at one moment. Raises errors of StoreError's tree."""

    def __init__(self, home: Home) -> None:
        self._connection = open_to_read(home)
        self._files = BlobFiles(home.blobs)
        try:
            database.identify(self._connection, home.database)
            self._connection.execute("BEGIN")
            self.size, self._hashes = self._execute("edge")[0]
        except sqlite3.Error as error:
            raise database.classify(error, str(home.database)) from error

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def edge(self) -> merkle.Edge:
        """The right edge, as it is stored."""
        return merkle.Edge(self.size, tuple(bytes.fromhex(each) for each in msgspec.json.decode(self._hashes)))

    def entries(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, stored bytes, stored leaf) of every entry."""
        for seq, _, body, leaf in self._connection.execute(READ["all_entries"], (0,)):
            yield seq, body.encode(), leaf

    def task_entries(self, task: str) -> list[tuple[int, bytes]]:
        """(seq, stored bytes) of a task's entries."""
        (row,) = self._execute("task_id", (task,)) or [None]
        return [] if row is None else self._bodies("task_entries", (row[0], 0))

    def home_entries(self) -> list[tuple[int, bytes]]:
        """(seq, stored bytes) of the entries about the home."""
        return self._bodies("home_entries")

    def origin(self) -> str:
        """The log's name."""
        found = self._execute("origin")
        return str(found[0][0]) if found else ""

    def checkpoints(self) -> list[tuple[int, int, str]]:
        """(size, ms UTC, note) of every signed head, smallest first."""
        return self._execute("checkpoints")

    def checkpoint_from(self, size: int) -> tuple[int, int, str] | None:
        """The smallest signed head that covers so many entries."""
        found = self._execute("checkpoint_from", (size,))
        return found[0] if found else None

    def node(self, level: int, place: int) -> bytes:
        """merkle.Fetch over this log."""
        if level >= merkle.STORED_LEVEL:
            found = self._execute("node", (level, place))
            if not found:
                raise StoreCorrupt(f"Node {place} of level {level} of the log is missing.")
            return bytes(found[0][0])
        first = place << level
        return merkle.subtree([bytes(row[0]) for row in self._execute("leaves", (first, first + (1 << level)))])

    def text(self, identifier: str) -> tuple[bytes, bytes]:
        """(salt, bytes) of a text. Raises BlobMissing."""
        found = self._execute("blob", (bytes.fromhex(identifier),))
        if not found or found[0][0] is None:
            raise BlobMissing(f"Text {identifier} is not stored.")
        salt, data, _ = found[0]
        return bytes(salt), self._files.read(identifier) if data is None else bytes(data)

    def archive(self, digest: str) -> bytes:
        """The archive of a bundle that decided here. Raises BlobMissing."""
        found = self._execute("bundle", (digest,))
        if not found or found[0][0] is None:
            raise BlobMissing(f"The bundle {digest} is not kept.")
        return self.text(msgspec.json.decode(found[0][0])["blob"])[1]

    def _bodies(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[int, bytes]]:
        return [(seq, body.encode()) for seq, body in self._execute(query, values)]

    def _execute(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(READ[query], values).fetchall()
        except sqlite3.Error as error:
            raise database.classify(error) from error


def open_to_read(home: Home) -> sqlite3.Connection:
    """In a directory that cannot be written, a database without a write-ahead log is read as what nobody changes."""
    path = home.require().database
    address = f"{path.absolute().as_uri()}?mode=ro"
    frozen = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    try:
        return sqlite3.connect(address + ("&immutable=1" if frozen else ""), uri=True)
    except sqlite3.Error as error:
        raise database.classify(error, str(path)) from error
