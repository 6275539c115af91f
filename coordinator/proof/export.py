"""From a home to an evidence file: one task, or everything, under a signed head of the log."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import loom
from loom.coordinator import merkle
from loom.coordinator.errors import BlobError, LoomError
from loom.coordinator.home import Home
from loom.coordinator.keys import LOG_KEY, LogKey, read_log_key
from loom.coordinator.proof import evidence, notes
from loom.coordinator.proof.notary import signed_head
from loom.coordinator.proof.page import page
from loom.coordinator.proof.reading import LogReader
from loom.coordinator.proof.tree import ProofError, multiproof, multiroot

AUTHORITY = tuple(
    f'{{"command":["{kind}",'.encode()
    for kind in ("CreateHome", "EnrolPrincipal", "EnrolKey", "RevokeKey", "RotateLogKey", "Restore")
)
"""Entries about the home that stand in every evidence file: who the log is, and who signs."""


class ExportRefused(LoomError):
    """What was asked for cannot be proved from this home."""

    code = "L071"
    mend = "Run `loom verify` on the home: it names what is wrong."


@dataclass(frozen=True, slots=True)
class Exported:
    """What stands in the file."""

    entries: int
    texts: int
    left_out: int
    size: int
    """How many entries the signed head covers."""


def export(
    home: Home, target: Path, *, task: str = "", leave_out: Collection[str] = (), texts: bool = True, cosigned: str = ""
) -> Exported:
    """Writes the file. task "" : everything. leave_out: ids of texts; texts False: no text at all. cosigned: a note that
    witnesses signed, to be the file's head. Raises ExportRefused, LoomError, OSError."""
    with LogReader(home) as log:
        chosen = _entries(log, task)
        key = read_log_key(home.keys / LOG_KEY)
        note = cosigned or _head(log, key, chosen, whole=not task)
        head = notes.checkpoint(notes.parse(note).text)
        if not task:
            chosen = {seq: body for seq, body in chosen.items() if seq < head.size}
        if max(chosen) >= head.size:
            raise ExportRefused(
                f"The signed head covers {head.size} entries; the task has one at {max(chosen)}.",
                "Let the witness sign a newer head.",
            )
        parts = _proved(log, key, chosen, head, note, task)
        wanted = dict.fromkeys(each for body in chosen.values() for each, _ in evidence.named_texts(body))
        kept = [each for each in wanted if texts and each not in leave_out and _has(log, each)]

        def part(name: str) -> bytes:
            return parts[name] if name in parts else evidence.pack_text(*log.text(name.removeprefix(evidence.TEXTS)))

        evidence.write(target, [*parts, *(f"{evidence.TEXTS}{each}" for each in kept)], part)
    return Exported(len(chosen), len(kept), len(wanted) - len(kept), head.size)


def _entries(log: LogReader, task: str) -> dict[int, bytes]:
    """The entries that go into the file: seq → stored bytes."""
    if not task:
        return {seq: body for seq, body, _ in log.entries()}
    found = log.task_entries(task)
    if not found:
        raise ExportRefused(f"There is no task {task} in this home.", "loom tasks")
    authority = [(seq, body) for seq, body in log.home_entries() if body.startswith(AUTHORITY)]
    return dict(sorted([*authority, *found]))


def _head(log: LogReader, key: LogKey, chosen: dict[int, bytes], *, whole: bool) -> str:
    """The smallest signed head that covers the entries; of everything, or before the notary came, the present one."""
    found = log.checkpoint_from(max(chosen) + 1)
    if found is not None and not whole:
        return str(found[2])
    return signed_head(key, notes.verifier_key(key.public), log.edge)


def _proved(
    log: LogReader, key: LogKey, chosen: dict[int, bytes], head: notes.Checkpoint, note: str, task: str
) -> dict[str, bytes]:
    """Every part but the texts. Raises ExportRefused when the entries are not the ones under the head."""
    indices = sorted(chosen)
    hashes = multiproof(log.node, indices, head.size)
    leaves = {seq: merkle.leaf_hash(body) for seq, body in chosen.items()}
    try:
        root = multiroot(leaves, head.size, hashes)
    except ProofError as error:
        raise ExportRefused(f"The entries cannot be proved: {error}.") from error
    if root != head.root:
        raise ExportRefused(f"The entries are not those that the signed head of {head.size} entries covers.")
    about: dict[str, Any] = {"format": evidence.FORMAT, "loom": loom.__version__, "origin": head.origin, "task": task}
    proof = {"hashes": [each.hex() for each in hashes], "indices": indices, "size": head.size}
    parts = {
        evidence.CHECKPOINT: note.encode(),
        evidence.ENTRIES: b"".join(body + b"\n" for body in chosen.values()),
        evidence.PROOF: evidence.canonical(proof),
        evidence.ABOUT: evidence.canonical(about),
        evidence.PAGE: page(list(chosen.items()), head, task),
    }
    for digest in sorted({msgspec.json.decode(body)["rules"]["digest"] for body in chosen.values()} - {""}):
        parts[f"{evidence.BUNDLES}{digest}"] = log.archive(digest)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items() if name != evidence.CHECKPOINT}
    parts[evidence.STATEMENT] = evidence.statement(digests, about, key.public, key.sign)
    return parts


def _has(log: LogReader, identifier: str) -> bool:
    try:
        log.text(identifier)
    except BlobError:
        return False
    return True
