"""What every provider shares: how a request is named, bounded in time, and asked again in plainer words."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError, Message, ModelRequest

Secret = Callable[[str], str | None]
"""A secret by name: the environment, then the home's store; None if there is none."""

Reply = TypeVar("Reply")

CONNECT_S = 10.0
"""Seconds until a connection must stand."""
IDLE_S = 300.0
"""Seconds that a stream may be silent: a model that thinks without a word is silent for minutes."""
SILENCE = "LOOM_MODEL_SILENCE_S"
"""The variable that says how many seconds instead, for a server that is slower, or a person who is less patient."""
MAX_SILENCE_S = 24 * 3600.0
CLOSE_S = 5.0
"""Seconds that closing a client may take."""


def silence_s(environ: Mapping[str, str], usual: float = IDLE_S) -> float:
    """Seconds of silence after which a call is given up and tried again. Raises HandsError (permanent) for no such number."""
    said = environ.get(SILENCE, "").strip()
    try:
        seconds = float(said) if said else usual
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SILENCE_S:
        raise HandsError(
            ErrorClass.PERMANENT,
            f"{SILENCE}={said!r} is not a number of seconds from 0 to {MAX_SILENCE_S:g}: unset it, or give one",
        )
    return seconds


async def within(request: ModelRequest, call: Awaitable[Reply]) -> Reply:
    """`call`, ended after the request's own time. Raises HandsError (transient) then; cancellation passes through."""
    try:
        async with asyncio.timeout(request.timeout_ms / 1000):
            return await call
    except TimeoutError as error:
        seconds = request.timeout_ms / 1000
        raise HandsError(
            ErrorClass.TRANSIENT, f"{request.binding.ref}: no complete answer within {seconds:g} s"
        ) from error


def digest(request: ModelRequest) -> str:
    """Hex SHA-256 of what the model is shown: system and messages, without the ids that a provider draws for calls."""
    shown: list[Any] = [request.system]
    shown.extend([m.role, m.text, [[c.name, c.arguments] for c in m.calls]] for m in request.messages)
    return hashlib.sha256(json.dumps(shown, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def arguments_of(raw: str) -> dict[str, object]:
    """The arguments of a tool call; what is not a JSON object stands whole under `_unreadable`, for the tool to refuse."""
    raw = raw.encode("utf-8", "replace").decode()
    try:
        found = json.loads(raw or "{}")
        json.dumps(found, ensure_ascii=False).encode()  # half a character could be neither recorded nor sent back
    except (ValueError, RecursionError):
        return {UNREADABLE: raw}
    return found if isinstance(found, dict) else {UNREADABLE: raw}


UNREADABLE = "_unreadable"
"""The key that `arguments_of` puts unreadable arguments under."""


def conversation(messages: tuple[Message, ...]) -> list[Message]:
    """The messages, refused when there are none: every API would answer 400 with a worse sentence."""
    if not messages:
        raise HandsError(ErrorClass.PERMANENT, "a model call needs at least one message")
    return list(messages)


@dataclass(slots=True)
class Degrade:
    """What a server turned out not to know, remembered by (base URL, model), so that it is asked once only.

    `options` names each feature's ways from the best to the plainest; `hints` the words in a 400 that mean it.
    """

    options: Mapping[str, tuple[str, ...]]
    hints: Mapping[str, tuple[str, ...]]
    chosen: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def way(self, server: str, model: str, feature: str) -> str:
        """How `feature` is asked for at this server now."""
        return self.options[feature][self.chosen.get((server, model), {}).get(feature, 0)]

    def plainer(self, server: str, model: str, error: HandsError, used: frozenset[str]) -> str:
        """Steps one feature down that `error` complains about; the note for people, or "" when nothing can be stepped.

        Only a refused request (400, 404, 422, 501) is read, and only for features that the request `used`.
        """
        if error.status not in (400, 404, 422, 501):
            return ""
        words = error.message.lower()
        state = self.chosen.setdefault((server, model), {})
        for feature in self.options:
            at = state.get(feature, 0)
            ways = self.options[feature]
            if feature in used and at + 1 < len(ways) and any(hint in words for hint in self.hints[feature]):
                state[feature] = at + 1
                return f"{model} at {server} does not know {feature} {ways[at]}: asked with {ways[at + 1]}"
        return ""
