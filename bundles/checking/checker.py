"""`check(bundle)`: every flow under every preset explored, and each property proved or refuted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loom.bundles.checking.graph import Atlas, Graph
from loom.bundles.checking.properties import (
    PROPERTIES,
    Refutation,
    Ways,
    cheapest,
    overleapt,
    refutations,
    unreached,
    unruled,
)
from loom.bundles.checking.traces import Given, given
from loom.bundles.checking.wide import narrowed
from loom.kernel.flow import Bundle


@dataclass(frozen=True, slots=True)
class Row:
    """One graph. flow "" : the bundle's first stages choose it. attempts: the fewest to an end (-1: there is no such way)."""

    flow: str
    preset: str
    places: int
    edges: int
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A refutation with the commands that show it, on a real task of the bundle."""

    refutation: Refutation
    commands: tuple[Given, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. places, edges: of all graphs together, each counted once."""

    rows: tuple[Row, ...]
    traces: tuple[Trace, ...]
    notes: tuple[str, ...]
    places: int
    ticks: int
    seconds: float

    @property
    def proved(self) -> tuple[str, ...]:
        refuted = {trace.refutation.property for trace in self.traces}
        return tuple(name for name in PROPERTIES if name not in refuted)


def check(
    bundle: Bundle, seen: Callable[[Row], None] = lambda row: None, clock: Callable[[], float] = time.monotonic
) -> Report:
    """Explore all of a bundle. seen: is told of each graph as it is done. clock: seconds, for the figures only."""
    begun = clock()
    atlas = Atlas(narrowed(bundle))
    graphs: list[Graph] = []
    rows: list[Row] = []
    found: list[tuple[Graph, Refutation]] = []
    for flow in ("", *(flow.name for flow in bundle.flows)):
        for preset, _ in bundle.presets:
            at = clock()
            graph = atlas.explore(flow, preset)
            graphs.append(graph)
            found += [(graph, refutation) for refutation in refutations(atlas, graph)]
            price = cheapest(Ways(atlas, graph))
            count = sum(len(edges) for edges in graph.edges.values())
            row = Row(flow, preset, len(graph.places), count, clock() - at, price[0] if price else -1)
            rows.append(row)
            seen(row)
    by_name = {(graph.flow, graph.preset): graph for graph in graphs}
    for refutation in (*unreached(atlas, graphs), *unruled(atlas, graphs)):
        found.append((by_name.get((refutation.flow, refutation.preset), graphs[0]), refutation))
    traces = tuple(Trace(refutation, given(atlas, graph, refutation, bundle)) for graph, refutation in _shortest(found))
    return Report(tuple(rows), traces, overleapt(atlas.bundle, graphs), len(atlas.spots), atlas.ticks, clock() - begun)


def _shortest(found: list[tuple[Graph, Refutation]]) -> Iterator[tuple[Graph, Refutation]]:
    """Of each property the refutation with the shortest way; of what is said in another sentence, each."""
    best: dict[tuple[str, str], tuple[Graph, Refutation]] = {}
    for graph, refutation in found:
        key = (refutation.property, refutation.sentence if refutation.property in ("unreachable", "policy") else "")
        if key not in best or len(refutation.way) < len(best[key][1].way):
            best[key] = (graph, refutation)
    yield from sorted(best.values(), key=lambda one: PROPERTIES.index(one[1].property))
