"""A small bundle of which every property is proved, and ten mutants of it, each with one fault that one property refutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.bundle_files import OUTPUTS as REVIEW_TYPES

TABLE = """
from __future__ import annotations

from loom.kernel.facts import All, Blocked, Fact, Not, Said, Shown
from loom.kernel.flow import Agent, Ask, Bundle, Fanout, Finalize, Flow, Gate, Goto, Measure, Member, On, Rework, Role, Rule, Spawn
from loom.kernel.values import AnswerWord, Capability, Caps, Verdict

SIZE = Measure("size", "size", ("small", "large"))
WORKER = Agent("worker", Capability.EDIT, ("done", "stuck"), measures=(SIZE,), prompt="worker", output="Work")
CHECKS = Agent("checks", Capability.CHECKS, ("passed", "failed", "skipped"))
REVIEWER = Agent("reviewer", Capability.READ, ("approve", "block"), prompt="reviewer", output="Review", judges=True)
SECOND = Agent("second", Capability.READ, ("approve", "block"), prompt="reviewer", output="Review", judges=True)
AGENTS = (WORKER, CHECKS, REVIEWER, SECOND)
LARGE = Fact("size", "large")
WORK = Spawn("work", "worker", on=(On(Said("worker", "stuck"), Ask("the worker is stuck")),))
CHECK = Spawn("check", "checks", on=(On(Said("checks", "failed"), Rework("work")),))
REVIEW = Fanout("review", (Member("reviewer"), Member("second", when=LARGE)), on=(On(Blocked(), Rework("work")),))
DECIDE = Gate("decide", "final", rework="work")
END = Finalize("end", Verdict.ACCEPTED, needs=("approval.final",))
STAGES = (WORK, CHECK, REVIEW, DECIDE, END)
ROLES = (Role("final", ("check.test", "review.reviewer")),)
BY_PERSON = Shown("approval.final", "accept", person=True)
RULE = Rule("large work needs a person", ("VerdictReached",), "it is large", never=All((LARGE, Not(BY_PERSON))))
PRESETS = (
    ("supervised", (("final", "human"),)),
    ("on-blockers", (("final", "on-blockers"),)),
    ("autonomous", (("final", "auto"),)),
)
CAPS = Caps()
# changes
BUNDLE = Bundle(
    name="sound",
    version="1",
    agents=AGENTS,
    flows=(Flow("main", STAGES, rework="work"),),
    roles=ROLES,
    entry="main",
    presets=PRESETS,
    default_preset="on-blockers",
    rules=(RULE,),
    caps=CAPS,
)
"""
WORK_TYPE = """

class Work(Struct):
    outcome: Literal["done", "stuck"]
    summary: str
"""
PROMPT = "---\ninputs: task\n---\n[system]\nDo it well.\n[user]\n{{ task }}\n"
SOUND = {
    "__init__.py": "",
    "bundle.py": TABLE,
    "outputs.py": REVIEW_TYPES + WORK_TYPE,
    "prompts/worker.md": PROMPT,
    "prompts/reviewer.md": PROMPT,
    "README.md": "# sound\n",
}
FIXER = 'Agent("fixer", Capability.EDIT, prompt="worker", output="Fix")'
FIX_TYPE = """

class Fix(Struct):
    outcome: Literal["done"]
    summary: str
"""


@dataclass(frozen=True)
class Mutant:
    """property: what is refuted. change: Python after the table's names. shows: how the trace ends, in replay's words."""

    name: str
    property: str
    change: str
    shows: str


MUTANTS = (
    Mutant(
        "a gate bypassed by a guard",
        "person",
        'STAGES = (WORK, CHECK, REVIEW, Gate("decide", "final", rework="work", when=LARGE), Finalize("end", Verdict.ACCEPTED))',
        "done: accepted",
    ),
    Mutant("an unbounded loop", "loop", "CAPS = Caps(attempts=0, rounds=0)", "at stage"),
    Mutant(
        "a dead end",
        "dead-end",
        'ROLES = (*ROLES, Role("legal", ()))\n'
        'PRESETS = tuple((name, (*pairs, ("legal", "human"))) for name, pairs in PRESETS)\n'
        'STAGES = (*STAGES[:-1], Finalize("end", Verdict.ACCEPTED, needs=("approval.legal",)))',
        "parked (missing)",
    ),
    Mutant("a missing floor", "evidence", 'ROLES = (Role("final", ()),)', "done: accepted"),
    Mutant(
        "a review of another subject",
        "evidence",
        f"AGENTS = (*AGENTS, {FIXER})\n"
        'STAGES = (WORK, CHECK, REVIEW, DECIDE, Spawn("polish", "fixer"), Finalize("end", Verdict.ACCEPTED))',
        "done: accepted",
    ),
    Mutant("a role without policy", "policy", 'PRESETS = (*PRESETS[1:], ("supervised", ()))', "gate final"),
    Mutant(
        "a rework that skips checks",
        "checks",
        f"AGENTS = (*AGENTS, {FIXER})\n"
        'CHECK = Spawn("check", "checks", on=(*CHECK.on, On(Said("checks", "passed"), Goto("review"))))\n'
        'REVIEW = Fanout("review", REVIEW.members, on=(On(Blocked(), Rework("fix")),))\n'
        'STAGES = (WORK, CHECK, Spawn("fix", "fixer"), REVIEW, DECIDE, END)',
        "gate final",
    ),
    Mutant(
        "an objection without a way on",
        "objection",
        'RULE = Rule("never", ("VerdictReached",), "no", never=Shown("approval.final", "accept"), remedies=(AnswerWord.RETRY,))',
        "parked (objection)",
    ),
    Mutant(
        "an unreachable agent",
        "unreachable",
        'NEVER = All((LARGE, Fact("size", "small")))\n'
        'REVIEW = Fanout("review", (Member("reviewer"), Member("second", when=NEVER)), on=REVIEW.on)\n'
        "STAGES = (WORK, CHECK, REVIEW, DECIDE, END)",
        "at work: reviewer",
    ),
    Mutant("a budget below the shortest path", "budget", "CAPS = Caps(attempts=1)", "parked (attempts)"),
)


def write(folder: Path, change: str = "") -> Path:
    """The sound bundle in a folder, or a mutant of it."""
    fixes = "fixer" in change
    files = {**SOUND, "bundle.py": TABLE.replace("# changes", change)}
    files["outputs.py"] += FIX_TYPE if fixes else ""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
