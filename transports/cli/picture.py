"""The chain in lines: what is over is one line for ever, what runs is the part that moves.

A line has the same words on a terminal and in a pipe; only a terminal gets colour and, when it is narrow, fewer columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from loom.transports.chain import Chain, Found, Link, Text
from loom.transports.cli.output import clean, count, duration, line_of, money

if TYPE_CHECKING:
    from rich.text import Text as Styled

Read = Callable[[Text], str]
"""The whole of a text of the ledger."""

PIPE_WIDTH = 140
"""Columns of a line in a pipe."""
WIDE = 100
"""Columns from which model and tokens have a place of their own."""
SAID = 46
"""Columns of what came of a spawn."""
MAX_FINDINGS = 5
"""Findings that are shown below a reviewer."""

MAX_LINES = 3
"""Lines of one summary or finding."""
READABLE = 110
"""Columns beyond which prose is hard to read."""

SEVERITIES = {"blocking": ("✗", "red"), "warn": ("!", "yellow"), "info": ("–", "dim")}
SIGNS = {
    "done": ("✓", "green"),
    "decided": ("✓", "green"),
    "running": ("●", "cyan"),
    "ready": ("·", "dim"),
    "failed": ("✗", "red"),
    "waived": ("–", "yellow"),
    "waiting": ("?", "yellow"),
    "mark": ("↺", "magenta"),
    "trouble": ("!", "yellow"),
}
BAD_WORDS = frozenset({"block", "failed", "stuck", "empty", "abandon", "unable", "harness"})
BACK_WORDS = frozenset({"revise", "apply", "raise", "retry"})
LOCAL = "local"
"""The reference of agents that need no model."""
CHECK_WORDS = {"not_applicable": "n/a"}


def finished(link: Link, width: int, read: Read) -> Iterator[Styled]:
    """The lines of a link that is over: itself, then what it found or said."""
    from rich.text import Text as Styled

    yield _line(link, width, link.ended_ms)
    room = max(20, min(width, READABLE) - 6)
    for found in link.findings[:MAX_FINDINGS]:
        yield from _finding(found, room, read)
    if len(link.findings) > MAX_FINDINGS:
        yield Styled(f"    … and {len(link.findings) - MAX_FINDINGS} more findings", style="dim")
    if not link.findings and not link.checks:
        style = "red" if link.state == "failed" else "dim"
        for line in _wrapped(read(link.note), room):
            yield Styled(f"    {line}", style=style)


def _finding(found: Found, room: int, read: Read) -> Iterator[Styled]:
    """Where it is and what is wrong; of a blocking one also what shows it."""
    from rich.text import Text as Styled

    sign, style = SEVERITIES[found.severity]
    where = f"{clean(found.place)}  " if found.place else ""
    yield Styled.assemble("    ", (f"{sign} {found.id}  ", style), (where.rstrip(), "bold"))
    for line in _wrapped(read(found.message), room - 4):
        yield Styled(f"        {line}")
    if found.severity == "blocking":
        for line in _wrapped(read(found.evidence), room - 4):
            yield Styled(f"        {line}", style="dim")


def _wrapped(text: str, room: int) -> list[str]:
    """A text's words in a few lines; what does not fit is marked."""
    return textwrap.wrap(clean(" ".join(text.split())), room, max_lines=MAX_LINES, placeholder=" …")


def moving(chain: Chain, width: int, now_ms: int, live: dict[str, str]) -> Iterator[Styled]:
    """The lines of what runs or waits now, and the sum below. live: attempt → what was last heard of it."""
    from rich.text import Text as Styled

    for link in chain.links:
        if link.kind == "spawn" and link.state in ("running", "ready"):
            yield _line(link, width, now_ms)
            heard = line_of(live.get(f"{link.id}#{link.attempts}", ""), max(20, width - 6))
            if link.state == "running" and heard:
                yield Styled(f"    {heard}", style="dim")
    yield Styled(f"  {totals(chain, now_ms)}   Ctrl-C leaves it running", style="dim")


def totals(chain: Chain, now_ms: int) -> str:
    """What it consumed so far, in one line."""
    cost, tokens_in, tokens_out, unknown = chain.spent()
    cap = f" of {money(chain.cost_cap)}" if chain.cost_cap else ""
    more = " + unknown" if unknown else ""
    return f"{money(cost)}{more}{cap} · {count(tokens_in)} → {count(tokens_out)} tokens · {duration(now_ms - chain.started_ms)}"


def heading(chain: Chain, width: int, read: Read) -> Iterator[Styled]:
    """Who is at work on what."""
    from rich.text import Text as Styled

    yield Styled(chain.task, style="bold cyan")
    for line in _wrapped(read(chain.text), min(width, READABLE)):
        yield Styled(line, style="bold")
    how = " · ".join(part for part in (chain.bundle, chain.flow or "flow by the classifier", chain.preset) if part)
    yield Styled(how, style="dim")
    yield Styled("")


def _line(link: Link, width: int, until_ms: int) -> Styled:
    from rich.text import Text as Styled

    sign, style = SIGNS[link.state]
    said, colour = _said(link)
    if link.kind == "spawn" and link.state == "done" and colour == "red":
        sign, style = "✗", "red"
    if link.kind == "mark":
        return Styled.assemble("  ", (f"{sign} {clean(link.name)}", style))
    if link.kind == "gate":
        what = f"gate {link.name}"
        return Styled.assemble("  ", (sign, style), f" {what:<18}", (said, colour))
    again = f" {link.iteration}" if link.iteration > 1 else ""
    spent = duration(until_ms - link.started_ms) if link.state != "ready" else ""
    line = [
        ("  ", ""),
        (sign, style),
        (f" {clean(link.agent) + again:<18}", ""),
        (_fitted(said, width), colour),
        (f"{spent:>7}", "dim"),
    ]
    if width >= WIDE:
        cost = money(link.cost) if link.output_tokens and (link.cost or link.cost is None) else ""
        tokens = f"{count(link.input_tokens)} → {count(link.output_tokens)}" if link.output_tokens else ""
        model = link.model or (link.reference if link.reference != LOCAL else "")
        line += [(f"{cost:>9}{tokens:>15}", "dim"), (f"  {clean(model)}", "dim")]
    return Styled.assemble(*line)


def _fitted(said: str, width: int) -> str:
    """The word in its column, which leaves room for the time behind it."""
    room = max(18, min(SAID, width - 31))
    return f"{said if len(said) <= room else said[: room - 1] + '…':<{room}}"


def _said(link: Link) -> tuple[str, str]:
    """(what came of it, its colour)."""
    if link.kind == "gate":
        if link.state == "waiting":
            return "waits for you", "yellow"
        colour = "red" if link.word == "abandon" else "yellow" if link.word in BACK_WORDS else "green"
        return f"{link.word}, by {clean(link.by)}", colour
    tries = f" (try {link.attempts})" if link.attempts > 1 else ""
    if link.state == "running":
        return f"works{tries}", "cyan"
    if link.state == "ready":
        return ("waits for its next try" if link.attempts else "waits for a worker"), "dim"
    if link.state in ("failed", "waived"):
        return f"{link.word or link.state}{tries}", "red" if link.state == "failed" else "yellow"
    if link.checks:
        words = " · ".join(f"{name} {CHECK_WORDS.get(word, word)}" for name, word in link.checks.items())
        outcomes = set(link.checks.values())
        return words, "red" if "failed" in outcomes else "yellow" if "skipped" in outcomes else "green"
    blocking = f" · {link.blocking} blocking" if link.blocking else ""
    bad = link.word in BAD_WORDS or bool(link.blocking)
    return f"{link.word}{blocking}{tries}", "red" if bad else "green"
