"""`loom push`: the branch of accepted work to a remote of your repository, and what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import FailedProblem, UnavailableProblem, UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.home import Home

AGENT = "push"
POLL_S = 0.2
GIVE_UP_S = 60.0
"""Seconds without a coordinator, which is started again and again meanwhile, until waiting ends."""
DONE, WAITING = 0, 3


@click.command()
@click.argument("task")
@click.option("--remote", metavar="NAME", default="origin", show_default=True, help="A remote of your repository.")
@click.option("--as", "branch", metavar="BRANCH", default="", help="Its name there (default: loom/TASK).")
@click.option("-m", "--message", default="", help="Why.")
@click.option("--detach", is_flag=True, help="Only ask for it; `loom show` says what became of it.")
@as_json
@click.pass_context
def push(
    context: click.Context, *, task: str, remote: str, branch: str, message: str, detach: bool, as_json: bool
) -> int:
    """Push the branch of accepted TASK to a remote, as you: with your git's configuration and credentials.

    Nothing is forced, and pushing twice is once.
    """
    from loom.coordinator.client import make_text
    from loom.kernel.commands import Act
    from loom.transports.asking import ask

    if not remote or "://" in remote or remote.startswith("-"):
        raise UsageProblem(f"{remote!r} is no name of a remote.", "git remote -v lists them")
    home = homes.opened(context)
    found = reading.read(home, lambda queries: reading.find_task(queries, task))
    text, texts = make_text(message)
    said = {"kind": AGENT, "remote": remote} | ({"branch": branch} if branch else {})
    asked = ask(home, Act(AGENT, tuple(sorted(said.items())), text), task=found, texts=texts)
    if detach:
        output.print_json({"task": found, "seq": asked.seq}) if as_json else output.say(found)
        return DONE
    return _told(_waited(home, found), as_json)


def _waited(home: Home, task: str) -> dict[str, Any]:
    """The task when nothing of it is on its way any more, or a person is asked."""
    from loom.transports.cli.listening import Listener

    listener = Listener(home, task)
    try:
        while True:
            found = reading.read(home, lambda queries: reading.whole_task(queries, task))
            if found["task"]["status"] == "done" or found["task"]["gate"]:
                return found
            silent_s, why = listener.trouble()
            if silent_s > GIVE_UP_S:
                raise UnavailableProblem(f"No coordinator could be had for {silent_s:.0f} s: {why}", "loom doctor")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        output.note(f"\nThe push goes on without you: loom show {task}")
        raise
    finally:
        listener.close()


def _told(found: dict[str, Any], as_json: bool) -> int:
    """What became of it, in words and as an exit code. Raises FailedProblem when it was refused."""
    from loom.transports.cli.ending import how_to_answer, open_gate_of

    spawn = next(each for each in reversed(found["spawns"]) if each["agent"] == AGENT)
    gate = open_gate_of(found)
    settled = spawn["status"] == "settled"
    sentence = _sentence(spawn, settled)
    if as_json:
        output.print_json({"task": found["task"]["id"], "pushed": settled, "sentence": sentence, "spawn": spawn})
    elif settled:
        output.say(sentence)
    elif gate is None:
        raise FailedProblem(f"Nothing was pushed: {sentence}", f"loom show {found['task']['id']}")
    else:
        output.say(f"In doubt: {sentence}")
        output.say(f"answer    {how_to_answer(gate)}")
    return DONE if settled else WAITING if gate else 1


def _sentence(spawn: dict[str, Any], settled: bool) -> str:
    """The worker's own sentence about what it did, or why it did not."""
    notes = spawn["attempts"][-1]["notes"] if spawn["attempts"] else ""
    return output.clean(notes if settled else spawn["summary"] or "it was given up").strip()
