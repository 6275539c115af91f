"""`loom config`: settings, with where each comes from."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from loom.transports import settings
from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json, for_user
from loom.transports.errors import UsageProblem

LIMITS = "limits."
"""Keys of what the home's scheduler holds to; they stand in the ledger, the others in files."""


@click.group()
def config() -> None:
    """Settings: what loom takes when an option says nothing."""


@config.command("list")
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@as_json
@click.pass_context
def list_settings(context: click.Context, origin: bool, as_json: bool) -> None:
    """Show every setting that there is."""
    values = [*settings.load(homes.find(context)).values, *_limits(context)]
    if as_json:
        output.print_json({"settings": [{"key": v.key, "value": v.value, "origin": v.origin} for v in values]})
        return
    columns = ["setting", "value"] + (["from"] if origin else [])
    rows = [[v.key, str(v.value)] + ([v.origin] if origin else []) for v in values]
    output.table(columns, rows, empty="There are no settings.")


@config.command("get")
@click.argument("key")
@as_json
@click.pass_context
def get_setting(context: click.Context, key: str, as_json: bool) -> None:
    """Print the value of KEY."""
    limits = {value.key: value for value in _limits(context)} if key.startswith(LIMITS) else {}
    found = limits.get(key) or settings.load(homes.find(context)).find(key)
    if as_json:
        output.print_json({"key": found.key, "value": found.value, "origin": found.origin})
    else:
        output.say(output.clean(str(found.value)))


@config.command("set")
@click.argument("key")
@click.argument("value")
@for_user
@click.pass_context
def set_setting(context: click.Context, key: str, value: str, user: bool) -> None:
    """Set KEY to VALUE; an empty value goes back to what is built in."""
    if key.startswith(LIMITS):
        _set_limit(context, key, value, user)
        return
    path = place(context, user)
    settings.store(path, key, value or None)
    output.note(f"{key} is set in {path}" if value else f"{key} is no longer set in {path}")


def _limits(context: click.Context) -> list[settings.Value]:
    """Limits that were set, from the home's ledger."""
    home = homes.resolve(context)
    if not home.exists:
        return []
    found = reading.read(home, lambda queries: queries.settings())
    return [
        settings.Value(name, int(value) if value.isdecimal() else value, "ledger")
        for name, value in sorted(found.items())
        if name.startswith(LIMITS)
    ]


def _set_limit(context: click.Context, key: str, value: str, user: bool) -> None:
    """A limit is the home's, in its ledger: it holds for every worker, at once."""
    from loom.coordinator.limits import EVERY, NAME, fault
    from loom.kernel.commands import ChangeSetting
    from loom.transports.asking import ask

    if user:
        raise UsageProblem(f"{key} is a limit of one home, not a setting of yours.", "leave --user out")
    if said := fault(key, value):
        raise UsageProblem(f"{said[0].upper()}{said[1:]}.", "docs/scheduling.md says what each does")
    homes.need(context, "`loom init` makes a home here")
    home = homes.resolve(context)
    who = NAME.fullmatch(key)
    if who and who[1] == "projects" and who[2] != EVERY:
        known = reading.read(home, lambda queries: queries.projects())["projects"] if home.exists else []
        if who[2] not in {project["id"] for project in known}:
            raise UsageProblem(f"There is no project {who[2]} in this home.", "loom projects list shows their ids")
    ask(home, ChangeSetting(key, value))
    output.note(f"{key} is {value} from now on" if value else f"{key} is no longer set")


def place(context: click.Context, user: bool) -> Path:
    """The file that a setting is written to."""
    if user:
        return settings.user_file()
    return homes.need(context, "--user writes it for all your homes; `loom init` makes a home here") / settings.FILE
