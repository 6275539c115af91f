"""Signed notes and checkpoints: short texts with Ed25519 signatures under named keys.

C2SP signed-note, tlog-checkpoint and tlog-cosignature (c2sp.org; golang.org/x/mod/sumdb/note):

    loom.local/1f2e…            the log's origin
    1234                        how many entries
    <base64>                    the root of the tree over them
                                (an empty line)
    — <name> <base64(key id ‖ signature)>

A verifier key is `<name>+<key id>+<base64(type ‖ public key)>`. Type 1 signs the text (its final newline included);
type 4, a witness's cosignature, signs "cosignature/v1\\ntime <seconds>\\n" ‖ text and carries the time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

SIGNATURE, COSIGNATURE = 1, 4
MAX_NOTE = 64 * 1024
MAX_DIGITS = 16
MARK = "— "
_SEED, _SIGNED, _ID = 32, 64, 4


class NoteError(ValueError):
    """A text is no note, or no signature of it is what it has to be."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name. `line`: as it is handed on."""

    name: str
    identifier: str
    kind: int
    public: bytes

    @property
    def line(self) -> str:
        return f"{self.name}+{self.identifier}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this is this key's Ed25519 signature of the message."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Note:
    """A text (with its final newline) and the signatures below it: (name, key id, what was signed)."""

    text: str
    signatures: tuple[tuple[str, str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head. `more`: lines after the root, which say nothing to us and are signed with the rest."""

    origin: str
    size: int
    root: bytes
    more: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.more)
        return "".join(f"{line}\n" for line in lines)


def verifier_key(line: str) -> VerifierKey:
    """The key of a verifier line. Raises NoteError."""
    try:
        name, identifier, encoded = line.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise NoteError(f"{line.strip()[:80]!r} is no verifier key (<name>+<key id>+<base64>)") from error
    if (
        not name
        or any(each.isspace() for each in name)
        or len(raw) != _SEED + 1
        or raw[0] not in (SIGNATURE, COSIGNATURE)
    ):
        raise NoteError(f"{line.strip()[:80]!r} is no Ed25519 verifier key")
    if key_id(name, raw) != identifier:
        raise NoteError(f"the key of {name} does not have the key id {identifier}")
    return VerifierKey(name, identifier, raw[0], raw[1:])


def key_id(name: str, typed: bytes) -> str:
    """The first four bytes of SHA-256(name ‖ newline ‖ type ‖ public key), hex."""
    return hashlib.sha256(f"{name}\n".encode() + typed).hexdigest()[: 2 * _ID]


def sign(text: str, key: VerifierKey, signer: Callable[[bytes], bytes]) -> str:
    """The note of a text with one signature. signer: Ed25519 over the message. Raises NoteError."""
    if not text.endswith("\n") or "\n\n" in text:
        raise NoteError("the text of a note ends with a newline and has no empty line")
    return f"{text}\n{signature_line(key, signer(text.encode()))}"


def signature_line(key: VerifierKey, signature: bytes) -> str:
    """One signature as it stands below a note."""
    return f"{MARK}{key.name} {base64.b64encode(bytes.fromhex(key.identifier) + signature).decode()}\n"


def cosign(note: str, key: VerifierKey, signer: Callable[[bytes], bytes], time_s: int) -> str:
    """The note with a witness's signature below the others."""
    message = _cosigned(parse(note).text, time_s)
    return note + signature_line(key, time_s.to_bytes(8, "big") + signer(message))


def parse(note: str) -> Note:
    """The text and signatures of a note; nothing is verified yet. Raises NoteError."""
    if len(note) > MAX_NOTE:
        raise NoteError("a note this long is none")
    head, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n") or "\n\n" in head:
        raise NoteError("a note is a text, an empty line, and lines of signatures")
    signatures = []
    for line in tail[:-1].split("\n"):
        name, _, encoded = line.removeprefix(MARK).partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error) as error:
            raise NoteError(f"{line[:80]!r} is no line of a signature") from error
        if not line.startswith(MARK) or len(raw) <= _ID or base64.b64encode(raw).decode() != encoded:
            raise NoteError(f"{line[:80]!r} is no line of a signature")
        signatures.append((name, raw[:_ID].hex(), raw[_ID:]))
    return Note(head + "\n", tuple(signatures))


def signed_by(note: Note, key: VerifierKey) -> bool:
    """Whether the note carries a good signature of this key. Raises NoteError for one that is named and wrong."""
    for name, identifier, signature in note.signatures:
        if (name, identifier) != (key.name, key.identifier):
            continue
        if key.kind == COSIGNATURE:
            time_s, signed = int.from_bytes(signature[:8], "big"), signature[8:]
            good = len(signed) == _SIGNED and key.verifies(signed, _cosigned(note.text, time_s))
        else:
            good = key.verifies(signature, note.text.encode())
        if not good:
            raise NoteError(f"the signature of {name} ({identifier}) is wrong")
        return True
    return False


def cosigned_at(note: Note, key: VerifierKey) -> int:
    """When the witness with this key signed: seconds UTC (0: it did not)."""
    for name, identifier, signature in note.signatures:
        if (name, identifier) == (key.name, key.identifier) and key.kind == COSIGNATURE:
            return int.from_bytes(signature[:8], "big")
    return 0


def checkpoint(text: str) -> Checkpoint:
    """The tree head of a note's text. Raises NoteError."""
    lines = text.removesuffix("\n").split("\n")
    try:
        origin, size, root, *more = lines
        raw = base64.b64decode(root, validate=True)
    except (ValueError, binascii.Error) as error:
        raise NoteError("a checkpoint has an origin, a size and a root") from error
    canonical = (
        len(size) <= MAX_DIGITS
        and size.isascii()
        and size.isdecimal()
        and str(int(size)) == size
        and base64.b64encode(raw).decode() == root
    )
    if not origin or not canonical or len(raw) != _SEED:
        raise NoteError("a checkpoint has an origin, a size and a root of 32 bytes")
    return Checkpoint(origin, int(size), raw, tuple(more))


def _cosigned(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
