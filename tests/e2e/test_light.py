"""The quick commands stay quick: what they load, and what they say about a home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import Cli, eventually

HEAVY = frozenset(
    "pydantic anthropic openai mcp docker jinja2 cryptography structlog zmq platformdirs tomlkit rich.console rich.table "
    "loom.kernel loom.bundles loom.coordinator.client loom.workers.harnesses loom.workers.providers".split()
)
"""What neither `loom --version` nor `loom status` may load."""


def loaded(loom: Cli, cwd: Path, *args: str) -> set[str]:
    """The modules that a command line loads."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *loom.argv(*args)[1:]],
        cwd=cwd,
        env=loom.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_version_loads_no_command_line(loom: Cli) -> None:
    """`loom --version` answers before click is there."""
    modules = loaded(loom, loom.root, "--version")
    assert set() == modules & (HEAVY | {"click", "rich_click", "msgspec", "asyncio"})


@pytest.mark.slow
def test_status_loads_what_it_reads_with(loom: Cli, tmp_path: Path) -> None:
    """`loom status` of a real home loads none of the heavy libraries, and says what is there."""
    (tmp_path / ".loom").mkdir()
    assert 0 == loom("daemon", "start").code
    assert set() == loaded(loom, tmp_path, "status") & (HEAVY | {"click"})
    found = loom("status", "--json").json
    assert (0, True) == (found["tasks"], found["coordinator"]["pid"] > 0)
    eventually(lambda: loom("status", "--json").json["workers"] == 2, what="two workers")
    assert 0 == loom("daemon", "stop", "--workers").code
    found = loom("status", "--json").json
    assert (0, 0) == (found["coordinator"]["pid"], found["workers"])


@pytest.mark.slow
def test_doctor_mends_the_projections(loom: Cli, tmp_path: Path) -> None:
    """Rows that are not what the entries say are named and made again; then they are the same; a broken entry is red."""
    import sqlite3

    (tmp_path / ".loom").mkdir()
    assert 0 == loom("daemon", "start").code
    assert 0 == loom("daemon", "stop", "--workers").code
    database = tmp_path / ".loom" / "state.db"
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM principal")
    connection.close()
    assert ("warn", 0) == projections(loom)
    assert ("good", 0) == projections(loom)
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TRIGGER entry_is_never_changed")
        connection.execute("UPDATE entry SET body = replace(body, 'HomeCreated', 'HomeCreatex') WHERE seq = 0")
    connection.close()
    done = loom("doctor", "--json")
    red = {line["name"] for line in done.json["lines"] if line["state"] == "bad"}
    assert (4, True) == (done.code, "ledger" in red), done


def projections(loom: Cli) -> tuple[str, int]:
    done = loom("doctor", "--rebuild", "--json")
    return next(line["state"] for line in done.json["lines"] if line["name"] == "projections"), done.code


def test_doctor_without_a_home(loom: Cli) -> None:
    """It looks at the machine, makes nothing, and every line that is not good has a mend."""
    done = loom("doctor", "--json")
    assert done.code in (0, 4)
    assert {"loom", "SQLite", "git", "disk", "sandbox", "models", "home"} <= {
        line["name"] for line in done.json["lines"]
    }
    assert [] == [line for line in done.json["lines"] if line["state"] != "good" and not line["mend"]]
    assert not (loom.root / "user" / "data").exists()


def test_help_names_every_command(loom: Cli) -> None:
    """`loom --help` lists the commands under their heads, and each has words of its own."""
    done = loom("--help")
    for (
        name
    ) in "run demo status tasks show log diff gates answer pause resume cancel retry replay projects models".split():
        assert name in done.out
    for command in ("run", "answer", "projects", "secrets", "doctor"):
        assert "Usage" in loom(command, "--help").out


def test_shared_budgets_are_set_and_shown(loom: Cli, tmp_path: Path) -> None:
    """A budget is in force as soon as it is set, is shown with what is spent of it, and goes with 0; nonsense is exit 2."""
    (tmp_path / ".loom").mkdir()
    assert 0 == loom("daemon", "start").code
    assert {"budgets": []} == loom("budgets", "list", "--json").json
    assert 0 == loom("budgets", "set", "home", "--cost", "12.50", "--tokens", "1000").code
    shown = {(row["scope"], row["budget"]): row["cap"] for row in loom("budgets", "list", "--json").json["budgets"]}
    assert {("home", "cost"): 12_500_000, ("home", "tokens"): 1_000} == shown
    assert "$12.50" in loom("budgets", "list").out
    assert 0 == loom("budgets", "set", "home", "--tokens", "0").code
    assert [12_500_000] == [row["cap"] for row in loom("budgets", "list", "--json").json["budgets"]]
    for wrong in (("home", "--cost", "much"), ("home",), ("nobody", "--cost", "1")):
        assert 2 == loom("budgets", "set", *wrong).code
    assert 0 == loom("daemon", "stop", "--workers").code
