"""`loom secrets`: names of secrets; their values come in by the terminal or a pipe, never by an argument."""

from __future__ import annotations

import sys

import rich_click as click

from loom.transports import secrets as store
from loom.transports.backends import KEYS
from loom.transports.cli import homes, output
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

MEND = "`loom init` makes a home here; or use the environment: export NAME=…"


@click.group()
def secrets() -> None:
    """Secrets that agents' providers need, kept in the home (0600) or taken from the environment."""


@secrets.command("set")
@click.argument("name")
@click.pass_context
def set_secret(context: click.Context, name: str) -> None:
    """Keep a secret under NAME. The value is asked for, or read from standard input."""
    home = homes.need(context, MEND)
    store.check_name(name)
    if sys.stdin.isatty():
        value = str(click.prompt(f"{name}", hide_input=True, err=True))
    else:
        value = sys.stdin.read(store.MAX_SECRET + 2).removesuffix("\n").removesuffix("\r")
    if not value.strip():
        raise UsageProblem(f"No value was given for {name}.", f"printf %s VALUE | loom secrets set {name}")
    store.put(home, name, value)
    output.note(f"{name} is kept in {home / store.FILE}")


@secrets.command("list")
@as_json
@click.pass_context
def list_secrets(context: click.Context, as_json: bool) -> None:
    """Show the names of secrets, and where each comes from; never a value."""
    home = homes.find(context)
    names = {name for names in KEYS.values() for name in names}
    names |= set(store.stored(home)) if home is not None else set()
    found = [(name, place) for name in sorted(names) if (place := store.origin(name, home))]
    if as_json:
        output.print_json({"secrets": [{"name": name, "from": place} for name, place in found]})
        return
    output.table(["name", "from"], found, empty="There are no secrets. Set one: loom secrets set ANTHROPIC_API_KEY")


@secrets.command("remove")
@click.argument("name")
@click.pass_context
def remove_secret(context: click.Context, name: str) -> None:
    """Take the secret NAME out of the home's store."""
    home = homes.need(context, MEND)
    if not store.put(home, name, None):
        raise UsageProblem(f"There is no secret {name} in {home / store.FILE}.", "loom secrets list")
    output.note(f"{name} is removed")
