"""The page for people inside an evidence file: what happened, entry by entry. It is made from the entries alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from loom.coordinator.proof.notes import Checkpoint

_HIDDEN = str.maketrans({"|": "\\|", "\n": " ", "\r": " ", "<": "&lt;"})
MAX_WORDS = 200
LAST_MS = 253_402_300_799_000
"""The end of the year 9999."""

NOT_PROVED = """## What this does not prove

That a model really said what is recorded; that what it was told was true; that the work is good; what happened outside of
loom; and, for what no witness signed, that the owner of the log's key did not write another history. `loom verify FILE --key
PUB` checks everything that can be checked, without the home and without running code of this file.
"""


def page(entries: list[tuple[int, bytes]], head: Checkpoint, task: str) -> bytes:
    """Markdown, UTF-8."""
    title = f"Task {task}" if task else "Everything in this log"
    lines = [
        f"# {title}",
        "",
        f"From the log `{head.origin}`, {len(entries)} of its first {head.size} entries; root `{head.root.hex()}`.",
        "",
        "| entry | when (UTC) | asked | by | what happened |",
        "|---|---|---|---|---|",
        *(_row(seq, msgspec.json.decode(body)) for seq, body in entries),
        "",
        NOT_PROVED,
    ]
    return "\n".join(lines).encode()


def _row(seq: int, entry: dict[str, Any]) -> str:
    now_ms = entry["now_ms"]
    when = str(now_ms) if now_ms > LAST_MS else f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    who = entry["principal"]
    by = f"{who['id']} ({who.get('assurance', 'A1')}, {entry['via']})"
    happened = ", ".join(_event(kind, fields) for kind, fields in entry["events"])
    cells = (str(seq), when, entry["command"][0], by, happened)
    return "| " + " | ".join(cell.translate(_HIDDEN)[:MAX_WORDS] for cell in cells) + " |"


def _event(kind: str, fields: dict[str, Any]) -> str:
    word = fields.get("word") or fields.get("verdict") or fields.get("outcome") or fields.get("stage") or ""
    return f"{kind} {word}".strip()
