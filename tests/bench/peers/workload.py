"""What every peer runs and how it is measured. Standard library and psutil: this file is run by the peers' interpreter.

One task: classify → plan → implement → four reviewers at once → validate → finish. Nine calls in six serial stages, each
brings 2 KB, none costs anything. A peer is a program; it prints one JSON object (`report`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psutil

BEFORE = ("classify", "plan", "implement")
REVIEWERS = ("reviewer1", "reviewer2", "reviewer3", "reviewer4")
AFTER = ("validate", "finish")
CALLS, STAGES = 9, 6
TASKS = {1: 20, 16: 96, 128: 256}
"""Tasks in flight → tasks that are run."""
QUICK = {1: 5, 16: 32, 128: 128}
ANSWER = "stub " * 400
"""The 2,000 characters that each call brings."""
CPU_AT = 128


def loads(arguments: list[str]) -> dict[int, int]:
    """In flight → tasks, as the command line asks: `--quick` for a third of the work."""
    return QUICK if "--quick" in arguments else TASKS


@dataclass(slots=True)
class Meter:
    """Seconds, and CPU of these processes and all their children, of one load after the other."""

    processes: list[psutil.Process]
    steps_per_s: dict[str, float] = field(default_factory=dict)
    cpu_s_per_1000_steps: float = 0.0

    def take(self, in_flight: int, tasks: int, run: Callable[[], None]) -> None:
        """Measures one load."""
        cpu, began = self._cpu_s(), time.perf_counter()
        run()
        elapsed = time.perf_counter() - began
        self.steps_per_s[str(in_flight)] = CALLS * tasks / elapsed
        if in_flight == CPU_AT:
            self.cpu_s_per_1000_steps = (self._cpu_s() - cpu) / (CALLS * tasks) * 1_000

    async def take_async(self, in_flight: int, tasks: int, run: Callable[[], Awaitable[None]]) -> None:
        """The same, inside an event loop."""
        cpu, began = self._cpu_s(), time.perf_counter()
        await run()
        elapsed = time.perf_counter() - began
        self.steps_per_s[str(in_flight)] = CALLS * tasks / elapsed
        if in_flight == CPU_AT:
            self.cpu_s_per_1000_steps = (self._cpu_s() - cpu) / (CALLS * tasks) * 1_000

    def _cpu_s(self) -> float:
        every = {one.pid: one for process in self.processes for one in (process, *process.children(recursive=True))}
        return sum(sum(process.cpu_times()[:2]) for process in every.values())

    def report(self, settings: str) -> None:
        """Prints what was found. settings: what makes it durable, in words."""
        found = {
            "steps_per_s": {load: round(steps, 1) for load, steps in self.steps_per_s.items()},
            "cpu_s_per_1000_steps": round(self.cpu_s_per_1000_steps, 3),
            "ms_a_stage": round(CALLS / STAGES / self.steps_per_s["1"] * 1_000, 2),
            "settings": settings,
        }
        json.dump(found, sys.stdout)
        print()
