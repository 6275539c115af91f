"""`loom budgets`: what the tasks of a project, or of this home, may cost together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries


@click.group()
def budgets() -> None:
    """Budgets that tasks share: of a project, of the home; and what an attempt reserves at first."""


@budgets.command("list")
@as_json
@click.pass_context
def list_budgets(context: click.Context, as_json: bool) -> None:
    """Show every shared budget, what is spent of it and what running attempts have reserved."""
    home = homes.opened(context)
    rows = reading.read(home, _rows)
    if as_json:
        output.print_json({"budgets": rows})
        return
    shown = [
        [row["scope"], row["budget"], *(_said(row["budget"], row[part]) for part in ("cap", "spent", "reserved"))]
        for row in rows
    ]
    columns = ["of", "budget", ">cap", ">spent", ">reserved"]
    output.table(columns, shown, empty="No budget is shared: loom budgets set home --cost 20")


@budgets.command("set")
@click.argument("scope", metavar="home|attempt|PROJECT|*")
@click.option("--cost", metavar="USD", default="", help="Money; 0: no budget any more.")
@click.option("--tokens", metavar="N", default="", help="Tokens; 0: no budget any more.")
@click.pass_context
def set_budget(context: click.Context, scope: str, cost: str, tokens: str) -> None:
    """Set what all tasks of a project (`*`: of each that has none) or of the home may use together, from now on and with
    what they used before. `attempt`: what an attempt reserves before it is known what attempts take.

    Nothing is granted that does not fit. A task that finds nothing left waits for a person; raise it, then answer retry.
    """
    from loom.coordinator.spending import fault
    from loom.kernel.commands import ChangeSetting
    from loom.transports.asking import ask

    if not cost and not tokens:
        raise UsageProblem("Say what the budget is.", f"loom budgets set {scope} --cost 20")
    home = homes.opened(context)
    place = _place(home, scope)
    given = {f"budgets.{place}.cost_usd": cost, f"budgets.{place}.tokens": tokens}
    wanted = {name: "" if value == "0" else value for name, value in given.items() if value}
    for name, value in wanted.items():
        if wrong := fault(name, value):
            raise UsageProblem(f"{wrong}.", f"loom budgets set {scope} --cost 12.50")
    for name, value in wanted.items():
        ask(home, ChangeSetting(name, value))
        output.note(f"{name} is {value}" if value else f"{name} holds no more")


def _place(home: Home, scope: str) -> str:
    """The middle of a setting's name. Raises UsageProblem for a project that is none."""
    if scope in ("home", "attempt"):
        return scope
    if scope == "*":
        return "projects.*"
    known = [project["id"] for project in reading.read(home, lambda queries: queries.projects())["projects"]]
    if scope not in known:
        raise UsageProblem(f"There is no project {scope!r} in this home.", "loom projects list")
    return f"projects.{scope}"


async def _rows(queries: Queries) -> list[dict[str, Any]]:
    """One row for each shared budget in force. Amounts in micro-units and tokens."""
    from loom.coordinator.spending import BUDGETS, EVERY, HOME, Budgets, of_budget, summed
    from loom.kernel.values import Spent

    found = Budgets.of(tuple((await queries.settings()).items()))
    sums = summed(await queries.spent())
    projects = [project["id"] for project in (await queries.projects())["projects"]]
    return [
        {"scope": scope or "home", "budget": budget, "cap": cap, "spent": used[0], "reserved": used[1]}
        for scope in (HOME, *projects)
        for budget in BUDGETS
        if (cap := found.cap(scope, budget))
        for used in [of_budget(sums.get(scope, Spent()), budget)]
    ] + [
        {"scope": EVERY, "budget": budget, "cap": cap, "spent": 0, "reserved": 0}
        for budget in BUDGETS
        if not projects and (cap := found.cap(EVERY, budget))
    ]


def _said(budget: str, amount: int) -> str:
    return output.money(amount) if budget == "cost" else output.count(amount)
