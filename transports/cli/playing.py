"""`loom replay --commands FILE`: a trace, command by command: what happened, and where it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loom.coordinator.codec import encode_events, plain_command
from loom.kernel.machine import Rejection
from loom.kernel.state import TaskState
from loom.kernel.values import Status
from loom.transports import catalogue, traces
from loom.transports.cli import output
from loom.transports.errors import UsageProblem

TAKEN, NOT_TAKEN = 0, 1


def play(path: Path, ref: str, *, as_json: bool) -> int:
    """0: every command was taken; 1: one was rejected."""
    trace, commands = traces.read(path)
    bundle = catalogue.load(ref or trace.bundle)
    if not ref and bundle.digest != trace.digest:
        raise UsageProblem(
            f"The trace was made with the bundle {trace.bundle} of digest {trace.digest[:12]}; now it is {bundle.digest[:12]}.",
            f"loom replay --commands {path} --bundle {trace.bundle}",
        )
    steps = list(traces.played(bundle, commands))
    task = next((one.taken.task for one in reversed(steps) if not isinstance(one.taken, Rejection)), None)
    rejected = sum(isinstance(one.taken, Rejection) for one in steps)
    if as_json:
        output.print_json(
            {
                "bundle": bundle.name,
                "digest": bundle.digest,
                "property": trace.property,
                "sentence": trace.sentence,
                "entries": [_entry(one) for one in steps],
                "end": _end(task),
            }
        )
    else:
        if trace.sentence:
            output.say(f"{trace.property}: {output.clean(trace.sentence)}")
        for one in steps:
            _show(one)
        output.say("ends  " + output.clean(_end(task)["words"]))
    return NOT_TAKEN if rejected else TAKEN


def _show(one: traces.Played) -> None:
    kind, about = _command(one)
    output.say(f"{one.number:>4}  {one.given.principal.id}: {kind}{' ' + about if about else ''}")
    if isinstance(one.taken, Rejection):
        output.say(f"        rejected ({one.taken.code}): {output.clean(one.taken.sentence)}")
        return
    for violation in one.taken.violations:
        output.say(f"        objection by {output.clean(violation.rule)}: {output.clean(violation.sentence)}")
    output.say(f"        {', '.join(type(event).__name__ for event in one.taken.events)}")


def _command(one: traces.Played) -> tuple[str, str]:
    """The kind of the command, and what tells it from others of its kind."""
    kind, fields = plain_command(one.given.command)
    words = [
        str(fields[name])
        for name in ("flow", "preset", "spawn", "end", "outcome", "gate", "word", "name")
        if name in fields
    ]
    return kind, output.clean(" ".join(words))


def _entry(one: traces.Played) -> dict[str, Any]:
    import json

    kind, fields = plain_command(one.given.command)
    entry = {
        "n": one.number,
        "now_ms": one.given.now_ms,
        "principal": one.given.principal.id,
        "command": [kind, fields],
    }
    if isinstance(one.taken, Rejection):
        return {**entry, "outcome": "rejected", "code": one.taken.code, "sentence": one.taken.sentence, "events": []}
    return {
        **entry,
        "outcome": one.taken.outcome,
        "violations": [violation.rule for violation in one.taken.violations],
        "events": json.loads(encode_events(one.taken.events)),
    }


def _end(task: TaskState | None) -> dict[str, Any]:
    """Where the task stands."""
    if task is None:
        return {"words": "there is no task", "status": "", "verdict": "", "stage": "", "parked": "", "offers": []}
    parked = task.parked.code.value if task.parked else ""
    offers = [word.value for word in task.gate.answers] if task.gate else []
    if task.status is Status.DONE:
        words = f"done: {task.verdict}"
    elif task.gate is not None:
        why = f"parked ({parked})" if parked else f"gate {task.gate.role}"
        words = f"at stage {task.stage}, {why}: {', '.join(offers)}"
    else:
        words = f"at stage {task.stage}, at work: {', '.join(state.agent for state in task.spawns)}"
    return {
        "words": words,
        "status": task.status.value,
        "verdict": task.verdict.value,
        "stage": task.stage,
        "parked": parked,
        "offers": offers,
    }
