"""The end of a run: verdict, branch, cost, evidence, and what to type next."""

from __future__ import annotations

from typing import Any

import rich_click as click

from loom.coordinator.home import Home
from loom.transports.chain import text_of
from loom.transports.cli import output

WAITING = 3
SIGNS = {"accepted": ("✓", "green"), "answered": ("✓", "green")}
WORDS = {"not_applicable": "not applicable"}


def report(home: Home, found: dict[str, Any], code: int) -> None:
    """Prints how a task ended, or what it waits for."""
    task = found["task"]
    output.say()
    if code == WAITING:
        _waits(found)
    else:
        sign, colour = SIGNS.get(task["verdict"], ("✗", "red"))
        click.secho(f"{sign} {task['verdict'] or task['state']}", fg=colour, bold=True, nl=False)
        output.say(_by(found))
    if task["verdict"] == "answered":
        _answer(found)
    if branch := branch_of(found):
        _line("branch", f"{branch}{_changed(found)}")
    elif task["verdict"] == "accepted":
        _line("result", f"commit {task['work'][:12]}{_changed(found)}: loom diff {task['id']}")
    for kind, words in evidence(found):
        _line(kind, words)
    _line("cost", cost(found))
    _line("record", f"{home.database}")
    _next(found, code, branch)


def _line(name: str, text: str) -> None:
    click.secho(f"  {name:<9}", dim=True, nl=False)
    output.say(output.clean(text))


def _by(found: dict[str, Any]) -> str:
    last = found["decisions"][-1] if found["decisions"] else None
    if last is None or found["task"]["verdict"] not in ("accepted", "abandoned"):
        return ""
    by = last["by"]
    if by["kind"] == "person":
        return f", by {by['id']}"
    policy = dict(found["task"]["spec"].get("policies", ())).get(last["role"], "")
    return f", by the policy {policy}" if policy else ""


def _waits(found: dict[str, Any]) -> None:
    gate = open_gate_of(found)
    if gate is None:
        click.secho("? waits", fg="yellow", bold=True)
        return
    click.secho(f"? waits for you: {gate['role']}", fg="yellow", bold=True)
    if gate["reason"]:
        _line("why", gate["reason"])
    for blocker in gate["blockers"]:
        _line("blocker", f"{blocker['id']} {output.line_of(blocker['message'], 120)}")


def open_gate_of(found: dict[str, Any]) -> dict[str, Any] | None:
    """The gate at which a person is asked now."""
    return next((each for each in found["gates"] if each["status"] == "open"), None)


def _answer(found: dict[str, Any]) -> None:
    answers = [artifact["text"] for artifact in found["artifacts"] if artifact["name"] == "answer"]
    if answers:
        output.say(f"\n{output.clean(answers[-1]).rstrip()}\n")


def branch_of(found: dict[str, Any]) -> str:
    """The branch that was made ("" : none): the worker that delivered says so."""
    branch = f"loom/{found['task']['id']}"
    delivered = next((each for each in found["spawns"] if each["id"] == found["task"]["delivered"]), None)
    notes = [text_of(attempt["execution"].get("notes")).value for attempt in delivered["attempts"]] if delivered else []
    return branch if any(branch in note for note in notes) else ""


def _changed(found: dict[str, Any]) -> str:
    return f"  at {found['task']['work'][:12]}" if branch_of(found) and found["task"]["work"] else ""


def evidence(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(heading, words) of the evidence about the result, and of what contained the agents."""
    present = found["subjects"][-1]["subject"] if found["subjects"] else ""
    about = [each for each in found["evidence"] if each["subject"] == present] if present else []
    latest = {each["kind"]: each["outcome"] for each in about}
    lines = []
    checks = [
        f"{kind.removeprefix('check.')} {WORDS.get(word, word)}"
        for kind, word in latest.items()
        if kind.startswith("check.")
    ]
    if checks:
        lines.append(("checks", " · ".join(checks)))
    reviews = [f"{kind.removeprefix('review.')} {word}" for kind, word in latest.items() if kind.startswith("review.")]
    if reviews:
        lines.append(("reviews", " · ".join(reviews)))
    kinds = sorted(
        {
            each["execution"].get("sandbox", "")
            for spawn in found["spawns"]
            for each in spawn["attempts"]
            if each["execution"]
        }
        - {""}
    )
    if kinds:
        bare = " (an agent there has your user's rights)" if "none" in kinds else ""
        lines.append(("sandbox", " · ".join(kinds) + bare))
    return lines


def cost(found: dict[str, Any]) -> str:
    """What the task cost: money, tokens, attempts, time."""
    task = found["task"]
    took = output.duration(task["updated_ms"] - task["submitted_ms"])
    return f"{output.money(task['cost'])}{output.unpriced(task['unpriced'])} · {output.count(task['tokens'])} tokens · {task['attempts']} agent attempts · {took}"


def _next(found: dict[str, Any], code: int, branch: str) -> None:
    task = found["task"]["id"]
    if code == WAITING:
        gate = open_gate_of(found)
        if gate is not None:
            _line("answer", how_to_answer(gate))
            _line("look", f"loom show {task} · loom diff {task} · loom gates")
        return
    if branch:
        base = found["task"]["base"][:12]
        _line("look", f"git diff {base} {branch} · loom show {task}")
        _line("take", f"git merge {branch}")
    else:
        _line("look", f"loom show {task}")
    _line("prove", f"loom replay {task}")


def how_to_answer(gate: dict[str, Any]) -> str:
    """The answers that a gate offers, written as they have to be typed."""
    words = []
    for word in gate["answers"]:
        if word == "accept":
            words.append("accept" + "".join(f' --accept {each["id"]}="…"' for each in gate["blockers"]))
        elif word == "revise":
            words.append('revise -m "…"')
        elif word == "raise":
            words.append("raise --budget USD" if "cost" in str(gate["because"]) else "raise")
        else:
            words.append(word)
    return f"loom answer {gate['id']} {' | '.join(words)}"
