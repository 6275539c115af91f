"""`loom workers`: who works for this home, from this machine and from others. `loom worker`: be one of those others."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import rich_click as click

from loom.coordinator.home import Home
from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UnavailableProblem, UsageProblem

HOUR_MS = 3_600_000
MAX_HOURS = 7 * 24
LISTEN = "loom config set coordinator.listen 0.0.0.0:4750, then `loom daemon stop` and `loom daemon start`"


@click.group()
def workers() -> None:
    """The workers of this home, on this machine and on others."""


@workers.command("list")
@click.option("--all", "everybody", is_flag=True, help="Those that were revoked, too.")
@as_json
@click.pass_context
def list_workers(context: click.Context, everybody: bool, as_json: bool) -> None:
    """List the workers that are there, and those of other hosts that are enrolled."""
    home = homes.opened(context)
    found = reading.read(home, lambda queries: queries.workers())
    there = {each["worker"]: each for each in _described(home).get("workers", ())}
    rows = [_enrolled(each, there.pop(each["worker"], None)) for each in found["workers"] if not each["revoked_ms"]]
    rows = [*(_there(each) for each in there.values()), *rows]
    if everybody:
        rows += [_enrolled(each, None) for each in found["workers"] if each["revoked_ms"]]
    if as_json:
        output.print_json({"workers": rows, "invitations": found["invitations"]})
        return
    output.table(
        ["worker", "host", "state", ">free", "labels", "sandboxes", "families"],
        [
            (
                each["worker"],
                output.clean(each["host"]),
                each["state"],
                f"{each['free']} of {each['slots']}" if "slots" in each else "",
                ", ".join(each["labels"]),
                ", ".join(each.get("sandboxes", ())),
                ", ".join(each.get("families", ())),
            )
            for each in rows
        ],
        empty="No worker is there.",
    )
    now_ms = time.time_ns() // 1_000_000
    waiting = [each for each in found["invitations"] if each["expires_ms"] > now_ms]
    if waiting:
        output.note(f"{len(waiting)} open {'invitation' if len(waiting) == 1 else 'invitations'}")


def _described(home: Home) -> dict[str, Any]:
    """The volatile state; empty when no coordinator runs."""
    from loom.coordinator.client import Client

    if not home.running():
        return {}
    with Client.connect(home, start=False) as client:
        return client.describe()


def _there(session: dict[str, Any]) -> dict[str, Any]:
    state = "draining" if session["draining"] else "silent" if session["suspect"] else "here"
    kept = ("worker", "host", "pid", "slots", "free", "labels", "sandboxes", "harnesses", "families", "remote")
    return {name: session[name] for name in kept} | {"state": state, "attempts": len(session["attempts"])}


def _enrolled(row: dict[str, Any], session: dict[str, Any] | None) -> dict[str, Any]:
    known = {"worker": row["worker"], "host": row["host"], "key": row["key"], "labels": row["labels"], "remote": True}
    if row["revoked_ms"]:
        return known | {"state": "revoked"}
    return known | (_there(session) if session else {"state": "away"})


@workers.command()
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="What the worker may be required for.")
@click.option(
    "--hours", default=1, show_default=True, help=f"How long the token may wait to be used; {MAX_HOURS} at most."
)
@click.option("--host", "name", default="", help="The name or address by which the other host reaches this machine.")
@as_json
@click.pass_context
def token(context: click.Context, labels: tuple[str, ...], hours: int, name: str, as_json: bool) -> None:
    """Make a token that lets one worker of another host in, once."""
    import secrets

    from loom.coordinator.doors import own_host
    from loom.coordinator.enrolment import bad_label, secret_digest
    from loom.kernel.commands import InviteWorker
    from loom.transports.asking import connect, taken
    from loom.workers.protocol import Invitation, write_invitation

    for label in labels:
        if sentence := bad_label(label):
            raise UsageProblem(f"{label!r} cannot be the label of a worker elsewhere: {sentence}.")
    if not 1 <= hours <= MAX_HOURS:
        raise UsageProblem(f"A token waits 1 to {MAX_HOURS} hours, not {hours}.")
    until_ms = time.time_ns() // 1_000_000 + hours * HOUR_MS
    secret = secrets.token_urlsafe(32)
    with connect(homes.opened(context)) as client:
        listen = client.describe().get("listen") or {}
        if not listen:
            raise UnavailableProblem("The coordinator of this home listens to no other host.", LISTEN)
        host = name or _reachable(str(listen["host"]), own_host)
        taken(client.call(InviteWorker(secret_digest(secret), until_ms, tuple(dict.fromkeys(labels)))))
    enrol = f"tcp://{f'[{host}]' if ':' in host else host}:{listen['ports']['enrol']}"
    word = write_invitation(Invitation(server=listen["key"], enrol=enrol, secret=secret, until_ms=until_ms))
    if as_json:
        output.print_json({"token": word, "enrol": enrol, "until_ms": until_ms, "labels": list(labels)})
        return
    output.say(word)
    output.note(f"on the other host, within {hours} h: loom worker join TOKEN   (it reaches this machine as {host})")


def _reachable(bound: str, own_host: Any) -> str:
    """The address that is listened on, if it is one; a name of this machine if it is all of them."""
    return str(own_host()) if bound in ("0.0.0.0", "::") else bound


@workers.command()
@click.argument("worker", metavar="WORKER")
@as_json
@click.pass_context
def revoke(context: click.Context, worker: str, as_json: bool) -> None:
    """Let a worker of another host in no more: its session ends at once, and what it works on is given to others."""
    from loom.kernel.commands import RevokeWorker
    from loom.transports.asking import ask

    ask(homes.opened(context), RevokeWorker(worker))
    if as_json:
        output.print_json({"worker": worker, "state": "revoked"})
    else:
        output.say(f"{worker} is revoked")


# ------------------------------------------------------------------------------------------------------ loom worker

STATE = "The worker's own directory: enrolment, reports, scratch."


@click.group(invoke_without_command=True)
@click.option("--state", metavar="DIR", default=None, help=STATE)
@click.option("--slots", default=4, show_default=True, metavar="N", help="Attempts at once.")
@click.option("--shared-files", is_flag=True, help="Paths mean the same here and where tasks are submitted.")
@click.pass_context
def worker(context: click.Context, state: str | None, slots: int, shared_files: bool) -> None:
    """Work for a coordinator on another host, until stopped. First: loom worker join TOKEN."""
    context.obj = _command(state, slots, shared_files=shared_files)
    if context.invoked_subcommand is None:
        _become(context.obj)


@worker.command("join")
@click.argument("token", metavar="TOKEN")
@click.option("--name", default="", help="The name to work under (default: this host's).")
@click.option("--only-join", is_flag=True, help="Join, and start nothing.")
@click.pass_context
def join_worker(context: click.Context, token: str, name: str, only_join: bool) -> None:
    """Be let in with TOKEN (`-`: read from standard input) of `loom workers token`, and work."""
    word = sys.stdin.readline() if token == "-" else token
    if not re.match(r"\s*loom1\.", word):
        raise UsageProblem(
            "This is no token of `loom workers token`.", "loom workers token, on the coordinator's machine"
        )
    command = [*context.obj, "--only-join" if only_join else "--join", *(["--name", name] if name else [])]
    read, write = os.pipe()  # not an argument: those are shown in lists of processes
    os.write(write, word.strip().encode() + b"\n")
    os.close(write)
    os.dup2(read, 0)
    _become(command)


def _command(state: str | None, slots: int, *, shared_files: bool) -> list[str]:
    import platformdirs

    place = Path(state) if state else platformdirs.user_data_path("loom", appauthor=False) / "worker"
    command = [sys.executable, "-m", "loom.workers.remote", "--state", str(place.absolute()), "--slots", str(slots)]
    return [*command, *(["--shared-files"] if shared_files else [])]


def _become(command: list[str]) -> None:
    """This process is the worker from now on: signals and the exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)
