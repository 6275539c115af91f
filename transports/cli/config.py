"""`loom config`: settings, with where each comes from."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from loom.transports import settings
from loom.transports.cli import homes, output
from loom.transports.cli.options import as_json, for_user


@click.group()
def config() -> None:
    """Settings: what loom takes when an option says nothing."""


@config.command("list")
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@as_json
@click.pass_context
def list_settings(context: click.Context, origin: bool, as_json: bool) -> None:
    """Show every setting that there is."""
    loaded = settings.load(homes.find(context))
    if as_json:
        output.print_json({"settings": [{"key": v.key, "value": v.value, "origin": v.origin} for v in loaded.values]})
        return
    columns = ["setting", "value"] + (["from"] if origin else [])
    rows = [[v.key, str(v.value)] + ([v.origin] if origin else []) for v in loaded.values]
    output.table(columns, rows, empty="There are no settings.")


@config.command("get")
@click.argument("key")
@as_json
@click.pass_context
def get_setting(context: click.Context, key: str, as_json: bool) -> None:
    """Print the value of KEY."""
    found = settings.load(homes.find(context)).find(key)
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
    path = place(context, user)
    settings.store(path, key, value or None)
    output.note(f"{key} is set in {path}" if value else f"{key} is no longer set in {path}")


def place(context: click.Context, user: bool) -> Path:
    """The file that a setting is written to."""
    if user:
        return settings.user_file()
    return homes.need(context, "--user writes it for all your homes; `loom init` makes a home here") / settings.FILE
