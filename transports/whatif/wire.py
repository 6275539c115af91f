"""What a surface and the what-if process say to each other: one JSON line a message.

Surface → process: one Question, then the lines of a history (transports/histories.py), then the end of the stream.
Process → surface: Ready or Refused, then one Supposed for each run.
"""

from __future__ import annotations

import msgspec


class Question(msgspec.Struct, frozen=True, tag="question", tag_field="line"):
    """Which other rules: the source of a file of rules, or the archive of a bundle. name: for people, in messages."""

    name: str
    source: str = ""
    archive: bytes = b""


class Ready(msgspec.Struct, frozen=True, tag="ready", tag_field="line"):
    """The rules are loaded."""

    rules: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="line"):
    """They cannot be used: every reason at once."""

    faults: tuple[str, ...]


class Supposed(msgspec.Struct, frozen=True, tag="run", tag_field="line", omit_defaults=True):
    """One run. fate: same, objected, asks, other, unknown. seq, n, command: the entry where it leaves the recorded way.

    recorded, supposed: the first events that differ, in words. verdict, by: what the run really came to ("" : it is open).
    """

    task: str
    project: str
    bundle: str
    submitted_ms: int
    fate: str
    seq: int = -1
    n: int = 0
    command: str = ""
    rule: str = ""
    sentence: str = ""
    because: tuple[str, ...] = ()
    recorded: str = ""
    supposed: str = ""
    verdict: str = ""
    by: str = ""


Answer = Ready | Refused | Supposed

encode = msgspec.json.Encoder().encode
decode_question = msgspec.json.Decoder(Question).decode
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def decode_answer(data: bytes) -> Answer:
    """One line of the process. Raises msgspec.MsgspecError."""
    return _answer.decode(data)
