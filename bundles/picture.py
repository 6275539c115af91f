"""A flow as a picture, drawn from the same table that the machine runs: as text, and as a Mermaid chart."""

from __future__ import annotations

from itertools import pairwise
from typing import assert_never

from loom.bundles.alphabets import agents_of
from loom.bundles.paths import moves_of
from loom.kernel.facts import YES, All, Any, AtLeast, Blocked, Fact, Guard, Not, Said, Shown
from loom.kernel.flow import (
    Agent,
    Ask,
    Bundle,
    Conclude,
    Fanout,
    Finalize,
    Flow,
    Gate,
    Goto,
    Move,
    Rework,
    Spawn,
    Stage,
    Step,
)
from loom.kernel.values import AnswerWord

BEGIN, END = "<!-- drawn from bundle.py: python -m loom.bundles code -->", "<!-- end of what is drawn -->"
"""The marks in a bundle's README between which its pictures stand."""


def text(bundle: Bundle, flow: Flow) -> str:
    """The flow as lines for a terminal: a stage with its agents, and under it when it is skipped and where it leads."""
    agents = {agent.name: agent for agent in bundle.agents}
    lines = [f"{flow.name}{' (default)' if flow.name == bundle.entry else ''}"]
    for place, stage in enumerate(flow.stages, 1):
        mark = "▷" if place == 1 else "▽" if place == len(flow.stages) else "│"
        lines.append(f"  {mark} {_title(stage, agents)}")
        lines += [f"  │     {note}" for note in _notes(stage)]
    return "\n".join(lines) + "\n"


def mermaid(flow: Flow) -> str:
    """The flow as a Mermaid chart."""
    lines = ["flowchart LR", *(f"  {_node(stage)}" for stage in flow.stages)]
    lines += [f"  {one.name}_ --> {other.name}_" for one, other in pairwise(flow.stages)]
    for stage in flow.stages:
        lines += [f"  {stage.name}_ -.{_arrow(move)}.-> {to}_" for move, to in _sent(stage)]
    return "\n".join(lines) + "\n"


def section(bundle: Bundle) -> str:
    """What stands between the marks of a bundle's README."""
    drawn = [f"### {f.name}\n\n```mermaid\n{mermaid(f)}```\n\n```\n{text(bundle, f)}```" for f in bundle.flows]
    return "\n\n".join([BEGIN, *drawn, END])


def renewed(readme: str, bundle: Bundle) -> str:
    """The README with its pictures drawn anew. Raises ValueError when the marks are missing."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README needs the lines {BEGIN!r} and {END!r}; the pictures go between them")
    return head + section(bundle) + tail


def words(guard: Guard) -> str:
    """A guard as a person would say it."""
    match guard:
        case Fact(name, value):
            return name if value == YES else f"{name} = {value}"
        case Said(agent, word):
            return f"{agent} says {word}"
        case Blocked(origin):
            return "a blocker is open" if origin is None else f"a blocker of origin {origin} is open"
        case Shown(kind, outcome, person):
            return f"{kind} = {outcome}{' by a person' if person else ''}"
        case All(()):
            return "always"
        case All(parts):
            return " and ".join(_inner(part) for part in parts)
        case Any(parts):
            return " or ".join(_inner(part) for part in parts)
        case Not(part):
            return f"not {_inner(part)}"
        case AtLeast(count, parts):
            return f"at least {count} of ({'; '.join(words(part) for part in parts)})"
        case _:
            assert_never(guard)


def _inner(guard: Guard) -> str:
    several = isinstance(guard, All | Any) and len(guard.parts) > 1
    return f"({words(guard)})" if several else words(guard)


def _title(stage: Stage, agents: dict[str, Agent]) -> str:
    names = ", ".join(_agent(name, agents) for name in agents_of(stage))
    match stage:
        case Spawn():
            return f"{stage.name}: {names}"
        case Fanout():
            return f"{stage.name}: at once {names}"
        case Gate():
            return f"{stage.name}: gate, role {stage.role}"
        case Step():
            return f"{stage.name}: computes {', '.join(name for name, _ in stage.writes)}"
        case Finalize():
            return f"{stage.name}: {stage.verdict}{f', then {names}' if names else ''}"
        case _:
            assert_never(stage)


def _agent(name: str, agents: dict[str, Agent]) -> str:
    agent = agents[name]
    return f"{name} ({agent.capability}, {agent.tier})" if agent.prompt else f"{name} ({agent.capability})"


def _notes(stage: Stage) -> list[str]:
    notes = []
    if isinstance(stage, Spawn | Gate) and stage.when is not None:
        notes.append(f"only when {words(stage.when)}")
    if isinstance(stage, Spawn) and stage.chooses:
        notes.append(f"its fact {stage.chooses} chooses the flow to go on in")
    if isinstance(stage, Fanout):
        notes += [f"{m.agent} only when {words(m.when)}" for m in stage.members if m.when is not None]
    if isinstance(stage, Gate) and stage.rework and AnswerWord.REVISE in stage.answers:
        notes.append(f"revise → back to {stage.rework}")
    if isinstance(stage, Finalize) and stage.needs:
        notes.append(f"needs {', '.join(stage.needs)}")
    return [*notes, *(f"{words(option.when)} → {_says(option.move)}" for option in moves_of(stage))]


def _says(move: Move) -> str:
    match move:
        case Rework(to):
            return f"back to {to}"
        case Goto(to):
            return f"on to {to}"
        case Ask(reason):
            return f"a person: {reason}"
        case Conclude(verdict):
            return f"the end: {verdict}"
        case _:
            assert_never(move)


def _node(stage: Stage) -> str:
    """Box: one agent · double box: several · diamond: a decision · slanted: a computation · round: the end."""
    name = stage.name
    match stage:
        case Spawn():
            return f'{name}_["{name}"]'
        case Fanout():
            return f'{name}_[["{name}: {", ".join(agents_of(stage))}"]]'
        case Gate():
            return f'{name}_{{"{name}"}}'
        case Step():
            return f'{name}_[/"{name}"/]'
        case Finalize():
            return f'{name}_(["{stage.verdict}"])'
        case _:
            assert_never(stage)


def _sent(stage: Stage) -> list[tuple[Move, str]]:
    """Where the stage leads besides the next one, each place once."""
    found: dict[str, Move] = {}
    for option in moves_of(stage):
        if isinstance(option.move, Rework | Goto):
            found.setdefault(option.move.to, option.move)
    if isinstance(stage, Gate) and stage.rework:
        found.setdefault(stage.rework, Rework(stage.rework))
    return [(move, to) for to, move in found.items()]


def _arrow(move: Move) -> str:
    return " on " if isinstance(move, Goto) else " back "
