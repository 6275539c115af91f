"""Why work waits, in words: for `loom status` and `loom show`. Loads nothing."""

from __future__ import annotations

import time
from typing import Any

WORDS = {
    "slot": "no slot is free",
    "worker": "no worker serves it",
    "machine": "other homes have this machine's slots",
    "budget": "what runs has reserved the task's budget",
    "next": "next turn",
}


def reason(found: dict[str, Any]) -> str:
    """Why something waits: of a group, or of one attempt."""
    why, until_ms = found["why"], found["until_ms"]
    if why == "provider":
        return f"{found['provider']} {_until(until_ms) if until_ms else 'has as many as it takes'}"
    if why == "project":
        return f"project {found['project']} has as many at work as it may"
    if why == "time":
        return f"its next try is at {_clock(until_ms)}"
    if why == "worker" and found.get("requires"):
        return f"no worker has {', '.join(found['requires'])}"
    return WORDS.get(why, str(why))


def line(attempt: dict[str, Any]) -> str:
    """Where one attempt stands, and why it waits."""
    place = f"queued at {attempt['place']} of {attempt['of']}: " if attempt["place"] else "queued: "
    return place + reason(attempt)


def summary(groups: list[dict[str, Any]], shown: int = 4) -> str:
    """What waits for what, the most first ("" : nothing does)."""
    counts: dict[str, int] = {}
    for group in groups:
        words = reason(group)
        counts[words] = counts.get(words, 0) + group["count"]
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{count}: {words}" for words, count in ordered[:shown]]
    return " · ".join([*parts, "…"] if len(ordered) > shown else parts)


def _until(until_ms: int) -> str:
    return f"takes nothing until {_clock(until_ms)}"


def _clock(until_ms: int) -> str:
    """The local time of day; with the day when it is not today."""
    then, now = time.localtime(until_ms / 1_000), time.localtime()
    shape = "%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(shape, then)
