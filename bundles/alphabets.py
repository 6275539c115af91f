"""What guards may ask, computed from a bundle's own declarations: facts, words and kinds of evidence with their values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from loom.kernel.facts import (
    BOOL,
    All,
    Any,
    AtLeast,
    Blocked,
    Fact,
    Guard,
    Not,
    Said,
    Shown,
)
from loom.kernel.flow import Agent, Bundle, Fanout, Finalize, Spawn, Stage, Step
from loom.kernel.values import TROUBLE, WAIVED, AnswerWord, Capability

KERNEL_FACTS: Mapping[str, tuple[str, ...]] = {"flow_pinned": BOOL}
"""Facts that the kernel records by itself: whether the flow was named at submit."""
JUDGEMENTS = ("approve", "block")
CHECK_OUTCOMES = ("passed", "failed", "skipped", "not_applicable", WAIVED)


@dataclass(frozen=True, slots=True)
class Alphabet:
    """facts: name → values; said: agent → outcome words; shown: kind of evidence → outcomes. `checks`: any kind
    `check.<name>` may be there."""

    facts: Mapping[str, tuple[str, ...]]
    said: Mapping[str, tuple[str, ...]]
    shown: Mapping[str, tuple[str, ...]]
    checks: bool


def agents_of(stage: Stage) -> tuple[str, ...]:
    """The names of the agents that a stage runs."""
    match stage:
        case Spawn():
            return (stage.agent,)
        case Fanout():
            return tuple(member.agent for member in stage.members)
        case Finalize():
            return (stage.deliver,) if stage.deliver else ()
        case _:
            return ()


def alphabet(bundle: Bundle, stages: Iterable[Stage] | None = None) -> Alphabet:
    """What can be asked when these stages run (None: all that the bundle declares)."""
    agents: Iterable[Agent] = bundle.agents
    steps = [stage for flow in bundle.flows for stage in flow.stages if isinstance(stage, Step)]
    if stages is not None:
        stages = tuple(stages)
        running = {name for stage in stages for name in agents_of(stage)}
        agents = [agent for agent in bundle.agents if agent.name in running]
        steps = [stage for stage in stages if isinstance(stage, Step)]
    facts = dict(KERNEL_FACTS)
    for agent in agents:
        facts.update(facts_of(agent))
    for step in steps:
        facts.update(step.writes)
    shown: dict[str, tuple[str, ...]] = {
        f"review.{agent.name}": (*JUDGEMENTS, WAIVED) for agent in agents if agent.judges
    }
    shown.update({f"approval.{name}": (AnswerWord.ACCEPT.value,) for name in [*_roles(bundle), TROUBLE]})
    checks = any(agent.capability is Capability.CHECKS for agent in agents)
    return Alphabet(facts, {agent.name: agent.outcomes for agent in agents}, shown, checks)


def facts_of(agent: Agent) -> dict[str, tuple[str, ...]]:
    """Fact → values, those that the agent says and those that are measured after it."""
    return {**dict(agent.facts), **{measure.fact: measure.values for measure in agent.measures}}


def guard_faults(guard: Guard | None, known: Alphabet) -> Iterator[str]:
    """What a guard asks that nobody can answer."""
    match guard:
        case Fact(name, value):
            yield from _outside(f"the fact {name}", name, value, known.facts, "is recorded")
        case Said(agent, word):
            yield from _outside(f"the agent {agent}", agent, word, known.said, "runs")
        case Shown(kind, outcome):
            yield from evidence_faults(kind, outcome, known)
        case Not(part):
            yield from guard_faults(part, known)
        case All(parts) | Any(parts):
            for part in parts:
                yield from guard_faults(part, known)
        case AtLeast(count, parts):
            if not 0 < count <= len(parts):
                yield f"AtLeast({count}) of {len(parts)} parts says nothing"
            for part in parts:
                yield from guard_faults(part, known)
        case Blocked() | None:
            return


def evidence_faults(kind: str, outcome: str, known: Alphabet) -> Iterator[str]:
    """Evidence that nobody can bring. `outcome` "" : of any outcome."""
    if kind.startswith("check.") and known.checks:
        if outcome and outcome not in CHECK_OUTCOMES:
            yield f"{kind} is never {outcome!r}; a check is {', '.join(CHECK_OUTCOMES)}"
        return
    if kind.startswith("check."):
        yield f"nobody here brings the evidence {kind}; no agent of capability checks runs"
        return
    yield from _outside(f"the evidence {kind}", kind, outcome, known.shown, "is brought")


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint: the names there are, the nearest first."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return "there are: " + ", ".join(names) if names else "there is none"


def _outside(what: str, name: str, value: str, known: Mapping[str, tuple[str, ...]], verb: str) -> Iterator[str]:
    if name not in known:
        yield f"{what} never {verb} here; {nearest(name, known)}"
    elif value and value not in known[name]:
        yield f"{what} is never {value!r}; it is one of {', '.join(known[name])}"


def _roles(bundle: Bundle) -> list[str]:
    return [role.name for role in bundle.roles]
