"""Secrets by name: in the environment (`NAME`, or `NAME_FILE` naming a file), else in the home's own store.

The store is `<home>/secrets.json`, one JSON object, mode 0600. Surfaces see names; only the worker that needs a secret
reads its value.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from loom.transports.errors import UnavailableProblem, UsageProblem

FILE = "secrets.json"
MAX_SECRET = 64 * 1024
"""Bytes of one secret."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def check_name(name: str) -> str:
    """The name. Raises UsageProblem for what could not be an environment variable's name."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f"{name!r} is not a name for a secret: capital letters, digits and _ only.",
            "loom secrets set ANTHROPIC_API_KEY",
        )
    return name


def stored(home: Path) -> dict[str, str]:
    """The secrets in the home's store. Raises UnavailableProblem for a file that cannot be read."""
    path = home / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnavailableProblem(
            f"{path} cannot be read: {type(error).__name__}.", "move it away, and set the secrets again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UnavailableProblem(f"{path} is not a store of secrets.", "move it away, and set the secrets again")
    return found


def put(home: Path, name: str, value: str | None) -> bool:
    """Keeps a secret, or takes it out (None). Returns whether something changed."""
    check_name(name)
    secrets = stored(home)
    if value is None and name not in secrets:
        return False
    if value is None:
        del secrets[name]
    elif not value or len(value.encode()) > MAX_SECRET:
        raise UsageProblem(f"The secret {name} is empty or longer than {MAX_SECRET} bytes.")
    else:
        secrets[name] = value
    _write(home / FILE, secrets)
    return True


def origin(name: str, home: Path | None, environ: Mapping[str, str] = os.environ) -> str:
    """Where a secret would be taken from: "environment", "file", "store", or "" when there is none."""
    if environ.get(name):
        return "environment"
    named = environ.get(f"{name}_FILE")
    if named and Path(named).is_file():
        return "file"
    if home is not None and name in stored(home):
        return "store"
    return ""


def _write(path: Path, secrets: dict[str, str]) -> None:
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}.")  # made with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(secrets, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UnavailableProblem(f"{path} cannot be written: {error.strerror}.") from error
