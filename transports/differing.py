"""The first difference of a replay, for people: which event, which field, what was recorded and what was derived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from loom.kernel.replay import Difference

CONTEXT = 2
"""Equal lines that are shown around one that differs."""
MAX_LINES = 60
MISSING = "nothing"


@dataclass(frozen=True, slots=True)
class Explained:
    """place: "event 2 GateOpened, answers[0]" ("" : the command was not taken at all). lines: a unified diff."""

    place: str
    recorded: str
    derived: str
    lines: tuple[str, ...]


def explained(difference: Difference) -> Explained:
    """Where exactly the two sides part."""
    recorded, derived = _events(difference.expected), _events(difference.got)
    if recorded is None or derived is None:  # rejected, or another outcome: a sentence stands for what was derived
        kinds = ", ".join(kind for kind, _ in recorded or ()) or MISSING
        return Explained("", kinds, difference.got, ())
    lines = unified_diff(_lines(recorded), _lines(derived), "recorded", "derived", lineterm="", n=CONTEXT)
    shown = tuple(lines)
    if len(shown) > MAX_LINES:
        shown = (*shown[:MAX_LINES], f"… {len(shown) - MAX_LINES} more lines")
    place, left, right = next(_parting(recorded, derived), ("", MISSING, MISSING))
    return Explained(place, left, right, shown)


def _events(text: str) -> list[tuple[str, Any]] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return [(kind, fields) for kind, fields in found]


def _lines(events: list[tuple[str, Any]]) -> list[str]:
    return [line for kind, fields in events for line in (kind, *json.dumps(fields, indent=2).splitlines()[1:-1])]


def _parting(recorded: list[tuple[str, Any]], derived: list[tuple[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(place, recorded, derived) of what differs, in order."""
    for place in range(max(len(recorded), len(derived))):
        left = recorded[place] if place < len(recorded) else None
        right = derived[place] if place < len(derived) else None
        if left is None or right is None or left[0] != right[0]:
            yield f"event {place + 1}", left[0] if left else MISSING, right[0] if right else MISSING
        elif left[1] != right[1]:
            for path, one, other in _fields(left[1], right[1]):
                yield f"event {place + 1} {left[0]}, {path}", one, other


def _fields(left: Any, right: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each innermost value that differs."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys()):
            inside = f"{path}.{name}" if path else name
            yield from _fields(left.get(name), right.get(name), inside)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for place, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _fields(one, other, f"{path}[{place}]")
    elif left != right:
        yield path, _value(left), _value(right)


def _value(value: Any) -> str:
    return "its default" if value is None else json.dumps(value)
