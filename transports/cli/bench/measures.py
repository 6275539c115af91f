"""What is measured, one function a figure; each says how."""

from __future__ import annotations

import sqlite3
import statistics
import time

from loom.bundles import registry
from loom.coordinator.codec import encode_events
from loom.kernel.replay import replay
from loom.kernel.work import rules_for
from loom.transports.cli.bench.rig import WAIT_S, Rig
from loom.transports.replaying import record_of
from loom.transports.stubbed import CALLS, STAGES

IN_FLIGHT = {1: 40, 16: 240, 128: 640, 1000: 1000}
"""Tasks in flight → tasks run."""
QUICK = {1: 5, 16: 32, 128: 128, 1000: 200}
SLEEP_MS = 50
LONG = 1_000
LATE, EARLY, WINDOW = 780, 20, 200
"""Steps of the long flow that are compared."""
SUBMITS = 15


def durable_steps(quick: bool) -> dict[str, object]:
    """Steps/s by tasks in flight with instant agents; the overhead of a serial stage; CPU and memory beside them."""
    tasks = QUICK if quick else IN_FLIGHT
    found: dict[str, float] = {}
    figures: dict[str, object] = {"durable_steps_per_s": found}
    with Rig() as rig:
        rig.run(8, 8)  # warm
        for in_flight, count in tasks.items():
            cpu = rig.cpu_s()
            elapsed = rig.run(count, in_flight)
            found[str(in_flight)] = round(CALLS * count / elapsed)
            if in_flight == 128:
                figures["cpu_s_per_1000_steps"] = round((rig.cpu_s() - cpu) / (CALLS * count) * 1_000, 3)
            if in_flight == 1000:
                figures["memory_mb_1000_in_flight"] = round(rig.memory_bytes() / 1e6)
        figures["replayed_ticks_per_s"] = round(replayed(rig))
        figures["submit_to_first_agent_ms"] = round(submit_to_first_agent(rig), 1)
    return figures


def replayed(rig: Rig) -> float:
    """Ticks/s of replaying what this run recorded: each command taken again, its events compared byte for byte."""
    bundle = registry.load("bench")
    rules = rules_for(bundle)
    with sqlite3.connect(f"file:{rig.home.database}?mode=ro", uri=True) as connection:
        bodies = [row[0] for row in connection.execute("SELECT body FROM entry ORDER BY seq LIMIT 12000")]
    connection.close()
    records = [record_of(seq, body) for seq, body in enumerate(bodies)]
    began = time.perf_counter()
    outcome = replay(records, lambda digest: rules, encode_events)
    if outcome.difference is not None:
        raise RuntimeError(f"replay differs at entry {outcome.difference.seq}")
    return outcome.ticks / (time.perf_counter() - began)


def submit_to_first_agent(rig: Rig) -> float:
    """Median ms from sending a submission to its first agent's start, with warm workers and nothing else to do."""
    found = []
    for _ in range(SUBMITS):
        time.sleep(0.05)
        size = rig.starts.stat().st_size
        began = time.perf_counter()
        rig.submit()
        while rig.starts.stat().st_size == size:
            if time.perf_counter() - began > 10:
                raise TimeoutError("no agent started within 10 s")
        found.append((time.perf_counter() - began) * 1_000)
        rig.hear()
        time.sleep(0.1)
    return statistics.median(found)


def share_of_ideal(quick: bool) -> float:
    """Of the time that 128 tasks in flight with 50 ms agents would ideally take, the share that loom reaches."""
    rounds = 2 if quick else 6
    with Rig(executor=f"sleep:{SLEEP_MS}", slots=256) as rig:
        rig.run(16, 16)  # warm
        elapsed = rig.run(128 * rounds, 128)
    return rounds * STAGES * SLEEP_MS / 1_000 / elapsed


def serial() -> dict[str, float]:
    """One task of 1,000 serial stages with instant agents: ms a stage, and how much longer a late step takes than an early
    one, by the entries' own times (median of three runs)."""
    with Rig() as rig:
        rig.run(4, 1)  # warm
        runs = [_serial_times(rig) for _ in range(3)]
    stages = [(times[-1] - times[0]) / LONG for times in runs]
    ratios = [_spent(times, LATE) / max(1, _spent(times, EARLY)) for times in runs]
    return {
        "ms_per_serial_stage": round(statistics.median(stages), 2),
        "late_against_early": round(statistics.median(ratios), 2),
    }


def _spent(times: list[int], first: int) -> int:
    """ms that a window of steps took; a step is two entries."""
    return times[2 * (first + WINDOW)] - times[2 * first]


def _serial_times(rig: Rig) -> list[int]:
    task, before, end = rig.submit("long"), rig.done(), time.monotonic() + WAIT_S
    while rig.done() == before:
        if time.monotonic() > end:
            raise TimeoutError(f"1,000 serial steps took more than {WAIT_S:g} s")
        time.sleep(0.05)  # who measures takes no time from what is measured
    with sqlite3.connect(f"file:{rig.home.database}?mode=ro", uri=True) as connection:
        row = connection.execute("SELECT id FROM task WHERE task = ?", (task,)).fetchone()
        times: list[int] = [t for (t,) in connection.execute("SELECT now_ms FROM entry WHERE task = ? ORDER BY n", row)]
    connection.close()
    return times


def fan_out(width: int) -> float:
    """Median ms from submission to verdict of one fan-out of this width with instant agents."""
    with Rig(slots=256) as rig:
        rig.run(4, 1)
        return statistics.median([rig.run(1, 1, f"fanout{width}") for _ in range(5)]) * 1_000
