"""docs/states.md says what the machine does."""

from __future__ import annotations

import typing
from pathlib import Path

from harness.states_page import WHY, page
from loom.kernel.commands import Command
from loom.kernel.events import Event
from loom.kernel.gates import OFFERS
from loom.kernel.values import ParkCode

PAGE = Path(__file__).resolve().parents[3] / "docs" / "states.md"


def test_the_page_is_current() -> None:
    """The stored page is the one that the tables and plays give now: `cd tests && python -m harness.states_page > ../docs/states.md`."""
    assert page() == PAGE.read_text(encoding="utf-8")


def test_nothing_is_left_out() -> None:
    """Every command, every event and every reason to park stands on the page."""
    text = page()
    missing = [
        kind.__name__
        for kind in (*typing.get_args(Command), *typing.get_args(Event))
        if f"**{kind.__name__}**" not in text
    ]
    assert [] == missing
    assert set(ParkCode) == set(OFFERS) == set(WHY)
