"""The texts of a report: without secrets, salted, and divided between the control frame and the blob socket.

Secrets are cut out before a text is hashed, so that no id and no record ever depends on one.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping

from msgspec import structs

from loom.workers.protocol import MAX_FRAME, MAX_INLINE, FromWorker, Report, Text, encode, salted_id

MIN_SECRET = 8
"""Characters below which a value is no secret that could be told from ordinary text."""
FRAME_MARGIN = 2 * 1024
"""Bytes of a frame that are left for the signature and what else the sender adds."""
_ENVELOPE = 160
"""Bytes that one text's id, salt, size and JSON marks take."""


class Redactor:
    """Replaces known secret values by «redacted:NAME»."""

    def __init__(self, secrets: Mapping[str, str | None]) -> None:
        known = [(value, name) for name, value in secrets.items() if value and len(value) >= MIN_SECRET]
        self._known = sorted(known, key=lambda pair: len(pair[0]), reverse=True)  # a secret may hold another

    def __call__(self, text: str) -> str:
        for value, name in self._known:
            text = text.replace(value, f"«redacted:{name}»")
        return text

    def found(self, data: bytes) -> str:
        """The name of a secret that stands in the bytes, or ""."""
        return next((name for value, name in self._known if value.encode() in data), "")


class Texts:
    """Collects the texts of one report. The salt of each is drawn once."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._texts: dict[str, Text] = {}

    def add(self, text: str) -> str:
        """Keeps a text for people or agents, redacted; its id, or "" for an empty one."""
        return self.add_exact(self._redact(text).encode(errors="replace")) if text else ""

    def add_exact(self, data: bytes) -> str:
        """Keeps bytes as they are: only for what was searched for secrets before."""
        salt = os.urandom(16)
        text = Text(id=salted_id(salt, data), salt=salt, size=len(data), data=data)
        self._texts[text.id] = text
        return text.id

    def all(self) -> tuple[Text, ...]:
        """Every text, with its bytes."""
        return tuple(self._texts.values())


async def fitted(report: Report, texts: tuple[Text, ...], store: Callable[[Text], Awaitable[None]]) -> Report:
    """`report` with its texts: inline while the frame has room, the smallest first; the others are given to `store`."""
    report, room = _slimmed(report, MAX_FRAME - FRAME_MARGIN - _ENVELOPE * len(texts))
    carried: dict[str, Text] = {}
    waiting = sorted(texts, key=lambda text: text.size)
    for text in waiting:
        needed = (text.size + 2) // 3 * 4  # base64
        if text.size <= MAX_INLINE and needed <= room:
            room -= needed
            carried[text.id] = text
        else:
            await store(text)
            carried[text.id] = structs.replace(text, data=None)
    return structs.replace(report, texts=tuple(carried[text.id] for text in texts))


def _slimmed(report: Report, room: int) -> tuple[Report, int]:
    """The report, and the bytes that remain of `room`. Too large, it names fewer changed files one by one, and says so."""
    change = report.result.change if report.result is not None else None
    every = change.paths if change is not None else ()
    kept = len(every)
    while True:
        frame: list[FromWorker] = [report]
        left = room - len(encode(frame))
        if left >= 0 or kept == 0 or report.result is None or change is None:
            return report, left
        kept //= 2
        note = f"{len(every) - kept} changed files are not listed one by one; the diff has them all"
        fewer = structs.replace(change, paths=every[:kept])
        notes = (*(each for each in report.notes if "not listed one by one" not in each), note)
        report = structs.replace(report, result=structs.replace(report.result, change=fewer), notes=notes)
