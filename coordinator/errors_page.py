"""Makes `docs/errors.md` from the classes: `python -m loom.coordinator.errors_page > docs/errors.md`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys

import loom.coordinator
from loom.coordinator.errors import LoomError, all_errors

_HEAD = """# Errors

Every error that loom's coordinator reports has a stable code. The message says what happened and to what; the last column is
what to do. A command that is refused by the process itself (a stale answer, a task that is done) is no error in this sense:
it is answered with a word such as `gate_closed` and a sentence, logged in the table `denial`, and nothing changes.

This page is made from the classes (`python -m loom.coordinator.errors_page`); a test holds both together.

| code | name | what happened | what to do |
|---|---|---|---|
"""


def import_all() -> None:
    """Load every module of the package, so that every class of the tree is known."""
    for found in pkgutil.walk_packages(loom.coordinator.__path__, "loom.coordinator."):
        importlib.import_module(found.name)


def page() -> str:
    """The page's text."""
    import_all()
    return _HEAD + "".join(_row(error) for error in all_errors())


def _row(error: type[LoomError]) -> str:
    story = " ".join((inspect.getdoc(error) or "").split())
    return f"| {error.code} | {error.__name__} | {story} | {error.mend or 'What the sentence names.'} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
