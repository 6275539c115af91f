"""A person's own key at a surface: `ssh-keygen` signs (with an agent, a security key or a passphrase, as it knows how)."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from loom.coordinator.api import Answered
from loom.coordinator.home import Home
from loom.coordinator.proof import approvals, sshsig
from loom.kernel.commands import Answer, ChangeSetting, EnrolKey, RevokeKey
from loom.transports.asking import ask
from loom.transports.errors import UnavailableProblem, UsageProblem
from loom.workers.protocol import Text

S = TypeVar("S", Answer, ChangeSetting, EnrolKey, RevokeKey)

NAMES = ("id_ed25519_sk", "id_ed25519", "id_ecdsa_sk", "id_ecdsa", "id_rsa")
SIGN_S = 300
"""How long a person may take to unlock or touch the key."""
DEFAULT = "-"
"""`--sign` without a key: the first of NAMES that is there."""


def key_file(name: str) -> Path:
    """The file of a key; DEFAULT: the first usual one in ~/.ssh. Raises UsageProblem."""
    if name != DEFAULT:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageProblem(f"There is no key {path}.", "--sign ~/.ssh/id_ed25519")
        return path
    folder = Path("~/.ssh").expanduser()
    found = next((folder / each for each in NAMES if (folder / each).is_file()), None)
    if found is None:
        raise UsageProblem(f"There is no key in {folder}.", "ssh-keygen -t ed25519, then loom keys add")
    return found


def public_of(path: Path) -> str:
    """The public key of a key file, or of its `.pub`. Raises UsageProblem."""
    beside = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        return sshsig.public_key(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageProblem(f"{beside} is no SSH public key: {error}.") from error


def signed(home_origin: str, command: S, *, principal: str, task: str, key: str, file: Path, now_ms: int) -> S:
    """The command with its approval. Raises UnavailableProblem."""
    payload = approvals.payload(
        command, origin=home_origin, task=task, principal=principal, key=key, not_after_ms=now_ms + approvals.VALID_MS
    )
    return replace(command, approval=approvals.approval(payload, public_of(file), _sign(file, payload.encode())))


def ask_signed(
    home: Home, command: S, sign: str, *, origin: str, principal: str, task: str = "", texts: Sequence[Text] = ()
) -> Answered:
    """Sends a command, signed if `sign` names a key ("" : unsigned). Raises a Problem when it was not taken."""
    key = secrets.token_hex(16)
    if sign:
        file, now_ms = key_file(sign), time.time_ns() // 1_000_000
        command = signed(origin, command, principal=principal, task=task, key=key, file=file, now_ms=now_ms)
    return ask(home, command, task=task, texts=texts, key=key)


def _sign(file: Path, message: bytes) -> str:
    asked = ["ssh-keygen", "-q", "-Y", "sign", "-f", os.fspath(file), "-n", approvals.TYPE]
    try:
        done = subprocess.run(asked, input=message, stdout=subprocess.PIPE, check=False, timeout=SIGN_S)
    except FileNotFoundError as error:
        raise UnavailableProblem("ssh-keygen is not installed.", "install OpenSSH's client") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableProblem(f"{file} did not sign within {SIGN_S} s.") from error
    if done.returncode:
        raise UnavailableProblem(f"{file} did not sign: ssh-keygen said no.", "ssh-add, or another key: --sign KEY")
    return done.stdout.decode()
