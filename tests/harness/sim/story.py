"""The story of a simulation: what happened, in order, with virtual time. Lines are made when somebody reads them.

12.345  w1                     starts t3/work.1/worker#1 under fence 1
12.351  w1 → coordinator       Accepted t3/work.1/worker#1:1 · Credit 1
12.360  coordinator → w1       Renewed t3/work.1/worker#1:1                                     ✗ lost
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from loom.coordinator import api
from loom.workers.protocol import Malformed, decode_from_worker, decode_to_worker

QUIET = frozenset({"Ping", "Pong", "Poke"})
"""Messages that nobody wants to read about."""
WIDTH = 26

Line = tuple[int, str, tuple[object, ...], str]
"""When, who, what, fate. A frame is `what` as (bytes,) and is decoded when it is read."""


class Story:
    """Everything that happened. Cheap to write."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, now_ms: int, who: str, words: tuple[object, ...]) -> None:
        self._lines.append((now_ms, who, words, ""))

    def frame(self, now_ms: int, source: str, target: str, frame: bytes, fate: str) -> None:
        """A frame that arrived (fate "") or did not."""
        self._lines.append((now_ms, f"{source} → {target}", (frame,), fate))

    def lines(self, word: str = "") -> Iterator[str]:
        """As text; with a word, only the lines that have it."""
        for now_ms, who, what, fate in self._lines:
            told = _told(what)
            if told and (word in told or word in who):
                mark = f"   ✗ {fate}" if fate else ""
                yield f"{now_ms / 1000:>9.3f}  {who:<{WIDTH}} {told}{mark}"

    def end(self, count: int) -> str:
        """The last lines."""
        return "\n".join(list(self.lines())[-count:])


def _told(what: tuple[object, ...]) -> str:
    if len(what) == 1 and isinstance(what[0], bytes):
        return " · ".join(map(_said, _messages(what[0])))
    return " ".join(map(str, what))


def _messages(frame: bytes) -> list[object]:
    """The messages of a frame of any socket, without those of no interest."""
    found: list[object] = []
    for decode in (decode_from_worker, decode_to_worker, api.decode_from_client, api.decode_to_client):
        try:
            said = decode(frame)
        except Malformed:
            continue
        found = list(said) if isinstance(said, list) else [said]
        break
    return [message for message in found if type(message).__name__ not in QUIET]


def _said(message: object) -> str:
    """A message in a few words: its name, whose attempt, and what decides."""
    words = [type(message).__name__]
    fields = {name: getattr(message, name) for name in getattr(message, "__struct_fields__", ())}
    if "attempt" in fields:
        words.append(f"{fields['attempt']}:{fields['fence']}")
    if "command" in fields:
        words += [_command(fields["command"]), fields["task"]]
    words += [str(fields[name]) for name in ("end", "error_class", "free", "outcome", "code") if fields.get(name)]
    words += [f"{fields['key']}"] if fields.get("key") else []
    pairs = fields.get("running") or fields.get("attempts") or ()
    words += [f"{attempt}:{fence}" for attempt, fence in pairs]
    return " ".join(word for word in words if word)


def _command(raw: object) -> str:
    kind: list[object] = msgspec.json.decode(raw if isinstance(raw, bytes) else bytes(raw))  # type: ignore[call-overload]
    word = kind[1].get("word", "") if isinstance(kind[1], dict) else ""
    return f"{kind[0]} {word}".strip()
