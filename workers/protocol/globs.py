"""Path patterns: gitignore-like globs over bytes.

`*` and `?` stay within one component, `**` crosses components, `[…]` is a set. A pattern without a slash matches the last
component at any depth; one that ends with a slash matches everything below. Letter case is ignored: these patterns guard
things, and on some file systems `Tests/` is `tests/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Matcher = Callable[[bytes], bool]


def matcher(patterns: Iterable[str]) -> Matcher:
    """A function that says whether a path (bytes, relative, without leading slash) matches one of the patterns."""
    compiled = [
        re.compile(_regex(pattern).encode("utf-8", "surrogateescape"), re.IGNORECASE | re.DOTALL)
        for pattern in patterns
    ]
    return lambda path: any(each.fullmatch(path) for each in compiled)


def _regex(pattern: str) -> str:
    anchored = "/" in pattern.rstrip("/")
    below = pattern.endswith("/")
    body = pattern.strip("/")
    result, position = ("" if anchored else "(?:.*/)?"), 0
    while position < len(body):
        piece, position = _piece(body, position)
        result += piece
    return result + ("/.*" if below else "")


def _piece(body: str, at: int) -> tuple[str, int]:
    if body.startswith("**/", at) and (at == 0 or body[at - 1] == "/"):
        return "(?:.*/)?", at + 3
    if body.startswith("**", at):
        return ".*", at + 2
    if body[at] == "*":
        return "[^/]*", at + 1
    if body[at] == "?":
        return "[^/]", at + 1
    end = body.find("]", at + 2)
    if body[at] == "[" and end > 0:
        members = body[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
        return f"(?!/)[{'^' + members[1:] if members[0] in '!^' else members}]", end + 1
    return re.escape(body[at]), at + 1
