"""What no import shows: calls that bring the outside into a room that must be pure."""

from __future__ import annotations

import ast
from pathlib import Path

BARE = frozenset("__import__ breakpoint compile eval exec globals hash id input locals open print vars".split())
ANYWHERE = frozenset(("__import__", "import_module"))
"""Modules by name, code from text, the disk, the terminal; and what differs from process to process: addresses, hashes."""

MAKES_CODE = ("copying.py", "exec")
"""The kernel makes the code of its copiers from the names of fields, once, when it is imported."""


def outside_calls(folder: Path) -> list[str]:
    """ "file:line name" of every use of such a name in the files of a folder."""
    return [
        f"{path.name}:{node.lineno} {name}"
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (name := _used(node)) and (path.name, name) != MAKES_CODE
    ]


def _used(node: ast.AST) -> str:
    """A name of the list that is read here, or ""."""
    match node:
        case ast.Name(id=name, ctx=ast.Load()) if name in BARE | ANYWHERE:
            return name
        case ast.Attribute(attr=name) if name in ANYWHERE:
            return name
    return ""
