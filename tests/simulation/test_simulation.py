"""Whole histories from one seed each: the real core and the real worker logic in bad weather.

`make sim SEED=7` repeats one of them; without a seed, `LOOM_SEEDS` of them are run from the first on.
"""

from __future__ import annotations

import os

import pytest
from harness.simchecks import faults
from harness.simulator import Simulation

FIRST, COUNT, BATCH = 1, 200, 20


def batches() -> list[range]:
    """Seeds in batches, so that several processes share them."""
    if one := os.environ.get("LOOM_SEED"):
        return [range(int(one), int(one) + 1)]
    end = FIRST + int(os.environ.get("LOOM_TEST_SEEDS", COUNT))
    return [range(start, min(start + BATCH, end)) for start in range(FIRST, end, BATCH)]


@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_every_law_holds_whatever_goes_wrong(seeds: range) -> None:
    """Crashes, cuts, losses, doubles, delays, full disks, clock jumps: replay, fences, answers and ends are right."""
    for seed in seeds:
        print(f"seed {seed}: make sim SEED={seed}")
        simulation = Simulation(seed).run()
        found = faults(simulation)
        assert [] == found, f"seed {seed}:\n" + "\n".join(found) + "\n" + simulation.history()
