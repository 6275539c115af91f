"""The keys of a home: the log's Ed25519 key, and the token of the local command line.

Key lines have the form of signed notes (C2SP signed-note; golang.org/x/mod/sumdb/note): a verifier key is
`<origin>+<key id>+<base64(0x01 ‖ public key)>`, a signer key `PRIVATE+KEY+<origin>+<key id>+<base64(0x01 ‖ seed)>`; the
key id is the first four bytes of SHA-256(origin ‖ "\\n" ‖ 0x01 ‖ public key), hex.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from loom.coordinator.blobs import sync
from loom.coordinator.errors import HomeUnwritable, KeyDamaged

ED25519 = b"\x01"
LOG_KEY, LOG_PUB, CLIENT_TOKEN = "log.key", "log.pub", "client.token"
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class LogKey:
    """The key that signs this log's checkpoints. origin: the log's name; public: the line for verifiers."""

    origin: str
    public: str
    seed: bytes

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature, 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    @property
    def line(self) -> str:
        """What stands in log.key."""
        _, identifier, _ = self.public.split("+", 2)
        return f"PRIVATE+KEY+{self.origin}+{identifier}+{base64.b64encode(ED25519 + self.seed).decode()}"

    def __repr__(self) -> str:
        return f"LogKey({self.public})"


def log_key(folder: Path) -> LogKey:
    """The key of the log in `keys/`; drawn at the first call, then always the same. Raises KeyDamaged, HomeUnwritable."""
    path = folder / LOG_KEY
    if not path.exists():
        made = make_log_key(f"loom.local/{secrets.token_hex(10)}", secrets.token_bytes(32))
        write_private(path, made.line + "\n")
        write_public(folder / LOG_PUB, made.public + "\n")
        return made
    key = read_log_key(path)
    if not (folder / LOG_PUB).exists():
        write_public(folder / LOG_PUB, key.public + "\n")
    return key


def make_log_key(origin: str, seed: bytes) -> LogKey:
    """The key of 32 random bytes, under the log's name."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    raw = ED25519 + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    identifier = hashlib.sha256(f"{origin}\n".encode() + raw).hexdigest()[:8]
    return LogKey(origin, f"{origin}+{identifier}+{base64.b64encode(raw).decode()}", seed)


def read_log_key(path: Path) -> LogKey:
    """The key of a file that `log_key` wrote. Raises KeyDamaged."""
    try:
        private, key_word, origin, identifier, encoded = path.read_text(encoding="ascii").strip().split("+", 4)
        raw = base64.b64decode(encoded, validate=True)
        key = make_log_key(origin, raw[1:])
    except (OSError, ValueError, binascii.Error) as error:
        raise KeyDamaged(f"{path} cannot be read as a key: {error}.") from error
    if (private, key_word, raw[:1]) != ("PRIVATE", "KEY", ED25519) or key.public.split("+", 2)[1] != identifier:
        raise KeyDamaged(f"{path} is no key of loom, or does not have the key id that it names.")
    return key


def client_token(folder: Path) -> str:
    """The local owner's token; drawn at the first call."""
    path = folder / CLIENT_TOKEN
    if not path.exists():
        write_private(path, secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    token = path.read_text(encoding="ascii").strip()
    if len(token) < TOKEN_BYTES:
        raise KeyDamaged(f"{path} holds no token.")
    return token


def token_digest(token: str) -> str:
    """What the record holds of a token: hex SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_private(path: Path, text: str) -> None:
    """A file that only its owner reads: whole or not at all, durably. Raises HomeUnwritable."""
    _write(path, text, 0o600)


def write_public(path: Path, text: str) -> None:
    """A file that anybody may read, as `write_private` writes it."""
    _write(path, text, 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """A whole file or none, durably."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        sync(part)
        part.replace(path)
        sync(path.parent)
    except OSError as error:
        raise HomeUnwritable(f"{path} cannot be written: {error.strerror}.") from error
