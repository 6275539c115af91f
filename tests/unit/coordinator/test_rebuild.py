"""Projections are derived: lost, changed or dropped, they come out of the entries again, and the difference is named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from harness.ledger import BUNDLES, Ledger
from loom.coordinator.errors import StoreCorrupt
from loom.coordinator.rebuild import projections, rebuild
from loom.coordinator.store import Store


@pytest.fixture
def path(home: Path) -> Path:
    """A database with some history."""
    path = home / "state.db"
    ledger = Ledger(Store.create(path))
    ledger.create_home()
    for bundle in range(len(BUNDLES)):
        ledger.submit(bundle)
    for pick in range(200):
        ledger.advance(pick * 7)
    ledger.commit()
    ledger.store.close()
    return path


def change(path: Path, *statements: str) -> None:
    other = sqlite3.connect(path)
    for statement in statements:
        other.execute(statement)
    other.commit()
    other.close()


def dump(path: Path) -> list[tuple[str, list[tuple[object, ...]]]]:
    other = sqlite3.connect(path)
    rows = [(name, list(other.execute(f"SELECT * FROM {name}"))) for name in projections()]
    other.close()
    return rows


def test_untouched_projections_are_the_same(path: Path) -> None:
    """Every row is found again, and all entries were read."""
    before = dump(path)
    rebuilt = rebuild(path)
    assert () == rebuilt.different
    assert rebuilt.entries > 50
    assert before == dump(path)


@pytest.mark.parametrize("how", ["DELETE FROM", "DROP TABLE"])
def test_lost_projections_come_back(path: Path, how: str) -> None:
    """Rows or whole tables, with triggers and views."""
    before = dump(path)
    views = ["audit_trail", "open_gates", "task_cost", "agent_chain", "outcome", "usage", "reservation"]
    change(path, *(f"DROP VIEW {view}" for view in views), *(f"{how} {name}" for name in projections()))
    rebuilt = rebuild(path)
    assert "task" in rebuilt.different
    assert before == dump(path)
    with pytest.raises(sqlite3.IntegrityError):
        change(path, "UPDATE decision SET word = 'x'")
    change(path, *(f"SELECT * FROM {view}" for view in views))


def test_a_changed_row_is_named_and_mended(path: Path) -> None:
    """Only the table that was touched differs."""
    before = dump(path)
    change(path, "UPDATE task SET cost = cost + 1 WHERE id = (SELECT max(id) FROM task)")
    assert ("task",) == rebuild(path).different
    assert before == dump(path)


def test_a_changed_entry_is_found(path: Path) -> None:
    """Whoever drops the trigger and rewrites an entry is seen; the projections stay as they were."""
    before = dump(path)
    change(
        path,
        "DROP TRIGGER entry_is_never_changed",
        """UPDATE entry SET body = replace(body, '"ada"', '"eve"') WHERE seq = 0""",
    )
    with pytest.raises(StoreCorrupt, match="Entry 0"):
        rebuild(path)
    assert before == dump(path)
