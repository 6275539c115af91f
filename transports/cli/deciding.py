"""A gate at the terminal: what the decision is about, the answers that it offers, and the person's word."""

from __future__ import annotations

from typing import Any

import rich_click as click

from loom.coordinator.home import Home
from loom.transports.cli import output, reading
from loom.transports.cli.follow import Follower
from loom.transports.cli.gates import give
from loom.transports.errors import Problem

KEYS = {
    "accept": "a",
    "revise": "r",
    "abandon": "x",
    "apply": "p",
    "retry": "t",
    "raise": "u",
    "diff": "d",
    "later": "l",
}
"""Answer, or another thing to do → the key for it."""
MAX_SHOWN_LINES = 60


def decide(home: Home, follower: Follower) -> bool:
    """Asks until the gate is decided. False: the person wants to decide later."""
    assert follower.chain.gate is not None
    name = follower.chain.gate.id
    _show(home, name, follower.task)
    while True:
        found = reading.read(home, lambda queries: queries.gate(name))
        if found is None or found["status"] != "open":
            output.note("The gate was decided elsewhere.")
            return True
        word = _ask(found["answers"])
        if word == "later":
            return False
        if word == "diff":
            _diff(home, follower.task)
            continue
        try:
            _give(home, found, word)
        except Problem as problem:
            output.note(
                f"{output.clean(problem.sentence)}\n  try: {output.clean(problem.mend)}".removesuffix("\n  try: ")
            )
            continue
        return True


def _show(home: Home, name: str, task: str) -> None:
    found = reading.read(home, lambda queries: reading.whole_task(queries, task))
    gate = next(each for each in found["gates"] if each["id"] == name)
    click.secho(f"\nYour decision: {gate['role']}", bold=True, fg="yellow", nl=False)
    click.secho(f"  {gate['id']}", dim=True)
    if gate["reason"]:
        output.say(f"  {output.clean(gate['reason'])}")
    made = {artifact["name"]: artifact["text"] for artifact in found["artifacts"]}
    for wanted in gate["shows"]:
        if made.get(wanted):
            click.secho(f"\n  {wanted}", bold=True)
            output.say(_indented(made[wanted]))
    last = next((spawn for spawn in reversed(found["spawns"]) if spawn["summary"]), None)
    if last is not None and not gate["shows"]:
        output.say(f"  {last['agent']}: {output.line_of(last['summary'], 200)}")
    for blocker in gate["blockers"]:
        where = f"{blocker['path']}:{blocker['line']}" if blocker["line"] else blocker["path"]
        click.secho(f"  ✗ {blocker['id']} ", fg="red", nl=False)
        output.say(output.clean(f"{where}  {blocker['message']}"))
    output.say()


def _indented(text: str) -> str:
    lines = output.clean(text).splitlines()
    cut = [f"… {len(lines) - MAX_SHOWN_LINES} more lines: loom show"] if len(lines) > MAX_SHOWN_LINES else []
    return "\n".join(f"    {line}" for line in lines[:MAX_SHOWN_LINES] + cut)


def _ask(answers: list[str]) -> str:
    """One of the answers, "diff" or "later", by its key or its word."""
    offered = [*answers, "diff", "later"]
    keys = {KEYS[word]: word for word in offered}
    line = "   ".join(f"[{KEYS[word]}] {word}" for word in offered)
    while True:
        output.say(f"  {line}")
        said = str(click.prompt("  >", prompt_suffix=" ", default="", show_default=False)).strip().lower()
        if said in offered or said in keys:
            return keys.get(said, said)


def _give(home: Home, gate: dict[str, Any], word: str) -> None:
    message, budget, accepts = "", "", []
    if word in ("revise", "apply"):
        message = str(click.prompt("  What shall be done differently?", prompt_suffix=" "))
    if word == "raise":
        budget = str(
            click.prompt(
                "  What may the task cost in all (USD; empty: the default raise)?", default="", show_default=False
            )
        )
    if word == "accept":
        for blocker in gate["blockers"]:
            reason = str(click.prompt(f"  Why is {blocker['id']} acceptable?"))
            accepts.append(f"{blocker['id']}={reason}")
    give(home, gate, word, message=message, accepts=accepts, budget=budget)


def _diff(home: Home, task: str) -> None:
    from loom.transports.cli.look import print_coloured

    found = reading.read(home, lambda queries: queries.diff(task))
    if found is None or not found["text"]:
        output.say("  Nothing was changed yet.")
        return
    print_coloured(found["text"])
