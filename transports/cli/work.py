"""Carrying an order out at a terminal, in a pipe, or for a program: `loom run` and `loom demo` share it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rich_click as click

from loom.coordinator.home import Home
from loom.kernel.commands import Cancel
from loom.transports import settings
from loom.transports.asking import ask, connect
from loom.transports.backends import Machine
from loom.transports.cli import homes, output, reading
from loom.transports.cli.deciding import decide
from loom.transports.cli.ending import report
from loom.transports.cli.follow import Follower
from loom.transports.cli.listening import Listener
from loom.transports.errors import UsageProblem
from loom.transports.orders import Order, Plan, check
from loom.transports.submit import submit

DONE, FAILED, WAITING, INTERRUPTED = 0, 1, 3, 130
GOOD = frozenset({"accepted", "answered"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How following ended. found: the task as `loom show --json` has it."""

    code: int
    found: dict[str, Any]


def prepare(context: click.Context, order: Order, *, copy: bool, quiet: bool) -> tuple[Home, Plan]:
    """Where the task goes, and its plan; everything is checked, and nothing is created. copy: a copy was agreed to."""
    start = order.directory.absolute()
    known = homes.find(context, start)
    plan = check(order, settings.load(known).settings, Machine(known))
    if plan.kind == "directory" and not copy:
        _ask_for_copy(plan.place)
    home = homes.for_work(context, start, plan.place if plan.kind == "git" else None)
    digest = plan.probed.config_digest
    plan = replace(plan, trusted=bool(digest) and _trusted(home, plan.project) == digest)
    if not quiet:
        _remarks(plan)
    return home, plan


def _ask_for_copy(place: Path) -> None:
    if not output.interactive():
        raise UsageProblem(
            f"{place} is not under git.", "--copy lets the task work on a copy of it; or make it a repository: git init"
        )
    output.note(f"{output.clean(str(place))} is not under git. The task would work on a copy, and change nothing here.")
    if not click.confirm("Go on with a copy?", default=True, err=True):
        raise UsageProblem("Nothing was begun.")


def _remarks(plan: Plan) -> None:
    """What a person should know before it begins."""
    if plan.probed.dirty and not plan.with_changes:
        output.note("note: uncommitted changes are not part of the task (--with-changes takes them along)")
    for remark in plan.probed.notes:
        output.note(f"note: {output.clean(remark)}")
    if plan.probed.config_digest and not plan.trusted:
        output.note(
            "note: loom.toml is not trusted, so what it names is not used; look at it with `loom projects trust`"
        )


def _trusted(home: Home, project: str) -> str:
    """The digest of the configuration that is trusted ("" : none)."""
    if not home.exists:
        return ""
    known = reading.read(home, lambda queries: queries.projects())["projects"]
    return next((str(each["trusted"]) for each in known if each["id"] == project), "")


def carry_out(home: Home, plan: Plan, *, detach: bool = False, as_json: bool = False) -> int:
    """Starts the task and sees it through. Returns the exit code."""
    with connect(home) as client:
        task = submit(client, plan)
    return follow_through(home, task, detach=detach, as_json=as_json)


def follow_through(home: Home, task: str, *, detach: bool = False, as_json: bool = False) -> int:
    """Sees a task through that was started, or only says its name. Returns the exit code."""
    if detach:
        if as_json:
            output.print_json({"task": {"id": task}, "exit": DONE})
        else:
            output.say(task)
            output.note(f"  loom log -f {task} · loom show {task}")
        return DONE
    ended = see_through(home, task, quiet=as_json)
    if as_json:
        output.print_json({**ended.found, "exit": ended.code})
        if gate := ended.found["task"]["gate"]:
            output.note(f"waits for you: loom answer {gate}")
    elif ended.code != INTERRUPTED:
        report(home, ended.found, ended.code)
    return ended.code


def see_through(home: Home, task: str, *, quiet: bool = False) -> Ended:
    """Follows the task to its end, to a gate that nobody here can decide, or until a person leaves."""
    listener = Listener(home, task)
    follower = Follower(home, task, listener, quiet=quiet)
    try:
        while True:
            stop = follower.follow(lambda: _cancel(home, task))
            if stop != "gate" or quiet or not output.interactive() or not _decided(home, follower):
                break
    finally:
        listener.close()
    found = reading.read(home, lambda queries: reading.whole_task(queries, task))
    return Ended(_code(stop, found["task"]), found)


def _decided(home: Home, follower: Follower) -> bool:
    """Whether the person at the terminal took the decision. Ctrl-C and Ctrl-D leave it for later."""
    try:
        return decide(home, follower)
    except click.Abort:
        return False


def _cancel(home: Home, task: str) -> None:
    ask(home, Cancel(), task=task)


def _code(stop: str, task: dict[str, Any]) -> int:
    match stop:
        case "detached":
            return INTERRUPTED
        case "gate":
            return WAITING
        case _:
            return DONE if task["verdict"] in GOOD else FAILED
