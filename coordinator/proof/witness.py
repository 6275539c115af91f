"""The witness: a second party that remembers the last head of a log, and signs the next one only if the log went on from it.

    at the home      request(home, old size)           C2SP tlog-witness: "old N", a consistency proof, the signed head
    at the witness   Witness(folder).cosign(request)   checks, remembers (durably, before it signs), cosigns

A log that was rewritten, forked or rolled back before a head that the witness holds gets no signature. What happened before
the first head that it saw, it cannot know. A witness knows a log by its key, which a person told it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from loom.coordinator.errors import LoomError
from loom.coordinator.home import Home
from loom.coordinator.keys import make_log_key, read_log_key, write_private, write_public
from loom.coordinator.proof import notes
from loom.coordinator.proof.notes import COSIGNATURE, Checkpoint, NoteError, VerifierKey
from loom.coordinator.proof.reading import LogReader
from loom.coordinator.proof.tree import ProofError, check_consistency, consistency

KEY, PUB = "witness.key", "witness.pub"
MAX_REQUEST = 256 * 1024


class WitnessRefused(LoomError):
    """The witness does not sign: the log did not go on from the head that it holds, or is not the log it was told."""

    code = "L072"
    mend = "Keep both heads: together they show what happened. Ask the log's owner."


class NothingSigned(LoomError):
    """The home has no signed head yet, or none that goes as far as what is asked for."""

    code = "L073"
    mend = "Let its coordinator run for a second: it signs the head after it has written."


def request(home: Home, old: int) -> str:
    """What a witness is asked with, that holds a head of `old` entries (0: none). Raises NothingSigned, StoreError's tree."""
    with LogReader(home) as log:
        found = log.checkpoints()
        if not found:
            raise NothingSigned(f"{home.path} has no signed head.")
        size, _, note = found[-1]
        if size < old:
            proof: tuple[bytes, ...] = ()  # the witness will say what it means
        else:
            proof = consistency(log.node, old, size) if old else ()
    lines = "".join(f"{base64.b64encode(each).decode()}\n" for each in proof)
    return f"old {old}\n{lines}\n{note}"


def parse_request(text: str) -> tuple[int, tuple[bytes, ...], str]:
    """(old size, proof, note). Raises WitnessRefused."""
    head, gap, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    word, _, number = first.partition(" ")
    try:
        proof = tuple(base64.b64decode(line, validate=True) for line in lines)
        if not gap or word != "old" or len(text) > MAX_REQUEST or len(number) > notes.MAX_DIGITS:
            raise ValueError("it is not of the form of a request")
        return int(number), proof, note
    except (ValueError, binascii.Error) as error:
        raise WitnessRefused(f"This is no request to a witness: {error}.", "loom witness ask, at the home") from error


@dataclass(frozen=True, slots=True)
class Witness:
    """A folder with the witness's key and the last head of each log."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, name: str, seed: bytes) -> Witness:
        """A new witness. Raises WitnessRefused when there is one, OSError."""
        if (folder / KEY).exists():
            raise WitnessRefused(f"{folder} has a witness already.", "Use it, or name another folder.")
        if not name or any(each.isspace() or each == "+" for each in name):
            raise WitnessRefused(f"{name!r} is no name of a witness.", "A name has no space and no plus sign in it.")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / KEY, make_log_key(name, seed).line + "\n")
        witness = cls(folder)
        write_public(folder / PUB, witness.key.line + "\n")
        return witness

    @property
    def key(self) -> VerifierKey:
        """Its public key: of the type that cosigns."""
        plain = notes.verifier_key(read_log_key(self.folder / KEY).public)
        identifier = notes.key_id(plain.name, bytes([COSIGNATURE]) + plain.public)
        return VerifierKey(plain.name, identifier, COSIGNATURE, plain.public)

    def trust(self, key: VerifierKey) -> None:
        """From now on this is the key of the log of its name."""
        write_public(self._place(key.name, "pub"), key.line + "\n")

    def held(self, origin: str) -> Checkpoint | None:
        """The last head of a log that was signed here."""
        path = self._place(origin, "note")
        return notes.checkpoint(notes.parse(path.read_text(encoding="utf-8")).text) if path.exists() else None

    def logs(self) -> tuple[Checkpoint, ...]:
        """The last head of each log."""
        found = (notes.parse(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.note")))
        return tuple(notes.checkpoint(note.text) for note in found)

    def cosign(self, text: str, time_s: int) -> str:
        """The head of a request, cosigned. Raises WitnessRefused with what is wrong with the log."""
        old, proof, note = parse_request(text)
        try:
            parsed = notes.parse(note)
            head = notes.checkpoint(parsed.text)
            if not notes.signed_by(parsed, self._key_of(head.origin)):
                raise NoteError("it is not signed by the key that this witness was told")
        except NoteError as error:
            raise WitnessRefused(f"The head cannot be taken: {error}.") from error
        held = self.held(head.origin)
        if held is not None:
            _check(held, head, old, proof)
        signed = notes.cosign(note, self.key, read_log_key(self.folder / KEY).sign, time_s)
        write_public(self._place(head.origin, "note"), signed)
        return signed

    def _key_of(self, origin: str) -> VerifierKey:
        path = self._place(origin, "pub")
        if not path.exists():
            raise WitnessRefused(f"This witness does not know the log {origin}.", "Name its key once: --key PUB")
        return notes.verifier_key(path.read_text(encoding="ascii"))

    def _place(self, origin: str, suffix: str) -> Path:
        return self.folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:16]}.{suffix}"


def _check(held: Checkpoint, head: Checkpoint, old: int, proof: tuple[bytes, ...]) -> None:
    """Raises WitnessRefused unless `head` goes on from `held`."""
    if head.size < held.size:
        raise WitnessRefused(
            f"The log {head.origin} has {head.size} entries under its head; {held.size} were signed before: it was rolled back."
        )
    if head.size == held.size and head.root != held.root:
        raise WitnessRefused(f"The log {head.origin} has two heads of {head.size} entries: it was forked or rewritten.")
    if old != held.size:
        raise WitnessRefused(
            f"The proof begins at {old} entries; this witness holds a head of {held.size}.", f"--since {held.size}"
        )
    try:
        check_consistency(held.size, head.size, proof, held.root, head.root)
    except ProofError as error:
        raise WitnessRefused(
            f"The log {head.origin} does not go on from its head of {held.size} entries: {error}."
        ) from error
