"""`loom take`: a result that came too late, used instead of having the work done again."""

from __future__ import annotations

from typing import Any

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem


@click.command()
@click.argument("attempt")
@click.option("--worker", metavar="NAME", default="", help="Whose result, when several workers brought one.")
@click.option("-m", "--message", default="", help="Why.")
@as_json
@click.pass_context
def take(context: click.Context, attempt: str, worker: str, message: str, as_json: bool) -> None:
    """Take the late result of ATTEMPT, as `loom show TASK` names it.

    It goes the way of any report: checks of its form, findings, rules. What is being tried again is stopped.
    """
    from loom.coordinator.client import make_text
    from loom.kernel.commands import Take
    from loom.transports.asking import ask

    home = homes.opened(context)
    found = reading.read(home, lambda queries: reading.whole_task(queries, attempt.partition("/")[0]))
    late = chosen(found["late"], attempt, worker)
    text, texts = make_text(message)
    task = found["task"]["id"]
    answered = ask(home, Take(late["number"], reason=text), task=task, texts=texts)
    if as_json:
        output.print_json({"task": task, "attempt": late["attempt"], "outcome": answered.outcome, "seq": answered.seq})
    else:
        output.say(f"{late['attempt']} by {late['worker']} is taken; {task} goes on with it")


def chosen(late: list[dict[str, Any]], attempt: str, worker: str) -> dict[str, Any]:
    """The one late result that is meant. Raises UsageProblem."""
    task = attempt.partition("/")[0]
    of_attempt = [each for each in late if each["attempt"].endswith(attempt) or each["attempt"] == attempt]
    meant = [each for each in of_attempt if worker in ("", each["worker"])]
    if not meant:
        raise UsageProblem(f"There is no late result of {attempt!r}.", f"loom show {task} lists them")
    if len({each["worker"] for each in meant}) > 1:
        names = ", ".join(each["worker"] for each in meant)
        raise UsageProblem(
            f"Several workers brought a result of {attempt}: {names}.", f"--worker {meant[-1]['worker']}"
        )
    return meant[-1]
