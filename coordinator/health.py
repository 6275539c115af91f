"""How a home is: looked at from outside, read-only, without its coordinator. For `loom doctor`."""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loom.coordinator import database, merkle
from loom.coordinator.home import Home
from loom.coordinator.proof.reading import open_to_read
from loom.coordinator.rebuild import Rebuilt, rebuild

SYNCS = 8
"""How often the disk is asked to keep something."""
HONEST_MS = 0.02
"""A disk that says sooner that it has written has not: no storage is that fast."""
WAL_RESET_MENDED = (3, 51, 3)
"""SQLite below this can lose a write-ahead log when two connections checkpoint at once; only our writer does."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What reading the whole log found. broken: the first entry whose bytes are not what was hashed (-1: none)."""

    entries: int
    schema: int
    newest: int
    complaint: str
    broken: int
    root_agrees: bool


def sqlite_version() -> tuple[int, int, int]:
    """The SQLite that this Python uses."""
    return sqlite3.sqlite_version_info


def sync_ms(folder: Path) -> float:
    """Median milliseconds that the disk takes to keep 4 KiB. Raises OSError."""
    spans = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".loom-sync-") as file:
        for _ in range(SYNCS):
            file.write(os.urandom(4096))
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            spans.append((time.perf_counter() - begun) * 1000)
    return statistics.median(spans)


def read_ledger(home: Home) -> Ledger:
    """Every leaf hashed again, and the tree's edge made from them. Raises StoreError's tree."""
    path = home.database
    try:
        with closing(open_to_read(home)) as connection:
            schema = database.identify(connection, path)
            complaint = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            edge, broken = merkle.Edge(), -1
            for seq, body, leaf in connection.execute("SELECT seq, body, leaf FROM entry ORDER BY seq"):
                if broken < 0 and (merkle.leaf_hash(body.encode()) != leaf or seq != edge.size):
                    broken = seq
                edge = merkle.append(edge, leaf)
            size, hashes = connection.execute("SELECT size, hashes FROM edge").fetchone()
    except sqlite3.Error as error:
        raise database.classify(error, str(path)) from error
    agrees = size == edge.size and msgspec.json.decode(hashes) == [each.hex() for each in edge.hashes]
    return Ledger(edge.size, schema, database.VERSION, "" if complaint == "ok" else complaint, broken, agrees)


def rebuild_home(home: Home) -> Rebuilt:
    """Makes the projections again from the entries, as the home's only writer. Raises HomeLocked, StoreError's tree."""
    with home.lock():
        return rebuild(home.database)
