"""What no import shows: calls that bring the outside into a room that must be pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

BARE = frozenset("__import__ breakpoint compile eval exec globals hash id input locals open print vars".split())
ANYWHERE = frozenset(("__import__", "import_module"))
"""Modules by name, code from text, the disk, the terminal; and what differs from process to process: addresses, hashes."""

MAKES_CODE = ("copying.py", "exec")
"""The kernel makes the code of its copiers from the names of fields, once, when it is imported."""


def outside_calls(folder: Path) -> list[str]:
    """ "file:line name" of every use of such a name in the files of a folder."""
    return [
        f"{path.name}:{line} {name}"
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for line, name in _used(node)
        if (path.name, name) != MAKES_CODE
    ]


def _used(node: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of a name of the lists that is read here."""
    match node:
        case ast.Name(id=name, ctx=ast.Load(), lineno=line) if name in BARE | ANYWHERE:
            yield line, name
        case ast.Attribute(attr=name, lineno=line) if name in ANYWHERE:
            yield line, name
