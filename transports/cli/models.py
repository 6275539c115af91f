"""`loom models`: which model serves which agent."""

from __future__ import annotations

import rich_click as click

from loom.coordinator.bindings import BadReference, parse_ref, split
from loom.transports import backends, catalogue, settings
from loom.transports.backends import Chooser, Machine
from loom.transports.cli import homes, output
from loom.transports.cli.config import place
from loom.transports.cli.options import as_json, for_user
from loom.transports.errors import Problem, UsageProblem


@click.group()
def models() -> None:
    """Which model serves which agent: the settings', else what this machine has."""


@models.command("list")
@click.option("--bundle", metavar="B", help="The bundle whose agents are shown (default: the settings').")
@as_json
@click.pass_context
def list_models(context: click.Context, bundle: str | None, as_json: bool) -> None:
    """Show each agent's chain, as a task that is submitted now would get it."""
    home = homes.find(context)
    loaded = settings.load(home)
    machine = Machine(home)
    found = catalogue.load(bundle or loaded.settings.run.bundle)
    chooser = Chooser(machine, loaded.settings.models)
    try:
        backend = backends.default_backend(machine)
    except Problem as problem:
        backend = backends.Backend("", problem.sentence)
    rows = [_row(agent, chooser, loaded.settings.models.agents, backend) for agent in catalogue.agents(found)]
    if as_json:
        output.print_json(
            {"bundle": found.name, "default": {"family": backend.family, "why": backend.why}, "agents": rows}
        )
        return
    if output.terminal():
        output.note(f"without a setting: {backend.family + ': by ' if backend.family else ''}{backend.why}")
    shown = [
        (str(r["agent"]), str(r["tier"]), ", ".join(map(str, r["chain"])) or str(r["problem"]), str(r["from"]))
        for r in rows
    ]
    output.table(["agent", "tier", "chain", "from"], shown, empty="This bundle has no agent that takes a model.")


def _row(
    agent: backends.Agent, chooser: Chooser, chosen: dict[str, str], backend: backends.Backend
) -> dict[str, str | list[str]]:
    text = chosen.get(agent.name) or chosen.get("*", "")
    origin = "setting" if text else "default"
    row: dict[str, str | list[str]] = {
        "agent": agent.name,
        "tier": agent.tier,
        "from": origin,
        "chain": [],
        "problem": "",
    }
    try:
        if not text and not backend.family:
            raise UsageProblem("no model")
        row["chain"] = list(chooser.chain(text or f"{backend.family}:", agent.tier))
    except Problem as problem:
        row["problem"] = problem.sentence
    return row


@models.command("set")
@click.argument("agent")
@click.argument("chain", metavar="REF[,REF…]")
@click.option("--bundle", metavar="B", help="The bundle that the agent is of (default: the settings').")
@for_user
@click.pass_context
def set_model(context: click.Context, agent: str, chain: str, bundle: str | None, user: bool) -> None:
    """Let AGENT (or '*': all) be served by a chain of references."""
    found = catalogue.load(bundle or settings.load(homes.find(context)).settings.run.bundle)
    backends.check_agent(agent, [known.name for known in catalogue.agents(found)])
    try:
        if not [parse_ref(part) for part in split(chain)]:
            raise BadReference(f"{chain!r} names no model")
    except BadReference as error:
        raise UsageProblem(f"{error}.", "loom models set '*' anthropic:balanced") from error
    path = place(context, user)
    settings.store(path, f"models.agents.{agent}", chain)
    output.note(f"{agent} is served by {chain}, from the next task on")


@models.command("unset")
@click.argument("agent")
@for_user
@click.pass_context
def unset_model(context: click.Context, agent: str, user: bool) -> None:
    """Let AGENT be served by what this machine has."""
    settings.store(place(context, user), f"models.agents.{agent}", None)
    output.note(f"{agent} has no model of its own any more")
