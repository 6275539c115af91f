"""From a way in the abstract graph to commands that lead a real task the same way.

Where a counter stood at its limit, the way goes round as often as it takes for the kernel's own counter to get there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from loom.bundles.checking.deeds import Fails, Garbles, Reports, RunsOut, command, grant, running
from loom.bundles.checking.graph import Atlas, Edge, Graph, Pressure, submission
from loom.bundles.checking.places import PERSON
from loom.bundles.checking.properties import Refutation, Way, Ways
from loom.kernel import commands as c
from loom.kernel.flow import Bundle
from loom.kernel.limits import STALL_REPEATS
from loom.kernel.machine import Rejection, tick
from loom.kernel.state import TaskState
from loom.kernel.values import Principal, SpawnStatus, find
from loom.kernel.work import Rules, Unanswered, ask_directly, rules_for

BEGUN_MS = 1_750_000_000_000
STEP_MS = 1_000
SILENT = "it is taken not to answer"
SAME = "same"


@dataclass(frozen=True, slots=True)
class Given:
    """A command of a trace: when, by whom, and which functions of the bundle gave no answer."""

    now_ms: int
    principal: Principal
    command: c.TaskCommand
    unanswered: tuple[str, ...] = ()


class _Home:
    def read(self, name: str) -> str:
        return ""


@dataclass
class _Player:
    """A real task on its way."""

    rules: Rules
    task: TaskState | None = None
    now_ms: int = BEGUN_MS

    def give(self, by: Principal, asked: c.TaskCommand, at_ms: int = 0, *, silent: bool = False) -> Given | None:
        """The command, when the task takes it."""
        self.now_ms = max(self.now_ms + STEP_MS, at_ms)
        asking = _silent if silent else ask_directly
        taken = tick(self.rules, self.task, _Home(), by, asked, self.now_ms, asking)
        if isinstance(taken, Rejection):
            return None
        self.task = taken.task
        return Given(self.now_ms, by, asked, taken.unanswered)


def given(atlas: Atlas, graph: Graph, refutation: Refutation, bundle: Bundle) -> tuple[Given, ...]:
    """The commands that show a refutation on a task of this bundle, from its submit on. They end early where the task parks
    before the way ends: a budget that is too small does that."""
    player = _Player(rules_for(bundle))
    submit = submission(bundle, refutation.flow, refutation.preset)
    taken = [player.give(PERSON, replace(submit, bundle=bundle.name))]
    for edge, mark in _unrolled(Ways(atlas, graph), refutation.way):
        for one in _done(player, edge, mark, atlas):
            if one is None:
                return tuple(one for one in taken if one is not None)
            taken.append(one)
    return tuple(one for one in taken if one is not None)


def _done(player: _Player, edge: Edge, mark: str, atlas: Atlas) -> Iterator[Given | None]:
    assert player.task is not None
    deed = edge.deed
    if isinstance(deed, Reports | Garbles | Fails):
        state = running(player.task, deed.agent)
        if state.status is SpawnStatus.READY:
            yield player.give(*grant(player.task, state), at_ms=state.not_before_ms)
    at_ms = find(player.task.wakes, "wall", 0) if isinstance(deed, RunsOut) else 0
    by, asked = command(deed, player.task, atlas.world.agents, mark)
    yield player.give(by, asked, at_ms, silent=edge.pressure is Pressure.SILENCE)


def _unrolled(ways: Ways, way: Way) -> Iterator[tuple[Edge, str]]:
    """The edges in order, each with its mark: what is new is another one each time, unless the same trouble is to come back."""
    place, count = ways.graph.start, 0
    for edge in way:
        rounds = {Pressure.ROUNDS: ways.atlas.bundle.caps.rounds, Pressure.STALL: STALL_REPEATS}.get(edge.pressure, 0)
        round_ = _round(ways, place, edge) if rounds else ()
        same = SAME if edge.pressure is Pressure.STALL else ""
        for _ in range(rounds):
            for one in round_:
                count += 1
                yield one, same or f" {count}"
        count += 1
        yield edge, same or f" {count}"
        place = edge.to


def _round(ways: Ways, place: int, pressed: Edge) -> Way:
    """From a place back to it, by the same deed while the counter is not at its limit."""
    for edge in ways.graph.edges[place]:
        if edge.deed == pressed.deed and edge.pressure is Pressure.NONE:
            back = ways.within(edge.to, place, lambda one: one.pressure is Pressure.NONE and not one.by_person)
            return (edge, *back) if back is not None else ()
    return ()


def _silent(name: str, *asked: object) -> object:
    raise Unanswered(name, SILENT)
