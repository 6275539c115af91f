"""`loom fork`: a new task that takes over what another one came to, and goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json

if TYPE_CHECKING:
    from loom.coordinator.queries import Queries


@click.command()
@click.argument("task")
@click.option(
    "--at", metavar="N|STAGE", default="", help="From this entry, or from entering this stage (default: the end)."
)
@click.option("--bundle", metavar="REF", default="", help="Under another bundle, by name or path.")
@click.option("--policy", metavar="PRESET", default="", help="With other policies.")
@click.option("--model", "models", multiple=True, metavar="AGENT=REF[,REF…]", help="With another model of an agent.")
@click.option("--budget", metavar="USD", default="", help="What the new task may cost.")
@click.option("-m", "--message", default="", help="Your words to the agents there.")
@click.option("--detach", is_flag=True, help="Only hand it over, and print its id.")
@as_json
@click.pass_context
def fork(
    context: click.Context,
    *,
    task: str,
    at: str,
    bundle: str,
    policy: str,
    models: Sequence[str],
    budget: str,
    message: str,
    detach: bool,
    as_json: bool,
) -> int:
    """Start a new task with the results of TASK up to some point; nothing of it is paid for again, TASK stays as it is."""
    from loom.transports import settings
    from loom.transports.asking import connect
    from loom.transports.backends import Chooser, Machine
    from loom.transports.cli.work import follow_through
    from loom.transports.forking import Place, Wishes, place_of
    from loom.transports.forking import fork as start

    home = homes.opened(context)

    async def find(queries: Queries) -> Place:
        return await place_of(queries, await reading.find_task(queries, task), at)

    place = reading.read(home, find)
    chooser = Chooser(Machine(home.path), settings.load(home.path).settings.models)
    with connect(home) as client:
        new = start(client, place, Wishes(bundle, policy, models, budget, message), chooser)
    if not as_json and not detach:
        output.note(f"forked from {place.submit.task} at entry {place.seq}, stage {place.stage}")
    return follow_through(home, new, detach=detach, as_json=as_json)
