"""`loom replay`: every decision of the record derived again."""

from __future__ import annotations

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

IDENTICAL, DIFFERENT = 0, 1
MAX_SHOWN = 2_000
"""Characters of each side of a difference."""


@click.command()
@click.argument("task", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything in this home.")
@as_json
@click.pass_context
def replay(context: click.Context, task: str | None, everything: bool, as_json: bool) -> int:
    """Derive every decision of TASK again from its commands, and compare it with the record, byte for byte."""
    if bool(task) == everything:
        raise UsageProblem("Name one task, or --all.", "loom tasks")
    from loom.transports.replaying import replayed

    home = homes.opened(context)
    wanted = None if everything or not task else reading.read(home, lambda queries: reading.find_task(queries, task))
    found = replayed(home, wanted)
    rate = round(found.ticks / found.seconds) if found.seconds else 0
    if as_json:
        different = found.difference
        output.print_json(
            {
                "task": wanted,
                "ticks": found.ticks,
                "ticks_per_s": rate,
                "identical": different is None,
                "difference": different
                and {
                    "seq": different.seq,
                    "task": different.task,
                    "expected": different.expected,
                    "got": different.got,
                },
            }
        )
        return IDENTICAL if different is None else DIFFERENT
    if found.difference is None:
        output.say(f"identical: {found.ticks} decisions derived again, byte for byte ({rate} a second)")
        return IDENTICAL
    where = f" of task {found.difference.task}" if found.difference.task else ""
    output.say(f"different at entry {found.difference.seq}{where}, after {found.ticks} decisions")
    output.say(f"  recorded  {output.clean(found.difference.expected)[:MAX_SHOWN]}")
    output.say(f"  derived   {output.clean(found.difference.got)[:MAX_SHOWN]}")
    return DIFFERENT
