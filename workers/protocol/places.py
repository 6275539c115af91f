"""Places as text: a path that is not UTF-8 stands in git's C-quoted form, everywhere outside git."""

from __future__ import annotations

import re

_NAMED = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_BACK = {name: bytes([code]) for code, name in _NAMED.items()}
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)


def quote_path(path: bytes) -> str:
    """A path as text: itself when it is UTF-8 and does not begin with a quotation mark, else git's C-quoted form
    (quote.c, "quote_c_style"): in quotation marks, bytes that are not printable ASCII as escapes."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if not text.startswith('"'):
            return text
    return '"' + "".join(_escaped(code) for code in path) + '"'


def _escaped(code: int) -> str:
    if code in _NAMED:
        return "\\" + _NAMED[code]
    return chr(code) if 32 <= code < 127 else f"\\{code:03o}"


def unquote_path(text: str) -> bytes:
    """The bytes of a path that `quote_path` (or git) wrote. Raises ValueError when the quoting is not whole."""
    if not text.startswith('"'):
        return text.encode("utf-8")
    if len(text) < 2 or not text.endswith('"'):
        raise ValueError(f"path {text!r} begins with a quotation mark and does not end with one")
    return _ESCAPE.sub(_unescaped, text[1:-1].encode("utf-8"))


def _unescaped(match: re.Match[bytes]) -> bytes:
    name = match[1].decode("latin-1")
    if len(name) == 3:
        code = int(name, 8)
        if code > 255:
            raise ValueError(f"\\{name} is not a byte")
        return bytes([code])
    try:
        return _BACK[name]
    except KeyError:
        raise ValueError(f"\\{name} is not an escape of git's quoted paths") from None
