"""The worker's own key, drawn once in its directory, and its signature on reports before they are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from loom.workers.protocol import Report
from loom.workers.protocol.signing import said, slips, verifier_line

KEY = "signing.key"
SEED_BYTES = 32


class Signer:
    """Signs for the worker of this name. state: its directory. Raises OSError, ValueError for a damaged key."""

    def __init__(self, worker: str, state: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._worker = worker
        self._key = Ed25519PrivateKey.from_private_bytes(_seed(state / KEY))
        self.line = verifier_line(worker, self._key.public_key().public_bytes_raw())
        """What the worker tells in its Hello."""

    def sign(self, reports: Sequence[Report]) -> list[Report]:
        """The reports, each with its slip; one signature for every few of them."""
        made = slips([said(report, self._worker) for report in reports], self._key.sign)
        return [structs.replace(report, signature=slip.bytes) for report, slip in zip(reports, made, strict=True)]


def _seed(path: Path) -> bytes:
    """Drawn at the first call, then always the same; the file is the owner's alone."""
    if not path.exists():
        part = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(SEED_BYTES))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    seed = path.read_bytes()
    if len(seed) != SEED_BYTES:
        raise ValueError(f"{path} is no key; remove it, and a new one is drawn")
    return seed
