"""`loom run`: hand a task over, and see it through."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

NO_DOCKER = "The docker sandbox comes with a later version."


@click.command()
@click.argument("task")
@click.option("--project", "directory", metavar="DIR", default=".", help="The project's directory (default: here).")
@click.option("--bundle", metavar="B", default="", help="The domain: a bundle's name or path.")
@click.option("--flow", metavar="F", default="", help="The flow, instead of the classifier's choice.")
@click.option(
    "--policy",
    metavar="PRESET",
    default="",
    help="Who decides: supervised, review-plan, review-final, on-blockers, autonomous.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="AGENT=REF[,REF…]",
    help="The model of an agent, or of all: '*=anthropic:balanced'.",
)
@click.option(
    "--sandbox", type=click.Choice(["auto", "bubblewrap", "none"]), default=None, help="What contains the agents."
)
@click.option("--docker", is_flag=True, help="Require the docker sandbox (a later version).")
@click.option("--budget", metavar="USD", default="", help="What the task may cost.")
@click.option("--priority", type=click.IntRange(-100, 100), default=None, help="Higher goes first.")
@click.option("--record", metavar="FILE", default="", help="Write every model's reply to FILE, for `recorded:FILE`.")
@click.option("--detach", is_flag=True, help="Only hand it over, and print its id.")
@click.option("--with-changes", is_flag=True, help="Start from the uncommitted changes, too.")
@click.option("--copy", is_flag=True, help="Without git: work on a copy of the directory.")
@click.option("-y", "--yes", is_flag=True, help="Say yes to what would be asked before the start.")
@as_json
@click.pass_context
def run(
    context: click.Context,
    *,
    task: str,
    directory: str,
    bundle: str,
    flow: str,
    policy: str,
    models: Sequence[str],
    sandbox: str | None,
    docker: bool,
    budget: str,
    priority: int | None,
    record: str,
    detach: bool,
    with_changes: bool,
    copy: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Hand TASK over, follow it, and end with its verdict, branch, cost and evidence. TASK "-" is read from a pipe."""
    if docker:
        raise UsageProblem(NO_DOCKER, "--sandbox bubblewrap contains agents without a daemon")
    from loom.transports.cli.work import carry_out, prepare
    from loom.transports.orders import Order

    order = Order(
        text=sys.stdin.read() if task == "-" else task,
        directory=Path(directory),
        bundle=bundle,
        flow=flow,
        policy=policy,
        models=tuple(models),
        sandbox=sandbox or "",
        budget_usd=budget,
        priority=priority,
        record=record,
        with_changes=with_changes,
    )
    home, plan = prepare(context, order, copy=copy or yes, quiet=as_json)
    return carry_out(home, plan, detach=detach, as_json=as_json)
