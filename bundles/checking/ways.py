"""What can still be asked, and who can still speak, from each stage of a flow on: what a state may forget.

Every way that the kernel might take is followed, and some that it never takes: what is forgotten here can be asked nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from loom.bundles.alphabets import agents_of
from loom.bundles.checking.residues import atoms, brought
from loom.bundles.paths import moves_of
from loom.kernel.facts import Any, Fact, Guard, Said
from loom.kernel.flow import (
    Bundle,
    Conclude,
    Fanout,
    Finalize,
    Flow,
    Gate,
    Goto,
    Rework,
    Role,
    Rule,
    Spawn,
    Stage,
    Step,
)
from loom.kernel.values import Capability

T = TypeVar("T")
Node = tuple[str, str]
"""(flow, stage)"""
AT_THE_END = frozenset({"VerdictReached", "TaskClosed"})
"""Events that only a Finalize or a Conclude brings about while a rule of a bundle is still asked."""


@dataclass(frozen=True)
class Sight:
    """What counts from one stage on. guards: what may still be asked. fresh: agent → those of them that may be asked before a
        rework has let its word be forgotten. ever: agent → those that may be asked of what it says before it says it anew, where
    that is less than all; told: the same where it has just said it. speaking: the agents that may still report. opaque: a function of the bundle may
        still look at all of it."""

    guards: tuple[Guard, ...]
    fresh: Mapping[str, tuple[Guard, ...]]
    ever: Mapping[str, tuple[Guard, ...]]
    told: Mapping[str, tuple[Guard, ...]]
    speaking: frozenset[str]
    opaque: bool

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True, slots=True)
class _Way:
    """A way from a stage to another. since: on a way back, the place in the flow from which on words are forgotten."""

    to: Node
    since: int | None = None


def sights(bundle: Bundle) -> Mapping[Node, Sight]:
    """The sight from each stage of each flow."""
    roles = {role.name: role for role in bundle.roles}
    nodes: list[Node] = []
    asked: dict[Node, tuple[Guard, ...]] = {}
    speaking: dict[Node, frozenset[str]] = {}
    opaque: dict[Node, frozenset[bool]] = {}
    ways: dict[Node, tuple[_Way, ...]] = {}
    for flow in bundle.flows:
        for place, stage in enumerate(flow.stages):
            node = (flow.name, stage.name)
            rules = [rule for rule in bundle.rules if _asked_at(rule, stage)]
            nodes.append(node)
            asked[node] = (*_asked(stage, roles), *_choosing(stage, bundle), *_objecting(rules))
            speaking[node] = frozenset(agents_of(stage))
            dark = isinstance(stage, Step) or any(rule.check is not None for rule in rules)
            opaque[node] = frozenset((True,)) if dark else frozenset()
            ways[node] = tuple(_ways(flow, place, bundle))
    everywhere = {node: tuple(way.to for way in ways[node]) for node in nodes}
    numbers = {guard: number for number, guard in enumerate(dict.fromkeys(g for node in nodes for g in asked[node]))}
    questions = {node: frozenset(numbers[guard] for guard in asked[node]) for node in nodes}
    listed = tuple(numbers)

    def in_order(found: frozenset[int]) -> tuple[Guard, ...]:
        return tuple(listed[number] for number in sorted(found))

    all_asked = _gathered(nodes, everywhere, questions)
    fresh: dict[str, dict[Node, frozenset[int]]] = {}
    for agent, last in _mentioned(bundle, listed):
        kept = {n: tuple(w.to for w in ways[n] if w.since is None or last.get(n[0], -1) < w.since) for n in nodes}
        fresh[agent] = _gathered(nodes, kept, questions)
    ever: dict[str, dict[Node, frozenset[int]]] = {}
    told: dict[str, dict[Node, frozenset[int]]] = {}
    for agent, own in _freshly_told(bundle):
        less = {n: questions[n] - {numbers[guard] for guard in own.get(n, ())} for n in nodes}
        ever[agent] = _gathered(nodes, everywhere, less)
        told[agent] = {n: ever[agent][n] | questions[n] for n in nodes}
    heard = _gathered(nodes, everywhere, speaking)
    dark_on = _gathered(nodes, everywhere, opaque)
    return {
        node: Sight(
            in_order(all_asked[node]),
            {agent: in_order(found[node]) for agent, found in fresh.items()},
            {agent: in_order(found[node]) for agent, found in ever.items()},
            {agent: in_order(found[node]) for agent, found in told.items()},
            heard[node],
            bool(dark_on[node]),
        )
        for node in nodes
    }


def _gathered(
    nodes: list[Node], ways: Mapping[Node, tuple[Node, ...]], own: Mapping[Node, frozenset[T]]
) -> dict[Node, frozenset[T]]:
    """What each node and all behind it have."""
    found = dict(own)
    moved = True
    while moved:
        moved = False
        for node in reversed(nodes):
            more = found[node].union(*(found[to] for to in ways[node]))
            if len(more) > len(found[node]):
                found[node] = more
                moved = True
    return found


def _mentioned(bundle: Bundle, guards: tuple[Guard, ...]) -> Iterator[tuple[str, dict[str, int]]]:
    """The agents whose word is asked, each with its last place in each flow."""
    names = {atom.agent for guard in guards for atom in atoms(guard) if isinstance(atom, Said)}
    for agent in sorted(names):
        yield (
            agent,
            {
                flow.name: place
                for flow in bundle.flows
                for place, stage in enumerate(flow.stages)
                if agent in agents_of(stage)
            },
        )


def _asked(stage: Stage, roles: Mapping[str, Role]) -> Iterator[Guard]:
    """What is asked on entering a stage, at it, and on leaving it."""
    if isinstance(stage, Spawn | Gate) and stage.when is not None:
        yield stage.when
    if isinstance(stage, Fanout):
        yield from (member.when for member in stage.members if member.when is not None)
    if isinstance(stage, Gate):
        role = roles[stage.role]
        if role.person_when is not None:
            yield role.person_when
        yield brought(role.floor or ())
    if isinstance(stage, Finalize):
        yield brought(stage.needs)
    yield from (option.when for option in moves_of(stage))


def _choosing(stage: Stage, bundle: Bundle) -> Iterator[Guard]:
    """A stage that chooses the flow asks which."""
    if isinstance(stage, Spawn) and stage.chooses:
        yield from (Fact(stage.chooses, flow.name) for flow in bundle.flows)


def _objecting(rules: list[Rule]) -> Iterator[Guard]:
    """Rules that are asked on the same events and offer the same are one no: where it leads hangs on none of them alone."""
    alike: dict[tuple[frozenset[str], frozenset[str]], list[Guard]] = {}
    for rule in rules:
        if rule.never is not None:
            alike.setdefault((frozenset(rule.on), frozenset(rule.remedies)), []).append(rule.never)
    yield from (Any(tuple(nevers)) for nevers in alike.values())


def _freshly_told(bundle: Bundle) -> Iterator[tuple[str, dict[Node, tuple[Guard, ...]]]]:
    """The agents that no person can do without, each with the stages that are left only after it has reported, and what is
    asked on leaving them: its facts are new then."""
    for agent in bundle.agents:
        if agent.capability is Capability.EDIT or agent.makes:
            yield (
                agent.name,
                {
                    (flow.name, stage.name): tuple(option.when for option in stage.on)
                    for flow in bundle.flows
                    for stage in flow.stages
                    if isinstance(stage, Spawn) and stage.agent == agent.name and stage.when is None
                },
            )


def _asked_at(rule: Rule, stage: Stage) -> bool:
    ends = isinstance(stage, Finalize) or any(isinstance(option.move, Conclude) for option in moves_of(stage))
    return ends or not AT_THE_END.issuperset(rule.on)


def _ways(flow: Flow, place: int, bundle: Bundle) -> Iterator[_Way]:
    """Where a stage may lead: on, back, by a person's word from trouble, and past a rework with the person's own work."""
    names = [stage.name for stage in flow.stages]
    stage = flow.stages[place]
    backs = [flow.rework]
    if place + 1 < len(names):
        yield _Way((flow.name, names[place + 1]))
    for option in moves_of(stage):
        if isinstance(option.move, Goto):
            yield _Way((flow.name, option.move.to))
        elif isinstance(option.move, Rework):
            backs.append(option.move.to)
    if isinstance(stage, Gate):
        backs.append(stage.rework)
    for back in dict.fromkeys(backs):
        if back:
            since = names.index(back)
            yield from (_Way((flow.name, name), since) for name in names[since : since + 2])
    if isinstance(stage, Spawn) and stage.chooses:
        others = (other for other in bundle.flows if other is not flow)
        yield from (_Way((other.name, stage.name)) for other in others if stage.name in {s.name for s in other.stages})
