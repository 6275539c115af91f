"""The command: chooses where and with what seed, goes to an isle where there can be one, and says what was found."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import output
from loom.transports.cli.options import as_json
from loom.transports.errors import UnavailableProblem

if TYPE_CHECKING:
    from loom.transports.cli.torture.acts import Act, Plan

GOOD, BAD = 0, 1
MINUTES, LEASE_MS, AGENT_MS, IN_FLIGHT = 2.0, 3_000, 300, 8
LEAST_MINUTES, MOST_MINUTES = 0.1, 7 * 24 * 60
LEAST_LEASE_MS = 1_000
SHOWN = 5
"""So many examples of what went wrong are printed for each check; JSON has a hundred."""
SHOWN_JSON = 100


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(LEAST_MINUTES, MOST_MINUTES),
    default=MINUTES,
    show_default=True,
    help="How long faults strike; what is in flight then finishes.",
)
@click.option("--seed", type=int, default=None, help="The order of the faults (default: drawn, and printed).")
@click.option("--dir", "directory", metavar="DIR", default="", help="On which disk (default: your data directory's).")
@click.option(
    "--lease-ms",
    type=click.IntRange(LEAST_LEASE_MS),
    default=LEASE_MS,
    show_default=True,
    help="The lease of an attempt; lasting faults are longer than it.",
)
@click.option("--plain", is_flag=True, help="No namespaces: leave out what needs them.")
@click.option("--keep", is_flag=True, help="Keep the home, even if all is well.")
@as_json
def torture(
    minutes: float, seed: int | None, directory: str, lease_ms: int, plain: bool, keep: bool, as_json: bool
) -> int:
    """Kill, stop, cut off and fill up what loom consists of, on this disk, and check that nothing is lost or doubled.

    A home of its own, never yours; real processes; agents without a model that count their own starts. Exit code 0: all
    held. 1: something did not, and the home is kept.
    """
    from loom.transports.cli.torture import isle

    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    refusal = "--plain was given" if plain else isle.refusal()
    if not refusal and not isle.inside():
        words = ["torture", "--minutes", str(minutes), "--seed", str(seed), "--lease-ms", str(lease_ms)]
        words += ["--dir", str(Path(directory).absolute())] if directory else []
        isle.island([*words, *["--keep"] * keep, *["--json"] * as_json])
    folder = _folder(directory)
    try:
        return _run(_plan(folder, minutes, seed, lease_ms, keep, refusal), as_json)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _folder(directory: str) -> Path:
    """A new directory on the disk that is meant. Raises UnavailableProblem."""
    import platformdirs

    parent = Path(directory).absolute() if directory else platformdirs.user_data_path("loom", appauthor=False)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="torture-", dir=parent))
    except OSError as error:
        raise UnavailableProblem(f"{parent} cannot be written: {error.strerror}.", "loom torture --dir DIR") from error


def _plan(folder: Path, minutes: float, seed: int, lease_ms: int, keep: bool, refusal: str) -> Plan:
    from loom.transports.cli.torture.acts import Plan
    from loom.transports.cli.torture.faults import CUT, FULL

    left_out = tuple(f"{name}: {refusal}" for name in (CUT, FULL)) if refusal else ()
    return Plan(
        seconds=minutes * 60,
        seed=seed,
        lease_ms=lease_ms,
        agent_ms=AGENT_MS,
        in_flight=IN_FLIGHT,
        folder=folder,
        on_isle=not refusal,
        left_out=left_out,
        keep=keep,
    )


def _run(plan: Plan, as_json: bool) -> int:
    from loom.transports.cli.torture.acts import acts

    tell = output.note if as_json else output.say
    tell(
        f"loom torture, seed {plan.seed}, {plan.seconds / 60:g} minutes, lease {plan.lease_ms / 1000:g} s, {plan.folder}"
    )
    for fault in plan.left_out:
        tell(f"left out   {fault}")
    played = acts(plan, tell)
    good = all(act.good for act in played)
    for act in played:
        if act.good and not plan.keep:
            shutil.rmtree(act.home, ignore_errors=True)  # the small disk's is gone with its disk
    shutil.rmtree(plan.folder / "small", ignore_errors=True)
    if as_json:
        output.print_json(_found(plan, played, good))
    else:
        for act in played:
            _show(act, kept=plan.keep or not act.good)
        output.say()
        click.secho("all held" if good else "NOT all held", fg="green" if good else "red", bold=True)
    return GOOD if good else BAD


def _found(plan: Plan, played: list[Act], good: bool) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "minutes": round(plan.seconds / 60, 3),
        "lease_ms": plan.lease_ms,
        "left_out": plan.left_out,
        "good": good,
        "acts": [
            {
                "where": act.name,
                "seconds": act.seconds,
                "tasks": act.tasks,
                "steps": act.steps,
                "entries": act.entries,
                "faults": act.faults,
                "checks": [
                    {"name": check.name, "good": check.good, "found": check.found, "wrong": check.wrong[:SHOWN_JSON]}
                    for check in act.checks
                ],
                "home": str(act.home) if plan.keep or not act.good else None,
            }
            for act in played
        ],
    }


def _show(act: Act, *, kept: bool) -> None:
    output.say()
    click.secho(f"on {act.name}", bold=True)
    output.say(f"  {sum(act.faults.values())} faults in {act.seconds:g} s: {_words(act.faults)}")
    output.say(f"  {act.tasks} tasks, {act.steps} steps, {act.entries} entries")
    for check in act.checks:
        click.secho(f"  {'✓' if check.good else '✗'} ", fg="green" if check.good else "red", nl=False)
        output.say(f"{check.name:<28} {check.found}")
        for wrong in check.wrong[:SHOWN]:
            output.say(f"      {output.clean(wrong)}")
        if len(check.wrong) > SHOWN:
            output.say(f"      … and {len(check.wrong) - SHOWN} more")
    if kept:
        output.say(f"  the home is kept: {act.home}")


def _words(faults: dict[str, int]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in faults.items()) or "none"
