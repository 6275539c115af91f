"""`loom pause`, `resume`, `cancel`, `retry`: a person's word about a task that is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json

if TYPE_CHECKING:
    from loom.kernel.commands import TaskCommand


def _send(
    context: click.Context, beginning: str, command: TaskCommand, done: str, texts: tuple[Any, ...], as_json: bool
) -> None:
    from loom.transports.asking import ask

    home = homes.opened(context)
    task = reading.read(home, lambda queries: reading.find_task(queries, beginning))
    answered = ask(home, command, task=task, texts=texts)
    if as_json:
        output.print_json({"task": task, "outcome": answered.outcome, "seq": answered.seq})
    else:
        output.say(f"{task} {done}")


@click.command()
@click.argument("task")
@click.option("-m", "--message", default="", help="Why.")
@as_json
@click.pass_context
def pause(context: click.Context, task: str, message: str, as_json: bool) -> None:
    """Let TASK rest: what runs ends, nothing new begins."""
    from loom.coordinator.client import make_text
    from loom.kernel.commands import Pause

    text, texts = make_text(message)
    _send(context, task, Pause(text), "is paused: `loom resume` goes on", texts, as_json)


@click.command()
@click.argument("task")
@as_json
@click.pass_context
def resume(context: click.Context, task: str, as_json: bool) -> None:
    """Let a paused TASK go on."""
    from loom.kernel.commands import Resume

    _send(context, task, Resume(), "goes on", (), as_json)


@click.command()
@click.argument("task")
@click.option("-m", "--message", default="", help="Why.")
@as_json
@click.pass_context
def cancel(context: click.Context, task: str, message: str, as_json: bool) -> None:
    """End TASK for good; what runs is stopped, and no branch is made."""
    from loom.coordinator.client import make_text
    from loom.kernel.commands import Cancel

    text, texts = make_text(message)
    _send(context, task, Cancel(text), "is cancelled", texts, as_json)


@click.command()
@click.argument("task")
@click.option("-m", "--message", default="", help="Your words to the agents.")
@as_json
@click.pass_context
def retry(context: click.Context, task: str, message: str, as_json: bool) -> None:
    """Try again what a parked TASK stands at."""
    from loom.transports.cli.gates import give, open_gate

    home = homes.opened(context)
    gate = reading.read(home, lambda queries: open_gate(queries, task))
    answered = give(home, gate, "retry", message=message)
    if as_json:
        output.print_json({"task": gate["task"], "gate": gate["id"], "outcome": answered.outcome, "seq": answered.seq})
    else:
        output.say(f"{gate['task']} tries again")
