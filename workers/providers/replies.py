"""The file of replies: JSON lines, read by the provider `recorded` and written by `Recorder` (`--record FILE`).

    {"loom_replies": 1, "kind": "scripted" | "recorded", "note": "…"}                       the first line
    {"agent": "planner", "stage": "plan", "iteration": 0, "ordinal": 0,
     "reply": {"text": "…", "calls": [{"name": "write", "arguments": {…}}], "usage": {…}}, "prompt_digest": "…"}

An entry is found by (agent, stage, iteration, ordinal); one without `iteration` serves every iteration that has no entry
of its own. Of two entries for one position the later wins: a call that was made again after a loss is recorded again.
`text` may be a JSON object instead of a string: it is then given as its compact JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError, Position

MAX_FILE = 64 * 1024 * 1024
"""Bytes of one file of replies."""
FORMAT = 1


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    loom_replies: int
    kind: Literal["scripted", "recorded"]
    note: str = ""


class Call(msgspec.Struct, frozen=True):
    name: str
    arguments: dict[str, Any] = {}


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the recorded call consumed when it was made."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str | dict[str, Any] = ""
    calls: tuple[Call, ...] = ()
    usage: Tokens = Tokens()

    def words(self) -> str:
        """The text as the model would have given it."""
        return self.text if isinstance(self.text, str) else json.dumps(self.text, ensure_ascii=False)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `iteration` None: every iteration without an entry of its own."""

    agent: str
    stage: str
    iteration: int | None = None
    ordinal: int = 0
    reply: Reply
    prompt_digest: str = ""


@dataclass(frozen=True, slots=True)
class Replies:
    """A file of replies, read."""

    path: Path
    header: Header
    entries: dict[tuple[str, str, int | None, int], Entry]

    def find(self, at: Position) -> Entry:
        """The entry for a position. Raises HandsError (permanent) that names position and file."""
        own = self.entries.get((at.agent, at.stage, at.iteration, at.ordinal))
        entry = own or self.entries.get((at.agent, at.stage, None, at.ordinal))
        if entry is None:
            raise HandsError(
                ErrorClass.PERMANENT,
                f"{self.path} has no reply for agent {at.agent}, stage {at.stage}, iteration {at.iteration}, "
                f"call {at.ordinal}; add that line, or record the run again with --record",
            )
        return entry


def load(path: Path) -> Replies:
    """Reads a file. Raises HandsError (permanent) that names file and line."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise HandsError(ErrorClass.PERMANENT, f"{path}: {size} bytes, more than the {MAX_FILE} that are read")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise HandsError(ErrorClass.PERMANENT, f"{path}: cannot be read ({error.strerror})") from error
    header = _line(path, 1, lines[0] if lines else b"", Header)
    if header.loom_replies != FORMAT:
        raise HandsError(ErrorClass.PERMANENT, f"{path}: format {header.loom_replies}, this loom reads {FORMAT}")
    entries: dict[tuple[str, str, int | None, int], Entry] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            entry = _line(path, number, line, Entry)
            entries[entry.agent, entry.stage, entry.iteration, entry.ordinal] = entry
    return Replies(path, header, entries)


def _line(path: Path, number: int, line: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "the header" if kind is Header else "a reply"
        raise HandsError(ErrorClass.PERMANENT, f"{path}:{number}: not {what} of a file of replies ({error})") from error
