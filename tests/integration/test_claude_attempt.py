"""One whole attempt through the real Claude Code CLI, in the sandbox that this machine has, against the stand-in API."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.repositories import git, make_repository
from harness.standin import Say, StandIn, Use
from loom.workers.executor import Executor
from loom.workers.harnesses.claude import ClaudeHarness
from loom.workers.harnesses.registry import Harnesses
from loom.workers.protocol import Assign, Binding, Bound, Capability, End, ErrorClass, Prompt, Text, WorkspaceRef
from loom.workers.providers.registry import Providers
from loom.workers.sandboxes import available
from loom.workers.workspaces import fetch_project

KEY = "sk-test-0123456789abcdef"
SCHEMA = json.dumps({"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]})


class Hooks:
    """What the worker's loop would do: nothing is needed here."""

    async def fetch_text(self, text_id: str, /) -> bytes:
        raise AssertionError(f"nobody named the text {text_id}")

    async def store_text(self, text: Text, /) -> None:
        """A large transcript may go there."""

    def progress(self, kind: str, note: str, /) -> None:
        """Nobody watches."""


@pytest.mark.needs("claude", "git")
async def test_an_edit_through_claude_becomes_a_published_commit(tmp_path: Path) -> None:
    """Edit, commit, containment, cost and transcript come back; the key and the paths of the worker do not."""
    make_repository(tmp_path / "user", {"a.py": "x = 1\n"})
    (tmp_path / "home").mkdir()
    fetched = await fetch_project(tmp_path / "home", "p", tmp_path / "user")

    def secret(name: str) -> str | None:
        return KEY if name == "ANTHROPIC_API_KEY" else None

    claude = ClaudeHarness(os.environ["LOOM_TEST_CLAUDE"], environ={"PATH": os.environ["PATH"]})
    executor = Executor(
        scratch=tmp_path / "scratch",
        providers=Providers(secret),
        secret=secret,
        harnesses=Harnesses({"claude": claude}),
    )
    with StandIn() as api:
        api.script(
            "m",
            Use("Read", file_path="a.py"),
            Use("Edit", file_path="a.py", old_string="x = 1", new_string="x = 2"),
            Say('{"summary": "two, not one"}'),
        )
        assign = Assign(
            attempt="t1/implement.1/coder#1",
            fence=1,
            task="t1",
            agent="coder",
            stage="implement",
            iteration=1,
            capability=Capability.EDIT,
            binding=Binding(ref="claude:m", family="claude", model="m", base_url=api.url),
            prompt=Prompt(digest="d", system="You write code.", user="Make it two."),
            output_schema=SCHEMA,
            workspace=WorkspaceRef(
                source=str(fetched.repository), commit=fetched.commit, base=fetched.commit, publish="refs/loom/t1/1"
            ),
            bound=Bound(wall_ms=60_000),
            lease_ms=30_000,
        )
        report = await executor.execute(assign, Hooks())
        await executor.aclose()
    assert (End.REPORTED, ErrorClass.NONE, "") == (report.end, report.error_class, report.message)
    assert report.result is not None
    assert {"summary": "two, not one"} == json.loads(report.result.output)
    assert report.result.change is not None
    assert "x = 2" == git(fetched.repository, "show", f"{report.result.change.commit}:a.py")
    assert [("a.py", "M")] == [(path.path, path.status) for path in report.result.change.paths]
    assert report.sandbox is not None
    assert (available()[0], "shared") == (report.sandbox.kind, report.sandbox.network)
    assert "ANTHROPIC_API_KEY" in report.sandbox.credentials
    assert (3, "reported") == (report.usage.calls, report.usage.price)
    assert KEY not in repr(report)
    assert [] == list((tmp_path / "scratch").iterdir())
