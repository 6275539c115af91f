"""A person's SSH key, made and used by the real ssh-keygen."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signer:
    """A key pair in a file."""

    path: Path
    public: str

    @classmethod
    def make(cls, folder: Path, *kind: str) -> Signer:
        """A new key without passphrase. kind: as after `ssh-keygen -t` (default: ed25519)."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "key"
        asked = ["ssh-keygen", "-q", "-N", "", "-C", "", "-f", str(path), "-t", *(kind or ("ed25519",))]
        subprocess.run(asked, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        words = path.with_name("key.pub").read_text(encoding="ascii").split()
        return cls(path, " ".join(words[:2]))

    def sign(self, message: bytes, namespace: str) -> str:
        """The armored signature."""
        asked = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.path), "-n", namespace]
        return subprocess.run(asked, input=message, check=True, capture_output=True).stdout.decode()
