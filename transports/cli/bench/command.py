"""The command: run the parts, print each figure beside its bar and the floors of the same run."""

from __future__ import annotations

import platform
import sqlite3
from typing import Any

import rich_click as click

from loom import __version__
from loom.transports.cli import output

BARS: tuple[tuple[str, str, float, bool], ...] = (
    ("durable steps/s, 128 in flight", "durable_steps_per_s.128", 6_600, True),
    ("ms a serial stage, one task", "ms_per_serial_stage", 1.5, False),
    ("share of the ideal, 50 ms agents", "share_of_ideal", 0.93, True),
    ("CPU s per 1,000 steps, all processes", "cpu_s_per_1000_steps", 0.25, False),
    ("MB with 1,000 tasks in flight", "memory_mb_1000_in_flight", 300, False),
    ("a late step against an early one", "late_against_early", 1.2, False),
    ("ms from submit to the first agent", "submit_to_first_agent_ms", 50, False),
    ("ms of a fan-out of 128", "fan_out_128_ms", 60, False),
    ("replayed ticks/s", "replayed_ticks_per_s", 10_000, True),
)
"""(what, key, bar, more is better): the bars were set on a 2-core machine with a fast disk; see docs/performance.md."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--quick", is_flag=True, help="Fewer tasks: rougher figures, in about a third of the time.")
@click.option(
    "--workers", type=click.IntRange(0, 2_000), default=0, help="Also with so many connected (simulated) workers."
)
def bench(as_json: bool, quick: bool, workers: int) -> None:
    """Measure loom on this machine and this disk, with agents that cost nothing.

    Real processes, a real database, every guarantee on; the agents are stubs that answer at once (or after 50 ms). The
    floors say what the parts cost without loom in the same run: compare ratios, not machines.
    """
    from loom.transports.cli.bench import crowds, floors, measures

    figures: dict[str, Any] = {"version": __version__, "machine": _machine()}
    figures["floors"] = floors.all_floors()
    figures |= measures.durable_steps(quick)
    figures["share_of_ideal"] = round(measures.share_of_ideal(quick), 3)
    figures |= measures.serial()
    for width in (128, 256):
        figures[f"fan_out_{width}_ms"] = round(measures.fan_out(width), 1)
    if workers:
        figures["crowd"] = crowds.crowded(workers, quick)
    if as_json:
        output.print_json(figures)
    else:
        _show(figures)


def _machine() -> dict[str, object]:
    import os

    return {
        "cores": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
    }


def value_of(figures: dict[str, Any], key: str) -> float:
    """The figure of a dotted key."""
    found: Any = figures
    for part in key.split("."):
        found = found[part]
    return float(found)


def _show(figures: dict[str, Any]) -> None:
    rows = []
    for what, key, bar, more in BARS:
        value = value_of(figures, key)
        reached = value >= bar if more else value <= bar
        rows.append((what, f"{value:g}", f"{'≥' if more else '≤'} {bar:g}", "reached" if reached else "missed"))
    output.table(("figure", "here", "bar", ""), rows, empty="")
    by_load = "  ".join(f"{load}: {steps}" for load, steps in figures["durable_steps_per_s"].items())
    output.say(f"\ndurable steps/s by tasks in flight   {by_load}")
    output.say(f"ms of a fan-out of 256   {figures['fan_out_256_ms']:g}")
    if crowd := figures.get("crowd"):
        output.say("with a crowd   " + "  ".join(f"{name}: {value}" for name, value in crowd.items()))
    output.say("floors of this run   " + "  ".join(f"{name}: {value:g}" for name, value in figures["floors"].items()))
    output.say("machine   " + "  ".join(f"{name}: {value}" for name, value in figures["machine"].items()))
