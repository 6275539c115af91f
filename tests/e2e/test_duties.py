"""Separation of duties as a home uses it: two people, two tokens, and one gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import Cli, Script, eventually, git

pytestmark = pytest.mark.needs("git")

TASK = "The shares of a bill have to add up to the bill."


def test_another_person_accepts(loom: Cli, project: Path, tmp_path: Path) -> None:
    """The submitter is refused with the reason and the way on, as is a second person for their own commit; gates and show say
    who may not; what is accepted in the end replays."""
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    bob, cleo = (loom("users", "add", name, "--json", cwd=project).json["token"] for name in ("bob", "cleo"))
    assert 2 == loom("users", "add", "bob", cwd=project).code
    assert 2 == loom("duties", "set", "boss", cwd=project).code
    assert 0 == loom("duties", "set", "submitter", "author", "owner", cwd=project).code
    assert ["author", "owner", "submitter"] == loom("duties", "show", "--json", cwd=project).json["separate_duties"]
    lines = Script.of_demo().lines
    for line in lines:
        if line.get("iteration") == 2:
            del line["iteration"]
    replies = Script(lines).write(tmp_path / "replies.jsonl")
    done = loom("run", TASK, "--json", "--policy", "review-final", "--model", f"*=recorded:{replies}", cwd=project)
    assert 3 == done.code, done
    task = done.json["task"]["id"]
    (gate,) = loom("gates", "--json", cwd=project).json["gates"]
    users = {each["user"]: each["role"] for each in loom("users", "list", "--json", cwd=project).json["users"]}
    (me,) = set(users) - {"bob", "cleo"}
    assert {me: "admin", "bob": "approver", "cleo": "approver"} == users
    assert {"person": me, "duty": "submitter"} in gate["barred"]
    refused = loom("answer", task, "accept", cwd=project)
    assert 4 == refused.code, refused
    for part in (f"{me} submitted the task", "any other person", "loom users list"):
        assert part in refused.err
    assert f"not by    {me}: the submitter may not accept" in loom("show", task, cwd=project).out
    unknown = loom("answer", task, "accept", cwd=project, env={"LOOM_TOKEN": "x" * 43})
    assert (4, True) == (unknown.code, "token" in unknown.err), unknown

    git(project, "switch", "--quiet", "--create", "mine")
    (tmp_path / "change.diff").write_text(loom("diff", task, cwd=project).out)
    git(project, "apply", str(tmp_path / "change.diff"))
    source = project / "sharebill" / "split.py"
    source.write_text(source.read_text() + "\n# bob was here\n")
    git(project, "commit", "--quiet", "--all", "--message", "Mine")
    gates_before = gate["id"]
    assert 0 == loom("answer", task, "revise", "--tree", "mine", cwd=project, env={"LOOM_TOKEN": bob}).code
    found = loom("show", task, "--json", cwd=project).json
    assert ("bob", "bob") == (found["subjects"][-1]["author"], found["decisions"][-1]["by"]["id"])

    def next_gate() -> dict[str, object]:
        waiting = loom("gates", "--json", cwd=project).json["gates"]
        return waiting[0] if waiting and waiting[0]["id"] != gates_before else {}

    gate = eventually(next_gate, within=60, what="the gate about bob's commit")
    assert ("final", {"person": "bob", "duty": "author"} in gate["barred"]) == (gate["role"], True)
    mine = loom("answer", task, "accept", cwd=project, env={"LOOM_TOKEN": bob})
    assert (4, True) == (mine.code, "bob made this work" in mine.err), mine
    theirs = loom("answer", task, "accept", "-m", "fine", cwd=project, env={"LOOM_TOKEN": cleo})
    assert 0 == theirs.code, theirs
    found = loom("show", task, "--json", cwd=project).json
    last = found["decisions"][-1]
    assert ("cleo", "cli", "fine") == (last["by"]["id"], last["by"]["via"], last["message"])
    assert "accepted" == found["task"]["verdict"]
    assert 0 == loom("replay", "--all", cwd=project).code


def test_nobody_else_is_there(loom: Cli, project: Path, scripted: tuple[str, str]) -> None:
    """The gate stays open, abandon ends it; unset holds for the next task, and what a person may not, a token of theirs may not."""
    assert 0 == loom("projects", "trust", "--yes", str(project)).code
    assert 0 == loom("duties", "set", "submitter", cwd=project).code
    assert 3 == loom("run", TASK, "--policy", "supervised", *scripted, cwd=project).code
    (gate,) = loom("gates", "--json", cwd=project).json["gates"]
    assert 4 == loom("answer", gate["id"], "accept", cwd=project).code
    dora = loom("users", "add", "dora", "--role", "submitter", "--json", cwd=project).json["token"]
    assert 4 == loom("answer", gate["id"], "accept", cwd=project, env={"LOOM_TOKEN": dora}).code
    assert 4 == loom("duties", "unset", cwd=project, env={"LOOM_TOKEN": dora}).code
    assert [gate["id"]] == [each["id"] for each in loom("gates", "--json", cwd=project).json["gates"]]
    assert 0 == loom("answer", gate["id"], "abandon", cwd=project).code
    assert 0 == loom("duties", "unset", cwd=project).code
    assert [] == loom("duties", "show", "--json", cwd=project).json["separate_duties"]
