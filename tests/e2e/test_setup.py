"""Settings, models and secrets through the command line: what is set is shown with its origin, and used."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import REPLIES, Cli

pytestmark = pytest.mark.needs("git")


def test_a_home_can_be_made_before_the_first_task(loom: Cli, project: Path) -> None:
    """`loom init` makes a private directory that ignores itself, and no database."""
    assert 0 == loom("init", cwd=project).code
    home = project / ".loom"
    assert (0o700, "*\n", False) == (
        home.stat().st_mode & 0o777,
        (home / ".gitignore").read_text(),
        (home / "state.db").exists(),
    )


def test_settings_have_origins(loom: Cli, project: Path) -> None:
    """The home's value stands above the user's; an empty value goes back; a wrong one is refused and changes nothing."""
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("config", "set", "run.policy", "supervised", "--user", cwd=project).code
    assert 0 == loom("config", "set", "run.policy", "autonomous", cwd=project).code
    found = loom("config", "get", "run.policy", "--json", cwd=project).json
    assert {"key": "run.policy", "value": "autonomous", "origin": "home"} == found
    assert 0 == loom("config", "set", "run.policy", "", cwd=project).code
    assert "run.policy\tsupervised\tuser" in loom("config", "list", "--origin", cwd=project).out.splitlines()
    wrong = loom("config", "set", "run.plicy", "x", cwd=project)
    assert (2, True) == (wrong.code, "plicy" in wrong.err), wrong
    assert 0 == loom("config", "list", cwd=project).code


def test_models_are_listed_as_a_task_would_get_them(loom: Cli, project: Path) -> None:
    """By tier from the default family; from a setting when there is one; an unknown agent is refused."""
    assert 0 == loom("init", cwd=project).code
    key = {"ANTHROPIC_API_KEY": "k"}
    found = loom("models", "list", "--json", cwd=project, env=key).json
    assert "anthropic" == found["default"]["family"]
    tiers = {row["agent"]: row["chain"][0] for row in found["agents"]}
    assert ("anthropic:claude-haiku-5-5", "anthropic:claude-opus-5-5") == (tiers["scout"], tiers["planner"])
    assert 2 == loom("models", "set", "nobody", "anthropic:", cwd=project).code
    assert 2 == loom("models", "set", "planner", "nonsense", cwd=project).code
    assert 0 == loom("models", "set", "planner", "openai:gpt-6-astra,anthropic:", cwd=project).code
    rows = loom("models", "list", "--json", cwd=project, env={**key, "OPENAI_API_KEY": "k"}).json["agents"]
    planner = next(row for row in rows if row["agent"] == "planner")
    assert (["openai:gpt-6-astra", "anthropic:claude-opus-5-5"], "setting") == (planner["chain"], planner["from"])
    assert 0 == loom("models", "unset", "planner", cwd=project).code
    assert "planner" not in (project / ".loom" / "config.toml").read_text()


def test_a_secret_comes_by_a_pipe_only(loom: Cli, project: Path) -> None:
    """Set from standard input, listed by name and origin, removed; an empty one and a bad name are refused."""
    assert 0 == loom("init", cwd=project).code
    assert 2 == loom("secrets", "set", "OPENAI_API_KEY", cwd=project, stdin="\n").code
    assert 2 == loom("secrets", "set", "openai", cwd=project, stdin="x").code
    assert 2 == loom("secrets", "set", "OPENAI_API_KEY", "sk-visible-to-all", cwd=project).code
    assert 0 == loom("secrets", "set", "OPENAI_API_KEY", cwd=project, stdin="sk-1\n").code
    assert [{"name": "OPENAI_API_KEY", "from": "store"}] == loom("secrets", "list", "--json", cwd=project).json[
        "secrets"
    ]
    assert 0 == loom("secrets", "remove", "OPENAI_API_KEY", cwd=project).code
    assert 2 == loom("secrets", "remove", "OPENAI_API_KEY", cwd=project).code


@pytest.mark.slow
def test_a_task_is_run_by_the_settings(loom: Cli, project: Path) -> None:
    """Without any option: model, policy and flow of the settings, and their names in the record."""
    assert 0 == loom("init", cwd=project).code
    for key, value in (("run.policy", "supervised"), ("run.flow", "trivial"), ("coordinator.workers", "1")):
        assert 0 == loom("config", "set", key, value, cwd=project).code
    assert 0 == loom("models", "set", "*", f"recorded:{REPLIES}", cwd=project).code
    done = loom("run", "Mend it", "--json", cwd=project)
    assert 3 == done.code, done
    task = done.json["task"]
    assert ("trivial", "supervised") == (task["flow"], task["preset"])
    assert 1 == len(loom("daemon", "status", "--json", cwd=project).json["workers"])
