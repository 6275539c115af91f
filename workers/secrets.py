"""Secrets by name, as the worker's hands ask for them: environment, a file named there, the home's store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path


def secret_reader(environment: Mapping[str, str], store: Path | None) -> Callable[[str], str | None]:
    """A function name → value. `NAME`, else the file that `NAME_FILE` names, else the JSON object in `store`; None: none.

    The store is read at each call, so that a secret set meanwhile is found by the next attempt.
    """

    def secret(name: str) -> str | None:
        if value := environment.get(name):
            return value
        if path := environment.get(f"{name}_FILE"):
            try:
                return Path(path).read_text(encoding="utf-8").strip() or None
            except OSError:
                return None
        return _stored(store).get(name) if store else None

    return secret


def _stored(store: Path) -> dict[str, str]:
    try:
        found = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
