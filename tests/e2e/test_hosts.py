"""A whole task in the hands of a worker elsewhere: the home's files are not its own, the repository comes and goes by git."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import REPLIES, Cli, eventually, git
from harness.hosts import remote

pytestmark = pytest.mark.needs("git")


@pytest.mark.slow
def test_a_medium_task_is_done_on_another_host(
    loom: Cli, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirement, token, join; edits, checks and reviews happen there, over TLS and CURVE; the branch is made at home."""
    (project / "loom.toml").write_text(
        'requires = ["far"]\n[checks]\nlint = "not applicable"\ntypecheck = "not applicable"\n'
    )
    git(project, "add", "loom.toml")
    git(project, "commit", "-qm", "Work elsewhere")
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("config", "set", "coordinator.listen", "127.0.0.1:0", cwd=project).code
    assert 0 == loom("projects", "trust", "-y", cwd=project).code
    for name, value in loom.environment().items():
        monkeypatch.setenv(name, value)
    try:
        made = loom("workers", "token", "--label", "far", "--json", cwd=project)
        with remote(tmp_path / "far", json.loads(made.out)["token"], options=("--shared-files",)) as far:
            eventually(lambda: "far\t" in loom("workers", "list", cwd=project).out)
            done = loom(
                "run", "The shares of a bill have to add up.", "--model", f"*=recorded:{REPLIES}", "--json", cwd=project
            )
            assert 0 == done.code, done
            found = json.loads(done.out)
            hands = {a["worker"] for s in found["spawns"] for a in s["attempts"] if s["agent"] != "deliver"}
            assert {"far"} == hands
            assert "" != git(project, "branch", "--list", f"loom/{found['task']['id']}")
            (mirror,) = (far.folder / "state" / "mirrors").glob("*.git")
            assert "" != git(mirror, "for-each-ref")
        home = project / ".loom"
        refs = git(next((home / "repos").glob("*.git")), "for-each-ref", "--format=%(refname)").split()
        assert any("/implementer/" in ref for ref in refs)
        assert "403" not in (home / "logs" / "git.log").read_text()
    finally:
        loom("daemon", "stop", "--workers", cwd=project)
