"""Asked wrongly: exit 2, one sentence with its mend, and nothing created."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import REPLIES, Cli, eventually, git, repository

pytestmark = pytest.mark.needs("git")

GOOD = ("--model", f"*=recorded:{REPLIES}")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--model", "nobody=recorded:x"), "no agent 'nobody'"),
        (("--model", "checks=recorded:x"), "no agent 'checks'"),
        (("--model", "*=gemini:pro"), "not a model reference"),
        (("--model", "*=openai:a@http://127.0.0.1:9/v1,b"), "not one model reference"),
        (("--model", "planner"), "not of the form AGENT=REF"),
        (("--model", "*=openai:a", "--model", "*=openai:b"), "twice"),
        (("--model", "*=recorded:/nonexistent"), "cannot be read"),
        (("--model", "*=anthropic:balanced"), "ANTHROPIC_API_KEY"),
        (("--model", "planner=openrouter:x", *GOOD), "OPENROUTER_API_KEY"),
        (("--model", "*=claude:"), "Claude Code"),
        ((), "no model to work with"),
        (("--bundle", "nonsense", *GOOD), "nonsense"),
        (("--flow", "nonsense", *GOOD), "no flow 'nonsense'"),
        (("--policy", "nonsense", *GOOD), "no policy 'nonsense'"),
        (("--budget", "much", *GOOD), "not an amount"),
        (("--sandbox", "chroot", *GOOD), "chroot"),
        (("--docker", *GOOD), "docker"),
        (("--nonsense", *GOOD), "nonsense"),
        (("--record", "/nonexistent/x", *GOOD), "cannot be recorded"),
    ],
)
def test_a_wrong_order_creates_nothing(loom: Cli, project: Path, args: tuple[str, ...], said: str) -> None:
    """Exit 2, the thing named in one sentence, no home, no branch, no process, no traceback."""
    done = loom("run", "Do it", "--project", str(project), *args)
    assert 2 == done.code, done
    assert said in done.err
    assert "Traceback" not in done.err
    assert 1 == done.err.count("error: ")
    assert "" == done.out
    assert not (project / ".loom").exists()
    assert "main" == git(project, "for-each-ref", "--format=%(refname:short)")
    assert not (loom.root / "user" / "data").exists()
    assert [] == loom.processes()


def test_a_task_has_a_text(loom: Cli, project: Path) -> None:
    """An empty text is asked for again, with an example."""
    done = loom("run", "  ", "--project", str(project), *GOOD)
    assert (2, True) == (done.code, "has no text" in done.err), done


def test_a_repository_without_a_commit_is_refused(loom: Cli, tmp_path: Path) -> None:
    """There is nothing to start from: exit 4, and nothing created."""
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init", "--quiet")
    done = loom("run", "Do it", "--project", str(tmp_path / "new"), *GOOD)
    assert 4 == done.code, done
    assert "no commit yet" in done.err
    assert not (tmp_path / "new" / ".loom").exists()


def test_a_tracked_home_is_refused(loom: Cli, tmp_path: Path) -> None:
    """`.loom/` under version control is somebody else's home: exit 4."""
    project = repository(tmp_path / "tracked", {".loom/state.db": b"x", "a.py": "pass\n"})
    done = loom("run", "Do it", "--project", str(project), *GOOD)
    assert 4 == done.code, done
    assert ".loom" in done.err


def test_a_missing_directory_is_named(loom: Cli, tmp_path: Path) -> None:
    """A project that is not there: exit 2."""
    done = loom("run", "Do it", "--project", str(tmp_path / "none"), *GOOD)
    assert (2, True) == (done.code, "none" in done.err), done


def test_a_broken_project_file_is_named(loom: Cli, tmp_path: Path) -> None:
    """A loom.toml with an unknown key: exit 2, with the key."""
    project = repository(tmp_path / "p", {"loom.toml": '[checks]\ntset = "x"\n'})
    done = loom("run", "Do it", "--project", str(project), *GOOD)
    assert 2 == done.code, done
    assert "tset" in done.err


@pytest.mark.parametrize(
    "command", ["tasks", "gates", "show nosuchtask", "log nosuchtask", "diff nosuchtask", "pause nosuchtask"]
)
def test_without_a_home_every_command_says_so(loom: Cli, command: str) -> None:
    """Exit 4, a sentence that names the place, and no home made by looking."""
    done = loom(*command.split())
    assert (4, True) == (done.code, "no home" in done.err), done
    assert not (loom.root / "user" / "data").exists()


def test_an_unknown_command_is_a_usage_error(loom: Cli) -> None:
    """Exit 2."""
    done = loom("nonsense")
    assert (2, True) == (done.code, "nonsense" in done.err), done


def test_workers_that_cannot_serve_a_model_are_named(loom: Cli, project: Path, tmp_path: Path) -> None:
    """Workers that were started without Claude Code are not waited for by a task that needs it: exit 4, with the mend."""
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("daemon", "start", cwd=project).code
    try:
        eventually(lambda: "local-1" in loom("daemon", "status", cwd=project).out)
        claude = tmp_path / "bin" / "claude"
        claude.parent.mkdir()
        claude.write_text("#!/bin/sh\necho 2.1.0\n")
        claude.chmod(0o755)
        path = f"{claude.parent}:{loom.environment()['PATH']}"
        env = {"PATH": path, "ANTHROPIC_API_KEY": "sk-none-at-all"}
        done = loom("run", "Do it", "--model", "*=claude:m", cwd=project, env=env)
        assert (4, True) == (done.code, "No worker of this home serves claude" in done.err), done
        assert [] == json.loads(loom("tasks", "--json", cwd=project).out)["tasks"]
    finally:
        loom("daemon", "stop", "--workers", cwd=project)


def test_labels_that_nobody_has_are_named(loom: Cli, project: Path) -> None:
    """A trusted requirement that no worker meets: exit 4 with the label, and no task. Untrusted, it counts for nothing."""
    (project / "loom.toml").write_text('requires = ["gpu"]\n')
    git(project, "add", "loom.toml")
    git(project, "commit", "-qm", "Require a label")
    assert 0 == loom("projects", "trust", "-y", cwd=project).code
    try:
        eventually(lambda: "local-1" in loom("workers", "list", cwd=project).out)
        done = loom("run", "Do it", "--model", f"*=recorded:{REPLIES}", cwd=project)
        assert (4, True) == (done.code, "lacks the label gpu" in done.err), done
        assert [] == json.loads(loom("tasks", "--json", cwd=project).out)["tasks"]
        assert 0 == loom("daemon", "stop", "--workers", cwd=project).code
        assert 0 == loom("config", "set", "coordinator.labels", "gpu", cwd=project).code
        assert 0 == loom("daemon", "start", cwd=project).code
        eventually(lambda: "gpu" in loom("workers", "list", cwd=project).out)
        done = loom("run", "Do it", "--model", f"*=recorded:{REPLIES}", "--detach", cwd=project)
        assert 0 == done.code, done
    finally:
        loom("daemon", "stop", "--workers", cwd=project)
