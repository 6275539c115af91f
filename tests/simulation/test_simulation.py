"""Whole histories from one seed each: the real core and the real worker logic in bad weather.

`make sim SEED=7` repeats one of them and tells its story. Here: a fixed set, quick seeds first, the others as slow tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from harness.sim.__main__ import run

ROOT = Path(__file__).parents[2]
COUNT, BATCH, QUICK = 400, 10, 6
LINES = 150


def batches() -> list[ParameterSet]:
    """Seeds in batches, so that several processes share them; all but the first batches are slow tests."""
    end = 1 + int(os.environ.get("LOOM_TEST_SEEDS", COUNT))
    ranges = [range(start, min(start + BATCH, end)) for start in range(1, end, BATCH)]
    return [
        pytest.param(seeds, id=f"{seeds[0]}-{seeds[-1]}", marks=[] if place < QUICK else [pytest.mark.slow])
        for place, seeds in enumerate(ranges)
    ]


@pytest.mark.parametrize("seeds", batches())
def test_every_law_holds_whatever_goes_wrong(seeds: range) -> None:
    """Crashes, cuts, losses, doubles, suspends, full disks, set clocks: replay, fences, budgets, answers, ends are right."""
    for seed in seeds:
        failure = run(seed, LINES)
        assert failure is None, f"make sim SEED={seed}\n{failure.story}\n" + "\n".join(failure.faults)


def digests(folder: Path, hash_seed: str) -> list[str]:
    """What another process makes of some seeds, in another directory and with another order of its sets."""
    script = (
        "import loom.kernel.machine, sys; from harness.sim.simulation import Simulation\n"
        "print(loom.kernel.machine.__file__)\n"
        "for seed in range(1, 9):\n    print(Simulation(seed).run().digest())"
    )
    paths = os.pathsep.join(map(str, (folder / "tests", folder / ".import")))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": paths, "PYTHONHASHSEED": hash_seed, "TZ": f"UTC{hash_seed}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, *found = done.stdout.split()
    assert Path(where).is_relative_to(folder), where
    return found


def test_a_seed_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """The entries of a seed are the same bytes in another process, another checkout and under another order of sets."""
    other = tmp_path / "another" / "checkout"
    for name in ("tests/harness", ".import", "kernel", "coordinator", "workers", "bundles"):
        shutil.copytree(ROOT / name, other / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    here, there = digests(ROOT, "1"), digests(other, "2")
    assert here == there
    assert 8 == len(set(here))
