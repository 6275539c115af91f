"""The abstract graph: every place that a task of a bundle can come to, found by ticking the kernel itself.

From each place each deed is done by `kernel.machine.tick`, and the state it leads to is put on the map. What only a counter
decides (whether rounds are left, whether the same trouble came back too often, whether a function of the bundle answers) is
done both ways: the same tick, from the same place, with the counter at its limit. That is *pressure*.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from loom.bundles.checking.deeds import Answers, Cancels, Deed, RunsOut, World, command
from loom.bundles.checking.places import NOW_MS, PERSON, SUBJECT, TASK, UNCAPPED, Ghost, Map, Spot, blocker
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.copying import copier
from loom.kernel.evidence import missing
from loom.kernel.facts import View, holds
from loom.kernel.flow import Bundle, Gate
from loom.kernel.limits import SEMANTICS, STALL_REPEATS
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.policies import effective
from loom.kernel.state import TaskSpec, TaskState
from loom.kernel.values import NO_TEXT, Origin, Pairs, Spent, Verdict, find
from loom.kernel.work import Rules, Unanswered, ask_directly, rules_for

_copy = copier(TaskState)


class Pressure(StrEnum):
    """Which counter stands at its limit while a deed is done."""

    NONE = ""
    ROUNDS = "rounds"
    STALL = "stall"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Passed:
    """What a tick passed on its way. stages: entered, as (flow, stage). opened, skipped: agents. overleapt: gates that their
    guard skipped, as (flow, stage); reserved: those of them whose role reserves for a person what is so here."""

    stages: tuple[tuple[str, str], ...] = ()
    opened: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    overleapt: tuple[tuple[str, str], ...] = ()
    reserved: tuple[tuple[str, str], ...] = ()
    counted_round: bool = False
    counted_attempt: bool = False
    verdict: Verdict = Verdict.NONE
    accepted: Ghost | None = None
    shown: frozenset[str] = frozenset()
    """With an accepted verdict: the kinds of evidence that stand, about this very subject."""
    checked: bool = False
    """Whether the checks have seen the subject, after the tick."""
    objections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    deed: Deed
    to: int
    passed: Passed
    pressure: Pressure = Pressure.NONE

    @property
    def by_person(self) -> bool:
        return isinstance(self.deed, Answers | Cancels)


@dataclass
class Graph:
    """What can happen to the tasks of one flow under one preset. places: in the order in which a shortest way finds them."""

    flow: str
    """The flow that a person pinned ("" : none)."""
    preset: str
    start: int
    places: list[int] = field(default_factory=list)
    edges: dict[int, tuple[Edge, ...]] = field(default_factory=dict)

    @property
    def edge_count(self) -> int:
        return sum(len(edges) for edges in self.edges.values())


class _Home:
    """Nothing that a decision hangs on is in the home."""

    def read(self, name: str) -> str:
        return ""


@dataclass
class Atlas:
    """The graphs of one bundle. Places are shared between flows and presets; so is every tick that asks no policy."""

    bundle: Bundle
    rules: Rules = field(init=False)
    map: Map = field(init=False)
    world: World = field(init=False)
    spots: list[Spot] = field(init=False, default_factory=list)
    ticks: int = field(init=False, default=0)
    _numbers: dict[Spot, int] = field(init=False, default_factory=dict)
    _shared: dict[int, tuple[list[Edge], list[Deed]]] = field(init=False, default_factory=dict)
    _ruled: dict[tuple[int, Pairs], list[Edge]] = field(init=False, default_factory=dict)
    _specs: dict[Pairs, TaskSpec] = field(init=False, default_factory=dict)
    _passed: dict[Passed, Passed] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = rules_for(self.bundle)
        self.map = Map(self.bundle)
        self.world = World(self.bundle, self.map.ear)
        keys = [blocker(agent.name, origin).stall_key for agent in self.bundle.agents for origin in Origin]
        self._stalled = tuple(sorted((key, STALL_REPEATS) for key in keys))
        self._roles = {role.name: role for role in self.bundle.roles}

    # -------------------------------------------------------------------------------------------------------- exploring

    def explore(self, flow: str, preset: str) -> Graph:
        """Everything that can happen to a task of this flow ("" : none pinned) under this preset."""
        policies = effective(self.bundle, preset, ())
        graph = Graph(flow, preset, self.start(flow, policies))
        graph.places.append(graph.start)
        seen = {graph.start}
        queue = deque(graph.places)
        while queue:
            place = queue.popleft()
            graph.edges[place] = edges = self._edges(place, policies)
            for edge in edges:
                if edge.to not in seen:
                    seen.add(edge.to)
                    graph.places.append(edge.to)
                    queue.append(edge.to)
        return graph

    def every_edge(self, place: int, preset: str) -> tuple[Edge, ...]:
        """All that can happen at a place, what leads nowhere else, too: also from a place that no graph has, on the way
        between two that one has."""
        task = self._under(place, effective(self.bundle, preset, ()))
        deeds = tuple(self.world.deeds(self.spots[place].task, everything=True))
        edges = [edge for deed in deeds for edge in self._done(place, task, deed)[0]]
        if RunsOut() in deeds and isinstance(held := self._tick(task, RunsOut(), ask_directly), Tick):
            waiting = _copy(held.task, now_ms=NOW_MS)
            more = (deed for deed in self.world.deeds(waiting, everything=True) if not isinstance(deed, RunsOut))
            edges += [edge for deed in more for edge in self._done(place, waiting, deed)[0]]
        return tuple(edges)

    def start(self, flow: str, policies: Pairs) -> int:
        """The place where a task begins."""
        asked = replace(submission(self.bundle, flow), policies=tuple(p for p in policies if p[0] in self._roles))
        taken = tick(self.rules, None, _Home(), PERSON, asked, NOW_MS)
        if isinstance(taken, Rejection):
            raise ValueError(f"flow {flow or self.bundle.entry}: a task cannot begin: {taken.sentence}")
        ghost = self.map.ghost(taken.task, Ghost(), taken.events)
        return self.number(self.map.spot(taken.task, ghost))

    def number(self, spot: Spot) -> int:
        """The number of a place; a new one gets the next."""
        found = self._numbers.get(spot)
        if found is None:
            found = self._numbers[spot] = len(self.spots)
            self.spots.append(spot)
        return found

    def known(self, spot: Spot) -> int | None:
        """The number of a place that was found already."""
        return self._numbers.get(spot)

    def _edges(self, place: int, policies: Pairs) -> tuple[Edge, ...]:
        shared = self._shared.get(place)
        if shared is None:
            shared = self._shared[place] = self._share(place, policies)
        edges, ruled = shared
        if not ruled:
            return tuple(edges)
        more = self._ruled.get((place, policies))
        if more is None:
            task = self._under(place, policies)
            more = [edge for deed in ruled for edge in self._done(place, task, deed)[0]]
            self._ruled[place, policies] = more
        return (*edges, *more)

    def _share(self, place: int, policies: Pairs) -> tuple[list[Edge], list[Deed]]:
        """The edges that ask no policy, and the deeds that do."""
        edges: list[Edge] = []
        ruled: list[Deed] = []
        spot = self.spots[place]
        if spot.task.verdict in _GIVEN_UP or not spot.task.stage:
            return edges, ruled
        task = self._under(place, policies)
        for deed in self.world.deeds(spot.task):
            found, asks = self._done(place, task, deed)
            if asks:
                ruled.append(deed)
            else:
                edges += found
        return edges, ruled

    def _under(self, place: int, policies: Pairs) -> TaskState:
        task = self.spots[place].task
        spec = self._specs.get(policies)
        if spec is None:
            spec = self._specs[policies] = replace(task.spec, policies=policies)
        return _copy(task, spec=spec)

    # ------------------------------------------------------------------------------------------------------- one deed

    def _done(self, place: int, task: TaskState, deed: Deed) -> tuple[list[Edge], bool]:
        """The edges of one deed, under every pressure that changes where it leads; whether a policy was asked."""
        asked: list[str] = []
        taken = self._tick(task, deed, _listening(asked))
        if isinstance(taken, Rejection):
            return [], False
        found = [self._edge(place, task, deed, taken, Pressure.NONE)]
        asks = self._asks(task, taken)
        pressed: list[tuple[Pressure, TaskState, Callable[..., Any]]] = []
        if any(isinstance(event, e.Reworked) and event.counted for event in taken.events):
            pressed.append(
                (Pressure.ROUNDS, _copy(task, caps=replace(UNCAPPED, rounds=1), spent=Spent(rounds=1)), ask_directly)
            )
            pressed.append((Pressure.STALL, _copy(task, stalls=self._stalled), ask_directly))
        if asked:
            pressed.append((Pressure.SILENCE, task, _silent))
        for pressure, state, ask in pressed:
            other = self._tick(state, deed, ask)
            if isinstance(other, Tick):
                asks = asks or self._asks(task, other)
                edge = self._edge(place, task, deed, other, pressure)
                if all(edge.to != one.to for one in found):
                    found.append(edge)
        return found, asks

    def _tick(self, task: TaskState, deed: Deed, ask: Callable[..., Any]) -> Tick | Rejection:
        self.ticks += 1
        by, given = command(deed, task, self.world.agents)
        now_ms = find(task.wakes, "wall", NOW_MS) if isinstance(deed, RunsOut) else NOW_MS
        return tick(self.rules, task, _Home(), by, given, now_ms, ask)

    def _edge(self, place: int, task: TaskState, deed: Deed, taken: Tick, pressure: Pressure) -> Edge:
        ghost = self.map.ghost(task, self.spots[place].ghost, taken.events)
        to = self.number(self.map.spot(taken.task, ghost))
        passed = self._passing(task, taken, ghost)
        return Edge(deed, to, self._passed.setdefault(passed, passed), pressure)

    def _asks(self, task: TaskState, taken: Tick) -> bool:
        """Whether a policy may have been asked: a gate was entered, or a rule undid a tick in which one may have been."""
        flow = taken.task.flow or task.flow
        return bool(taken.violations) or any(
            isinstance(event, e.StageEntered) and self._is_gate(flow, event.stage) for event in taken.events
        )

    def _is_gate(self, flow: str, stage: str) -> bool:
        return isinstance(self.rules.stage(flow, stage), Gate)

    def _passing(self, task: TaskState, taken: Tick, ghost: Ghost) -> Passed:
        """What the tick passed, for the properties."""
        flow, after = task.flow, taken.task
        stages, opened, skipped, overleapt, reserved, objections = [], [], [], [], [], []
        counted_round = counted_attempt = False
        verdict = Verdict.NONE
        for event in taken.events:
            match event:
                case e.FlowChosen():
                    flow = event.flow
                case e.StageEntered():
                    stages.append((flow, event.stage))
                case e.SpawnOpened():
                    opened.append(event.agent)
                case e.SpawnSkipped():
                    skipped.append(event.agent)
                case e.StageSkipped():
                    overleapt.append((flow, event.stage))
                    if self._reserves(flow, event.stage, after):
                        reserved.append((flow, event.stage))
                case e.Reworked():
                    counted_round = counted_round or event.counted
                case e.AttemptClosed():
                    counted_attempt = counted_attempt or event.counted
                case e.VerdictReached():
                    verdict = event.verdict
                case e.ObjectionRaised():
                    objections.append(event.rule)
                case _:
                    continue
        accepted = verdict is Verdict.ACCEPTED
        return Passed(
            tuple(stages), tuple(opened), tuple(skipped), tuple(overleapt), tuple(reserved), counted_round,
            counted_attempt, verdict, ghost if accepted else None, _standing(after) if accepted else frozenset(),
            ghost.checked, tuple(objections),
        )  # fmt: skip

    def _reserves(self, flow: str, stage: str, task: TaskState) -> bool:
        gate = self.rules.stage(flow, stage)
        reserved = self._roles[gate.role].person_when if isinstance(gate, Gate) else None
        return reserved is not None and holds(reserved, View(task))


_GIVEN_UP = (Verdict.ABANDONED, Verdict.CANCELLED)


def _standing(task: TaskState) -> frozenset[str]:
    kinds = {one.kind for one in task.evidence}
    return frozenset(kind for kind in kinds if not missing((kind,), task.subject, task.evidence))


def _listening(asked: list[str]) -> Callable[..., Any]:
    def ask(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        asked.append(name)
        return ask_directly(name, function, *arguments)

    return ask


def _silent(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    raise Unanswered(name, "it is taken not to answer")


def submission(bundle: Bundle, flow: str, preset: str = "") -> c.Submit:
    """A task of the bundle, about nothing in particular."""
    return c.Submit(
        task=TASK, project="p", bundle=bundle.name, rules_digest=bundle.digest, semantics=SEMANTICS, text=NO_TEXT,
        flow=flow, preset=preset or bundle.default_preset, policies=(), base="b", subject=SUBJECT, bindings=(),
        caps=bundle.caps,
    )  # fmt: skip
