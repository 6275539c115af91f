"""Where a flow can lead: which stages are reached, and which artifacts are there for certain when a stage begins.

Without Rework a flow only goes forward, so one pass in order is enough; what a round before made stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loom.kernel.facts import All
from loom.kernel.flow import Agent, Fanout, Finalize, Flow, Gate, Goto, On, Spawn, Stage

Made = frozenset[str] | None
"""Artifacts that exist for certain on every way here; None: no way leads here."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Stage name → artifacts for certain when it begins; a stage that is missing cannot be reached. falls_off: a way
    leads past the last stage."""

    before: Mapping[str, frozenset[str]]
    falls_off: bool


def reach(flow: Flow, agents: Mapping[str, Agent]) -> Reach:
    """Follow every way through a flow whose names are all known."""
    names = [stage.name for stage in flow.stages]
    arriving: list[list[frozenset[str]]] = [[] for _ in range(len(names) + 1)]
    arriving[0].append(frozenset())
    before: dict[str, frozenset[str]] = {}
    for index, stage in enumerate(flow.stages):
        if not arriving[index]:
            continue
        here = frozenset.intersection(*arriving[index])
        before[stage.name] = here
        after = here | _made_for_certain(stage, agents)
        for target in _targets(stage, index, names):
            arriving[target].append(after)
    return Reach(before, bool(arriving[-1]))


def moves_of(stage: Stage) -> tuple[On, ...]:
    """The moves of a stage, in order."""
    return () if isinstance(stage, Gate | Finalize) else stage.on


def _targets(stage: Stage, index: int, names: list[str]) -> Iterator[int]:
    """The places that a stage can be followed by, without going back."""
    for option in moves_of(stage):
        if isinstance(option.move, Goto) and option.move.to in names:
            yield names.index(option.move.to)
    always = any(option.when == All(()) for option in moves_of(stage))
    if not isinstance(stage, Finalize) and not always:
        yield index + 1


def _made_for_certain(stage: Stage, agents: Mapping[str, Agent]) -> frozenset[str]:
    running: tuple[str, ...] = ()
    if isinstance(stage, Spawn) and stage.when is None:
        running = (stage.agent,)
    elif isinstance(stage, Fanout):
        running = tuple(member.agent for member in stage.members if member.when is None)
    return frozenset(artifact for name in running if name in agents for artifact in agents[name].makes)
