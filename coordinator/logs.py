"""The coordinator's log: JSON lines in `logs/coordinator.log`, snake_case events; no secret reaches a line.

A disk that takes no line ends nothing: the coordinator has to live to say that it can only be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

SECRET_MARKS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
MIN_SECRET = 8
MAX_LOG_BYTES = 10 * 1024 * 1024
"""A longer log is put aside (one generation) when the next coordinator starts."""


def open_log(path: Path, **bound: object) -> Callable[..., None]:
    """A function log(action, **fields) that appends to the file. `bound` stands in every line."""
    import structlog

    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    file = LossyFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast(TextIO, file)),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide_secrets,
            structlog.processors.JSONRenderer(),
        ],
    ).bind(**bound)

    def log(action: str, **fields: object) -> None:
        logger.info(action, **fields)

    return log


class LossyFile:
    """Lines to a descriptor; one that cannot be written is lost, and counted when there is room again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lost = 0

    def write(self, line: str) -> int:
        """One whole line, with its end."""
        said = f'{{"event": "log_lines_lost", "lines": {self._lost}}}\n' if self._lost else ""
        data = (said + line).encode(errors="backslashreplace")
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0 if written == len(data) else 1
        return len(line)

    def flush(self) -> None:
        """Nothing is held back."""


def hide_secrets(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces the values of secret-looking environment variables in every field."""
    secrets = [
        (value, name)
        for name, value in os.environ.items()
        if len(value) >= MIN_SECRET and any(mark in name.upper() for mark in SECRET_MARKS)
    ]
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _hidden(value, secrets)
    return event


def _hidden(text: str, secrets: list[tuple[str, str]]) -> str:
    for secret, name in secrets:
        text = text.replace(secret, f"«redacted:{name}»")
    return text
