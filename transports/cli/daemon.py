"""`loom daemon`: the coordinator of this home, as a process that a person starts and stops."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import rich_click as click

from loom.transports.cli import homes, output
from loom.transports.cli.options import as_json
from loom.transports.errors import UnavailableProblem

if TYPE_CHECKING:
    from loom.coordinator.home import Home

ANSWER_MS = 5_000
"""How long a coordinator that is to stop may take to answer, and again to go after a signal."""


@click.group()
def daemon() -> None:
    """The coordinator of this home. Commands start it when they need it; it leaves when it is idle."""


@daemon.command()
@click.option("--listen", metavar="HOST:PORT", default="", help="Let enrolled workers of other hosts in here.")
@as_json
@click.pass_context
def start(context: click.Context, listen: str, as_json: bool) -> None:
    """Start the coordinator, if none runs."""
    from loom.transports.asking import connect

    with connect(homes.resolve(context), listen=listen) as client:
        found = client.describe()
    if listen and not found.get("listen"):
        raise UnavailableProblem("The coordinator runs already, and listens to no other host.", "loom daemon stop")
    _say(found, as_json, f"runs (process {found['pid']}, epoch {found['epoch']})")


@daemon.command()
@click.option("--workers", is_flag=True, help="Also let the workers go, when they are done.")
@as_json
@click.pass_context
def stop(context: click.Context, workers: bool, as_json: bool) -> None:
    """Stop the coordinator. What workers run goes on, and is reported to the next one."""
    home = homes.opened(context)
    pid = home.running()
    if pid:
        _stop(home, pid, workers)
    _say({"pid": pid, "stopped": bool(pid)}, as_json, "has stopped" if pid else "does not run")


def _stop(home: Home, pid: int, workers: bool) -> None:
    """By a message; a coordinator that does not understand it (another version's) by SIGTERM, which it takes as well."""
    from loom.coordinator.client import CallDenied, Client, NoAnswer
    from loom.coordinator.starting import CoordinatorFailed

    try:
        with Client.connect(home, start=False, timeout_ms=ANSWER_MS) as client:
            client.leave(workers=workers)
    except (CallDenied, CoordinatorFailed, NoAnswer):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + ANSWER_MS / 1_000
        while home.running() == pid:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@daemon.command()
@as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show the coordinator and its workers."""
    from loom.coordinator.client import Client

    home = homes.opened(context)
    if not home.running():
        _say({"pid": 0}, as_json, "does not run")
        return
    with Client.connect(home, start=False) as client:
        found = client.describe()
    _say(found, as_json, f"runs (process {found['pid']}, epoch {found['epoch']}, up {output.duration(found['up_ms'])})")
    if as_json:
        return
    rows = [
        (
            each["worker"],
            str(each["pid"]),
            f"{each['free']} of {each['slots']}",
            ", ".join(each["sandboxes"]),
            ", ".join(each["harnesses"]),
        )
        for each in found["workers"]
    ]
    output.table(["worker", ">process", ">free", "sandboxes", "harnesses"], rows, empty="No worker is there.")


def _say(found: dict[str, object], as_json: bool, words: str) -> None:
    if as_json:
        output.print_json(found)
    else:
        output.say(f"The coordinator {words}.")
