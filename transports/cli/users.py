"""`loom users`: the people of a home, and what each of them may do."""

from __future__ import annotations

import secrets
import time

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

ROLES = ("viewer", "submitter", "approver", "admin")
"""What a person may do, each with all of the one before."""
MAX_NAME = 64


@click.group()
def users() -> None:
    """People of this home: who may submit, who may decide."""


@users.command("list")
@as_json
@click.pass_context
def list_users(context: click.Context, as_json: bool) -> None:
    """List the people of this home."""
    home = homes.opened(context)
    found = reading.read(home, lambda queries: queries.users())
    if as_json:
        output.print_json(found)
        return
    now_ms = time.time_ns() // 1_000_000
    rows = [(each["user"], each["role"], f"{output.duration(now_ms - each['now_ms'])} ago") for each in found["users"]]
    output.table(["user", "may act as", ">since"], rows, empty="Nobody is known here yet.")


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="approver", show_default=True, help="What they may do.")
@as_json
@click.pass_context
def add_user(context: click.Context, name: str, role: str, as_json: bool) -> None:
    """Let NAME act in this home, with a token of their own. It is shown once: hand it over, and nobody else.

    Commands speak for whom the token in LOOM_TOKEN stands; without it, for the home's owner.
    """
    from loom.coordinator.keys import TOKEN_BYTES, token_digest
    from loom.kernel.commands import EnrolPrincipal
    from loom.kernel.values import Principal, PrincipalKind
    from loom.transports.asking import TOKEN, ask

    if not name.isprintable() or not name.strip() or name != name.strip() or len(name) > MAX_NAME:
        raise UsageProblem(f"A name has 1 to {MAX_NAME} printable characters.", "loom users add bob")
    home = homes.opened(context)
    known = reading.read(home, lambda queries: queries.users())["users"]
    if any(each["user"] == name for each in known):
        raise UsageProblem(f"There is {name} in this home already.", "loom users list")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    person = Principal(id=name, kind=PrincipalKind.PERSON, via="cli")
    ask(home, EnrolPrincipal(principal=person, token_digest=token_digest(token), labels=(role,)))
    if as_json:
        output.print_json({"user": name, "role": role, "token": token})
        return
    output.say(f"{TOKEN}={token}")
    output.note(f"  {name} is {role} here, with this token in the environment; it is shown only now")
