"""How the demo goes, step by step, and what it says about each."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import rich_click as click

from loom.coordinator.client import Client
from loom.coordinator.errors import LoomError
from loom.coordinator.home import Home
from loom.transports.cli import output, reading
from loom.transports.cli.demo.command import ASKING, TASK
from loom.transports.cli.demo.project import REPLIES, git, make, tested
from loom.transports.cli.ending import branch_of, cost, evidence
from loom.transports.cli.look import print_coloured
from loom.transports.cli.projects import give_trust
from loom.transports.cli.work import WAITING, Ended, prepare, see_through
from loom.transports.errors import UsageProblem
from loom.transports.orders import Order

WIDTH = 100


def play(context: click.Context, place: Path, *, replies: str, ask: bool, quiet: bool) -> int:
    """Makes the project, runs the task, replays it, and says what is where. Returns the exit code of the run."""
    from loom.transports.asking import connect
    from loom.transports.replaying import replayed
    from loom.transports.submit import submit

    if ask and (quiet or not output.interactive()):
        raise UsageProblem("--ask needs a terminal to ask at.", "loom demo")
    script = Path(replies).absolute() if replies else REPLIES
    make(place)
    base = tested(place, "main")
    if not quiet:
        _opening(place, script, str(base))
    context.find_root().obj = str(place / ".loom")  # a demo never touches another home
    order = Order(text=TASK, directory=place, models=(f"*=recorded:{script}",), policy=ASKING if ask else "")
    home, plan = prepare(context, order, copy=False, quiet=True)
    give_trust(home, plan.probed, plan.place)
    with connect(home) as client:
        task = submit(client, plan)
    ended = see_through(home, task, quiet=quiet)
    found = replayed(home, task)
    if ended.code != WAITING:
        _send_home(home)
    branch = branch_of(ended.found)
    if quiet:
        output.print_json(
            {**ended.found, "exit": ended.code, "replay": {"ticks": found.ticks, "identical": not found.difference}}
        )
        return ended.code
    _head("The proof")
    same = "identical, byte for byte" if found.difference is None else f"different at entry {found.difference.seq}"
    stored = reading.read(home, lambda queries: queries.head())
    _row("record", f"{stored} entries in {home.database}")
    _row("replay", f"{found.ticks} decisions derived again: {same}")
    _row("tests", f"at the base {base}" + (f"; at the branch {tested(place, branch)}" if branch else ""))
    for name, words in evidence(ended.found):
        _row(name, words)
    _row("cost", cost(ended.found))
    if branch:
        _head(f"The branch {branch}")
        print_coloured(git(place, "diff", "--no-color", "main", branch).decode(errors="replace"))
    _closing(place, task, branch, ended, script)
    return ended.code if found.difference is None else 1


def _send_home(home: Home) -> None:
    """The demo's coordinator and workers have nothing more to do: they need not wait until they are idle for long."""
    with suppress(LoomError), Client.connect(home, start=False) as client:
        client.leave(workers=True)


def _opening(place: Path, script: Path, base: str) -> None:
    click.secho("loom demo", bold=True)
    output.say("Agents mend a defect in a small Python project. What the models say was written in advance,")
    output.say("not by a live model. Everything else is real: git, workers, edits, checks, rules, ledger.")
    output.say()
    _row("project", f"{output.clean(str(place))}: its tests at the start: {base}")
    _row("replies", str(script))
    _row("trust", "its loom.toml says that there is no linter and no type checker; the demo trusts it for you")
    _head("The run")


def _head(text: str) -> None:
    output.say()
    click.secho(text, bold=True)
    output.say()


def _row(name: str, text: str) -> None:
    click.secho(f"  {name:<9}", dim=True, nl=False)
    output.say(output.clean(text))


def _closing(place: Path, task: str, branch: str, ended: Ended, script: Path) -> None:
    verdict = ended.found["task"]["verdict"] or "waits"
    good = ended.code == 0
    output.say()
    click.secho(f"{'✓' if good else '?'} {verdict}", fg="green" if good else "yellow", bold=True, nl=False)
    output.say(f"{f': the branch {branch} stands' if branch else ''}")
    output.say()
    output.say("What to type next:")
    _row("go there", f"cd {output.clean(str(place))}")
    _row("look", f"loom show {task} · loom log {task} · sqlite3 .loom/state.db 'select * from agent_chain'")
    if branch:
        _row("take", f"git merge {branch}")
    if ended.code == WAITING:
        gate = next(each for each in ended.found["gates"] if each["status"] == "open")
        _row("decide", f"loom answer {gate['id']} {'|'.join(gate['answers'])}")
    _row("change", f"a reply in {script}, and run the demo again: the course changes with it")
    _row("yours", 'cd your-project && loom run "what shall be done"')
    output.say()
