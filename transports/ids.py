"""Task ids: ten characters that can be read aloud, typed, and used in a ref, a path and a button."""

from __future__ import annotations

import os
import re

ALPHABET = "abcdefghjkmnpqrstuvwxyz023456789"
"""32 letters and digits; i, l, o and 1 are left out, because they are taken for one another."""
LENGTH = 10

_TASK = re.compile(rf"[{ALPHABET}]{{{LENGTH}}}")

assert len(set(ALPHABET)) == 32


def new_task_id() -> str:
    """A new id: 50 random bits, so a home with a million tasks meets a used one once in two thousand homes.

    The coordinator rejects a used one, and the caller draws again.
    """
    return "".join(ALPHABET[byte & 31] for byte in os.urandom(LENGTH))


def is_task_id(text: str) -> bool:
    """Whether this has the shape of a task id."""
    return _TASK.fullmatch(text) is not None
