"""`loom log`: what happened, entry by entry, as it stands in the ledger."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries

POLL_S = 0.2
"""Seconds between two looks at a log that is followed."""
TOLD = (
    "agent",
    "stage",
    "flow",
    "gate",
    "role",
    "word",
    "severity",
    "kind",
    "outcome",
    "verdict",
    "end",
    "error_class",
    "reconciles",
    "code",
    "rule",
    "to",
    "name",
    "value",
    "reason",
    "path",
    "message",
)
"""Fields that are shown of an event, in this order, when it has them."""


@click.command()
@click.argument("task", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as things happen; ends with the task.")
@click.option("--since", type=click.IntRange(0), default=0, metavar="SEQ", help="From this entry on.")
@as_json
@click.pass_context
def log(context: click.Context, task: str | None, follow: bool, since: int, as_json: bool) -> None:
    """Print what happened to TASK, or to everything in this home. With --json: one event a line."""
    home = homes.opened(context)
    try:
        asyncio.run(_log(home, task, since, follow, as_json))
    except KeyboardInterrupt:
        return


async def _log(home: Home, beginning: str | None, since: int, follow: bool, as_json: bool) -> None:
    from loom.coordinator.queries import Queries

    async with Queries.opened(home.database, home.blobs) as queries:
        task = await reading.find_task(queries, beginning) if beginning else None
        while True:
            found = await queries.log(task, since=since)
            for event in found["events"]:
                output.say(json.dumps(event) if as_json else line_of(event))
            more = found["next_seq"] > since
            since = found["next_seq"]
            if more:
                continue
            if not follow or (task is not None and await _over(queries, task)):
                return
            await asyncio.sleep(POLL_S)


async def _over(queries: Queries, task: str) -> bool:
    found = await queries.task(task)
    return found is None or found["task"]["status"] == "done"


def line_of(event: dict[str, Any]) -> str:
    """One event in one line."""
    at = datetime.fromtimestamp(event["now_ms"] / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    fields = event["fields"]
    for nested in ("evidence", "artifact", "finding", "report", "place"):  # a report has an evidence of its own: a text
        if isinstance(fields.get(nested), dict):
            fields = {**fields, **fields[nested]}
    told = [_value(fields[name]) for name in TOLD if fields.get(name)]
    if "attempt" in fields:
        told.insert(0, str(fields["spawn"]).partition("/")[2])
    who = f"  ({event['principal']} via {event['via']})" if event["at"] == 0 else ""
    return output.clean(
        f"{event['seq']:>6} {at} {event['task']:<10} {event['kind']:<18} {' '.join(told)}{who}"
    ).rstrip()


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return output.line_of(str(value.get("value") or f"[{value.get('size', 0)} bytes]"), 100)
    return output.line_of(str(value), 100)
