"""docs/states.md, made from the kernel's own tables and from plays: `python -m harness.states_page > ../docs/states.md`.

What a spawn goes through and what follows each end of an attempt is not written down here: it is played, and read off.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields

from harness.player import Player
from harness.toy import FANOUT, REVIEW
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.fold import FOLDS, evolve
from loom.kernel.gates import OFFERS
from loom.kernel.invariants import LAWS
from loom.kernel.state import TaskState
from loom.kernel.values import End, ErrorClass, ParkCode, SpawnStatus

HEAD = """# States

<!-- Made by `python -m harness.states_page` from the kernel's tables; a test holds it current. Do not edit. -->

What a task, a spawn and an attempt can be, what is asked and what happens. The machine is `kernel/machine.py`; why it is so
stands in [architecture](architecture.md).
"""

WHY: dict[ParkCode, str] = {
    ParkCode.SPAWN_FAILED: "an agent came to no result: every binding failed, or its output stayed unreadable",
    ParkCode.STALL: "the same blocker came back after two reworks",
    ParkCode.ROUNDS: "the rounds of rework are used up",
    ParkCode.ATTEMPTS: "the attempts of agents are used up",
    ParkCode.COST: "the money is used up",
    ParkCode.TOKENS: "the tokens are used up",
    ParkCode.WALL: "the time is used up",
    ParkCode.ASKED: "the flow asks a person: an agent is stuck",
    ParkCode.MISSING: "at the end, evidence is missing or a blocker is open",
    ParkCode.OBJECTION: "a rule said no to what would have happened",
    ParkCode.UNANSWERED: "a function of the bundle gave no answer",
}

ENDS: tuple[tuple[End, ErrorClass], ...] = (
    (End.REPORTED, ErrorClass.NONE),
    *((End.FAILED, error) for error in ErrorClass if error),
    (End.LOST, ErrorClass.NONE),
    (End.UNDELIVERED, ErrorClass.NONE),
    (End.STOPPED, ErrorClass.NONE),
)
MOST_TRIES = 100


def page() -> str:
    """The whole text of docs/states.md."""
    parts = (HEAD, spawn_life(), attempt_ends(), parked(), commands(), events(), laws())
    return "\n".join(part.strip("\n") + "\n" for part in parts)


# --------------------------------------------------------------------------------------------------------- played


def plays() -> Iterator[Player]:
    """A few tasks that meet, between them, everything that a spawn can go through."""
    player = Player(FANOUT)
    player.fail("worker", "transient")
    player.report("worker", subject="s1")
    player.report("reviewer1")
    for name in ("reviewer2", "reviewer3"):
        for _ in range(2):
            player.fail(name, "permanent")
    player.answer("retry")
    player.report("reviewer2")
    for _ in range(2):
        player.fail("reviewer3", "permanent")
    player.accept_all()
    yield player


def spawn_life() -> str:
    """What status each event leads from and to, as observed."""
    seen: dict[tuple[str, str, str], None] = {}
    for player in plays():
        task: TaskState | None = None
        for record in player.records:
            for place, event in enumerate(record.events):
                spawn = getattr(event, "spawn", "")
                if spawn and not isinstance(event, e.SpawnOpened | e.AttemptClosed):
                    before = status(task, record.events[:place], spawn, record.now_ms)
                    after = status(task, record.events[: place + 1], spawn, record.now_ms)
                    if before != after:
                        seen[before, type(event).__name__, after] = None
            task = evolve(task, record.events, record.now_ms)
    order = list(SpawnStatus)
    rows = sorted(seen, key=lambda row: (order.index(SpawnStatus(row[0])), order.index(SpawnStatus(row[2]))))
    return (
        "## The life of a spawn\n\nIt opens `ready`. Its stage is left when no spawn is ready or granted.\n\n"
        + table(("from", "event", "to"), ((f"`{a}`", f"`{event}`", f"`{b}`") for a, event, b in rows))
    )


def status(task: TaskState | None, events: tuple[e.Event, ...], spawn: str, now_ms: int) -> str:
    state = evolve(task, events, now_ms) if events else task
    return next((s.status.value for s in state.spawns if s.id == spawn), "") if state else ""


def attempt_ends() -> str:
    """What follows each end, the first time and when it goes on like that; on a chain of two bindings."""
    rows = []
    for end, error in ENDS:
        player = Player(REVIEW)
        first = after_one(player, end, error)
        tries = 1
        while end is not End.REPORTED and not player.parked and tries < MOST_TRIES:
            after_one(player, end, error)
            tries += 1
        last = "" if end is End.REPORTED else f"parks after {tries}"
        rows.append((f"`{end}`" + (f" `{error}`" if error else ""), *first, last))
    heads = ("end", "counted", "next attempt", "when it goes on like that")
    return (
        "## How an attempt ends\n\nOn a chain of two bindings. *Counted*: it consumes one of the task's attempts; checks and "
        "effects never do.\n\n" + table(heads, rows)
    )


def after_one(player: Player, end: End, error: ErrorClass) -> tuple[str, str]:
    spent, binding = player.task.spent.attempts, player.spawn("worker").binding
    if end is End.REPORTED:
        player.report("worker", subject="s1")
    else:
        player.end("worker", end.value, error_class=error)
    counted = "yes" if player.task.spent.attempts > spent else "no"
    if player.task.stage != "work":
        return counted, "none: the stage goes on"
    state = player.spawn("worker")
    if state.status is SpawnStatus.FAILED:
        return counted, "none: the task parks"
    if state.repairs:
        return counted, "a repair: one model call with output and error"
    where = "on the next binding" if state.binding > binding else "on the same binding"
    return counted, f"{where}, {'at once' if state.not_before_ms <= player.now_ms else 'after a wait'}"


# ----------------------------------------------------------------------------------------------------- from tables


def parked() -> str:
    """What each ParkCode offers."""
    rows = ((f"`{code}`", WHY[code], " ".join(f"`{word}`" for word in words)) for code, words in OFFERS.items())
    return (
        "## A parked task\n\nA gate of role `trouble` is open with it. It offers those of these answers that lead on at this "
        "place; after the verdict, `retry` and `abandon`.\n\n" + table(("parked", "because", "offers"), rows)
    )


def commands() -> str:
    return (
        "## Commands\n\nWhat is asked. A field after | may be left out.\n\n### About a task\n\n"
        + listed(typing.get_args(c.TaskCommand))
        + "\n### About the home\n\n"
        + listed(typing.get_args(c.HomeCommand))
    )


def events() -> str:
    kinds = typing.get_args(e.TaskEvent)
    folded = sorted(kind.__name__ for kind in kinds if kind not in FOLDS)
    return (
        "## Events\n\nWhat happened. Each is folded into the task's state, except "
        + ", ".join(f"`{name}`" for name in folded)
        + ": these concern the record only (TaskSubmitted makes the first state).\n\n### About a task\n\n"
        + listed(kinds)
        + "\n### About the home\n\n"
        + listed(typing.get_args(e.HomeEvent))
    )


def laws() -> str:
    rows = (
        (
            f"`{law.name}`",
            " ".join(f"`{kind.__name__}`" for kind in law.on) or "every event",
            " ".join(f"`{word}`" for word in law.remedies),
        )
        for law in LAWS
    )
    return (
        "## Laws of the kernel\n\nAsked in every transaction, before the rules of the bundle; each is violated by a test. When "
        "a person gives up (abandon, cancel), no rule of a bundle is asked.\n\n"
        + table(("law", "asked about", "remedies"), rows)
    )


def listed(kinds: Iterable[type]) -> str:
    return "".join(f"- **{kind.__name__}**({signature(kind)}){described(kind)}\n" for kind in kinds)


def signature(kind: type) -> str:
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    optional = [field.name for field in fields(kind) if field.default is not MISSING]
    return ", ".join(needed) + (" | " if needed and optional else "| " if optional else "") + ", ".join(optional)


def described(kind: type) -> str:
    """The class's docstring in one line; a dataclass without one has its own signature there."""
    doc = " ".join((kind.__doc__ or "").split())
    return "" if doc.startswith(f"{kind.__name__}(") or not doc else f": {doc}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    print(page(), end="")
