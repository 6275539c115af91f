"""Wide fan-outs: of siblings that are all alike and are asked for by nobody, a few stand for all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from loom.bundles.checking.residues import atoms
from loom.bundles.checking.ways import sights
from loom.kernel.facts import Guard, Said, Shown
from loom.kernel.flow import Agent, Bundle, Fanout, Flow, Member
from loom.kernel.values import REVIEW

FEW = 3
"""One that ends, one that fails, one that still works: more siblings that are alike come to no other kind of place."""


def narrowed(bundle: Bundle) -> Bundle:
    """The bundle with no more than a few of the siblings that are alike."""
    agents = {agent.name: agent for agent in bundle.agents}
    named = _named(bundle)
    flows = tuple(_narrowed(flow, agents, named) for flow in bundle.flows)
    return replace(bundle, flows=flows) if flows != bundle.flows else bundle


def _narrowed(flow: Flow, agents: dict[str, Agent], named: frozenset[str]) -> Flow:
    stages = tuple(
        replace(stage, members=_few(stage.members, agents, named)) if isinstance(stage, Fanout) else stage
        for stage in flow.stages
    )
    return replace(flow, stages=stages)


def _few(members: tuple[Member, ...], agents: dict[str, Agent], named: frozenset[str]) -> tuple[Member, ...]:
    seen: Counter[tuple[Agent, Guard | None]] = Counter()
    kept = []
    for member in members:
        kind = (replace(agents[member.agent], name=""), member.when)
        seen[kind] += 1
        if member.agent in named or agents[member.agent].facts or seen[kind] <= FEW:
            kept.append(member)
    return tuple(kept)


def _named(bundle: Bundle) -> frozenset[str]:
    """The agents that some guard or need asks for by name."""
    found = set()
    for sight in sights(bundle).values():
        for guard in sight.guards:
            for atom in atoms(guard):
                if isinstance(atom, Said):
                    found.add(atom.agent)
                elif isinstance(atom, Shown) and atom.kind.startswith(REVIEW):
                    found.add(atom.kind.removeprefix(REVIEW))
    return frozenset(found)
