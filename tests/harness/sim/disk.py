"""Disks that outlive their processes: the coordinator's database, as its last COMMIT left it, and its large texts.

A database in memory that has no open transaction *is* what its last COMMIT left. So its bytes are taken (`serialize`) when
a process starts on them, not after each COMMIT: a crash takes back what was open, as the journal would, and the next process
gets the bytes in a connection of its own.
"""

from __future__ import annotations

import functools
import random
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loom.coordinator.blobs import BlobFiles
from loom.coordinator.entry import Entry
from loom.coordinator.errors import BlobMissing, StoreFull, StoreUnavailable
from loom.coordinator.inbox import SaltedText
from loom.coordinator.merkle import Edge
from loom.coordinator.store import Store
from loom.kernel.events import AttemptGranted
from loom.workers.protocol import attempt_id

Holder = tuple[str, int]
"""(attempt, fence)"""


class Crash(Exception):
    """The process is gone, in the middle of what it did."""


@functools.cache
def empty_database() -> bytes:
    """The bytes of a new database, as a disk would hold them; not in WAL mode, which memory cannot do."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        Store.create(path).close()
        data = bytearray(path.read_bytes())
    data[18:20] = b"\x01\x01"
    return bytes(data)


def connect(data: bytes) -> sqlite3.Connection:
    """A database in memory with these bytes."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(data)
    return connection


class Durable:
    """What is certainly on the disk, noted beside the database: messages that leave the process are held against it."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.granted: set[Holder] = set()
        self.orphans: set[tuple[str, int, str]] = set()
        """(attempt, fence, worker)"""
        self.watch: Callable[[Entry], None] = lambda entry: None

    def learn(self, pending: list[Any]) -> None:
        """What was gathered is committed."""
        for one in pending:
            if not isinstance(one, Entry):
                self.orphans.add(one)
                continue
            self.watch(one)
            if one.key:
                self.keys.add(one.key)
            for event in one.events:
                if isinstance(event, AttemptGranted):
                    self.granted.add((attempt_id(event.spawn, event.attempt), event.fence))


class Disk:
    """The coordinator's. What goes wrong with it is set from outside."""

    def __init__(self, draw: random.Random) -> None:
        self.durable = Durable()
        self.texts: dict[str, tuple[bytes, bytes]] = {}
        """Large texts, as files: id → (salt, bytes)."""
        self.full = False
        self.failing = 0
        """So many COMMITs from now on fail; what they wrote may still come up after a crash."""
        self.crash = ""
        """Where the process dies: "before", "flushed" (rows written, not committed) or "after" the next COMMIT."""
        self.draw = draw
        self.connection = connect(empty_database())
        self.ghost: tuple[bytes, list[Any]] | None = None
        """What a COMMIT that failed had written, until the next one comes through."""

    def start(self) -> sqlite3.Connection:
        """For a new process: what the last COMMIT left; or, now and then, what a COMMIT that failed had written."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        data, ghost = self.connection.serialize(), self.ghost
        self.connection.close()
        if ghost is not None and self.draw.random() < 0.5:
            data, pending = ghost
            self.durable.learn(pending)
        self.ghost = None
        self.connection = connect(data)
        return self.connection


class DiskStore(Store):
    """The real store over the disk's connection; only its COMMIT knows what goes wrong."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._pending: list[Any] = []
        super().__init__(disk.start(), SimFiles(disk))

    def append(self, entry: Entry, edge: Edge, texts: tuple[SaltedText, ...] = ()) -> Edge:
        after = super().append(entry, edge, texts)
        self._pending.append(entry)
        return after

    def orphan(self, **columns: Any) -> None:
        super().orphan(**columns)
        attempt = attempt_id(columns["spawn"], columns["attempt"])
        self._pending.append((attempt, columns["fence"], columns["worker"]))

    def rollback(self) -> None:
        self._pending.clear()
        super().rollback()

    def commit(self) -> None:
        disk = self._disk
        if disk.crash == "before":
            raise Crash
        if disk.full or disk.crash == "flushed":
            self.flush()
            if not self.in_transaction:
                return
            if disk.full:
                raise StoreFull("the disk of this simulation is full")
            raise Crash
        if disk.failing and self._pending:
            self._fail()
        super().commit()
        pending, self._pending = self._pending, []
        if pending:
            disk.ghost = None
            disk.durable.learn(pending)
        if disk.crash == "after":
            raise Crash

    def _fail(self) -> None:
        """An fsync that failed: nobody may count on the bytes, and they may be there all the same after a crash."""
        disk, said = self._disk, list[str]()
        disk.failing -= 1
        copy = connect(disk.connection.serialize())
        disk.connection.set_trace_callback(said.append)
        try:
            self.flush()
        finally:
            disk.connection.set_trace_callback(None)
        for statement, before in zip(said, ["", *said], strict=False):
            # What triggers do is told as comments, and a statement that has triggers may be told twice.
            if not statement.startswith("--") and statement != before:
                copy.execute(statement)
        copy.execute("COMMIT")
        disk.ghost = (copy.serialize(), self._pending)
        copy.close()
        self._pending = []
        raise StoreUnavailable("a COMMIT of this simulation failed")


class SimFiles(BlobFiles):
    """The folder of large texts, on the disk of the simulation."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(Path("/nonexistent"))
        self._texts = disk.texts

    def has(self, identifier: str) -> bool:
        return identifier in self._texts

    def put(self, identifier: str, salt: bytes, data: bytes) -> None:
        self._texts[identifier] = (salt, data)

    def read(self, identifier: str) -> bytes:
        try:
            return self._texts[identifier][1]
        except KeyError:
            raise BlobMissing(f"Text {identifier} is not stored.") from None
