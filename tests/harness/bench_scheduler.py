"""What a grant costs the scheduler alone: `python -m harness.bench_scheduler`, from tests/.

Processor time of `Scheduler.place` with a grant that only says yes, the least disturbed of some rounds: 128 ready for 256 free
slots; turns of eight grants with 1,000 and with 100,000 ready of 100 projects, a third of it behind a provider that is shut and
a third that no worker serves; and one task's fan-out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from loom.coordinator.fitting import Demand
from loom.coordinator.inbox import Slot
from loom.coordinator.scheduler import Scheduler

ROUNDS = 60
TURNS, GRANTS = 50, 8
PROJECTS = 100
NOW_MS = 1_000
OPEN, SHUT, NOBODY = Demand("stub", "stub"), Demand("openai", "openai"), Demand("gone", "gone")


def filled(ready: int, *, projects: int, demands: tuple[Demand, ...] = (OPEN,)) -> Scheduler:
    """A queue of so many ready attempts, one after the other of each demand and project."""
    queue = Scheduler()
    for number in range(ready):
        queue.offer(
            task=f"t{number}",
            spawn=f"t{number}/work.1/worker",
            attempt=1,
            not_before_ms=0,
            now_ms=NOW_MS,
            project=f"p{number // len(demands) % projects}",
            demand=demands[number % len(demands)],
        )
    provider = queue.limiter.of("openai")
    assert provider is not None
    provider.shut_ms = NOW_MS * 1_000
    return queue


def workers(count: int, free: int) -> list[Slot]:
    return [Slot(f"w{n}", "boot", free, families=("stub", "openai")) for n in range(count)]


def placing(queue: Scheduler, slots: list[Slot], turns: int = 1) -> int:
    """Nanoseconds of processor time of so many turns."""
    began = time.process_time_ns()
    for _ in range(turns):
        queue.place(slots, NOW_MS, 256, lambda offered, slot: True)
    return time.process_time_ns() - began


def best(measure: Callable[[], int], grants: int, rounds: int = ROUNDS) -> float:
    """Microseconds a grant."""
    return min(measure() for _ in range(rounds)) / grants / 1_000


def main() -> None:
    for count, free in ((2, 128), (32, 8), (256, 1)):
        for projects in (1, PROJECTS):
            cost = best(lambda c=count, f=free, p=projects: placing(filled(128, projects=p), workers(c, f)), 128)  # type: ignore[misc]
            print(f"128 ready, {count:3} workers with {free:3} free, {projects:3} projects: {cost:5.2f} µs a grant")
    mixed = (OPEN, SHUT, NOBODY)
    costs = {}
    for ready in (1_000, 100_000):
        rounds = 20 if ready < 10_000 else 4
        measure = lambda r=ready: placing(  # noqa: E731  a queue is filled afresh for each round
            filled(r, projects=PROJECTS, demands=mixed), workers(1, GRANTS), TURNS if r > 10_000 else TURNS // 2
        )
        costs[ready] = best(measure, GRANTS * (TURNS if ready > 10_000 else TURNS // 2), rounds)
        print(f"{ready:7,} ready, two thirds blocked, turns of {GRANTS}: {costs[ready]:5.2f} µs a grant")
    print(f"ratio 100,000 to 1,000: {costs[100_000] / costs[1_000]:.2f}")


if __name__ == "__main__":
    main()
