"""With whose word Claude Code speaks to its API, and what of it an agent could read.

A key or token by name goes into the tool's environment, and its HOME is a private directory of the attempt. Without one, the
user's login is used: a *copy* of its credentials file lies in that private HOME. The directory itself is not given away: an agent
that could write the user's `~/.claude/settings.json` could set a hook that runs later, outside. A login that the tool
refreshed meanwhile is brought back, or the user might be logged out; but never from a job in which the agent can write files
or run commands: nobody could tell its forgery from the tool's own word. Where the login is in the system's keychain
(macOS), only the user's own HOME serves.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError

NAMES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
MAX_FILE = 16 * 1024 * 1024
MAX_LOGIN = 64 * 1024
"""Bytes of a login that is brought back."""
_ACCOUNT = ("oauthAccount", "userID", "hasCompletedOnboarding", "installMethod")
"""What of ~/.claude.json a login needs; the rest is the user's projects and history."""
_LOGIN = "claudeAiOauth"


@dataclass(slots=True)
class Login:
    """HOME and environment for the tool. `name`: for sentences; `sentence`: what the record says about it."""

    home: Path
    name: str
    sentence: str
    env: dict[str, str] = field(default_factory=dict)
    original: Path | None = None
    copied: bytes = b""

    def leave_there(self) -> None:
        """For a job whose agent can write to this HOME: nothing of it goes back to the user, and the sentence says so."""
        if self.original is not None:
            self.original = None
            self.sentence += (
                "; had the tool refreshed it, that was not taken back, since the agent could have written it"
            )

    def bring_back(self) -> None:
        """Writes a login that was refreshed by the tool back to the user's, if nobody else changed that meanwhile."""
        if self.original is None:
            return
        with contextlib.suppress(OSError, ValueError):
            now = _bounded(self.home / ".claude" / ".credentials.json")
            if now == self.copied or self.original.read_bytes() != self.copied or not _newer(now, self.copied):
                return
            handle, name = tempfile.mkstemp(prefix=".credentials-", dir=self.original.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(now)
            os.replace(name, self.original)


def log_in(ref: str, secret: Callable[[str], str | None], home: Path, user: Path | None = None) -> Login:
    """The login for one run; `home` is made. Raises HandsError (permanent) when there is neither a key nor a login."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in NAMES:
        value = secret(name)
        if value:
            return Login(home, name, f"the agent could read {name} in its environment", {name: value})
    user = user or Path.home()
    folder = Path(os.environ.get("CLAUDE_CONFIG_DIR") or user / ".claude")
    found = _copied(folder / ".credentials.json", user / ".claude.json", home)
    if found is not None:
        return found
    if sys.platform == "darwin" and _json(user / ".claude.json").get("oauthAccount"):
        return Login(
            user, "the Claude login", "the agent ran in the user's own HOME, with the Claude login of its keychain"
        )
    raise HandsError(
        ErrorClass.PERMANENT,
        f"{ref}: Claude Code is not logged in and no key is set; run `claude` once and log in, or export ANTHROPIC_API_KEY=…",
    )


def is_logged_in(secret: Callable[[str], str | None], user: Path | None = None) -> bool:
    """Whether `log_in` would find something."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(HandsError):
        log_in("claude", secret, Path(folder) / "home", user)
        return True
    return False


def _copied(credentials: Path, account: Path, home: Path) -> Login | None:
    try:
        data = credentials.read_bytes()
    except OSError:
        return None
    folder = home / ".claude"
    folder.mkdir(mode=0o700, exist_ok=True)
    _write(folder / ".credentials.json", data)
    kept = {key: value for key, value in _json(account).items() if key in _ACCOUNT}
    _write(home / ".claude.json", json.dumps(kept | {"hasCompletedOnboarding": True}).encode())
    sentence = f"the agent could read a copy of the Claude login ({credentials})"
    return Login(home, "the Claude login", sentence, original=credentials, copied=data)


def _bounded(path: Path) -> bytes:
    """A small regular file. Raises OSError for anything else: a link is not followed, a pipe is not waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path}: is not a regular file")
        data = file.read(MAX_LOGIN + 1)
    if len(data) > MAX_LOGIN:
        raise OSError(f"{path}: more than {MAX_LOGIN} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _json(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > MAX_FILE:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _newer(now: bytes, before: bytes) -> bool:
    """Whether `now` is a login of the same shape that ends later: an agent could have written anything there."""
    new, old = json.loads(now), json.loads(before)
    if not (isinstance(new, dict) and isinstance(old, dict) and new.keys() == old.keys()):
        return False
    one, other = new.get(_LOGIN), old.get(_LOGIN)
    if not (isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()):
        return False
    return isinstance(one.get("expiresAt"), int) and one["expiresAt"] > other.get("expiresAt", 0)
