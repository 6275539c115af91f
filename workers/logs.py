"""The worker's log: JSON lines on standard output (the launcher points it at a file of the home), snake_case events."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

SECRET_MARKS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
MIN_SECRET = 8


def open_log(**bound: str) -> Callable[..., None]:
    """A function log(action, **fields). `bound` stands in every line; values of secrets in the environment never do."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide_secrets,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logger = structlog.get_logger().bind(**bound)

    def log(action: str, **fields: object) -> None:
        with contextlib.suppress(OSError):  # a disk that takes no line ends no attempt
            logger.info(action, **fields)
            sys.stdout.flush()

    return log


def hide_secrets(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces the values of secret-looking environment variables in every field, so that none reaches a line."""
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
