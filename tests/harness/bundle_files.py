"""A small, sound bundle as files, for tests that break one of them."""

from __future__ import annotations

from pathlib import Path

TABLE = """
from __future__ import annotations

from loom.kernel.flow import Agent, Bundle, Finalize, Flow, Gate, Role, Spawn
from loom.kernel.values import Capability, Verdict

from .rules import RULES

WRITER = Agent("writer", Capability.ANSWER, facts=(("good", ("yes", "no")),), makes=("text",), prompt="writer", output="Text")
READER = Agent("reader", Capability.ANSWER, ("approve", "block"), needs=("text",), prompt="reader", output="Review", judges=True)
BUNDLE = Bundle(
    name="small",
    version="1",
    agents=(WRITER, READER),
    flows=(
        Flow(
            "main",
            (
                Spawn("write", "writer"),
                Spawn("read", "reader"),
                Gate("decide", "final", rework="write"),
                Finalize("end", Verdict.ACCEPTED),
            ),
        ),
    ),
    roles=(Role("final", ()),),
    entry="main",
    presets=(("autonomous", (("final", "auto"),)),),
    default_preset="autonomous",
    rules=RULES,
)
"""
RULES = """
from loom.kernel.facts import Fact
from loom.kernel.flow import Rule

RULES = (Rule("good", ("VerdictReached",), "it is not good", never=Fact("good", "no")),)
"""
OUTPUTS = """
from typing import Literal

from msgspec import Struct


class Facts(Struct):
    good: Literal["yes", "no"]


class Text(Struct):
    outcome: Literal["done"]
    summary: str
    facts: Facts
    text: str


class Finding(Struct):
    severity: Literal["blocking", "warn", "info"]
    category: str
    path: str
    line: int
    message: str
    evidence: str
    suggestion: str


class Review(Struct):
    outcome: Literal["approve", "block"]
    summary: str
    findings: list[Finding]
"""
WRITER = """---
about: writes
inputs: task blockers
with: manners
---
[system]
Write.
[user]
{{ task }}
{% for blocker in blockers %}- {{ blocker.message }}{% endfor %}
"""
READER = """---
inputs: text
---
[system]
Read.
[user]
{{ text | material("text") }}
"""

SMALL = {
    "__init__.py": "",
    "bundle.py": TABLE,
    "rules.py": RULES,
    "outputs.py": OUTPUTS,
    "prompts/writer.md": WRITER,
    "prompts/reader.md": READER,
    "prompts/shared/manners.md": "Be short.\n",
    "README.md": "# small\n",
}


def named(changed: dict[str, str | None]) -> dict[str, bytes]:
    """The small bundle with some files changed, added, or (None) missing."""
    merged = {**SMALL, **changed}
    return {name: text.encode() for name, text in merged.items() if text is not None}


def write(folder: Path, changed: dict[str, str | None] | None = None) -> Path:
    """The small bundle in a folder."""
    for name, data in named(changed or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
