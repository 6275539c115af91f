"""What a model API's failures mean for the kernel: one table from status, code and words to an error class.

    429                                   rate_limit   not before Retry-After; consumes no attempt
    408, 409, 5xx, 529, "overloaded"      transient    again after a backoff
    no connection, time-out, cut stream   transient
    context too long, quota used up       permanent    next binding of the chain
    400, 401, 403, 404, 413, 422 …        permanent    with the name of the key or the model

Both SDKs raise exceptions of the same shape (`status_code`, `response`, `body`), so they are read by shape here and no SDK
needs to be imported. A message never carries a key: the caller names the keys that it used and they are cut out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError
from loom.workers.texts import MIN_SECRET

MAX_DETAIL = 400
"""Characters of the API's own message that an error keeps."""
MAX_RETRY_AFTER_MS = 24 * 3600 * 1000
"""A Retry-After beyond one day is cut to it: a broken header must not park a task for ever."""

_TRANSIENT_STATUS = frozenset({408, 409, 425})
_PERMANENT_TYPES = frozenset(
    {"invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large"}
)
_RATE_TYPES = frozenset({"rate_limit_error", "rate_limit_exceeded"})
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_not_active"})
_BROKEN = frozenset({"RemoteProtocolError", "ReadError"})
"""The HTTP library's words for a connection that stood and then did not."""
_TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "prompt is too long",
    "context window",
    "input length and `max_tokens` exceed",
    "exceeds the available context size",
)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a call went to, for the sentences: the binding's reference, the key's name, and the values to cut out."""

    ref: str
    model: str
    key_name: str
    base_url: str
    secrets: tuple[str, ...] = ()

    def scrub(self, text: str) -> str:
        """`text` without any key, on one line, bounded."""
        for secret in self.secrets:
            if (
                len(secret) >= MIN_SECRET
            ):  # "x" and "none" are what servers of one's own are given; they are in every sentence
                text = text.replace(secret, f"«redacted:{self.key_name}»")
        return " ".join(text.split())[:MAX_DETAIL]


def missing_key(ref: str, names: Iterable[str]) -> HandsError:
    """No key: permanent, with the line that mends it."""
    first, *others = names
    either = f" (or {', '.join(others)})" if others else ""
    return HandsError(
        ErrorClass.PERMANENT,
        f"{ref}: no key: {first} is not set; export {first}=… or run `loom secrets set {first}`{either}",
    )


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """Unix milliseconds before which the server wants no call; 0 when it names no time.

    Reads `retry-after-ms` and `retry-after` as seconds or as an HTTP date (RFC 9110, 10.2.3).
    """
    wait: float | None = None
    millis, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if millis:
            wait = float(millis)
        elif seconds:
            wait = float(seconds) * 1000
    except ValueError:
        wait = _until(seconds or "", now_ms)
    if wait is None or not wait >= 0:  # said this way round, it holds for NaN, too
        return 0
    return now_ms + int(min(wait, MAX_RETRY_AFTER_MS))


def _until(date: str, now_ms: int) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, when.timestamp() * 1000 - now_ms)


def from_status(target: Target, status: int, headers: Mapping[str, str], body: object, message: str) -> HandsError:
    """The error for an HTTP answer (or for an error event inside a stream, whose status is 200)."""
    kind, code, said = _facts(body)
    detail = target.scrub(said or message)
    lowered = f"{kind} {code} {said or message}".lower()
    shown = f"{target.ref}: HTTP {status}" if status >= 400 else f"{target.ref}: error in the stream"
    if any(words in lowered for words in _TOO_LONG):
        sentence = f"{target.ref}: the prompt is too long for {target.model}: {detail}"
        return HandsError(ErrorClass.PERMANENT, sentence, status=status)
    if code in _QUOTA_CODES:
        sentence = f"{target.ref}: the account of {target.key_name} has no quota left: {detail}"
        return HandsError(ErrorClass.PERMANENT, sentence, status=status)
    not_before = retry_after_ms(headers, int(time.time() * 1000))
    if status == 429 or kind in _RATE_TYPES or code in _RATE_TYPES:
        return HandsError(
            ErrorClass.RATE_LIMIT, f"{shown}, rate limited: {detail}", not_before_ms=not_before, status=status
        )
    if status >= 500 or status in _TRANSIENT_STATUS or (status < 400 and kind not in _PERMANENT_TYPES):
        return HandsError(ErrorClass.TRANSIENT, f"{shown}: {detail}", not_before_ms=not_before, status=status)
    return HandsError(ErrorClass.PERMANENT, _permanent(target, status, detail), status=status)


def _permanent(target: Target, status: int, detail: str) -> str:
    if status in (401, 403):
        return f"{target.ref}: HTTP {status}, {target.key_name} was refused by {target.base_url}: {detail}"
    if status == 404:
        return f"{target.ref}: HTTP 404, {target.base_url} does not know the model {target.model}: {detail}"
    return f"{target.ref}: HTTP {status}, the request was refused: {detail}"


def _facts(body: object) -> tuple[str, str, str]:
    """(type, code, message) of an error body in either vendor's shape; SDKs hand it over with or without the envelope."""
    found: Any = body
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        found = found["error"]
    if not isinstance(found, dict):
        return "", "", found if isinstance(found, str) else ""
    error = found.get("error")
    message = found.get("message") or (error if isinstance(error, str) else "")
    return str(found.get("type") or ""), str(found.get("code") or ""), str(message or "")


def from_exception(target: Target, error: BaseException) -> HandsError:
    """The error for whatever an SDK call raised; an exception of no known shape is transient and names its type."""
    if isinstance(error, HandsError):
        return error
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    body = getattr(error, "body", None)
    if isinstance(status, int):
        headers = getattr(response, "headers", None) or {}
        return from_status(target, status, headers, body, str(error))
    if isinstance(body, dict):
        return from_status(target, 200, {}, body, str(error))
    name = type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in name:
        return HandsError(ErrorClass.TRANSIENT, f"{target.ref}: no answer from {target.base_url} in time")
    said = target.scrub(str(error.__cause__ or error))
    if type(error.__cause__ or error).__name__ in _BROKEN:
        return HandsError(ErrorClass.TRANSIENT, f"{target.ref}: {target.base_url} broke the answer off ({said})")
    return HandsError(ErrorClass.TRANSIENT, f"{target.ref}: no connection to {target.base_url} ({name}: {said})")


def cut_stream(target: Target) -> HandsError:
    """The stream ended before the answer did."""
    return HandsError(
        ErrorClass.TRANSIENT, f"{target.ref}: {target.base_url} closed the stream before the answer ended"
    )
