"""What was said and done in an attempt, as one text for people: bounded, in order, nothing of it decides anything."""

from __future__ import annotations

import json
from collections.abc import Mapping

MAX_TRANSCRIPT = 4 * 1024 * 1024
"""Characters of one transcript; what comes after is counted and left out."""
MAX_RESULT = 8 * 1024
"""Characters of one tool's result that a transcript shows."""


class Transcript:
    """Grows by sections; `text()` is the whole."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._left_out = 0

    def add(self, title: str, body: str) -> None:
        """One section, cut where the transcript is full."""
        part = f"── {title}\n{body.rstrip()}\n\n" if body.strip() else f"── {title}\n\n"
        if self._size + len(part) > MAX_TRANSCRIPT:
            self._left_out += len(part)
            return
        self._parts.append(part)
        self._size += len(part)

    def call(self, name: str, arguments: Mapping[str, object]) -> None:
        """A tool that was called."""
        self.add(f"calls {name}", cut(json.dumps(arguments, ensure_ascii=False, indent=1, default=str), MAX_RESULT))

    def result(self, name: str, text: str, *, failed: bool = False) -> None:
        """What a tool gave back."""
        self.add(f"{name} {'refuses' if failed else 'gives'}", cut(text, MAX_RESULT))

    def text(self) -> str:
        """All sections, with a word on what was left out."""
        tail = f"… {self._left_out} characters left out …\n" if self._left_out else ""
        return "".join(self._parts) + tail


def cut(text: str, limit: int) -> str:
    """`text`, at most about `limit` characters: its head and its tail, with a clear mark between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[len(text) - half :]}"
