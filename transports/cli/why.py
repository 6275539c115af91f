"""`loom why`: why a task, a gate, an attempt, a stage or a finding is as it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.queries import Queries
    from loom.transports.why import Answer

SHOWN = 8
"""Causes that are shown without --all."""


@click.command()
@click.argument("thing", metavar="TASK|GATE|ATTEMPT")
@click.argument("what", metavar="[STAGE|AGENT|FINDING]", default="", required=False)
@click.option("--all", "everything", is_flag=True, help="Every cause, back to the submit.")
@as_json
@click.pass_context
def why(context: click.Context, thing: str, what: str, everything: bool, as_json: bool) -> None:
    """Say why THING is as it is: from cause to cause, back to an answer, a finding, a limit, or the submit."""
    home = homes.opened(context)
    task, answer = reading.read(home, lambda queries: _answered(queries, thing, what))
    if as_json:
        output.print_json({"task": task, **asdict(answer)})
        return
    _show(task, answer, everything)


async def _answered(queries: Queries, thing: str, what: str) -> tuple[str, Answer]:
    from loom.transports.why import NothingThere, told

    gate = await queries.gate(thing)
    if gate is not None:
        task, what = gate["task"], thing
    else:
        beginning, slash, rest = thing.partition("/")
        task = await reading.find_task(queries, beginning)
        what = f"{task}/{rest}" if slash else what
    story = told([(seq, json.loads(body)) async for seq, body in queries.entries(task)])
    try:
        return task, story.why(what)
    except NothingThere as error:
        raise UsageProblem(f"Of task {task}: {error}.", f"loom show {task}") from error


def _show(task: str, answer: Answer, everything: bool) -> None:
    output.say(
        output.clean(f"{task}  {answer.sentence}" if answer.about == "task" else f"{answer.about}  {answer.sentence}")
    )
    for note in answer.notes:
        output.say(f"  {output.clean(note)}")
    shown = answer.chain if everything else answer.chain[:SHOWN]
    for cause in shown:
        at = datetime.fromtimestamp(cause.now_ms / 1000).astimezone().strftime("%H:%M:%S")
        output.say(output.clean(f"  ← entry {cause.seq}, {at}: {cause.what}"))
        for words in cause.led_to:
            output.say(output.clean(f"       {words}"))
    if left := len(answer.chain) - len(shown):
        output.say(f"  ← {left} more, back to the submit: --all")
