"""Follow a recorded history on the abstract graph: each entry is an edge, or stays where it is, or leads over what siblings said.

follower = Follower(Atlas(bundle))
follower.follow(steps)          # raises AssertionError with the entry that no edge is
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from loom.bundles.checking.deeds import Answers, Cancels, Deed, Fails, Garbles, Reports, RunsOut
from loom.bundles.checking.graph import Atlas, Edge, Graph
from loom.bundles.checking.places import Ghost, Spot
from loom.bundles.checking.voices import CHECK
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.fold import evolve
from loom.kernel.replay import Record
from loom.kernel.state import TaskState
from loom.kernel.values import AnswerWord, Status, Verdict

SIBLINGS = 4
"""How many results may have been withheld."""
GIVEN_UP = (Verdict.ABANDONED, Verdict.CANCELLED)


@dataclass
class Follower:
    """Follows tasks of one bundle. entries: how many were followed; by_edge: how many of them were an edge of the graph."""

    atlas: Atlas
    entries: int = 0
    by_edge: int = 0
    graphs: dict[tuple[str, str], Graph] = field(default_factory=dict)

    def graph(self, flow: str, preset: str) -> Graph:
        key = (flow, preset)
        if key not in self.graphs:
            self.graphs[key] = self.atlas.explore(flow, preset)
        return self.graphs[key]

    def follow(self, records: Iterable[Record]) -> None:
        """One task, from its submit on, under a preset without overrides."""
        task: TaskState | None = None
        ghost = Ghost()
        for record in records:
            events = tuple(event for event in record.events)
            after = evolve(task, events, record.now_ms)
            if task is None:
                assert isinstance(record.command, c.Submit)
                graph = self.graph(record.command.flow, record.command.preset)
                ghost = self.atlas.map.ghost(after, ghost, _of_tasks(events))
                forked = record.command.inherited is not None
                if (
                    forked
                ):  # it begins in the middle: what the checks saw stands in its evidence, and no decision is taken over
                    ghost = Ghost(checked=any(one.kind.startswith(CHECK) for one in after.evidence))
                here = self.atlas.number(self.atlas.map.spot(after, ghost))
                begins = graph.places if forked else [graph.start]
                assert here in begins, f"{record.command.flow} begins elsewhere: {shown(self.atlas.spots[here])}"
            else:
                new = self.atlas.map.ghost(task, ghost, _of_tasks(events))
                self._step(graph, record, (task, ghost), (after, new))
                ghost = new
            task = after
            self.entries += 1

    def _step(self, graph: Graph, record: Record, was: tuple[TaskState, Ghost], now: tuple[TaskState, Ghost]) -> None:
        here, there = (self.atlas.number(self.atlas.map.spot(*each)) for each in (was, now))
        if here == there:
            return
        kinds = _deeds(record.command)
        if now[0].status is Status.DONE and now[0].verdict in GIVEN_UP and kinds in ((Cancels,), (Answers,)):
            return
        if self._leads(graph, here, there, record.command, kinds):
            self.by_edge += 1
            return
        before, after = self.atlas.spots[here], self.atlas.spots[there]
        raise AssertionError(
            f"entry {record.n}, {type(record.command).__name__}, is no edge\n  from {shown(before)}\n  to   {shown(after)}\n"
            f"  command {str(record.command)[:300]}\n  in the graph: {here in graph.edges}, {there in graph.edges}"
        )

    def _leads(self, graph: Graph, here: int, there: int, command: c.Command, kinds: tuple[type, ...]) -> bool:
        """By one edge of the graph, or by one that it leaves out; after either by what siblings had said already."""

        def known(place: int) -> tuple[Edge, ...]:
            return graph.edges.get(place, ())

        def every(place: int) -> tuple[Edge, ...]:
            return self.atlas.every_edge(place, graph.preset)

        for edges in (known, every):
            reached = {edge.to for edge in edges(here) if _is(edge.deed, command, kinds)}
            for _ in range(SIBLINGS):
                if there in reached or not isinstance(command, c.AttemptEnded):
                    break
                reached = {e.to for place in reached for e in edges(place) if isinstance(e.deed, Reports | Fails)}
            if there in reached:
                return True
        return False


def shown(spot: Spot) -> str:
    """A place in a few words."""
    task = spot.task
    spawns = [(state.agent, state.status.value) for state in task.spawns]
    found = [(one.agent, one.report.origin.value) for one in task.findings]
    evidence = [(one.kind, one.outcome, one.by.kind.value) for one in task.evidence]
    gate = task.gate and (task.gate.role, [word.value for word in task.gate.answers])
    return (
        f"{task.flow}/{task.stage} {task.status} {task.verdict} {task.parked and task.parked.code} {gate} {spawns} "
        f"{task.outcomes} {task.facts} {found} {evidence} {task.iterations} {task.wakes} {spot.ghost}"
    )


def _of_tasks(events: tuple[e.Event, ...]) -> tuple[e.TaskEvent, ...]:
    return events  # type: ignore[return-value]  # a task's record has no others


def _deeds(command: c.Command) -> tuple[type, ...]:
    """The kinds of deeds that a command may be; () : it may only stay where it is."""
    match command:
        case c.AttemptEnded() | c.Take():
            return (Reports, Garbles, Fails)
        case c.Answer():
            return (Answers,)
        case c.Wake():
            return (RunsOut,)
        case c.Cancel():
            return (Cancels,)
        case _:
            return ()


def _is(deed: Deed, command: c.Command, kinds: tuple[type, ...]) -> bool:
    if not isinstance(deed, kinds):
        return False
    if isinstance(command, c.Answer) and isinstance(deed, Answers):
        return command.word is deed.word and (bool(command.new_subject) is deed.own or command.word is AnswerWord.APPLY)
    if isinstance(command, c.AttemptEnded) and isinstance(deed, Reports | Garbles | Fails):
        return command.spawn.endswith(f"/{deed.agent}")
    return True
