"""`loom status`: the home, who works on it, and what waits. `main` answers its two plain forms without this module."""

from __future__ import annotations

import rich_click as click

from loom.transports.cli import homes, output, standing
from loom.transports.cli.options import as_json


@click.command()
@as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show the home, the coordinator, and what runs and waits."""
    found = standing.look(homes.resolve(context))
    if as_json:
        output.print_json(found)
    else:
        standing.show(found)
