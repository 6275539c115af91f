"""What is wrong with one flow: its stages, their guards and moves, and what is there when an agent begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from loom.bundles.alphabets import Alphabet, agents_of, alphabet, evidence_faults, guard_faults, nearest
from loom.bundles.paths import moves_of, reach
from loom.bundles.probes import step_faults
from loom.kernel.flow import (
    Agent,
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
from loom.kernel.limits import MAX_FANOUT
from loom.kernel.policies import Policy
from loom.kernel.values import AnswerWord, Capability, Verdict, get

OFFERED = (AnswerWord.ACCEPT, AnswerWord.REVISE, AnswerWord.ABANDON, AnswerWord.APPLY)
"""What a gate of a flow may offer; retry and raise belong to trouble."""


def flow_faults(flow: Flow, bundle: Bundle) -> Iterator[str]:
    """Every fault of a flow."""
    at = f"flow {flow.name}"
    names = [stage.name for stage in flow.stages]
    if not names:
        yield f"{at}: has no stages"
        return
    marked = (stage.name for stage in flow.stages if isinstance(stage, Step) and ": " in stage.name)
    yield from (
        f"{at}, step {name}: its name has ': ' in it, by which the record tells a name from a reason" for name in marked
    )
    yield from (f"{at}: two stages are named {name}" for name, count in Counter(names).items() if count > 1)
    if flow.rework and flow.rework not in names:
        yield f"{at}: rework goes to {flow.rework}, which is no stage; {nearest(flow.rework, names)}"
    yield from (f"{at}: {fault}" for fault in _after_rework(flow.rework, names))
    agents = {agent.name: agent for agent in bundle.agents}
    known = alphabet(bundle, flow.stages)
    for place, stage in enumerate(flow.stages):
        here = f"{at}, stage {stage.name}"
        for fault in (*_stage(stage, agents, bundle, known), *_moves(stage, place, names, known)):
            yield f"{here}: {fault}"
    yield from _phases(flow, bundle)
    yield from _ways(flow, agents)
    yield from _floors(flow, bundle, known)


def _stage(stage: Stage, agents: Mapping[str, Agent], bundle: Bundle, known: Alphabet) -> Iterator[str]:
    for name in agents_of(stage):
        if name not in agents:
            yield f"runs {name}, which is no agent; {nearest(name, agents)}"
    match stage:
        case Spawn():
            yield from guard_faults(stage.when, known)
        case Fanout():
            yield from _fanout(stage, agents, known)
        case Gate():
            yield from _gate(stage, bundle, known)
        case Step():
            yield from step_faults(stage, known)
        case Finalize():
            yield from _finalize(stage, agents, known)


def _fanout(stage: Fanout, agents: Mapping[str, Agent], known: Alphabet) -> Iterator[str]:
    names = [member.agent for member in stage.members]
    if not 0 < len(names) <= MAX_FANOUT:
        yield f"runs {len(names)} agents at once; from 1 to {MAX_FANOUT} are possible"
    yield from (f"runs {name} {count} times at once" for name, count in Counter(names).items() if count > 1)
    editing = [name for name in names if name in agents and agents[name].capability is Capability.EDIT]
    if len(editing) > 1:
        yield f"{' and '.join(editing)} would edit at once; only one editing agent at a time in a task"
    judging = [name for name in names if name in agents and agents[name].judges]
    if editing and judging:
        yield f"{editing[0]} would edit while {judging[0]} judges; what is judged would change under the judge"
    for member in stage.members:
        yield from guard_faults(member.when, known)


def _gate(stage: Gate, bundle: Bundle, known: Alphabet) -> Iterator[str]:
    roles = [role.name for role in bundle.roles]
    if stage.role not in roles:
        yield f"asks the role {stage.role}, which is not declared; {nearest(stage.role, roles)}"
    if not stage.answers or len(set(stage.answers)) != len(stage.answers):
        yield "offers no answer, or one twice"
    for word in stage.answers:
        if word not in OFFERED:
            yield f"offers {word}; a gate offers some of {', '.join(OFFERED)}"
    yield from guard_faults(stage.when, known)
    made = {name for agent in bundle.agents if agent.name in known.said for name in agent.makes}
    for name in stage.shows:
        if name not in made:
            yield f"shows {name}, which no agent of this flow makes; {nearest(name, made)}"


def _finalize(stage: Finalize, agents: Mapping[str, Agent], known: Alphabet) -> Iterator[str]:
    if stage.verdict is Verdict.NONE:
        yield "sets no verdict"
    for kind in stage.needs:
        yield from evidence_faults(kind, "", known)
    deliverer = agents.get(stage.deliver)
    if deliverer is not None and deliverer.capability is not Capability.ACT:
        yield f"delivers with {stage.deliver}, whose capability is {deliverer.capability}; only act has effects"


def _moves(stage: Stage, place: int, names: list[str], known: Alphabet) -> Iterator[str]:
    for option in moves_of(stage):
        yield from guard_faults(option.when, known)
        yield from _move(option.move, place, names)
    if isinstance(stage, Gate) and stage.rework:
        yield from _move(Rework(stage.rework), place, names)
        yield from _after_rework(stage.rework, names)


def _after_rework(to: str, names: list[str]) -> Iterator[str]:
    """A person's own work goes on at the stage after the rework."""
    if to in names and names.index(to) + 1 == len(names):
        yield f"its rework goes to {to}, the last stage; nothing comes after it that a person's own work could go on with"


def _move(move: Move, place: int, names: list[str]) -> Iterator[str]:
    if isinstance(move, Conclude) and move.verdict in (Verdict.ACCEPTED, Verdict.NONE):
        yield f"concludes with {move.verdict or 'no verdict'!r}; acceptance is Finalize's alone"
    if not isinstance(move, Rework | Goto):
        return
    word = type(move).__name__
    if move.to not in names:
        yield f"{word}({move.to!r}) names no stage of this flow; {nearest(move.to, names)}"
    elif isinstance(move, Rework) and names.index(move.to) >= place:
        yield f"Rework({move.to!r}) must go to an earlier stage"
    elif isinstance(move, Goto) and names.index(move.to) <= place:
        yield f"Goto({move.to!r}) must go to a later stage; only Rework goes back"


def _phases(flow: Flow, bundle: Bundle) -> Iterator[str]:
    """Phases are a bundle's chapters: each stage in one of them, in order."""
    if not bundle.phases:
        yield from (f"flow {flow.name}: the phase {s.phase} is not declared" for s in flow.stages if s.phase)
        return
    last = 0
    for stage in flow.stages:
        if stage.phase not in bundle.phases:
            yield (
                f"flow {flow.name}, stage {stage.name}: phase {stage.phase!r} is not declared; "
                f"{nearest(stage.phase, bundle.phases)}"
            )
            continue
        place = bundle.phases.index(stage.phase)
        if place < last:
            yield f"flow {flow.name}, stage {stage.name}: goes back to phase {stage.phase}; phases come in order"
        last = max(last, place)


def _ways(flow: Flow, agents: Mapping[str, Agent]) -> Iterator[str]:
    """Unreachable stages, a way that leads past the end, and inputs that may not be there."""
    found = reach(flow, agents)
    if found.falls_off:
        yield f"flow {flow.name}: ends with {flow.stages[-1].name}; a flow ends with Finalize"
    for stage in flow.stages:
        if stage.name not in found.before:
            yield f"flow {flow.name}, stage {stage.name}: no way leads here"
            continue
        there = found.before[stage.name]
        for name in agents_of(stage):
            for need in agents[name].needs if name in agents else ():
                if need not in there:
                    yield (
                        f"flow {flow.name}, stage {stage.name}: {name} needs {need}, which no earlier stage makes for "
                        "certain; make it before, or say `wants` instead of `needs`"
                    )


def _floors(flow: Flow, bundle: Bundle, known: Alphabet) -> Iterator[str]:
    """A policy that may decide a gate must be able to: its floor can be brought in this flow."""
    deciding = {
        role for _, pairs in bundle.presets for role, policy in pairs if policy in (Policy.ON_BLOCKERS, Policy.AUTO)
    }
    floors = tuple((role.name, role.floor or ()) for role in bundle.roles)
    for stage in flow.stages:
        if not isinstance(stage, Gate) or stage.role not in deciding:
            continue
        for kind in get(floors, stage.role, ()):
            for fault in evidence_faults(kind, "", known):
                yield f"flow {flow.name}, stage {stage.name}: the floor of role {stage.role} is out of reach: {fault}"
