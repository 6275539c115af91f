"""`loom demo`: a small real repository, a real run of the medium flow on it, and the proof at the end."""

from __future__ import annotations

import tempfile
from pathlib import Path

import rich_click as click

from loom.transports.cli.options import as_json

TASK = (
    "Splitting a bill loses cents: split(1000, {Ada: 1, Ben: 1, Cleo: 1}) gives everybody 333, and a cent is gone. "
    "The shares have to be what the docstring of split promises."
)
ASKING = "review-final"
"""The preset with which a person takes the last decision."""


@click.command()
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    default="",
    help="Where to make the project (default: a new temporary directory).",
)
@click.option("--ask", is_flag=True, help="You take the final decision, at the terminal.")
@click.option("--replies", metavar="FILE", default="", help="Other replies than those that come with loom.")
@as_json
@click.pass_context
def demo(context: click.Context, directory: str, ask: bool, replies: str, as_json: bool) -> int:
    """Show the main job: a defect, agents, a blocker, rework, a branch. The replies were written in advance."""
    from loom.transports.cli.demo.show import play

    place = Path(directory) if directory else Path(tempfile.mkdtemp(prefix="loom-demo-")) / "sharebill"
    return play(context, place.absolute(), replies=replies, ask=ask, quiet=as_json)
