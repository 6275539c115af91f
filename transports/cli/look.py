"""`loom tasks`, `loom show`, `loom diff`: what the record says."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import homes, output, queueing, reading
from loom.transports.cli.ending import branch_of, how_to_answer, open_gate_of
from loom.transports.cli.options import as_json
from loom.transports.cli.picture import BAD_WORDS
from loom.transports.errors import UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries

MAX_LISTED = 1_000
ANSWER_MS = 2_000
"""How long the coordinator may take to say where something stands."""


@click.command()
@click.option("--open", "only_open", is_flag=True, help="Only those that are not done.")
@click.option("--project", metavar="ID", help="Only those of one project.")
@click.option(
    "--limit", type=click.IntRange(1, MAX_LISTED), default=50, show_default=True, help="How many, newest first."
)
@as_json
@click.pass_context
def tasks(context: click.Context, only_open: bool, project: str | None, limit: int, as_json: bool) -> None:
    """List the tasks of this home, newest first."""
    home = homes.opened(context)
    wanted = "open" if only_open else None
    found = reading.read(home, lambda queries: queries.tasks(status=wanted, project=project, limit=limit))
    if as_json:
        output.print_json(found)
        return
    now_ms = time.time_ns() // 1_000_000
    rows = [
        (
            task["id"],
            task["verdict"] or task["state"],
            task["flow"],
            task["stage"] if task["status"] == "open" else "",
            output.money(task["cost"]) + (" + ?" if task["unpriced"] else ""),
            f"{output.duration(now_ms - task['submitted_ms'])} ago",
            task["text"],
        )
        for task in found["tasks"]
    ]
    output.table(["task", "is", "flow", "stage", ">cost", ">begun", "text"], rows, empty='No task yet: loom run "…"')


@click.command()
@click.argument("task")
@click.option("--prompts", is_flag=True, help="Also show each prompt.")
@click.option("--outputs", is_flag=True, help="Also show each output.")
@as_json
@click.pass_context
def show(context: click.Context, task: str, prompts: bool, outputs: bool, as_json: bool) -> None:
    """Show everything about TASK: its chain, findings, gates, decisions, evidence."""
    home = homes.opened(context)
    found = reading.read(home, lambda queries: reading.whole_task(queries, task))
    _add_places(home, found)
    if as_json:
        output.print_json(found)
        return
    _print_head(found["task"], branch_of(found))
    _print_gate(found)
    for spawn in found["spawns"]:
        _print_spawn(spawn, prompts, outputs)
    _print_findings(found["findings"])
    _print_decisions(found)
    _print_evidence(found)
    _print_late(found["late"])


def _add_places(home: Home, found: dict[str, Any]) -> None:
    """To each spawn that waits: where it stands and why it waits, as the coordinator sees it (None: there is none to ask)."""
    waiting = [spawn for spawn in found["spawns"] if spawn["status"] == "ready"]
    for spawn in waiting:
        spawn["queued"] = None
    if not (waiting and found["task"]["status"] == "open" and home.running()):
        return
    from loom.coordinator.client import CallDenied, Client, NoAnswer
    from loom.coordinator.errors import LoomError

    try:
        with Client.connect(home, start=False, timeout_ms=ANSWER_MS) as client:
            queue = client.describe(ANSWER_MS, task=found["task"]["id"]).get("queue", {})
    except (CallDenied, NoAnswer, LoomError):
        return
    places = {attempt["spawn"]: attempt for attempt in queue.get("attempts", ())}
    for spawn in waiting:
        spawn["queued"] = places.get(spawn["id"])


def _print_head(task: dict[str, Any], branch: str) -> None:
    say = output.say
    click.secho(task["id"], fg="cyan", bold=True, nl=False)
    click.secho(f"  {task['verdict'] or task['state']}", bold=True)
    say(output.clean(task["text"]).strip())
    say()
    say(f"flow      {task['bundle']} · {task['flow']} · {task['preset']}   project {task['project']}")
    if origin := task.get("spec", {}).get("origin_task"):
        say(f"from      a fork of {origin}")
    say(f"base      {task['base']}")
    if task["work"]:
        say(f"result    {task['work']}{'   branch ' + branch if branch else ''}")
    say(
        f"cost      {output.money(task['cost'])}{output.unpriced(task['unpriced'])} · {output.count(task['tokens'])} tokens · {task['attempts']} attempts"
    )


def _print_gate(found: dict[str, Any]) -> None:
    """What the task waits for: which decision, why, and what can be said."""
    gate = open_gate_of(found)
    if gate is not None:
        output.say(f"waits     for you: {gate['role']}, gate {gate['id']}")
        output.say(output.clean(f"why       {gate['reason']}"))
        output.say(f"answer    {how_to_answer(gate)}")
        for each in gate["barred"]:
            output.say(output.clean(f"not by    {each['person']}: the {each['duty']} may not accept"))
    output.say()


def _print_spawn(spawn: dict[str, Any], prompts: bool, outputs: bool) -> None:
    last = spawn["attempts"][-1] if spawn["attempts"] else None
    again = f" {spawn['iteration']}" if spawn["iteration"] > 1 else ""
    model = (last["execution"] or {}).get("served_by", "") if last else ""
    took = output.duration(last["ended_ms"] - spawn["attempts"][0]["granted_ms"]) if last else ""
    word = spawn["outcome"] or spawn["status"]
    sign, colour = _sign(spawn)
    click.secho(f"{sign} ", fg=colour, nl=False)
    click.echo(output.clean(f"{spawn['stage'] + again:<16} {spawn['agent']:<16} "), nl=False)
    click.secho(output.clean(f"{word:<10}"), fg=colour, nl=False)
    click.secho(output.clean(f" {took:>6}  {model}").rstrip(), dim=True)
    if spawn.get("queued"):
        output.say(f"    {output.clean(queueing.line(spawn['queued']))}")
    if spawn["summary"]:
        output.say(f"    {output.line_of(spawn['summary'], output.room(4))}")
    for attempt in spawn["attempts"]:
        if attempt["end"] != "reported":
            output.say(
                f"    try {attempt['number']}: {_end(attempt)}: {output.line_of(attempt['message'], output.room(24))}"
            )
        for note in attempt["notes"].splitlines():
            output.say(f"    note: {output.line_of(note, output.room(10))}")
    for name, wanted in (("prompt", prompts), ("output", outputs)):
        if wanted and spawn[name]:
            output.say(_indented(f"--- {name}\n{spawn[name].rstrip()}"))


def _end(attempt: dict[str, Any]) -> str:
    """How a try ended, in a word or two."""
    if attempt["end"] == "in_doubt":
        return "in doubt"
    return str(attempt["end"] if attempt["end"] == "taken" else attempt["error_class"] or attempt["end"])


def _sign(spawn: dict[str, Any]) -> tuple[str, str | None]:
    """(sign, colour) of a spawn by how it stands."""
    if spawn["outcome"] in BAD_WORDS or spawn["status"] == "failed":
        return "✗", "red"
    if spawn["status"] == "settled":
        return "✓", "green"
    return ("●", "cyan") if spawn["status"] == "granted" else ("·", None)


def _print_findings(findings: list[dict[str, Any]]) -> None:
    if findings:
        click.secho("\nfindings", bold=True)
    for each in findings:
        where = f"{each['path']}:{each['line']}" if each["line"] else each["path"]
        output.say(
            output.clean(f"  {each['id']:<4} {each['severity']:<9} {each['status']:<11} {each['agent']}  {where}")
        )
        output.say(f"       {output.line_of(each['message'], output.room(7))}")
        if each["accepted_by"] and each["reason"]:
            said = output.line_of(each["reason"], output.room(40))
            output.say(output.clean(f"       accepted by {each['accepted_by']['id']}: {said}"))


def _print_decisions(found: dict[str, Any]) -> None:
    if found["decisions"]:
        click.secho("\ndecisions", bold=True)
    for each in found["decisions"]:
        said = f": {output.line_of(each['message'], output.room(40))}" if each["message"] else ""
        output.say(
            output.clean(
                f"  {each['role']:<10} {each['word']:<8} by {each['by']['id']} ({each['by'].get('assurance', 'A1')}){said}"
            )
        )
    for each in found["objections"]:
        output.say(output.clean(f"  rule {each['rule']} objected: {each['sentence']}"))


def _print_evidence(found: dict[str, Any]) -> None:
    present = found["subjects"][-1]["subject"] if found["subjects"] else ""
    about = [each for each in found["evidence"] if each["subject"] == present] if present else found["evidence"]
    if about:
        click.secho("\nevidence about the present result", bold=True)
    for each in {
        each["kind"]: each for each in about
    }.values():  # what was said again is said once, as it was said last
        output.say(
            output.clean(
                f"  {each['kind']:<22} {each['outcome']:<15} {output.line_of(each['summary'], output.room(42))}"
            ).rstrip()
        )


LATE = {
    "foreign": "the attempt was another worker's",
    "malformed": "it could not be read",
    "task_done": "the task had ended",
}
"""Why a report came to nothing, for people; any other: its lease had run out, and the attempt was given up."""


def _print_late(late: list[dict[str, Any]]) -> None:
    """Results that came too late, and how to take one."""
    if late:
        click.secho("\nlate results", bold=True)
    for each in late:
        when = output.duration(time.time_ns() // 1_000_000 - each["now_ms"])
        why = LATE.get(each["reason"], "its lease had run out")
        output.say(output.clean(f"  {each['attempt']}  by {each['worker']}, {when} ago: {why}"))
        if each["taken"]:
            output.say("       taken")
        elif each["takeable"]:
            output.say(output.clean(f"       take      loom take '{each['attempt']}'"))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in output.clean(text).splitlines())


@click.command()
@click.argument("task")
@click.option("--stat", is_flag=True, help="Only which files changed, and how much.")
@as_json
@click.pass_context
def diff(context: click.Context, task: str, stat: bool, as_json: bool) -> None:
    """Print the canonical diff of TASK's present result, as `git apply` takes it."""
    import json

    home = homes.opened(context)
    found = reading.read(home, lambda queries: _diff(queries, task))
    paths = json.loads(found["list"] or "[]")
    if as_json:
        output.print_json({**found, "list": None, "paths": paths, "text": found["text"]})
        return
    if not found["text"]:
        raise UsageProblem(f"The task {found['task']} has changed nothing yet.", f"loom show {found['task']}")
    if stat:
        rows = [
            (each["status"], f"+{each.get('added', 0)}", f"-{each.get('removed', 0)}", each["path"]) for each in paths
        ]
        output.table(["is", ">added", ">removed", "path"], rows, empty="No file was changed.")
    elif sys.stdout.isatty():
        print_coloured(found["text"])
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(found["text"].encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


async def _diff(queries: Queries, task: str) -> dict[str, Any]:
    return await queries.diff(await reading.find_task(queries, task)) or {}


def print_coloured(text: str) -> None:
    """A diff on a terminal, line by line."""
    for line in text.splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        heading = line.startswith(("diff ", "index ", "--- ", "+++ "))
        click.secho(output.clean(line), fg=None if heading else style, bold=heading or None)
