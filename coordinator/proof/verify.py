"""From an evidence file to a judgement: offline, without a home, without running any code of the file."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loom.coordinator import merkle
from loom.coordinator.entry import Entry
from loom.coordinator.proof import evidence, notes
from loom.coordinator.proof.evidence import Evidence, EvidenceBroken
from loom.coordinator.proof.judging import (
    Approvers,
    Judgement,
    Level,
    Replayer,
    Signatures,
    check_numbers,
    decoded,
)
from loom.coordinator.proof.notes import Checkpoint, Note, NoteError, VerifierKey
from loom.coordinator.proof.page import page
from loom.coordinator.proof.rotating import follow
from loom.coordinator.proof.tree import ProofError, multiroot

V1, V2, V3, V4 = Level.INTEGRITY, Level.AUTHORITY, Level.REPLAY, Level.WITNESSED


def verify(
    path: Path,
    *,
    key: VerifierKey | None = None,
    approvers: Approvers | None = None,
    witnesses: Iterable[VerifierKey] = (),
    replay: Replayer | None = None,
) -> Judgement:
    """key: the log's, from elsewhere than the file. Raises OSError when the file cannot be opened."""
    judgement = Judgement()
    try:
        opened = evidence.open_evidence(path)
    except EvidenceBroken as broken:
        judgement.bad(V1, "file", broken.what)
        return judgement
    try:
        _judge(opened, judgement, key, approvers, tuple(witnesses), replay)
    except EvidenceBroken as broken:
        judgement.bad(V1, "file", broken.what)
    finally:
        opened.close()
    return judgement


def _judge(
    opened: Evidence,
    judgement: Judgement,
    key: VerifierKey | None,
    approvers: Approvers | None,
    witnesses: tuple[VerifierKey, ...],
    replay: Replayer | None,
) -> None:
    note, head = _head(opened, judgement)
    bodies = _bodies(opened)
    _included(opened, bodies, head, judgement)
    entries = decoded(bodies, judgement)
    _about(opened, bodies, entries, head, judgement)
    _texts(opened, bodies, judgement)
    _bundles(opened, entries, judgement)
    signatures = Signatures(judgement, approvers)
    for seq, entry in entries:
        signatures.look(seq, entry)
    signatures.close()
    if entries and signatures.home.origin != head.origin:
        judgement.bad(V1, evidence.CHECKPOINT, f"is of {head.origin}; the entries are of {signatures.home.origin}")
    signer = _authority(note, key, [each for _, each in signatures.rotations], judgement)
    _statement(opened, signer, judgement)
    _witnessed(note, witnesses, judgement)
    _replayed(entries, replay, judgement)


# ---------------------------------------------------------------------------------------------------------- V1


def _head(opened: Evidence, judgement: Judgement) -> tuple[Note, Checkpoint]:
    try:
        note = notes.parse(opened.part(evidence.CHECKPOINT).decode())
        return note, notes.checkpoint(note.text)
    except ValueError as error:
        raise EvidenceBroken(f"The part {evidence.CHECKPOINT} is no signed head: {error}.") from error


def _bodies(opened: Evidence) -> list[tuple[int, bytes]]:
    """(seq, bytes) of every entry."""
    lines = opened.part(evidence.ENTRIES).split(b"\n")
    if lines.pop() != b"":
        raise EvidenceBroken(f"The part {evidence.ENTRIES} does not end with a whole line.")
    indices = _proof(opened)["indices"]
    if len(indices) != len(lines) or not lines:
        raise EvidenceBroken(f"{evidence.PROOF} places {len(indices)} entries; there are {len(lines)}.")
    return list(zip(indices, lines, strict=True))


def _proof(opened: Evidence) -> dict[str, Any]:
    proof = opened.json(evidence.PROOF)
    if not isinstance(proof, dict) or set(proof) != {"hashes", "indices", "size"}:
        raise EvidenceBroken(f"The part {evidence.PROOF} is no proof.")
    indices, hashes = proof["indices"], proof["hashes"]
    whole = isinstance(indices, list) and all(type(each) is int and each >= 0 for each in indices)
    if not whole or indices != sorted(set(indices)) or not isinstance(hashes, list):
        raise EvidenceBroken(f"The part {evidence.PROOF} does not place the entries in order.")
    return proof


def _included(opened: Evidence, bodies: list[tuple[int, bytes]], head: Checkpoint, judgement: Judgement) -> None:
    proof = _proof(opened)
    leaves = {seq: merkle.leaf_hash(body) for seq, body in bodies}
    try:
        hashes = [bytes.fromhex(each) for each in proof["hashes"]]
        if proof["size"] != head.size or any(len(each) != 32 for each in hashes):
            raise ProofError(f"the proof is for a log of {proof['size']} entries, the head covers {head.size}")
        root = multiroot(leaves, head.size, hashes)
    except (ValueError, TypeError) as error:
        judgement.bad(V1, evidence.PROOF, f"does not prove the entries: {error}")
        return
    if root != head.root:
        judgement.bad(
            V1, evidence.ENTRIES, "are not the ones under the head: an entry, its place or the proof was changed"
        )
    else:
        judgement.good(V1, evidence.ENTRIES, f"{len(bodies)} entries, each under the head of {head.size}")


def _about(
    opened: Evidence,
    bodies: list[tuple[int, bytes]],
    entries: list[tuple[int, Entry]],
    head: Checkpoint,
    judgement: Judgement,
) -> None:
    """The file is about what it says, and holds all of it."""
    about = opened.json(evidence.ABOUT)
    if not isinstance(about, dict) or about.get("format") != evidence.FORMAT:
        raise EvidenceBroken(f"The file is not of the format {evidence.FORMAT}.")
    task = about.get("task")
    counts = check_numbers(entries, judgement)
    if about.get("origin") != head.origin:
        judgement.bad(V1, evidence.ABOUT, "names another log than the head")
    if task == "" and len(bodies) != head.size:
        judgement.bad(V1, evidence.ENTRIES, f"are {len(bodies)} of {head.size}; the file says that it is everything")
    elif task and set(counts) != {task}:
        judgement.bad(
            V1, evidence.ABOUT, f"says that the file is about {task}; it is about {', '.join(counts) or 'none'}"
        )
    elif task and counts.get(task):
        judgement.good(V1, evidence.ENTRIES, f"task {task}: its entries 1 to {counts[task]}, without a gap")
    try:
        said = page(bodies, head, task or "")
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError) as error:
        judgement.bad(V1, evidence.ENTRIES, f"are not what loom writes: {type(error).__name__}: {error}")
        return
    if opened.part(evidence.PAGE) != said:
        judgement.bad(V1, evidence.PAGE, "says something else than the entries")


def _texts(opened: Evidence, bodies: list[tuple[int, bytes]], judgement: Judgement) -> None:
    sized = {each for _, body in bodies for each in evidence.named_texts(body)}
    named = {identifier for identifier, _ in sized}
    there = opened.below(evidence.TEXTS)
    for identifier in there:
        name = f"{evidence.TEXTS}{identifier}"
        if identifier not in named:
            judgement.bad(V1, name, "is named by no entry")
            continue
        part = opened.part(name)
        if evidence.text_id(part) != identifier:
            judgement.bad(V1, name, "is not the text that the entries name")
        elif (identifier, len(evidence.text_bytes(part))) not in sized:  # the id alone does not say where the salt ends
            judgement.bad(V1, name, "is cut elsewhere than the entries say: a part of its salt, or of the text itself")
    left_out = len(named) - len(there)
    said = f"; {left_out} are left out, their ids stand in the entries" if left_out > 0 else ""
    judgement.good(V1, "texts", f"{len(there)} texts{said}")


def _bundles(opened: Evidence, entries: list[tuple[int, Entry]], judgement: Judgement) -> None:
    needed = {entry.rules.digest for _, entry in entries} - {""}
    there = set(opened.below(evidence.BUNDLES))
    for digest in sorted(needed ^ there):
        said = "is missing" if digest in needed else "decided nothing here"
        judgement.bad(V1, f"{evidence.BUNDLES}{digest}", said)
    for digest in sorted(needed & there):
        if hashlib.sha256(opened.part(f"{evidence.BUNDLES}{digest}")).hexdigest() != digest:
            judgement.bad(V1, f"{evidence.BUNDLES}{digest}", "has another digest")


# ---------------------------------------------------------------------------------------------------------- V2


def _authority(note: Note, key: VerifierKey | None, rotations: list[str], judgement: Judgement) -> VerifierKey | None:
    """The key that has to have signed the head: yours, or what it signed over to."""
    if key is None:
        judgement.open(V2, evidence.CHECKPOINT, "who signed it is not judged: name the log's key with --key")
        return None
    try:
        signer = follow(key, rotations)[-1]
        if not notes.signed_by(note, signer):
            raise NoteError(f"it is not signed by {signer.line}")
    except ValueError as error:
        judgement.bad(V2, evidence.CHECKPOINT, str(error))
        return None
    said = f"signed by {signer.name} ({signer.identifier})"
    turned = "" if signer == key else f", to which {key.identifier} signed over"
    judgement.good(V2, evidence.CHECKPOINT, said + turned)
    return signer


def _statement(opened: Evidence, signer: VerifierKey | None, judgement: Judgement) -> None:
    """The statement names every part by its digest, and the log's key signed it."""
    envelope = opened.json(evidence.STATEMENT)
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        raw = base64.b64decode(signature["sig"], validate=True)
        about = opened.json(evidence.ABOUT)
        named = [name for name in opened.names if not name.startswith(evidence.TEXTS)]
        digests = {
            name: hashlib.sha256(opened.part(name)).hexdigest()
            for name in named
            if name not in (evidence.STATEMENT, evidence.CHECKPOINT)
        }
        expected = evidence.statement(digests, about, signature["keyid"], lambda message: raw)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        judgement.bad(V1, evidence.STATEMENT, f"cannot be read: {error}")
        return
    if opened.part(evidence.STATEMENT) != expected:
        judgement.bad(V1, evidence.STATEMENT, "names other parts than the file has: one of them was changed")
        return
    judgement.good(V1, evidence.STATEMENT, f"names {len(digests)} parts by their digests")
    if signer is not None and (signature["keyid"] != signer.line or not signer.verifies(raw, evidence.pae(payload))):
        judgement.bad(V2, evidence.STATEMENT, f"is not signed by {signer.line}")


# ------------------------------------------------------------------------------------------------------ V3, V4


def _witnessed(note: Note, witnesses: tuple[VerifierKey, ...], judgement: Judgement) -> None:
    if not witnesses:
        judgement.open(V4, "witness", "nobody else was asked: name a witness with --witness")
    for witness in witnesses:
        try:
            if not notes.signed_by(note, witness):
                raise NoteError(f"{witness.name} did not sign this head")
        except NoteError as error:
            judgement.bad(V4, "witness", str(error))
        else:
            at = notes.cosigned_at(note, witness)
            judgement.good(V4, "witness", f"{witness.name} signed this head" + (f" at {at} (Unix time)" if at else ""))


def _replayed(entries: list[tuple[int, Entry]], replay: Replayer | None, judgement: Judgement) -> None:
    if replay is None:
        judgement.open(V3, "replay", "not run")
        return
    for state, part, said in replay(entries):
        {"good": judgement.good, "open": judgement.open, "bad": judgement.bad}[state](V3, part, said)
