"""Texts beside the ledger: `id` = hex SHA-256(salt ‖ bytes). Up to MAX_ROW bytes in the database, longer ones as files.

A file is written in chunks under `blobs/part/`, checked against its id, fsynced, and moved to `blobs/<first two>/<id>`
before the command that names it is admitted; so what is named in a committed entry is there after any crash. The thread
that takes chunks from the wire has a `BlobFiles` of its own; it shares nothing with the database's writer.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from loom.coordinator.errors import BlobMismatch, BlobMissing, BlobTooLarge
from loom.workers.protocol import MAX_BLOB, MAX_INLINE, salted_id

MAX_ROW = MAX_INLINE
"""Bytes of a text that lives inside the database."""
_READ = 1 << 20
_HEX = frozenset("0123456789abcdef")


@dataclass(slots=True)
class _Part:
    salt: bytes
    size: int
    held: int
    digest: hashlib._Hash


class BlobFiles:
    """The folder `blobs/` of a home. One instance a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[str, _Part] = {}

    def path(self, identifier: str) -> Path:
        """Where a text of this id stands. Raises BlobMissing for what is no id, so that no path can be smuggled in."""
        if len(identifier) != 64 or not _HEX.issuperset(identifier):
            raise BlobMissing(f"{identifier[:80]!r} is no id of a text.")
        return self._folder / identifier[:2] / identifier

    def has(self, identifier: str) -> bool:
        """Whether the whole text is there."""
        return self.path(identifier).is_file()

    def begin(self, identifier: str, salt: bytes, size: int) -> int:
        """Start a text, or take up one that was interrupted: the offset from which chunks are wanted (size: all here)."""
        if size > MAX_BLOB:
            raise BlobTooLarge(f"A text of {size} bytes is longer than {MAX_BLOB}.")
        if self.has(identifier):
            return size
        part = self._part(identifier)
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, held = hashlib.sha256(salt), 0
        if part.exists():
            with part.open("rb") as file:
                while chunk := file.read(_READ):
                    digest.update(chunk)
                    held += len(chunk)
        if held > size:
            part.unlink()
            digest, held = hashlib.sha256(salt), 0
        self._parts[identifier] = _Part(salt, size, held, digest)
        return held

    def append(self, identifier: str, offset: int, chunk: bytes) -> int:
        """Add a chunk at the offset that is wanted; one that was here already changes nothing. The offset wanted next."""
        part = self._parts.get(identifier)
        if part is None:
            raise BlobMissing(f"Text {identifier} was not begun.")
        if offset != part.held:
            return part.held
        if part.held + len(chunk) > part.size:
            raise BlobMismatch(f"Text {identifier} is longer than the {part.size} bytes that were announced.")
        with self._part(identifier).open("ab") as file:
            file.write(chunk)
        part.digest.update(chunk)
        part.held += len(chunk)
        return part.held

    def finish(self, identifier: str) -> None:
        """Check the text against its id and make it durable. Raises BlobMismatch, and forgets what was held."""
        part = self._parts.pop(identifier, None)
        if part is None:
            if self.has(identifier):
                return
            raise BlobMissing(f"Text {identifier} was not begun.")
        path = self._part(identifier)
        if part.held != part.size or part.digest.hexdigest() != identifier:
            path.unlink(missing_ok=True)
            raise BlobMismatch(f"What was sent as text {identifier} has another digest or length.")
        if not part.size:
            path.touch()
        self._keep(path, identifier)

    def put(self, identifier: str, salt: bytes, data: bytes) -> None:
        """Store a whole text as a file, durably."""
        if self.has(identifier):
            return
        self._part(identifier).unlink(missing_ok=True)
        self.begin(identifier, salt, len(data))
        self.append(identifier, 0, data)
        self.finish(identifier)

    def read(self, identifier: str) -> bytes:
        """The bytes of a stored text. Raises BlobMissing."""
        try:
            return self.path(identifier).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(f"Text {identifier} is not stored.") from error

    def _part(self, identifier: str) -> Path:
        return self._folder / "part" / self.path(identifier).name

    def _keep(self, part: Path, identifier: str) -> None:
        target = self.path(identifier)
        sync(part)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        part.replace(target)
        sync(target.parent)
        sync(self._folder)


def check(identifier: str, salt: bytes, data: bytes) -> None:
    """Raises BlobMismatch unless the bytes are what the id names."""
    if salted_id(salt, data) != identifier:
        raise BlobMismatch(f"What was sent as text {identifier} has another digest.")


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
