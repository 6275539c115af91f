"""Codes of errors are stable, unique and documented, both ways."""

from __future__ import annotations

import inspect
from pathlib import Path

from loom.coordinator import errors_page
from loom.coordinator.errors import HomeLocked, LoomError, StoreFull, all_errors

PAGE = Path(__file__).resolve().parents[3] / "docs" / "errors.md"


def test_the_page_is_what_the_classes_say() -> None:
    """docs/errors.md holds every code with its story and mend, and no other."""
    assert errors_page.page() == PAGE.read_text(encoding="utf-8")


def test_codes_are_unique_and_complete() -> None:
    """One code, one class; each says what happened and how to mend it, in its own words."""
    errors_page.import_all()
    found = list(all_errors())
    assert len(found) == len({error.code for error in found})
    for error in found:
        assert error.code[0] == "L"
        assert error.code[1:].isdecimal()
        assert 4 == len(error.code)
        assert error.mend.endswith(".") or "sentence" in (inspect.getdoc(error) or ""), error
        assert "code" in vars(error)
        assert (inspect.getdoc(error) or "").endswith("."), error


def test_the_drawn_tree_is_the_tree() -> None:
    """The picture on top of errors.py names each class of that file beside its code."""
    from loom.coordinator import errors

    picture = (errors.__doc__ or "").replace("─", " ").replace("│", " ")
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, LoomError) and error.code:
            assert any(name in line.split() and error.code in line.split() for line in picture.splitlines()), name


def test_the_message_has_code_thing_and_mend() -> None:
    """What a person reads is whole; a case that knows better says its own mend."""
    assert "L015: /x is full. Free space on that disk; loom goes on by itself." == str(StoreFull("/x is full."))
    assert "L015: /x is full. Wait." == str(StoreFull("/x is full.", "Wait."))
    assert 7 == HomeLocked("held", 7).pid
