"""Claude Code's stream and its login, without the tool itself: what the conformance suite cannot make happen."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from loom.workers.harnesses.claude import ClaudeHarness
from loom.workers.harnesses.claude_login import MAX_LOGIN, Login, is_logged_in, log_in
from loom.workers.harnesses.claude_stream import ClaudeStream
from loom.workers.processes import run
from loom.workers.protocol import Binding, Bound, Capability, ErrorClass
from loom.workers.sandboxes import NoSandbox
from loom.workers.seams import Hands, HandsError, Job, Position, Provider

LOGIN = {"claudeAiOauth": {"accessToken": "a", "refreshToken": "r", "expiresAt": 1_000}}


def no_key(name: str) -> str | None:
    return None


def no_provider(family: str) -> Provider:
    raise AssertionError(family)


def stream(*lines: dict[str, Any]) -> ClaudeStream:
    made = ClaudeStream("claude:m", "ANTHROPIC_API_KEY", lambda kind, note: None)
    for line in lines:
        made.take(json.dumps(line).encode())
    return made


def failed(*lines: dict[str, Any]) -> HandsError:
    with pytest.raises(HandsError) as caught:
        stream(*lines).reply_text()
    return caught.value


@pytest.mark.parametrize(
    ("result", "error_class"),
    [
        ({"subtype": "error_max_turns", "is_error": True}, ErrorClass.LIMIT),
        ({"subtype": "error_max_budget_usd", "is_error": True}, ErrorClass.LIMIT),
        ({"subtype": "error_max_structured_output_retries", "is_error": True}, ErrorClass.UNPARSEABLE),
        ({"subtype": "error_during_execution", "is_error": True}, ErrorClass.TRANSIENT),
        ({"subtype": "success", "is_error": True, "api_error_status": 413}, ErrorClass.PERMANENT),
        ({"subtype": "success", "is_error": True, "api_error_status": 503}, ErrorClass.TRANSIENT),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_result_line_has_its_class(result: dict[str, Any], error_class: ErrorClass) -> None:
    """`subtype` and `api_error_status` decide, never the words."""
    assert error_class == failed({"type": "result", **result}).error_class


def test_a_subscription_limit_names_when_it_ends() -> None:
    """rate_limit_event of a login: the reset time reaches the kernel."""
    error = failed(
        {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1_900_000_000}},
        {"type": "assistant", "error": "rate_limit", "message": {"model": "<synthetic>", "content": []}},
        {"type": "result", "subtype": "success", "is_error": True, "api_error_status": 429, "result": "limit"},
    )
    assert (ErrorClass.RATE_LIMIT, 1_900_000_000_000) == (error.error_class, error.not_before_ms)


def test_a_killed_run_says_what_it_used_and_no_cost() -> None:
    """Without a result line the tokens that were seen are counted, the cost is unknown."""
    made = stream(
        {"type": "stream_event", "event": {"type": "message_start", "message": {"usage": {
            "input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 1}}}},
        {"type": "stream_event", "event": {"type": "message_delta", "usage": {"output_tokens": 3}}},
        {"type": "assistant", "message": {"id": "1", "model": "claude-x", "content": [{"type": "text", "text": "half"}]}},
    )  # fmt: skip
    usage = made.usage
    assert (13, 7, 3, 1, None) == (
        usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.calls, usage.cost_microusd
    )  # fmt: skip
    assert "half" in made.transcript.text()
    assert "claude-x" == made.model


def test_lines_that_are_none_of_its_own_are_passed_over() -> None:
    """Words of a wrapper, unknown types and fields do no harm."""
    made = stream({"type": "new_thing", "x": 1}, {"type": "system", "subtype": "new"}, {"type": "user"})
    for line in (b"", b"npm notice", b"[1, 2]", b"\xff\xfe", b"null"):
        made.take(line)
    made.take(b'{"type": "result", "subtype": "success", "is_error": false, "result": "fine"}')
    assert "fine" == made.reply_text()


def test_refused_tools_are_noted() -> None:
    """permission_denials end in a note: exit code and subtype say success."""
    made = stream(
        {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "result": "",
            "permission_denials": [{"tool_name": "Bash"}],
        }
    )
    made.reply_text()
    assert ["1 tool calls were not allowed: Bash"] == made.notes


def test_a_key_goes_before_a_login_and_its_home_is_empty(tmp_path: Path) -> None:
    """With a key the user's login is not touched."""
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / ".credentials.json").write_text(json.dumps(LOGIN))
    login = log_in("claude:m", lambda name: "t" if name == "ANTHROPIC_AUTH_TOKEN" else None, tmp_path / "own", tmp_path)
    assert {"ANTHROPIC_AUTH_TOKEN": "t"} == login.env
    assert [] == list((tmp_path / "own").iterdir())
    assert is_logged_in(no_key, tmp_path)
    assert not is_logged_in(no_key, tmp_path / "nobody")


@pytest.mark.parametrize(
    ("written", "theirs", "wanted"),
    [
        ({"claudeAiOauth": {"accessToken": "b", "refreshToken": "s", "expiresAt": 2_000}}, None, "b"),
        ({"claudeAiOauth": {"accessToken": "b", "refreshToken": "s", "expiresAt": 500}}, None, "a"),
        ({"claudeAiOauth": {"accessToken": "b"}}, None, "a"),
        ({"other": 1}, None, "a"),
        ("not json", None, "a"),
        ({"claudeAiOauth": {"accessToken": "b", "refreshToken": "s", "expiresAt": 2_000}}, "c", "c"),
    ],
    ids=["refreshed", "older", "another shape", "something else", "no json", "changed by the user"],
)
def test_only_a_refreshed_login_is_brought_back(tmp_path: Path, written: Any, theirs: str | None, wanted: str) -> None:
    """A newer login of the same shape replaces the user's, if nobody changed that meanwhile; nothing else does."""
    original = tmp_path / ".claude" / ".credentials.json"
    original.parent.mkdir()
    original.write_text(json.dumps(LOGIN))
    (tmp_path / ".claude.json").write_text(json.dumps({"oauthAccount": {"x": 1}, "projects": {"private": 1}}))
    login = log_in("claude:m", no_key, tmp_path / "own", tmp_path)
    assert {"oauthAccount": {"x": 1}, "hasCompletedOnboarding": True} == json.loads(
        (tmp_path / "own" / ".claude.json").read_text()
    )
    copy = tmp_path / "own" / ".claude" / ".credentials.json"
    assert 0o600 == copy.stat().st_mode & 0o777
    copy.write_text(written if isinstance(written, str) else json.dumps(written))
    if theirs:
        original.write_text(json.dumps({"claudeAiOauth": LOGIN["claudeAiOauth"] | {"accessToken": theirs}}))
    login.bring_back()
    assert wanted == json.loads(original.read_text())["claudeAiOauth"]["accessToken"]
    assert [".credentials.json"] == [path.name for path in original.parent.iterdir()]


def borrowed(root: Path) -> tuple[Login, Path, Path]:
    """A login, the user's credentials and the copy that an agent may reach."""
    original = root / ".claude" / ".credentials.json"
    original.parent.mkdir()
    original.write_text(json.dumps(LOGIN))
    return log_in("claude:m", no_key, root / "own", root), original, root / "own" / ".claude" / ".credentials.json"


REFRESHED = {"claudeAiOauth": {"accessToken": "b", "refreshToken": "s", "expiresAt": 2_000}}


def test_a_login_is_brought_back_from_a_small_regular_file_only(tmp_path: Path) -> None:
    """A link, a pipe that nobody writes to and a huge file are left alone, and nobody waits for them."""
    login, original, copy = borrowed(tmp_path)
    (tmp_path / "elsewhere").write_text(json.dumps(REFRESHED))
    copy.unlink()
    copy.symlink_to(tmp_path / "elsewhere")
    login.bring_back()
    copy.unlink()
    os.mkfifo(copy)
    login.bring_back()
    copy.unlink()
    copy.write_text(json.dumps(REFRESHED) + " " * MAX_LOGIN)
    login.bring_back()
    assert LOGIN == json.loads(original.read_text())
    copy.write_text(json.dumps(REFRESHED))
    login.bring_back()
    assert REFRESHED == json.loads(original.read_text())


@pytest.mark.parametrize(("capability", "kept"), [(Capability.EDIT, True), (Capability.READ, False)])
def test_no_login_comes_back_from_a_job_that_can_write(tmp_path: Path, capability: Capability, kept: bool) -> None:
    """An editing agent could forge a login: the user's stays as it was, and the record says so."""
    original = tmp_path / ".claude" / ".credentials.json"
    original.parent.mkdir()
    original.write_text(json.dumps(LOGIN))
    program = tmp_path / "claude"
    result = json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "fine"})
    program.write_text(
        f"#!/bin/sh\ncat >/dev/null\necho '{json.dumps(REFRESHED)}' > $HOME/.claude/.credentials.json\necho '{result}'\n"
    )
    program.chmod(0o755)
    for name in ("own", "tree"):
        (tmp_path / name).mkdir()
    job = Job(
        binding=Binding(ref="claude:m", family="claude", model="m"),
        capability=capability,
        system="",
        prompt="",
        position=Position("a", "s", 0, 0),
        bound=Bound(wall_ms=30_000),
        workspace=tmp_path / "tree",
        scratch=tmp_path / "own",
    )
    hands = Hands(sandbox=NoSandbox(), run=run, provider=no_provider, secret=no_key)
    reply = asyncio.run(ClaudeHarness(str(program), user=tmp_path).run(job, hands))
    assert "fine" == reply.text
    assert (LOGIN if kept else REFRESHED) == json.loads(original.read_text())
    assert kept == ("not taken back" in reply.sandbox.credentials)
