"""Other work than the demo's: questions, directories without git, odd names, detaching, recording, trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.cli import REPLIES, Cli, Script, eventually, files_of, git, repository, sample

pytestmark = pytest.mark.needs("git")

ODD = ("with space.txt", "ümlaut.txt", "new\nline.txt", '"quoted".txt', "-dash.txt")


def answering(path: Path, answer: str) -> str:
    """The option for replies that answer a question."""
    triage = {"flow": "question", "risk": "low"}
    script = (
        Script.empty()
        .say("classifier", "classify", {"outcome": "done", "summary": "A question.", "facts": triage})
        .say("responder", "answer", "", calls=[("list", {})])
        .say("responder", "answer", {"outcome": "done", "summary": "Answered.", "answer": answer}, ordinal=1)
    )
    return f"*=recorded:{script.write(path)}"


def editing(path: Path, file: str, content: str) -> str:
    """The option for replies that write one file, in the trivial flow."""
    script = (
        Script.empty()
        .say("implementer", "implement", "", calls=[("write", {"path": file, "content": content})])
        .say("implementer", "implement", {"outcome": "done", "summary": "Written."}, ordinal=1)
    )
    return f"*=recorded:{script.write(path)}"


def test_a_question_is_answered(loom: Cli, project: Path, tmp_path: Path) -> None:
    """Exit 0, the answer printed, no branch, no change."""
    model = answering(tmp_path / "r.jsonl", "Nobody: the cent is lost.\n\x1b[31mred\x1b[0m")
    done = loom("run", "Who gets the last cent?", "--model", model, cwd=project)
    assert 0 == done.code, done
    assert "Nobody: the cent is lost." in done.out
    assert "\x1b" not in done.out
    assert "main" == git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads")
    task = loom("tasks", "--json", cwd=project).json["tasks"][0]
    assert ("answered", "question") == (task["verdict"], task["flow"])
    assert 2 == loom("diff", task["id"], cwd=project).code


def test_a_directory_without_git_needs_a_yes(loom: Cli, tmp_path: Path) -> None:
    """Without --copy: exit 2 and nothing made; with it: done, the directory untouched, the diff shown."""
    place = tmp_path / "plain"
    place.mkdir()
    (place / "notes.txt").write_text("one\n")
    before = list(files_of(place))
    model = editing(tmp_path / "r.jsonl", "notes.txt", "one\ntwo\n")
    args = (
        "run",
        "Add a line",
        "--flow",
        "trivial",
        "--policy",
        "supervised",
        "--model",
        model,
        "--project",
        str(place),
    )
    refused = loom(*args)
    assert (2, True) == (refused.code, "not under git" in refused.err), refused
    assert not (loom.root / "user" / "data").exists()
    done = loom(*args, "--copy", "--json")
    assert 3 == done.code, done  # no check ran, so the last word is a person's
    task = done.json["task"]["id"]
    assert 0 == loom("answer", task, "accept").code
    eventually(lambda: loom("show", task, "--json").json["task"]["status"] == "done", what="the end")
    assert "accepted" == loom("show", task, "--json").json["task"]["verdict"]
    assert "+two" in loom("diff", task).out
    assert before == list(files_of(place))


def test_odd_names_survive(loom: Cli, tmp_path: Path) -> None:
    """Names with spaces, umlauts, newlines, quotes, and bytes that are no text: task, branch and user's tree."""
    project = repository(tmp_path / "ödd dir's", dict.fromkeys(ODD, "x\n"))
    raw = os.fsencode(project) + b"/raw-\xff.txt"
    with open(raw, "w", encoding="ascii") as file:
        file.write("x\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "More")
    before = list(files_of(project))
    model = editing(tmp_path / "r.jsonl", "new\nline.txt", "changed\n")
    done = loom("run", "Change it", "--flow", "trivial", "--model", model, "--json", cwd=project)
    assert 3 == done.code, done
    task = done.json["task"]["id"]
    assert 0 == loom("answer", task, "accept", cwd=project).code
    eventually(lambda: git(project, "branch", "--list", "loom/*"), what="the branch")
    changed = git(project, "diff", "--name-only", "-z", "main", f"loom/{task}")
    assert "new\nline.txt\0" == changed + ("" if changed.endswith("\0") else "\0")
    assert before == list(files_of(project))
    assert "" == git(project, "status", "--porcelain")
    shown = loom("diff", task, "--stat", cwd=project)
    assert (0, True) == (shown.code, "line.txt" in shown.out), shown


def test_a_project_whose_path_is_no_text(loom: Cli, tmp_path: Path) -> None:
    """A directory with a name that is not UTF-8 gets its branch; its home is the user's, for no socket could be named there."""
    project = repository(Path(os.fsdecode(os.fsencode(tmp_path) + b"/raw-\xff")), {"a.txt": "x\n"})
    model = editing(tmp_path / "r.jsonl", "a.txt", "y\n")
    done = loom("run", "Change it", "--flow", "trivial", "--model", model, "--json", cwd=project)
    assert 3 == done.code, done
    assert not (project / ".loom").exists()
    assert 0 == loom("answer", done.json["task"]["id"], "accept", cwd=project).code
    eventually(lambda: git(project, "branch", "--list", "loom/*"), what="the branch")


def test_the_users_repository_is_only_given_a_branch(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """Tree, index, HEAD and other refs are as they were; the home ignores itself."""
    (project / "sharebill" / "split.py").write_text("# not committed\n")
    before = list(files_of(project))
    head = git(project, "rev-parse", "HEAD")
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    done = loom("run", "Mend it", *scripted, "--json", cwd=project)
    assert 0 == done.code, done
    assert before == list(files_of(project))
    assert head == git(project, "rev-parse", "main")
    assert "M sharebill/split.py" == git(project, "status", "--porcelain")
    assert done.json["task"]["base"] == head


def test_uncommitted_changes_are_taken_along(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """--with-changes: the base holds them, staged or not, new files too, ignored ones not; the user's index stays."""
    (project / "README.md").write_text("changed\n")
    (project / "new.txt").write_text("new\n")
    (project / "hidden.txt").write_text("ignored\n")
    (project / ".gitignore").write_text("hidden.txt\n.loom/\n")
    git(project, "add", "README.md")
    before = git(project, "status", "--porcelain")
    done = loom("run", "Mend it", *scripted, "--with-changes", "--json", cwd=project)
    base = done.json["task"]["base"]
    assert git(project, "rev-parse", "HEAD") != base
    store = project / ".loom" / "repos" / f"{done.json['task']['project']}.git"
    assert "changed" == git(store, "show", f"{base}:README.md")
    assert {"new.txt", ".gitignore"} <= set(git(store, "ls-tree", "-r", "--name-only", base).splitlines())
    assert "hidden.txt" not in git(store, "ls-tree", "-r", "--name-only", base)
    assert before == git(project, "status", "--porcelain")


def test_detached_work_goes_on(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """--detach prints the id at once; the task ends by itself; log -f ends with it."""
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    done = loom("run", "Mend it", "--detach", *scripted, cwd=project)
    assert 0 == done.code, done
    task = done.out.strip()
    followed = loom("log", "-f", task, cwd=project)
    assert "VerdictReached" in followed.out
    assert "accepted" == loom("show", task, "--json", cwd=project).json["task"]["verdict"]


def test_what_is_recorded_can_be_played(loom: Cli, project: Path, scripted: tuple[str, str], tmp_path: Path) -> None:
    """A run that is recorded with --record gives the same result again from its file."""
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    tape = tmp_path / "tape.jsonl"
    first = loom("run", "Mend it", *scripted, "--record", str(tape), "--json", cwd=project)
    second = loom("run", "Mend it", "--model", f"*=recorded:{tape}", "--json", cwd=project)
    assert (0, 0) == (first.code, second.code), second
    subjects = [[each["subject"] for each in done.json["subjects"]] for done in (first, second)]
    assert subjects[0] == subjects[1]
    served = {a["execution"].get("served_by") for s in second.json["spawns"] for a in s["attempts"]} - {None}
    assert {"recorded/recorded:tape.jsonl"} == served


def test_a_changed_file_voids_trust(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """What loom.toml names is used exactly as long as it is the content that a person trusted."""
    outcomes: list[dict[str, Any]] = []
    assert 2 == loom("projects", "trust", cwd=project).code, "trust needs a yes"
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    for lint in ("ruff", "none"):
        done = loom("run", "Mend it", *scripted, "--json", cwd=project)
        checks = {each["kind"]: each["outcome"] for each in done.json["evidence"] if each["kind"].startswith("check.")}
        outcomes.append(checks)
        (project / "loom.toml").write_text(f'[checks]\nlint = "{lint}"\n')
        git(project, "commit", "--quiet", "--all", "--message", "Changed")
    assert ["not_applicable", "skipped"] == [checks["check.typecheck"] for checks in outcomes]
    assert ["not_applicable", "skipped"] == [checks["check.lint"] for checks in outcomes]


def test_a_stored_secret_reaches_the_worker_and_nothing_else(loom: Cli, project: Path) -> None:
    """A key set by a pipe is used, is not listed with its value, and stands nowhere that loom wrote but its store."""
    assert 0 == loom("init", cwd=project).code
    secret = "sk-canary-7d1f0c"
    assert 0 == loom("secrets", "set", "OPENAI_API_KEY", cwd=project, stdin=secret + "\n").code
    listed = loom("secrets", "list", cwd=project)
    assert ("OPENAI_API_KEY" in listed.out, secret in listed.out) == (True, False)
    done = loom(
        *("run", "Who?", "--flow", "question", "--model", "*=openai:m", "--json"),
        cwd=project,
        env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
    )
    assert done.code in (1, 3), done
    store = project / ".loom" / "secrets.json"
    written = [path for path in (project / ".loom").rglob("*") if path.is_file() and path != store]
    assert [] == [path for path in written if secret.encode() in path.read_bytes()]


def test_the_sample_is_what_the_demo_says(tmp_path: Path) -> None:
    """The sample's own files are a repository with one commit and nothing else."""
    project = sample(tmp_path / "s")
    assert ("1", "") == (git(project, "rev-list", "--count", "HEAD"), git(project, "status", "--porcelain"))
    assert REPLIES.is_file()
