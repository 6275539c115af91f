"""Two keys of a finding, computed from its full text when it is admitted: which finding it is, and which trouble it is.

The *identity* tells one finding from another (agent, place, line, check, text). The *stall key* recognises the same
trouble in another round: the place without its line, the category, and the message without what changes by itself.
"""

from __future__ import annotations

import hashlib
import re

KEY_LENGTH = 16
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
_NOISE = re.compile(r"[^\w#]+")


def identity(agent: str, path: str, line: int, category: str, text: str) -> str:
    """Sixteen hex digits of SHA-256 over the parts."""
    return _digest(agent, path, str(line), category, text)


def stall_key(path: str, category: str, text: str) -> str:
    """Sixteen hex digits of SHA-256 over place without line, category and normalised message."""
    return _digest(path, category, normalised(text))


def normalised(text: str) -> str:
    """The message in lower case, with numbers as "#" and every run of other signs as one space."""
    return _NOISE.sub(" ", _NUMBER.sub("#", text.lower())).strip()


def _digest(*parts: str) -> str:
    joined = "\x00".join(parts).encode()
    return hashlib.sha256(joined).hexdigest()[:KEY_LENGTH]
