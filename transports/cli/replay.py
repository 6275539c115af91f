"""`loom replay`: every decision of the record derived again."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

if TYPE_CHECKING:
    from loom.kernel.replay import Difference
    from loom.transports.histories import Runs
    from loom.transports.replaying import Replayed

IDENTICAL, DIFFERENT = 0, 1
MAX_SHOWN = 400
"""Characters of each side of a difference."""


@click.command()
@click.argument("task", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything in this home.")
@click.option("--history", metavar="FILE", default="", help="The runs of a history file, instead of a home's.")
@click.option("--save", metavar="FILE", default="", help="Keep what was replayed as a history file.")
@click.option(
    "--commands", metavar="FILE", default="", help="Play the commands of a trace (loom bundle check --trace FILE)."
)
@click.option(
    "--bundle",
    metavar="REF",
    default="",
    help="With --commands: play them with this bundle, whatever the trace was made with.",
)
@as_json
@click.pass_context
def replay(
    context: click.Context,
    *,
    task: str | None,
    everything: bool,
    history: str,
    save: str,
    commands: str,
    bundle: str,
    as_json: bool,
) -> int:
    """Derive every decision of TASK again from its commands, and compare it with the record, byte for byte."""
    if bool(task) + everything + bool(history) + bool(commands) != 1:
        raise UsageProblem("Name one task, --all, --history FILE, or --commands FILE.", "loom tasks")
    if (bundle and not commands) or (save and commands):
        raise UsageProblem("--bundle goes with --commands, and --save with the others.")
    if commands:
        from loom.transports.cli.playing import play

        return play(Path(commands), bundle, as_json=as_json)
    from loom.transports.replaying import replayed_runs

    wanted, opened = _runs(context, task, history)
    with opened as runs:
        found = replayed_runs(runs)
        if as_json:
            output.print_json(_as_json(wanted, found))
        else:
            _show(found)
        if save and found.difference is None:
            _save(runs, Path(save))
    return IDENTICAL if found.difference is None else DIFFERENT


def _runs(context: click.Context, task: str | None, history: str) -> tuple[str | None, AbstractContextManager[Runs]]:
    """The task that is meant (None: all of them), and where its entries are read from."""
    from loom.transports.histories import FileRuns, HomeRuns

    if history:
        return None, FileRuns(Path(history))
    home = homes.opened(context)
    wanted = reading.read(home, lambda queries: reading.find_task(queries, task)) if task else None
    return wanted, HomeRuns(home, (wanted,) if wanted else None)


def _save(runs: Runs, path: Path) -> None:
    from loom.transports.histories import save

    try:
        count = save(path, runs, note=f"saved by loom replay: {path.name}")
    except OSError as error:
        raise UsageProblem(f"{path} cannot be written: {error.strerror}.") from error
    output.note(f"  {count} entries are kept in {path}; loom replay --history {path}")


def _as_json(task: str | None, found: Replayed) -> dict[str, object]:
    return {
        "task": task,
        "ticks": found.ticks,
        "ticks_per_s": _rate(found),
        "identical": found.difference is None,
        "difference": found.difference and _difference(found.difference),
    }


def _difference(found: Difference) -> dict[str, object]:
    from loom.transports.differing import explained

    where = explained(found)
    return {
        "seq": found.seq,
        "task": found.task,
        "n": found.n,
        "command": found.command,
        "place": where.place,
        "recorded": where.recorded,
        "derived": where.derived,
        "expected": found.expected,
        "got": found.got,
    }


def _rate(found: Replayed) -> int:
    return round(found.ticks / found.seconds) if found.seconds else 0


def _show(found: Replayed) -> None:
    """Identical; or the entry, the field, both sides, and a diff of the events."""
    if found.difference is None:
        output.say(f"identical: {found.ticks} decisions derived again, byte for byte ({_rate(found)} a second)")
        return
    from loom.transports.differing import explained

    different, where = found.difference, explained(found.difference)
    about = f", {different.command}" + (f" (number {different.n} of task {different.task})" if different.task else "")
    output.say(f"different at entry {different.seq}{about}, after {found.ticks} decisions")
    if where.place:
        output.say(f"  at        {output.clean(where.place)}")
    output.say(f"  recorded  {output.clean(where.recorded)[:MAX_SHOWN]}")
    output.say(f"  derived   {output.clean(where.derived)[:MAX_SHOWN]}")
    for line in where.lines[2:]:
        output.say("  " + output.clean(line)[:MAX_SHOWN])
