"""A cast for the bundle `code`: each agent is played by a model of its own name at the stand-in API.

    cast = Cast(api, "openai")
    cast.plays("scout", reads("a.py"), says("Nothing odd.", notes="…"))
    cast.plays("challenger", blocks("It loses a cent.", finding(…)), approves())
    loom("run", "Do it", *cast.options, env=cast.environ)

One script serves all iterations of an agent: its steps are taken call by call, the last one stays. The tools are those of loom's
own loop for the family openai or anthropic, and those of Claude Code for the family claude.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.standin import Say, Scripted, StandIn, Use

KEY = "sk-test-0123456789abcdef"
AGENTS = (
    "classifier", "responder", "scout", "planner", "plan_reviewer", "implementer", "correctness", "challenger", "security",
    "style", "adjudicator", "acceptance",
)  # fmt: skip


@dataclass
class Cast:
    """The agents at one stand-in. family: openai or anthropic (the harness `api`), or claude (Claude Code)."""

    api: StandIn
    family: str
    kept: dict[str, str] = field(default_factory=dict)
    """Agents that another reference serves."""

    def plays(self, agent: str, *steps: Scripted) -> None:
        """What an agent's model answers, call by call."""
        self.api.script(agent, *steps)

    @property
    def options(self) -> tuple[str, ...]:
        """The options that give every agent its model."""
        refs = {agent: f"{self.family}:{agent}" for agent in AGENTS} | self.kept
        return tuple(word for agent, ref in refs.items() for word in ("--model", f"{agent}={ref}"))

    @property
    def environ(self) -> dict[str, str]:
        """Keys and addresses of the stand-in."""
        return environ(self.api)

    def calls(self) -> dict[str, int]:
        """Agent → how often its model was asked."""
        return {agent: self.api.calls[agent] for agent in AGENTS if self.api.calls[agent]}


def environ(api: StandIn) -> dict[str, str]:
    """What lets `loom` find the stand-in, for every family."""
    return {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": api.openai_url,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": api.url,
    }


def claude_environ() -> dict[str, str]:
    """What lets `loom` find the Claude Code that the tests may use (`needs("claude")`)."""
    folder = Path(os.environ["LOOM_TEST_CLAUDE"]).parent
    return {"PATH": f"{Path(sys.executable).parent}:{folder}:/usr/local/bin:/usr/bin:/bin"}


def says(summary: str, outcome: str = "done", **more: Any) -> Say:
    """An agent's final answer."""
    answer = {"outcome": outcome, "summary": summary, **more}
    return Say(json.dumps(answer, ensure_ascii=False), input_tokens=900, output_tokens=120)


def classifies(flow: str, risk: str = "low", summary: str = "A small task.") -> Say:
    """The classifier's answer."""
    return says(summary, facts={"flow": flow, "risk": risk})


def approves(summary: str, *findings: dict[str, Any], **facts: str) -> Say:
    """A reviewer's answer without a blocker; facts: what the correctness reviewer and the challenger have to say."""
    more = {"facts": facts} if facts else {}
    return says(summary, "approve", findings=list(findings), **more)


def blocks(summary: str, *findings: dict[str, Any], **facts: str) -> Say:
    """A reviewer's answer with at least one blocker."""
    more = {"facts": facts} if facts else {}
    return says(summary, "block", findings=list(findings), **more)


def finding(path: str, line: int, message: str, evidence: str, suggestion: str, **more: str) -> dict[str, Any]:
    """One finding, blocking unless `severity` says otherwise."""
    return {
        "severity": "blocking",
        "category": "wrong result",
        "path": path,
        "line": line,
        "message": message,
        "evidence": evidence,
        "suggestion": suggestion,
        **more,
    }


def reads(*paths: str) -> Use:
    """Reads files with loom's own tools, all in one turn."""
    first, *others = (Use("read", path=path) for path in paths)
    return Use("read", *others, **first.arguments)


def edits(path: str, old: str, new: str) -> Use:
    """Replaces a text with loom's own tools."""
    return Use("edit", path=path, old=old, new=new)


def writes(path: str, content: str) -> Use:
    """Makes a file with loom's own tools."""
    return Use("write", path=path, content=content)


def checks() -> Use:
    """Lets loom run the project's checks on the tree as it stands."""
    return Use("run_checks")
