"""What many connected workers cost the coordinator: idle, and under load; and how quickly wide fan-outs reach them."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from loom.transports.cli.bench.rig import WAIT_S, Rig
from loom.transports.stubbed import CALLS

IDLE_S = 10.0
IN_FLIGHT, TASKS, WARM = 128, 384, 32
FANOUTS = (128, 256)
SLOTS = 4
RUNS = 5


def crowded(workers: int, quick: bool) -> dict[str, object]:
    """Figures of so many workers, each with two connections, all in one process that is not the coordinator's."""
    idle_s = IDLE_S / 3 if quick else IDLE_S
    tasks = TASKS // 3 if quick else TASKS
    with Rig(workers=0) as rig:
        coordinator = psutil.Process(rig.client.describe()["pid"])
        began = time.monotonic()
        with _crowd(rig, workers) as crowd:
            rig.wait_for(workers)
            connected_s = time.monotonic() - began
            idle = _cpu_share(coordinator, idle_s)
            rig.run(WARM, WARM)
            cpu, theirs = _cpu_s(coordinator), _cpu_s(crowd)
            elapsed = rig.run(tasks, IN_FLIGHT)
            cpu, theirs = _cpu_s(coordinator) - cpu, _cpu_s(crowd) - theirs
            found: dict[str, object] = {
                "workers": workers,
                "all_connected_s": round(connected_s, 2),
                "coordinator_cpu_idle_percent": round(idle * 100, 2),
                "steps_per_s": round(CALLS * tasks / elapsed),
                "coordinator_cpu_percent_under_load": round(cpu / elapsed * 100),
                "crowd_cpu_percent_under_load": round(theirs / elapsed * 100),
                "coordinator_cpu_s_per_1000_steps": round(cpu / (CALLS * tasks) * 1_000, 3),
                "coordinator_mb": round(coordinator.memory_info().rss / 1e6),
            }
            for width in FANOUTS:
                spans = [rig.run(1, 1, f"fanout{width}") for _ in range(RUNS)]
                found[f"fan_out_{width}_ms"] = round(statistics.median(spans) * 1_000, 1)
    return found


@contextlib.contextmanager
def _crowd(rig: Rig, workers: int) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "loom.workers.crowd", "--endpoint", rig.home.endpoint("control")]
    command += ["--count", str(workers), "--slots", str(SLOTS), "--token-file", str(rig.home.keys / "worker.token")]
    environment = {**os.environ, **rig.environment}
    with (rig.folder / "crowd.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        yield psutil.Process(process.pid)
        if process.poll() is not None:
            raise RuntimeError(f"the crowd ended with code {process.returncode}; see {rig.folder / 'crowd.log'}")
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _cpu_share(process: psutil.Process, seconds: float) -> float:
    """CPU seconds a second while nothing is asked of it."""
    cpu, began = _cpu_s(process), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(process) - cpu) / (time.monotonic() - began)
