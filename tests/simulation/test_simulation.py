"""Whole histories from one seed each: the real core and the real worker logic in bad weather.

`make sim SEED=7` repeats one of them; without a seed, `LOOM_TEST_SEEDS` (200) of them are run from the first on.
"""

from __future__ import annotations

import os

import pytest
from _pytest.mark import ParameterSet

from harness.simchecks import faults
from harness.simulator import Simulation

FIRST, COUNT, BATCH, QUICK = 1, 200, 10, 2


def batches() -> list[ParameterSet]:
    """Seeds in batches, so that several processes share them; all but the first batches are slow tests."""
    if one := os.environ.get("LOOM_SEED"):
        return [pytest.param(range(int(one), int(one) + 1), id=one)]
    end = FIRST + int(os.environ.get("LOOM_TEST_SEEDS", COUNT))
    ranges = [range(start, min(start + BATCH, end)) for start in range(FIRST, end, BATCH)]
    return [
        pytest.param(seeds, id=f"{seeds[0]}-{seeds[-1]}", marks=[] if place < QUICK else [pytest.mark.slow])
        for place, seeds in enumerate(ranges)
    ]


@pytest.mark.parametrize("seeds", batches())
def test_every_law_holds_whatever_goes_wrong(seeds: range) -> None:
    """Crashes, cuts, losses, doubles, delays, full disks, clock jumps: replay, fences, answers and ends are right."""
    for seed in seeds:
        print(f"seed {seed}: make sim SEED={seed}")
        simulation = Simulation(seed).run()
        found = faults(simulation)
        assert [] == found, f"seed {seed}:\n" + "\n".join(found) + "\n" + simulation.history()
