"""Which checks a tree has, found by its files; their command lines are loom's own.

    test        `python -m pytest -q` when something there needs pytest (a conftest.py, a configuration, a test file that
                imports it or has bare test functions), else `python -m unittest discover` for each root of test modules
    lint        `python -m ruff check` when ruff is configured there and available here
    typecheck   `python -m mypy` when mypy is configured there and available here

A check that is not found is planned as skipped, with the reason. Only names and texts are looked at: nothing is imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tomllib
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path

MAX_SEEN = 50_000
"""Directory entries looked at."""
MAX_ROOTS = 8
"""Roots of unittest modules that are run."""
MAX_READ = 256 * 1024
"""Bytes read of one file."""
LEFT_OUT = frozenset({"build", "dist", "node_modules", "site-packages", "venv", "__pycache__"})

STARTUP = ("sitecustomize", "usercustomize")
"""Modules that the interpreter itself runs before anything else."""
PARTS = {
    "pytest": ("_pytest", "pluggy", "iniconfig", "packaging", "pygments"),
    "mypy": ("mypyc", "mypy_extensions", "typing_extensions", "pathspec"),
}
"""What a tool imports of other installed packages."""

QUIET = ("-q", "--verbosity=-1")
"""`-q`, and exactly as quiet whatever the project's own options add: the last line must name the number of tests."""

_NEEDS_PYTEST = re.compile(
    r"^\s*(?:import|from)\s+pytest\b|^(?:async )?def test|^class Test\w*(?:\(\s*(?:object)?\s*\))?:", re.MULTILINE
)
_UNITTEST = re.compile(r"\bunittest\b|\bTestCase\b")


@dataclass(frozen=True, slots=True)
class Plan:
    """One check of a tree. `commands`: argument lists after the interpreter, run in order; empty: skipped for `reason`."""

    name: str
    commands: tuple[tuple[str, ...], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """What was seen of a tree. Paths are relative to it."""

    tests: tuple[Path, ...]
    packages: frozenset[Path]
    conftest: bool
    pyproject: dict[str, object]
    source_path: str
    """"src" when importable code lies there, else "" ."""


def look(tree: Path) -> Layout:
    """Walks the tree, without hidden directories, caches and environments, and without following symlinks."""
    tests: list[Path] = []
    packages: set[Path] = set()
    conftest, seen = False, 0
    for folder, names, files in os.walk(tree):
        here = Path(folder).relative_to(tree)
        names[:] = sorted(
            name for name in names if not name.startswith(".") and name not in LEFT_OUT and not _is_env(folder, name)
        )
        seen += len(names) + len(files)
        if seen > MAX_SEEN:
            break
        if "__init__.py" in files:
            packages.add(here)
        conftest = conftest or "conftest.py" in files
        tests.extend(
            here / name for name in sorted(files) if _is_test(name) and not os.path.islink(os.path.join(folder, name))
        )
    return Layout(
        tests=tuple(tests),
        packages=frozenset(packages),
        conftest=conftest,
        pyproject=_pyproject(tree),
        source_path="src" if _has_source(tree) else "",
    )


def _is_env(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


def _is_test(name: str) -> bool:
    return name.endswith(".py") and (name.startswith("test") or name.endswith("_test.py"))


def _has_source(tree: Path) -> bool:
    source = tree / "src"
    if not source.is_dir() or source.is_symlink() or (source / "__init__.py").exists():
        return False
    return any(each.suffix == ".py" or (each.is_dir() and any(each.glob("*.py"))) for each in source.iterdir())


def plans(tree: Path) -> tuple[Plan, ...]:
    """The three checks of a tree, found or skipped."""
    layout = look(tree)
    return (_test(tree, layout), _lint(tree, layout), _typecheck(tree, layout))


def _test(tree: Path, layout: Layout) -> Plan:
    texts = {path: _text(tree / path) for path in layout.tests}
    configured = _pytest_configured(tree, layout)
    if configured or layout.conftest or any(_NEEDS_PYTEST.search(text) for text in texts.values()):
        if not texts and not configured:
            return Plan("test", reason="no test files were found")
        # Without a configuration here, pytest would go on looking for one in the directories above.
        alone = () if configured else ("-c", os.devnull, "--rootdir=.")
        return Plan("test", commands=(("-m", "pytest", *QUIET, *alone),))
    modules = [path for path, text in texts.items() if path.name.startswith("test") and _UNITTEST.search(text)]
    if not modules:
        return Plan("test", reason="no test files were found")
    roots = _roots(modules, layout.packages)
    if len(roots) > MAX_ROOTS:
        return Plan(
            "test",
            reason=f"test modules have {len(roots)} roots, more than {MAX_ROOTS}; name a test command in loom.toml",
        )
    return Plan("test", commands=tuple(_discover(start, top) for start, top in roots))


def _discover(start: Path, top: Path) -> tuple[str, ...]:
    return ("-m", "unittest", "discover", "-s", str(start), "-t", str(top))


def _roots(modules: list[Path], packages: frozenset[Path]) -> list[tuple[Path, Path]]:
    """(start, top-level) directories for unittest: top is the nearest directory above a module that is no package, start
    the deepest one that holds all test modules of that top."""
    groups: dict[Path, list[Path]] = {}
    for module in modules:
        top = module.parent
        while top in packages and top != Path("."):
            top = top.parent
        groups.setdefault(top, []).append(module.parent)
    return [
        (Path(os.path.commonpath(folders)) if len(set(folders)) > 1 else folders[0], top)
        for top, folders in sorted(groups.items())
    ]


def _pytest_configured(tree: Path, layout: Layout) -> bool:
    return (
        any((tree / name).is_file() for name in ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml"))
        or bool(_tool(layout, "pytest"))
        or _ini_has(tree / "tox.ini", "pytest")
        or _ini_has(tree / "setup.cfg", "tool:pytest")
    )


def _lint(tree: Path, layout: Layout) -> Plan:
    if not (_tool(layout, "ruff") or any((tree / name).is_file() for name in ("ruff.toml", ".ruff.toml"))):
        return Plan("lint", reason="no linter that loom knows (ruff) is configured")
    if not _available("ruff"):
        return Plan("lint", reason="ruff is configured, but not installed beside loom")
    return Plan("lint", commands=(("-m", "ruff", "check", "--no-cache", "."),))


def _typecheck(tree: Path, layout: Layout) -> Plan:
    settings = _tool(layout, "mypy")
    inis = [(tree / "mypy.ini", "mypy"), (tree / ".mypy.ini", "mypy"), (tree / "setup.cfg", "mypy")]
    found = next((_ini(path, section) for path, section in inis if _ini_has(path, section)), None)
    if not settings and found is None:
        return Plan("typecheck", reason="no type checker that loom knows (mypy) is configured")
    if not _available("mypy"):
        return Plan("typecheck", reason="mypy is configured, but not installed beside loom")
    named = {"files", "packages", "modules", "mypy_path"} & {*settings, *(found or {})} - {"mypy_path"}
    return Plan("typecheck", commands=(("-m", "mypy", f"--cache-dir={os.devnull}", *(() if named else (".",))),))


def in_the_way(tree: Path, tool: str) -> str:
    """What of the tree would run in the place of `tool` (or before it), as a sentence; "" when nothing would.

    The tests need the tree on Python's path, and what stands there goes before the standard library and installed packages.
    """
    names = {tool, *STARTUP, *(("unittest",) if tool == "pytest" else ()), *PARTS.get(tool, ())}
    for folder, where in ((tree, "at the root"), (tree / "src", "under src")):
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            name, _, ending = entry.name.partition(".")
            module = ending.rpartition(".")[2] in ("py", "pyc", "so", "pyd")
            if name in names and (module or (not ending and any(entry.glob("__init__.*")))):
                return f"{entry.name} {where} stands in the way of the tool {tool}"
    return ""


def _available(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _pyproject(tree: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_text(tree / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return {}


def _tool(layout: Layout, name: str) -> dict[str, object]:
    tools = layout.pyproject.get("tool")
    found = tools.get(name) if isinstance(tools, dict) else None
    return found if isinstance(found, dict) else {}


def _ini(path: Path, section: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_text(path))
    except ConfigError:
        return {}
    return dict(parser[section]) if parser.has_section(section) else {}


def _ini_has(path: Path, section: str) -> bool:
    return re.search(rf"^\[{re.escape(section)}\]", _text(path), re.MULTILINE) is not None


def _text(path: Path) -> str:
    """The beginning of a regular file as text, "" when there is none."""
    if not path.is_file() or path.is_symlink():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(MAX_READ).decode("utf-8", "replace")
    except OSError:
        return ""
