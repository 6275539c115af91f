"""The file tools of the `api` harness, confined to one tree.

A path is relative, has no `..`, and no component `.git` or `.loom` in any case; after every symbolic link is followed it
must still lie in the tree. What is refused is told to the model as a sentence (`Refused`), never raised further. A path
that is not UTF-8 is shown, and taken, in git's C-quoted form.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from loom.workers.git import quote_path, unquote_path
from loom.workers.harnesses.transcript import cut

MAX_FILE = 2 * 1024 * 1024
"""Bytes of one file that is read or written."""
MAX_SHOWN = 48 * 1024
"""Characters of one tool's result."""
MAX_LISTED = 2_000
"""Paths in one listing."""
MAX_LINES = 1_000
"""Lines of one read without a range."""

FORBIDDEN = frozenset({".git", ".loom"})


class Refused(Exception):
    """A tool cannot do that; the message is for the model."""


class Tree:
    """The files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))

    def resolve(self, path: str) -> Path:
        """The real place of a path in the tree (it need not exist). Raises Refused."""
        if "\0" in path:
            raise Refused("a path has no NUL")
        relative = Path(os.fsdecode(unquote_path(path)))
        if relative.is_absolute():
            raise Refused(f"{path}: give a path relative to the top of the workspace")
        if ".." in relative.parts:
            raise Refused(f"{path}: a path may not have '..'")
        place = Path(os.path.realpath(self.root / relative))
        if place != self.root and self.root not in place.parents:
            raise Refused(f"{path}: leads out of the workspace")
        parts = (*relative.parts, *place.relative_to(self.root).parts)
        if any(part.lower() in FORBIDDEN for part in parts):
            raise Refused(f"{path}: is not part of the work")
        return place

    def name(self, place: Path) -> str:
        """How a place is shown to the model."""
        return quote_path(os.fsencode(place.relative_to(self.root)))

    def list(self, path: str = ".") -> str:
        """Every file below a directory, one a line, with its size; directories that are links are not entered."""
        top = self.resolve(path or ".")
        if not top.is_dir():
            raise Refused(f"{path}: is not a directory")
        lines: list[str] = []
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(name for name in folders if name.lower() not in FORBIDDEN)
            for name in sorted(files):
                if len(lines) >= MAX_LISTED:
                    return "\n".join([*lines, f"… more than {MAX_LISTED} files: list a directory below"])
                place = Path(folder, name)
                lines.append(f"{self.name(place)}  {place.lstat().st_size}")
        return "\n".join(lines) or "no files"

    def read(self, path: str, first: int = 1, lines: int = MAX_LINES) -> str:
        """Lines of a text file, as they are, behind a line that says which."""
        text = self._text(path)
        every = text.splitlines(keepends=True)
        first, lines = max(1, first), max(1, min(lines, MAX_LINES))
        chosen = every[first - 1 : first - 1 + lines]
        head = f"{path}: lines {first}–{first - 1 + len(chosen)} of {len(every)}\n"
        return head + cut("".join(chosen), MAX_SHOWN)

    def edit(self, path: str, old: str, new: str, every: bool = False) -> str:
        """Replaces `old`, which must stand there exactly, and once unless `every`."""
        if not old:
            raise Refused("old is empty: use write to make a file")
        text = self._text(path)
        count = text.count(old)
        if count == 0:
            raise Refused(f"{path}: does not have that text; read it again, spaces and line ends count")
        if count > 1 and not every:
            raise Refused(f"{path}: has that text {count} times; give more of its surroundings, or every=true")
        self._put(path, text.replace(old, new))
        return f"{path}: {count} replaced"

    def write(self, path: str, content: str) -> str:
        """Makes or replaces a file, with its directories."""
        existed = self.resolve(path).exists()
        self._put(path, content)
        return f"{path}: {'replaced' if existed else 'made'}, {len(content.splitlines())} lines"

    def remove(self, path: str) -> str:
        """Removes one file (a link itself, not what it leads to)."""
        self.resolve(path)
        place = self.root / os.fsdecode(unquote_path(path))
        if not place.is_symlink() and not place.is_file():
            raise Refused(f"{path}: is not a file")
        place.unlink()
        return f"{path}: removed"

    def _text(self, path: str) -> str:
        place = self.resolve(path)
        try:
            facts = place.stat()
            if not stat.S_ISREG(facts.st_mode):
                raise Refused(f"{path}: is not a file")
            if facts.st_size > MAX_FILE:
                raise Refused(f"{path}: {facts.st_size} bytes, more than the {MAX_FILE} that are read")
            data = place.read_bytes()
        except FileNotFoundError:
            raise Refused(f"{path}: no such file") from None
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Refused(f"{path}: is not UTF-8 text") from None

    def _put(self, path: str, content: str) -> None:
        place = self.resolve(path)
        data = content.encode(errors="replace")
        if len(data) > MAX_FILE:
            raise Refused(f"{path}: {len(data)} bytes, more than the {MAX_FILE} that are written")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # Not truncated in place by a link that came meanwhile: the last component is never followed.
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
