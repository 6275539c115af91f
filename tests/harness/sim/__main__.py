"""`make sim`: run seeds, and tell the story of those in which a law was broken.

python -m harness.sim 7                  one seed; its story is told if it fails (--story all: anyway; a word: its lines)
python -m harness.sim --seeds 2000       seeds 1 … 2000, on all processors
python -m harness.sim --seeds 200 --fresh 100        and a hundred that nobody has seen, which are named
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from harness.sim.laws import faults
from harness.sim.simulation import Simulation

BATCH = 25
"""Seeds that one process takes at a time."""
TOLD = 5
"""Failures whose stories are told; the others are named."""
FRESH_BITS = 40


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed in which a law was broken."""

    seed: int
    faults: list[str]
    story: str


def run(seed: int, lines: int) -> Failure | None:
    """One seed."""
    simulation = Simulation(seed).run()
    found = faults(simulation)
    return Failure(seed, found, simulation.world.story.end(lines)) if found else None


def _batch(seeds: list[int], lines: int) -> list[Failure]:
    return [failure for seed in seeds if (failure := run(seed, lines))]


def _all(seeds: list[int], jobs: int, lines: int) -> Iterator[Failure]:
    batches = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    if jobs == 1 or len(batches) == 1:
        for batch in batches:
            yield from _batch(batch, lines)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(_batch, batch, lines) for batch in batches]):
            yield from done.result()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.sim", description=__doc__, add_help=True)
    parser.add_argument("seed", type=int, nargs="*", help="these seeds")
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="seeds 1 … N")
    parser.add_argument("--start", type=int, default=1, metavar="SEED", help="the first of --seeds")
    parser.add_argument("--fresh", type=int, default=0, metavar="N", help="so many seeds that nobody has seen")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument(
        "--story", default="", metavar="WORD", help="tell one seed's story: all of it, or lines with a word"
    )
    parser.add_argument("--lines", type=int, default=120, metavar="N", help="of the story of a failure")
    return parser.parse_args()


def _tell(failures: Iterable[Failure]) -> int:
    count = 0
    for failure in failures:
        count += 1
        if count <= TOLD:
            print(failure.story)
        print(f"\nseed {failure.seed} broke {len(failure.faults)} laws: make sim SEED={failure.seed}")
        print("\n".join(f"  {sentence}" for sentence in failure.faults[:20]), flush=True)
    return count


def main() -> int:
    """0: every law held in every seed."""
    asked = _arguments()
    seeds = [*asked.seed, *range(asked.start, asked.start + asked.seeds)]
    if asked.fresh:
        first = secrets.randbits(FRESH_BITS) + 10**6
        print(f"fresh seeds {first} … {first + asked.fresh - 1}", flush=True)
        seeds += range(first, first + asked.fresh)
    if asked.story and len(seeds) == 1:
        return _story(seeds[0], "" if asked.story == "all" else asked.story)
    start = time.perf_counter()
    failures = _tell(_all(seeds, asked.jobs, asked.lines))
    took = time.perf_counter() - start
    rate = len(seeds) / took
    print(f"{len(seeds)} seeds in {took:.1f} s ({rate:.1f} a second, {asked.jobs} processes): {failures} broke a law")
    return 1 if failures else 0


def _story(seed: int, word: str) -> int:
    simulation = Simulation(seed).run()
    found = faults(simulation)
    for line in simulation.world.story.lines(word):
        print(line)
    print("\n".join(found) if found else "every law held")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
