"""Which checks are found by files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.repositories import write
from loom.workers.discovery import QUIET, Plan, look, plans

UNIT = "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n"
BARE = "def test_a():\n    assert True\n"
PYTEST = ("-m", "pytest", *QUIET)
ALONE = (*PYTEST, "-c", os.devnull, "--rootdir=.")


def discover(start: str, top: str) -> tuple[str, ...]:
    return ("-m", "unittest", "discover", "-s", start, "-t", top)


@pytest.mark.parametrize(
    ("files", "commands"),
    [
        ({"tests/test_a.py": BARE}, (ALONE,)),
        ({"tests/test_a.py": UNIT, "tests/conftest.py": ""}, (ALONE,)),
        ({"tests/test_a.py": UNIT + "import pytest\n"}, (ALONE,)),
        ({"tests/test_a.py": "class TestA:\n    def test(self): pass\n"}, (ALONE,)),
        ({"tests/a_test.py": BARE}, (ALONE,)),
        ({"tests/test_a.py": UNIT, "pyproject.toml": "[tool.pytest.ini_options]\naddopts='-v'\n"}, (PYTEST,)),
        ({"tests/test_a.py": UNIT, "setup.cfg": "[tool:pytest]\n"}, (PYTEST,)),
        ({"tests/test_a.py": UNIT, "pytest.ini": ""}, (PYTEST,)),
        ({"test_a.py": UNIT}, (discover(".", "."),)),
        ({"tests/test_a.py": UNIT}, (discover("tests", "tests"),)),
        ({"tests/test_a.py": UNIT, "tests/__init__.py": ""}, (discover("tests", "."),)),
        ({"p/__init__.py": "", "p/tests/__init__.py": "", "p/tests/test_a.py": UNIT}, (discover("p/tests", "."),)),
        (
            {
                "p/__init__.py": "",
                "p/a/__init__.py": "",
                "p/a/test_a.py": UNIT,
                "p/b/__init__.py": "",
                "p/b/test_b.py": UNIT,
            },
            (discover("p", "."),),
        ),
        ({"test_a.py": UNIT, "tests/test_b.py": UNIT}, (discover(".", "."), discover("tests", "tests"))),
        ({".venv/test_a.py": BARE, "env/pyvenv.cfg": "", "env/test_a.py": BARE, "node_modules/test_a.py": BARE}, ()),
        ({"testing.py": "x = 1\n", "a.py": ""}, ()),
    ],
)
def test_tests(tmp_path: Path, files: dict[str | bytes, str | bytes], commands: tuple[tuple[str, ...], ...]) -> None:
    """pytest when something needs it, else unittest with the right roots, else skipped with a reason."""
    write(tmp_path, files)
    plan = plans(tmp_path)[0]
    assert ("test", commands) == (plan.name, plan.commands)
    assert bool(plan.reason) is not bool(commands)


@pytest.mark.parametrize(
    ("files", "lint", "typecheck"),
    [
        ({}, (), ()),
        ({"pyproject.toml": "[tool.ruff]\nline-length = 9\n"}, (("-m", "ruff", "check", "--no-cache", "."),), ()),
        ({"ruff.toml": ""}, (("-m", "ruff", "check", "--no-cache", "."),), ()),
        ({"mypy.ini": "[mypy]\n"}, (), (("-m", "mypy", "--cache-dir=/dev/null", "."),)),
        ({"setup.cfg": "[mypy]\nfiles = p\n"}, (), (("-m", "mypy", "--cache-dir=/dev/null"),)),
        ({"pyproject.toml": "[tool.mypy]\npackages = ['p']\n"}, (), (("-m", "mypy", "--cache-dir=/dev/null"),)),
        ({"pyproject.toml": "not [ toml"}, (), ()),
    ],
)
def test_lint_and_types(
    tmp_path: Path,
    files: dict[str | bytes, str | bytes],
    lint: tuple[tuple[str, ...], ...],
    typecheck: tuple[tuple[str, ...], ...],
) -> None:
    """ruff and mypy only where they are configured."""
    write(tmp_path, files)
    assert (lint, typecheck) == tuple(plan.commands for plan in plans(tmp_path)[1:])


def test_what_is_not_installed_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured tool that is missing beside loom is skipped with the reason, never passed."""
    write(tmp_path, {"ruff.toml": ""})
    monkeypatch.setattr("loom.workers.discovery._available", lambda module: False)
    assert Plan("lint", reason="ruff is configured, but not installed beside loom") == plans(tmp_path)[1]


def test_source_layout_and_links(tmp_path: Path) -> None:
    """src/ is found when code lies in it; a symlink out of the tree is not followed."""
    assert "" == look(tmp_path).source_path
    write(tmp_path, {"src/p/__init__.py": ""})
    (tmp_path / "tests").symlink_to("/usr/lib")
    (tmp_path / "test_link.py").symlink_to("/etc/passwd")
    assert ("src", ()) == (look(tmp_path).source_path, look(tmp_path).tests)
