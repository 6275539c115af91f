"""What a bundle's code may import and call, by its syntax, before any of it runs.

This keeps authors honest about purity (a rule that reads a clock would break replay). It is not a sandbox: whoever writes
a bundle writes code that the coordinator runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

STANDARD = frozenset(
    "__future__ collections collections.abc dataclasses enum functools itertools math operator re string textwrap types "
    "typing".split()
)
OUTPUTS = frozenset({"msgspec"})
"""Beside the standard list, for outputs.py only: the types there become JSON schemas."""
KERNEL = "loom.kernel"
CALLS = frozenset("__import__ breakpoint compile eval exec globals input open vars".split())
"""Built-ins that a pure function has no use for."""


def faults_of(name: str, source: str) -> list[str]:
    """What this module of a bundle may not do, each with its line; empty when all is well."""
    try:
        tree = ast.parse(source, filename=name)
    except SyntaxError as error:
        return [f"{name}:{error.lineno}: is not Python ({error.msg})"]
    allowed = STANDARD | (OUTPUTS if name == "outputs.py" else frozenset())
    return [f"{name}:{line}: {sentence}" for line, sentence in sorted(set(_faults(tree, allowed)))]


def _faults(tree: ast.Module, allowed: frozenset[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, _refusal(alias.name)) for alias in names if not _may(alias.name, allowed))
            case ast.ImportFrom(level=0, module=str(module)) if not _may(module, allowed):
                yield node.lineno, _refusal(module)
            case ast.ImportFrom(level=level) if level > 1:
                yield node.lineno, "imports from outside of the bundle's folder; a bundle is whole by itself"
            case ast.Name(id=called, ctx=ast.Load()) if called in CALLS:
                yield node.lineno, f"uses {called}(); a bundle's functions are pure"


def _may(module: str, allowed: frozenset[str]) -> bool:
    return module in allowed or module == KERNEL or module.startswith(KERNEL + ".")


def _refusal(module: str) -> str:
    if module.startswith("loom.bundles."):
        return f"imports {module}; a bundle imports its own modules as `from .name import …`, and no other bundle"
    return f"imports {module}; allowed are its own modules (`from .name import …`), loom.kernel and: " + " ".join(
        sorted(STANDARD - {"__future__"})
    )
