"""Opening: what is not loom's, newer, damaged, missing, read-only or full is a clear error, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.ledger import Ledger
from loom.coordinator import database
from loom.coordinator.database import APPLICATION_ID, PAGE_BYTES, VERSION
from loom.coordinator.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreForeign,
    StoreFull,
    StoreMissing,
    StoreNewer,
    StoreUnavailable,
)
from loom.coordinator.store import Store
from loom.kernel import commands as c


@pytest.fixture
def path(home: Path) -> Path:
    return home / "state.db"


def filled(path: Path) -> Ledger:
    """A store with a few entries."""
    ledger = Ledger(Store.create(path))
    ledger.create_home()
    ledger.submit(0)
    ledger.commit()
    return ledger


def test_the_header_says_whose_it_is(path: Path) -> None:
    """Application, version, page size and the durable settings are as designed."""
    store = Store.create(path)

    def pragma(name: str) -> object:
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (APPLICATION_ID, VERSION, PAGE_BYTES) == (
        pragma("application_id"),
        pragma("user_version"),
        pragma("page_size"),
    )
    assert ("wal", 2) == (pragma("journal_mode"), pragma("synchronous"))
    store.close()


def test_all_tables_are_strict(path: Path) -> None:
    """No table takes a value of another type."""
    store = Store.create(path)
    tables = dict(
        store._connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    )
    assert {"sqlite_schema"} == {name for name, strict in tables.items() if not strict}
    store.close()


def test_a_second_database_is_not_made(path: Path) -> None:
    """What stands is not overwritten."""
    filled(path).store.close()
    with pytest.raises(StoreExists):
        Store.create(path)
    assert 3 == Store.open(path).head().seq


def test_nothing_there(path: Path) -> None:
    """Opening makes no file."""
    with pytest.raises(StoreMissing):
        Store.open(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda path: path.write_bytes(b"this is no database, but a text" * 100), StoreCorrupt),
        (lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 50_000), StoreCorrupt),
        (lambda path: _set(path, "PRAGMA application_id = 7"), StoreForeign),
        (lambda path: _set(path, f"PRAGMA user_version = {VERSION + 1}"), StoreNewer),
    ],
    ids=["no database", "damaged pages", "another program's", "newer"],
)
def test_what_cannot_be_opened_is_left_as_it_is(path: Path, damage: object, error: type[StoreError]) -> None:
    """The error says which, and no byte of the file changed."""
    filled(path).store.close()
    assert callable(damage)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(error) as caught:
        Store.open(path).head()
    assert caught.value.code in str(caught.value)
    assert caught.value.remedy in str(caught.value)
    assert before == path.read_bytes()


def _set(path: Path, statement: str) -> None:
    other = sqlite3.connect(path)
    other.execute(statement)
    other.close()


def test_an_empty_file_is_foreign(path: Path) -> None:
    """SQLite takes an empty file for an empty database; it is not one of ours."""
    path.touch()
    with pytest.raises(StoreForeign):
        Store.open(path)


def test_another_writer_is_named_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that holds a write lock is an error of its own, after a bounded wait."""
    monkeypatch.setattr(database, "BUSY_MS", 50)
    filled(path).store.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        Store.open(path)
    other.execute("ROLLBACK")
    Store.open(path).close()
    other.close()


def test_a_store_of_an_older_version_is_migrated(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward migrations are run in order, the projections are made again, and the entries stay."""
    ledger = filled(path)
    ledger.store.close()
    folder = tmp_path / "schema"
    shutil.copytree(database.SCHEMA, folder)
    (folder / f"{VERSION + 1:04}_more.sql").write_text(
        "-- more\nCREATE TABLE more (a INTEGER) STRICT;\nINSERT INTO more VALUES (1);\n"
    )
    connection, migrated = database.open_writer(path, folder)
    assert migrated
    assert [(1,)] == list(connection.execute("SELECT a FROM more"))
    assert VERSION + 1 == database.identify(connection, path)
    connection.close()
    connection, migrated = database.open_writer(path, folder)
    assert not migrated
    connection.close()
    with pytest.raises(StoreNewer):
        Store.open(path)


def test_a_migration_that_fails_leaves_the_old_version(path: Path, tmp_path: Path) -> None:
    """A migration is one transaction."""
    filled(path).store.close()
    folder = tmp_path / "schema"
    shutil.copytree(database.SCHEMA, folder)
    (folder / f"{VERSION + 1:04}_bad.sql").write_text(
        "CREATE TABLE more (a INTEGER) STRICT;\nINSERT INTO nothing VALUES (1);\n"
    )
    with pytest.raises(sqlite3.OperationalError):
        database.open_writer(path, folder)
    store = Store.open(path)
    assert [] == list(store._connection.execute("SELECT name FROM sqlite_schema WHERE name = 'more'"))
    store.close()


def test_migrations_are_numbered_without_gap(tmp_path: Path) -> None:
    """A missing number is seen before anything is opened."""
    (tmp_path / "0001_a.sql").touch()
    (tmp_path / "0003_b.sql").touch()
    with pytest.raises(ValueError, match="without a gap"):
        database.migrations(tmp_path)


# ------------------------------------------------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of six megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_until_full(ledger: Ledger) -> StoreError:
    """Groups of 64 until one fails; returns its error, after the rollback that core makes."""
    value = "x" * 2_000
    for _ in range(200):
        try:
            for _ in range(64):
                ledger.about_home(c.ChangeSetting("a", value))
            ledger.commit()
        except (StoreFull, StoreUnavailable) as error:
            ledger.rollback()
            return error
    raise AssertionError("the disk never got full")


def test_a_full_disk_takes_the_whole_group_back(small_disk: Path) -> None:
    """What was committed is there, nothing of the failed group is; with space it goes on; a restart sees the same."""
    ballast = small_disk / "ballast"
    ledger = Ledger(Store.create(small_disk / "state.db"))
    ledger.create_home()
    ledger.commit()
    ballast.write_bytes(b"b" * 2_000_000)
    error = fill_until_full(ledger)
    assert isinstance(error, StoreFull | StoreUnavailable)
    assert not ledger.store.in_transaction
    assert ledger.kept.edge == ledger.store.head().edge
    assert 0 == (ledger.kept.edge.size - 2) % 64
    ballast.unlink()
    ledger.about_home(c.ChangeSetting("b", "there is space"))
    ledger.commit()
    ledger.store.close()
    store = Store.open(small_disk / "state.db")
    assert ledger.kept.edge == store.head().edge
    assert [("ok",)] == list(store._connection.execute("PRAGMA integrity_check"))
    store.close()


def test_a_full_database_takes_the_whole_group_back(path: Path) -> None:
    """The same through SQLite's own limit, on any machine."""
    ledger = Ledger(Store.create(path))
    ledger.create_home()
    ledger.commit()
    pages = ledger.store._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger.store._connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    error = fill_until_full(ledger)
    assert isinstance(error, StoreFull)
    assert ledger.kept.edge == ledger.store.head().edge
    ledger.store._connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    ledger.about_home(c.ChangeSetting("b", "there is space"))
    ledger.commit()
    assert ledger.kept.edge == ledger.store.head().edge
    ledger.store.close()


def test_a_read_only_home_is_named(small_disk: Path) -> None:
    """A file system that became read-only: a clear error at the start, and the file as it was."""
    filled(small_disk / "state.db").store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreUnavailable, match="read"):
        Store.open(small_disk / "state.db")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    Store.open(small_disk / "state.db").close()
