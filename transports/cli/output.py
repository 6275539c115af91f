"""What is printed: plain words in a pipe, tables and colour on a terminal, one JSON object with `--json`.

Texts that a model, a repository or another person wrote pass through `clean`: no control character of theirs reaches the
terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns of a line of prose in a pipe."""

_KEEP = "\n\t"
_HIDDEN = frozenset("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change how the text around them is read."""


def clean(text: str) -> str:
    """The text without anything that could drive the terminal or disguise what it says."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text.replace("\r\n", "\n"))


def _shown(character: str) -> str:
    if character in _KEEP:
        return character
    if character in _HIDDEN or unicodedata.category(character) in ("Cc", "Cs"):
        return f"\\u{ord(character):04x}" if ord(character) > 0xFF else f"\\x{ord(character):02x}"
    return character


def line_of(text: str, width: int = 72) -> str:
    """The first line of a text, cleaned and cut to `width` characters."""
    first = clean(text).strip().split("\n", 1)[0].strip()
    return first if len(first) <= width else first[: width - 1].rstrip() + "…"


def room(indent: int) -> int:
    """Columns that a line has behind an indentation: the terminal's, or enough for a log."""
    columns = shutil.get_terminal_size().columns if terminal() else PIPE_WIDTH
    return max(24, columns - indent)


def terminal() -> bool:
    """Whether standard output is a terminal that can do more than plain lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def interactive() -> bool:
    """Whether a person can be asked: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def console() -> Console:
    """The console of standard output. `highlight` is off: nothing is coloured that was not meant to be."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, emoji=False, markup=False)


def say(text: str = "") -> None:
    """One line, or more, on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """A remark for people, on standard error: never part of what a program reads."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON object, indented for people; every surface of it is UTF-8."""
    print(json.dumps(value, indent=2, ensure_ascii=True, default=str), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Rows under their heads: aligned on a terminal, separated by tabs in a pipe (no head, so that `cut` works)."""
    listed = [[clean(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in rows]
    if not listed:
        note(empty)
        return
    if not terminal():
        for row in listed:
            print("\t".join(row))
        return
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for column in columns:
        number = column.startswith(">")
        shown.add_column(column.lstrip(">"), justify="right" if number else "left", overflow="fold")
    for row in listed:
        shown.add_row(*row)
    console().print(shown)


def unpriced(attempts: int) -> str:
    """What stands after a sum that some attempts are not part of."""
    return f" + {attempts} attempt{'' if attempts == 1 else 's'} of unknown price" if attempts else ""


def money(microusd: int | None) -> str:
    """Micro-USD for people: $0.0042, $1.23; "?" for an unknown price."""
    if microusd is None:
        return "?"
    dollars = microusd / 1_000_000
    return f"${dollars:.2f}" if dollars >= 0.1 or not microusd else f"${dollars:.4f}"


def count(number: int) -> str:
    """A count for people: 950, 1.2k, 3.4M."""
    if number < 1_000:
        return str(number)
    if number < 999_500:
        return f"{number / 1_000:.1f}k" if number < 99_950 else f"{number / 1_000:.0f}k"
    return f"{number / 1_000_000:.1f}M"


def duration(milliseconds: int) -> str:
    """A span for people: 0.4s, 12s, 3m05s, 2h10m, 3d4h."""
    seconds = max(0, milliseconds) / 1000
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, second = divmod(int(seconds), 60)
    if not minutes:
        return f"{second}s"
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute}m{second:02d}s"
    days, hour = divmod(hours, 24)
    return f"{days}d{hour}h" if days else f"{hour}h{minute:02d}m"
