"""What a model API's failures do to a task: through the command line, with a real coordinator, real workers and real HTTP.

The stand-in API fails as it is told; the flow *question* needs one agent only. What happened is read where a person reads it:
`loom show --json`, `loom gates --json`, and what the commands print.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cast import KEY, claude_environ, environ, says
from harness.cli import Cli, Done, eventually, repository
from harness.standin import Drop, Fail, Hang, Say, StandIn, Step

pytestmark = pytest.mark.needs("git")

BOTH = pytest.mark.parametrize("family", ["openai", pytest.param("anthropic", marks=pytest.mark.slow)])
ANSWER = says("It is a one.", answer="`a.py` binds x to 1.")
FAR_S = 3600
"""A Retry-After that is too long to wait for while there is another model."""


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return repository(tmp_path / "project", {"a.py": "x = 1\n"})


def run(loom: Cli, project: Path, api: StandIn, chain: str, **env: str) -> Done:
    """One question, answered by a chain of models."""
    return loom("run", "What is x?", "--flow", "question", "--model", f"*={chain}", "--json", cwd=project,
                env={**environ(api), **env})  # fmt: skip


def responder(done: Done) -> dict[str, Any]:
    """The one agent of the run, as the record has it."""
    (found,) = (spawn for spawn in done.json["spawns"] if spawn["attempts"])
    assert "responder" == found["agent"]
    return dict(found)


def through_claude(loom: Cli, project: Path, api: StandIn, chain: str, **env: str) -> Done:
    """The same, by Claude Code."""
    return run(loom, project, api, chain, **claude_environ(), **env)


def attempts(done: Done) -> list[dict[str, Any]]:
    """What it took."""
    found: list[dict[str, Any]] = responder(done)["attempts"]
    return found


def ends(done: Done) -> list[tuple[str, str, str, bool]]:
    """(which binding, end, error class, counted) of each attempt."""
    return [(each["ref"].split("@")[0], each["end"], each["error_class"], each["counted"]) for each in attempts(done)]


def answered(done: Done) -> bool:
    return (0, "answered") == (done.code, done.json["task"]["verdict"])


@BOTH
def test_a_rate_limit_is_waited_for(loom: Cli, project: Path, api: StandIn, family: str) -> None:
    """429 with Retry-After: not asked again before the named time, the attempt is not counted, then it goes on."""
    api.script("a", Fail(429, "slow down", retry_after="3"), ANSWER)
    done = run(loom, project, api, f"{family}:a")
    assert answered(done), done
    assert [(f"{family}:a", "failed", "rate_limit", False), (f"{family}:a", "reported", "", True)] == ends(done)
    first, second = api.of("a")
    assert 3.0 <= second.at - first.at < 10
    assert 1 == done.json["task"]["attempts"]
    assert "HTTP 429, rate limited: slow down" in attempts(done)[0]["message"]
    assert "rate limit" == responder(done)["why"]


@BOTH
@pytest.mark.parametrize("status", [500, 529])
def test_trouble_of_the_server_is_tried_again(loom: Cli, project: Path, api: StandIn, family: str, status: int) -> None:
    """500 and 529: again after a backoff, on the same binding; the tries count."""
    api.script("a", Fail(status, "no luck"), ANSWER)
    done = run(loom, project, api, f"{family}:a,{family}:b")
    assert answered(done), done
    assert [(f"{family}:a", "failed", "transient", True), (f"{family}:a", "reported", "", True)] == ends(done)
    first, second = api.of("a")
    assert 1.0 <= second.at - first.at < 10
    assert f"HTTP {status}" in attempts(done)[0]["message"]
    assert "no luck" in attempts(done)[0]["message"]


def test_a_server_that_stays_broken_gives_way_to_the_next_model(loom: Cli, project: Path, api: StandIn) -> None:
    """Three times 500: the second binding serves, and the record says why the first did not."""
    api.script("a", Fail(500, "broken"))
    api.script("b", ANSWER)
    done = run(loom, project, api, "openai:a,anthropic:b")
    assert answered(done), done
    failed = ("openai:a", "failed", "transient", True)
    assert [failed, failed, failed, ("anthropic:b", "reported", "", True)] == ends(done)
    assert [3, 1] == [api.calls["a"], api.calls["b"]]
    assert "next binding after transient" == responder(done)["why"]


@BOTH
def test_a_refused_key_goes_to_the_next_model(loom: Cli, project: Path, api: StandIn, family: str) -> None:
    """401 is not tried again on the same binding; the key is named and never shown."""
    api.script("a", Fail(401, f"invalid key {KEY}"))
    api.script("b", ANSWER)
    done = run(loom, project, api, f"{family}:a,{family}:b")
    assert answered(done), done
    assert [(f"{family}:a", "failed", "permanent", True), (f"{family}:b", "reported", "", True)] == ends(done)
    said = attempts(done)[0]["message"]
    assert f"{family.upper()}_API_KEY was refused by {api.url}" in said
    assert KEY not in done.out
    assert "next binding after permanent" == responder(done)["why"]
    assert ["", "b"] == [each["execution"].get("served_by", "") for each in attempts(done)]


def test_a_refused_key_parks_the_task_until_it_is_mended(loom: Cli, project: Path, api: StandIn) -> None:
    """401 and no other model: exit 3, the gate says what was refused, and `retry` goes on when the key works."""
    api.script("a", Fail(401, "invalid key"))
    done = loom("run", "What is x?", "--flow", "question", "--model", "*=openai:a", cwd=project, env=environ(api))
    assert 3 == done.code, done
    for words in ("waits for you: trouble", "OPENAI_API_KEY was refused", "HTTP 401", "loom answer", "retry"):
        assert words in done.out, f"{words!r} is not in\n{done}"
    (gate,) = loom("gates", "--json", cwd=project).json["gates"]
    assert "trouble" == gate["role"]
    assert "retry" in gate["answers"]
    assert "OPENAI_API_KEY was refused" in gate["reason"]
    shown = loom("show", gate["task"], "--json", cwd=project).json
    assert ("open", "spawn_failed", "") == (
        shown["task"]["status"],
        shown["task"]["parked"],
        shown["task"]["verdict"],
    )
    tried = [(each["error_class"], each["end"]) for spawn in shown["spawns"] for each in spawn["attempts"]]
    assert [("permanent", "failed")] == tried
    api.script("a", ANSWER)
    assert 0 == loom("answer", gate["id"], "retry", cwd=project).code
    eventually(
        lambda: loom("tasks", "--json", cwd=project).json["tasks"][0]["verdict"] == "answered", what="the answer"
    )
    assert 2 == loom("answer", gate["id"], "nonsense", cwd=project).code
    assert 4 == loom("answer", gate["id"], "retry", cwd=project).code


def test_a_far_rate_limit_goes_to_the_next_model_at_once(loom: Cli, project: Path, api: StandIn) -> None:
    """Retry-After of an hour: with another binding nobody waits."""
    api.script("a", Fail(429, retry_after=str(FAR_S)))
    api.script("b", ANSWER)
    done = run(loom, project, api, "anthropic:a,openai:b")
    assert answered(done), done
    assert [("anthropic:a", "failed", "rate_limit", False), ("openai:b", "reported", "", True)] == ends(done)
    assert api.of("b")[0].at - api.of("a")[0].at < 10


@BOTH
@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Hang(), "no answer from"),
        (Say("slow " * 40, seconds=60), "no answer from"),
        (Drop(rudely=True), "broke the answer off"),
        (Drop(rudely=False), "closed the stream before the answer ended"),
    ],
    ids=["hangs", "stalls", "breaks off", "ends early"],
)
def test_an_answer_that_does_not_come_is_asked_for_again(
    loom: Cli, project: Path, api: StandIn, family: str, step: Step, said: str
) -> None:
    """Silence, before or in the middle of an answer, and a closed connection: given up, and asked again."""
    api.script("a", step, ANSWER)
    done = run(loom, project, api, f"{family}:a", LOOM_MODEL_SILENCE_S="1")
    assert answered(done), done
    assert [(f"{family}:a", "failed", "transient", True), (f"{family}:a", "reported", "", True)] == ends(done)
    assert said in attempts(done)[0]["message"]
    assert os.linesep not in attempts(done)[0]["message"]


CLAUDE = [pytest.mark.slow, pytest.mark.needs("claude")]


class TestClaude:
    """The same trouble behind the real Claude Code CLI, which tries twice more by itself before loom hears of it."""

    pytestmark = CLAUDE

    def test_trouble_of_the_server(self, loom: Cli, project: Path, api: StandIn) -> None:
        """Three times 500 end one attempt; the next one is answered. The record tells what the tool did by itself."""
        api.script("a", Fail(500), Fail(500), Fail(529), ANSWER)
        done = through_claude(loom, project, api, "claude:a")
        assert answered(done), done
        assert [("claude:a", "failed", "transient", True), ("claude:a", "reported", "", True)] == ends(done)
        assert 4 == api.calls["a"]
        assert "reported" == attempts(done)[1]["usage"]["price"]

    def test_a_refused_key(self, loom: Cli, project: Path, api: StandIn) -> None:
        """401: the next binding, of another family, serves."""
        api.script("a", Fail(401, "invalid x-api-key"))
        api.script("b", ANSWER)
        done = through_claude(loom, project, api, "claude:a,openai:b")
        assert answered(done), done
        assert [("claude:a", "failed", "permanent", True), ("openai:b", "reported", "", True)] == ends(done)
        assert "ANTHROPIC_API_KEY was refused" in attempts(done)[0]["message"]
        assert KEY not in done.out

    def test_a_refused_key_without_another_model(self, loom: Cli, project: Path, api: StandIn) -> None:
        """401 and nothing else: exit 3, with the reason."""
        api.script("a", Fail(401, "invalid x-api-key"))
        done = through_claude(loom, project, api, "claude:a")
        assert (3, "spawn_failed") == (done.code, done.json["task"]["parked"]), done
        assert "ANTHROPIC_API_KEY was refused" in done.json["gates"][0]["reason"]

    def test_a_rate_limit(self, loom: Cli, project: Path, api: StandIn) -> None:
        """A wait of 25 s is loom's, not the tool's: the attempt ends at once, is not counted, and comes back in time."""
        api.script("a", Fail(429, retry_after="25"), ANSWER)
        done = through_claude(loom, project, api, "claude:a")
        assert answered(done), done
        assert [("claude:a", "failed", "rate_limit", False), ("claude:a", "reported", "", True)] == ends(done)
        first, second = api.of("a")
        assert 24.0 <= second.at - first.at < 60
        limited = attempts(done)[0]
        assert limited["ended_ms"] - limited["granted_ms"] < 20_000

    def test_silence(self, loom: Cli, project: Path, api: StandIn) -> None:
        """A request that hangs: the tool is stopped and started again."""
        api.script("a", Hang(), ANSWER)
        done = through_claude(loom, project, api, "claude:a", LOOM_MODEL_SILENCE_S="8")
        assert answered(done), done
        assert [("claude:a", "failed", "transient", True), ("claude:a", "reported", "", True)] == ends(done)
        assert "silent" in attempts(done)[0]["message"]

    def test_a_broken_answer(self, loom: Cli, project: Path, api: StandIn) -> None:
        """A stream that breaks off is asked for again, by the tool itself or by loom."""
        api.script("a", Drop(), ANSWER)
        done = through_claude(loom, project, api, "claude:a")
        assert answered(done), done
        assert api.calls["a"] > 1
