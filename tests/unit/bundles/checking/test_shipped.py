"""What ships is proved; and what the graph leaves out leads nowhere else."""

from __future__ import annotations

import json
import time

import pytest

from harness.toy import CHECKED, FANOUT, REVIEW, STEPPED
from loom.bundles import registry
from loom.bundles.checking.checker import check
from loom.bundles.checking.graph import Atlas
from loom.bundles.checking.properties import PROPERTIES
from loom.bundles.checking.wide import FEW, narrowed
from loom.kernel.flow import Bundle, Fanout
from loom.kernel.values import ParkCode, SpawnStatus, Verdict
from loom.transports.cli.app import invoke

SECONDS = 30
"""Of the processor's time, for all shipped bundles together."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_shipped_bundle_is_proved_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    """`loom bundle check` proves every property of every shipped bundle, flow and preset, within the time."""
    begun = time.process_time()
    code = invoke(["bundle", "check", "--json"])
    spent = time.process_time() - begun
    found = {one["bundle"]: one for one in json.loads(capsys.readouterr().out)["bundles"]}
    assert 0 == code
    assert {*registry.names(), *registry.INTERNAL} == set(found)
    for one in found.values():
        assert list(PROPERTIES) == one["proved"]
    code_graphs = found["code"]["graphs"]
    presets = registry.load("code").presets
    assert len(presets) * 5 == len(code_graphs)
    assert all(graph["states"] > 1 and graph["edges"] > graph["states"] for graph in code_graphs)
    assert spent < SECONDS


@pytest.mark.parametrize("bundle", [REVIEW, FANOUT, CHECKED, STEPPED], ids=lambda bundle: bundle.name)
def test_what_is_left_out_leads_nowhere_else(bundle: Bundle) -> None:
    """From every place everything is done, also what the graph leaves out: it ends by giving up, or on the way between two
    places of the graph, where a person who raises the budget, or the next report, leads back into it."""
    atlas = Atlas(bundle)
    for preset, _ in bundle.presets:
        graph = atlas.explore("", preset)
        inside = set(graph.places)
        between = [
            edge.to for place in graph.places for edge in atlas.every_edge(place, preset) if edge.to not in inside
        ]
        seen = set(between)
        while between:
            place = between.pop()
            task = atlas.spots[place].task
            if task.verdict in (Verdict.ABANDONED, Verdict.CANCELLED):
                continue
            held = task.parked is not None and task.parked.code is ParkCode.WALL
            partly = any(state.status is SpawnStatus.GRANTED for state in task.spawns)
            assert held or partly, task
            for edge in atlas.every_edge(place, preset):
                if edge.to not in inside and edge.to not in seen:
                    seen.add(edge.to)
                    between.append(edge.to)


def test_wide_fan_outs_are_narrowed() -> None:
    """Of siblings that are alike a few stay; those that a guard or a need asks for by name stay all."""
    flows = {flow.name: flow for flow in narrowed(registry.load("bench")).flows}
    for name, expected in (("main", [4]), ("fanout128", [FEW]), ("fanout256", [FEW])):
        assert expected == [len(stage.members) for stage in flows[name].stages if isinstance(stage, Fanout)]


def test_figures_are_those_of_the_graphs() -> None:
    """A report counts what was explored; a place that two graphs share counts once in all."""
    report = check(REVIEW)
    assert report.places <= sum(row.places for row in report.rows)
    assert {2} == {row.attempts for row in report.rows}
    assert all(row.seconds >= 0 for row in report.rows)
