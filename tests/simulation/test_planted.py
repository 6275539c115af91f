"""Protocol bugs that are planted into the real objects are found: by the seed that is stored, and by a search.

A history changes with every message more, so the stored seed is where the search begins: a few seeds on at the latest, the bug is
found. `python -m harness.sim.planted` prints how many seeds each needs from 1 on; store those when they have moved.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.sim import planted
from harness.sim.laws import faults
from harness.sim.plan import Plan
from harness.sim.planted import PLANTED, SEEDS, Moved, finds, first_seed, swapped
from harness.sim.simulation import Simulation
from harness.sim.world import Weather

FOUND = {
    "no fence check": 5,
    "acknowledge before COMMIT": 1,
    "lease freed on a missed heartbeat": 4,
    "credit as +1": 1,
    "epoch not persisted": 1,
    "grant sent before COMMIT": 1,
    "report committed twice after a lost answer": 1,
    "adoption skipped": 7,
    "Head not rolled back with a failed group": 1,
    "reservation not released": 1,
}
"""Bug → the first seed that finds it."""
FURTHER = 30
"""Seeds from the stored one on that may be needed."""
ROUGH = Plan(
    shape="rework",
    workers=3,
    slots=2,
    tasks=5,
    people=1,
    bad_ms=25_000,
    weather=Weather(drop=0.1, double=0.03, delay_ms=60),
    troubles=("mute", "cut") * 4,
    cost_cap=0,
    watched=False,
    sloppy=0.1,
    moody=0.0,
)
FOCUSED = {
    "lease freed on a missed heartbeat": ROUGH,
    "credit as +1": replace(ROUGH, workers=1, tasks=3, troubles=()),
}
"""Bugs that one seed in a hundred finds: the stored seed is of a world in which they matter more."""


def test_every_bug_is_planted_and_stored() -> None:
    """Ten of them, each with its seed."""
    assert FOUND.keys() == PLANTED.keys()
    assert 10 == len(PLANTED)


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_bug_is_found_again(name: str) -> None:
    """By the seed that found it first, or soon after; the same seed without the bug breaks no law."""
    seed, sentences = first_seed(name, FOUND[name], FURTHER, FOCUSED.get(name))
    assert seed, f"{name} is not found by seeds {FOUND[name]} … {FOUND[name] + FURTHER - 1}: search from 1 on"
    assert sentences
    assert [] == faults(Simulation(seed, FOCUSED.get(name)).run())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FOUND)
def test_a_planted_bug_is_found_by_a_search(name: str) -> None:
    """Within SEEDS seeds from the first one on."""
    seed, sentences = first_seed(name, 1, SEEDS)
    print(f"{name}: {seed} seeds: {sentences[:1]}")
    assert 0 < seed <= SEEDS


def test_a_bug_whose_place_has_moved_is_not_planted() -> None:
    """A patch of what takes other parameters fails loudly."""
    with pytest.raises(Moved, match=r"harness.sim.planted.finds was to take \(name\); there is \(name seed plan\)"):
        swapped(planted, "finds", "name", lambda original: original).__enter__()
    assert finds is planted.finds
