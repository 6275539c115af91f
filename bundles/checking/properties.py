"""What is proved about each graph, or refuted by a shortest way to the place where it fails.

| property    | holds when |
|-------------|------------|
| dead-end    | from every place there is a way to an end that is not giving up; a person who is asked has an answer that leads on |
| loop        | every way round passes a person or uses up a budget of the bundle |
| evidence    | what is accepted without a person has what the deciding roles and Finalize need, about this very subject, and that is not nothing |
| person      | where the policy of a deciding role is `human`, a person accepted this very subject; no guard skips what is reserved for one |
| checks      | no decision about a subject that the flow's checks have not seen |
| objection   | a rule's no is answered by something that leads on |
| unreachable | every agent and stage of a flow is reached |
| budget      | the attempts allowed are enough for the shortest way to an end |
| policy      | each preset names a policy for each role |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loom.bundles.alphabets import agents_of
from loom.bundles.checking.deeds import Garbles
from loom.bundles.checking.graph import Atlas, Edge, Graph, Pressure
from loom.kernel.flow import Bundle, Finalize, Gate, Spawn
from loom.kernel.policies import Policy, effective
from loom.kernel.values import Capability, ParkCode, Status, Verdict, get

PROPERTIES = ("dead-end", "loop", "evidence", "person", "checks", "objection", "unreachable", "budget", "policy")
ENDS = (Verdict.ACCEPTED, Verdict.ANSWERED, Verdict.FAILED)
"""Verdicts that are no giving up."""
APPROVAL = "approval."
Way = tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Refutation:
    """A property that does not hold. way: a shortest one from the beginning of a task of this flow under this preset."""

    property: str
    flow: str
    preset: str
    sentence: str
    way: Way


@dataclass
class Ways:
    """Shortest ways in one graph, by who may be on them."""

    atlas: Atlas
    graph: Graph

    def to(self, place: int) -> Way:
        """A shortest way to a place; without a counter at its limit, if there is such a way."""
        start = self.graph.start
        free = self.within(start, place, lambda edge: edge.pressure is Pressure.NONE)
        return self.within(start, place, lambda edge: True) or () if free is None else free

    def by(self, place: int, edge: Edge) -> Way:
        """A shortest way that ends with this edge."""
        return (*self.to(place), edge)

    def within(self, start: int, goal: int, may: Callable[[Edge], bool]) -> Way | None:
        """A shortest way over edges that may be taken; None: there is none."""
        back: dict[int, tuple[int, Edge]] = {}
        queue = deque((start,))
        seen = {start}
        while queue:
            place = queue.popleft()
            if place == goal:
                way: list[Edge] = []
                while place != start:
                    place, edge = back[place]
                    way.append(edge)
                return tuple(reversed(way))
            for edge in self.graph.edges.get(place, ()):
                if edge.to not in seen and may(edge):
                    seen.add(edge.to)
                    back[edge.to] = (place, edge)
                    queue.append(edge.to)
        return None


def refutations(atlas: Atlas, graph: Graph) -> Iterator[Refutation]:
    """What does not hold of one graph; each property once."""
    ways = Ways(atlas, graph)
    for name, found in (
        ("dead-end", _dead_ends(ways)),
        ("loop", _loops(ways)),
        ("evidence", _unfounded(ways)),
        ("person", _bypassed(ways)),
        ("checks", _unchecked(ways)),
        ("budget", _too_dear(ways)),
    ):
        for about, sentence, way in found:
            yield Refutation(about or name, graph.flow, graph.preset, sentence, way)
            break


Found = Iterator[tuple[str, str, Way]]


def _dead_ends(ways: Ways) -> Found:
    graph, spots = ways.graph, ways.atlas.spots
    good = {place for place in graph.places if spots[place].task.verdict in ENDS}
    before: dict[int, list[int]] = {}
    for place, edges in graph.edges.items():
        for edge in edges:
            before.setdefault(edge.to, []).append(place)
    leading = set(good)
    queue = deque(good)
    while queue:
        for place in before.get(queue.popleft(), ()):
            if place not in leading:
                leading.add(place)
                queue.append(place)
    dead = [place for place in graph.places if place not in leading and spots[place].task.status is Status.OPEN]
    for place in dead:
        task = spots[place].task
        if task.parked is not None and task.parked.code is ParkCode.OBJECTION:
            way = ways.to(place)
            rules = ", ".join(way[-1].passed.objections) if way else ""
            offered = ", ".join(task.gate.answers) if task.gate else "nothing"
            yield "objection", f"{rules} objects at {task.stage}; nothing that is offered ({offered}) leads on", way
            return
    asked = [place for place in dead if spots[place].task.gate is not None]
    far = sorted(
        asked or dead, key=lambda place: -ways.atlas.rules.stages[spots[place].task.flow, spots[place].task.stage]
    )
    for place in far:  # the farthest stage is the one that cannot be got past
        task = spots[place].task
        why = f"parked ({task.parked.code})" if task.parked else "at its gate" if task.gate else "at work"
        yield "", f"from stage {task.stage}, {why}, no way leads to an end but giving up", ways.to(place)
        return


def _loops(ways: Ways) -> Found:
    """Ways round without a person and without a budget: what is left when every other edge is taken out."""
    graph, caps = ways.graph, ways.atlas.bundle.caps

    def unbounded(edge: Edge) -> bool:
        passed = edge.passed
        bounded = (passed.counted_round and caps.rounds) or (passed.counted_attempt and caps.attempts)
        return not edge.by_person and not bounded and not isinstance(edge.deed, Garbles)  # the kernel repairs once

    left = {place: [e for e in edges if unbounded(e)] for place, edges in graph.edges.items()}
    degree = dict.fromkeys(graph.places, 0)
    for edges in left.values():
        for edge in edges:
            degree[edge.to] += 1
    queue = deque(place for place, count in degree.items() if not count)
    peeled = set()
    while queue:
        place = queue.popleft()
        peeled.add(place)
        for edge in left.get(place, ()):
            degree[edge.to] -= 1
            if not degree[edge.to]:
                queue.append(edge.to)
    for place in graph.places:
        if place in peeled:
            continue
        for edge in left.get(place, ()):
            round_ = ways.within(edge.to, place, unbounded)
            if round_ is not None:
                stage = ways.atlas.spots[place].task.stage
                sentence = (
                    f"stage {stage} comes round again and again, without a person and without a budget that ends it"
                )
                yield "", sentence, (*ways.to(place), edge, *round_)
                return


def _accepting(ways: Ways) -> Iterator[tuple[int, Edge, str]]:
    """The edges that end with accepted, in the order of their places, with the flow."""
    for place in ways.graph.places:
        for edge in ways.graph.edges.get(place, ()):
            if edge.passed.accepted is not None:
                yield (
                    place,
                    edge,
                    edge.passed.stages[-1][0] if edge.passed.stages else ways.atlas.spots[place].task.flow,
                )


def _unfounded(ways: Ways) -> Found:
    atlas = ways.atlas
    roles = {role.name: role for role in atlas.bundle.roles}
    for place, edge, flow in _accepting(ways):
        ghost = edge.passed.accepted
        assert ghost is not None
        needed = [
            kind for stage in atlas.rules.flows[flow].stages if isinstance(stage, Finalize) for kind in stage.needs
        ]
        deciding = atlas.map.deciding(flow)
        unsigned = [name for name in deciding if name not in ghost.signed]
        needed += [kind for name in unsigned for kind in roles[name].floor or ()]
        lacking = sorted({kind for kind in needed if kind not in edge.passed.shown})
        if lacking:
            yield "", f"accepted without {', '.join(lacking)} about this very subject", ways.by(place, edge)
            return
        if (unsigned or not deciding) and all(kind.startswith(APPROVAL) for kind in needed):
            yield "", "accepted, and neither a person nor any evidence stands behind it", ways.by(place, edge)
            return


def _bypassed(ways: Ways) -> Found:
    atlas, preset = ways.atlas, ways.graph.preset
    policies = effective(atlas.bundle, preset, ())
    for place, edge, flow in _accepting(ways):
        ghost = edge.passed.accepted
        assert ghost is not None
        for name in atlas.map.deciding(flow):
            if get(policies, name, "") == Policy.HUMAN and name not in ghost.signed:
                sentence = f"accepted, and no person decided role {name}, which is a person's under {preset}"
                yield "", sentence, ways.by(place, edge)
                return
    for place in ways.graph.places:
        for edge in ways.graph.edges.get(place, ()):
            for _, stage in edge.passed.reserved:
                yield "", f"the guard of {stage} skips what its role reserves for a person", ways.by(place, edge)
                return


def _unchecked(ways: Ways) -> Found:
    """A deciding gate or Finalize is entered, and the checks of the flow have not seen the subject."""
    atlas = ways.atlas
    agents = atlas.world.agents
    for place in ways.graph.places:
        for edge in ways.graph.edges.get(place, ()):
            for flow, name in edge.passed.stages:
                stages = atlas.rules.flows[flow].stages
                at = atlas.rules.stages[flow, name]
                stage = stages[at]
                decides = isinstance(stage, Gate) and stage.role in atlas.map.deciding(flow)
                if not decides and not (isinstance(stage, Finalize) and stage.verdict is Verdict.ACCEPTED):
                    continue
                always = any(
                    isinstance(one, Spawn) and one.when is None and agents[one.agent].capability is Capability.CHECKS
                    for one in stages[:at]
                )
                if always and not edge.passed.checked:
                    yield "", f"{name} is reached, and no check has seen this subject", ways.by(place, edge)
                    return


def _too_dear(ways: Ways) -> Found:
    """The shortest way to an end, counted in attempts, is longer than the budget."""
    cap = ways.atlas.bundle.caps.attempts
    found = cheapest(ways)
    if cap and found is not None and found[0] > cap:
        yield "", f"the shortest way to an end needs {found[0]} attempts; the budget is {cap}", found[1]


def cheapest(ways: Ways) -> tuple[int, Way] | None:
    """The fewest attempts with which a task comes to an end that is no giving up, and a way with them."""
    graph, spots = ways.graph, ways.atlas.spots
    cost = {graph.start: 0}
    back: dict[int, tuple[int, Edge]] = {}
    queue = deque((graph.start,))
    while queue:
        place = queue.popleft()
        if spots[place].task.verdict in ENDS:
            way: list[Edge] = []
            end = place
            while place != graph.start:
                place, edge = back[place]
                way.append(edge)
            return cost[end], tuple(reversed(way))
        for edge in graph.edges.get(place, ()):
            price = cost[place] + edge.passed.counted_attempt
            if price < cost.get(edge.to, price + 1):
                cost[edge.to] = price
                back[edge.to] = (place, edge)
                (queue.append if edge.passed.counted_attempt else queue.appendleft)(edge.to)
    return None


def unreached(atlas: Atlas, graphs: Sequence[Graph]) -> Iterator[Refutation]:
    """Agents and stages of a flow that no task ever comes to, with a way that passes them over. A stage that several flows
    begin with is reached in the one that a task begins in."""
    entered = {(spot.task.flow, spot.task.stage) for spot in atlas.spots if spot.task.stage}
    for graph in graphs:
        for edges in graph.edges.values():
            for edge in edges:
                entered.update(edge.passed.stages)
    reached = [atlas.rules.stage(flow, stage) for flow, stage in sorted(entered)]
    opened = {
        (atlas.rules.stage(spot.task.flow, spot.task.stage).name, state.agent)
        for spot in atlas.spots
        for state in spot.task.spawns
    }
    for flow in atlas.bundle.flows:
        for stage in flow.stages:
            if stage not in reached:
                yield _unreached(atlas, graphs, flow.name, f"stage {stage.name}", "")
            for agent in agents_of(stage):
                if (stage.name, agent) not in opened:
                    yield _unreached(atlas, graphs, flow.name, f"agent {agent} at stage {stage.name}", agent)


def _unreached(atlas: Atlas, graphs: Sequence[Graph], flow: str, what: str, agent: str) -> Refutation:
    sentence = f"{what} of flow {flow} is never reached"
    for graph in graphs:
        for place in graph.places:
            for edge in graph.edges.get(place, ()):
                if agent and agent in edge.passed.skipped and any(at == flow for at, _ in edge.passed.stages):
                    return Refutation(
                        "unreachable", graph.flow, graph.preset, sentence, Ways(atlas, graph).by(place, edge)
                    )
    return Refutation("unreachable", flow, atlas.bundle.default_preset, sentence, ())


def unruled(atlas: Atlas, graphs: Sequence[Graph]) -> Iterator[Refutation]:
    """Roles for which a preset names no policy, with a way to their gate."""
    bundle = atlas.bundle
    for preset, pairs in bundle.presets:
        named = {role for role, _ in pairs}
        for role in bundle.roles:
            if role.name not in named:
                sentence = f"preset {preset} names no policy for role {role.name}; a person would always be asked"
                yield _to_gate(atlas, graphs, preset, role.name, sentence)


def _to_gate(atlas: Atlas, graphs: Sequence[Graph], preset: str, role: str, sentence: str) -> Refutation:
    for graph in graphs:
        if graph.preset != preset:
            continue
        for place in graph.places:
            gate = atlas.spots[place].task.gate
            if gate is not None and gate.role == role:
                return Refutation("policy", graph.flow, preset, sentence, Ways(atlas, graph).to(place))
    return Refutation("policy", "", preset, sentence, ())


def overleapt(bundle: Bundle, graphs: Sequence[Graph]) -> tuple[str, ...]:
    """What an author should know: gates that a guard skips although their role is a person's under some preset."""
    found: dict[tuple[str, str], list[str]] = {}
    gates = {
        (flow.name, stage.name): stage for flow in bundle.flows for stage in flow.stages if isinstance(stage, Gate)
    }
    for graph in graphs:
        policies = effective(bundle, graph.preset, ())
        for edges in graph.edges.values():
            for edge in edges:
                for at in edge.passed.overleapt:
                    if get(policies, gates[at].role, "") == Policy.HUMAN and graph.preset not in found.setdefault(
                        at, []
                    ):
                        found[at].append(graph.preset)
    return tuple(
        f"gate {stage} of flow {flow} is skipped by its guard, also under {', '.join(presets)}, where role "
        f"{gates[flow, stage].role} is a person's"
        for (flow, stage), presets in sorted(found.items())
        if presets
    )
