"""What structured values look like in a column: JSON that a person can read."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from loom.coordinator.codec import encode_value
from loom.kernel.values import NO_TEXT, Pairs, Principal, Text

_dump = msgspec.json.Encoder(order="sorted").encode


def text_column(text: Text) -> str | None:
    """A text, inline or by reference; NULL for none."""
    if text is NO_TEXT or not (text.size or text.value or text.blob):
        return None
    return encode_value(text).decode()


def list_column(values: tuple[str, ...] | Pairs) -> str:
    """Words, or pairs of them, as a JSON array."""
    return _dump(values).decode() if values else "[]"


def map_column(values: dict[str, str] | dict[str, int]) -> str:
    """Named values as a JSON object."""
    return _dump(values).decode()


@lru_cache(maxsize=512)
def principal_column(principal: Principal) -> str:
    """Who, as a JSON object."""
    return encode_value(principal).decode()
