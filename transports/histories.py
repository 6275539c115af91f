"""Recorded runs, wherever they stand: in a home, or in a history file that was saved from one.

    with HomeRuns(home, tasks) as runs: …        the ledger of a home, over a read-only connection
    with FileRuns(path) as runs: …               a file: JSON lines under xz, readable with `xzcat`
    save(path, runs, note)                       the one as the other

A history file holds entries, byte for byte as they stood in the ledger, the archives of the bundles that they were decided
by, and the lists of changed paths. It is for replay and what-if. It proves nothing: nobody signed it.
"""

from __future__ import annotations

import asyncio
import lzma
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import msgspec

from loom.coordinator.errors import BlobMissing, CodecError
from loom.coordinator.home import Home
from loom.coordinator.queries import Queries
from loom.transports.errors import UnavailableProblem

FORMAT = 1
NOT_KEPT = "The bundle {} that a decision was taken by is not kept here."

T = TypeVar("T")


class Runs(Protocol):
    """Where recorded runs are read from. Entries of one task stand in their order."""

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """(seq, stored bytes)."""
        ...

    def archive(self, digest: str) -> bytes:
        """The archive of a bundle that one of the entries read so far names. Raises UnavailableProblem."""
        ...

    def text(self, identifier: str) -> bytes | None:
        """A text that one of the entries read so far names; None: it is not stored (any more)."""
        ...


# ------------------------------------------------------------------------------------------------------------- a home


class HomeRuns:
    """The entries of some tasks, one task after the other, or (tasks None) of everything in the order of the log."""

    def __init__(self, home: Home, tasks: Sequence[str] | None = None) -> None:
        """Raises StoreError's tree when it is entered."""
        self._home, self._tasks = home, tasks
        self._stack = ExitStack()
        self._archives: dict[str, str] | None = None

    def __enter__(self) -> HomeRuns:
        self._loop = asyncio.new_event_loop()
        self._stack.callback(self._loop.close)
        try:
            opened = Queries.opened(self._home.database, self._home.blobs)
            self._queries = self._wait(opened.__aenter__())
            self._stack.callback(lambda: self._wait(opened.__aexit__(None, None, None)))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asked)

    def entries(self) -> Iterator[tuple[int, bytes]]:
        for task in (None,) if self._tasks is None else self._tasks:
            entries = self._queries.entries(task)
            while (found := self._wait(_next(entries))) is not None:
                yield found

    def archive(self, digest: str) -> bytes:
        if self._archives is None:
            self._archives = {row["digest"]: row["archive"]["blob"] for row in self._wait(self._queries.bundles())}
        if digest not in self._archives:
            raise UnavailableProblem(NOT_KEPT.format(digest[:12]), "loom doctor")
        return self._wait(self._queries.text(self._archives[digest]))

    def text(self, identifier: str) -> bytes | None:
        try:
            return self._wait(self._queries.text(identifier))
        except BlobMissing:
            return None


async def _next(entries: Any) -> tuple[int, bytes] | None:
    found: tuple[int, bytes] | None = await anext(entries, None)
    return found


# ------------------------------------------------------------------------------------------------------------- a file


class Head(msgspec.Struct, frozen=True, tag="history", tag_field="line"):
    """The first line."""

    format: int
    note: str = ""


class Kept(msgspec.Struct, frozen=True, tag="bundle", tag_field="line"):
    """A bundle's archive; it stands before the first entry that names its digest."""

    digest: str
    archive: bytes


class Told(msgspec.Struct, frozen=True, tag="text", tag_field="line"):
    """A text that a later entry names."""

    id: str
    data: bytes


class Stood(msgspec.Struct, frozen=True, tag="entry", tag_field="line"):
    """An entry of the ledger: its bytes as they were hashed."""

    seq: int
    body: msgspec.Raw


Line = Head | Kept | Told | Stood
encode_line = msgspec.json.Encoder().encode
_line: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def decode_line(data: bytes) -> Line:
    """One line. Raises msgspec.MsgspecError."""
    return _line.decode(data)


class FileRuns:
    """The runs of a history file."""

    def __init__(self, path: Path) -> None:
        """Raises UnavailableProblem, here or while it is read, when this is no such file."""
        self._path = path
        self.note = ""
        self._archives: dict[str, bytes] = {}
        self._texts: dict[str, bytes] = {}

    def __enter__(self) -> FileRuns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def entries(self) -> Iterator[tuple[int, bytes]]:
        for line in self._lines():
            match line:
                case Head():
                    self.note = line.note
                case Kept():
                    self._archives[line.digest] = line.archive
                case Told():
                    self._texts[line.id] = line.data
                case Stood():
                    yield line.seq, bytes(line.body)

    def _lines(self) -> Iterator[Line]:
        try:
            with lzma.open(self._path) as file:
                first = decode_line(file.readline())
                if not isinstance(first, Head) or first.format != FORMAT:
                    raise self._foreign(f"it is no history of format {FORMAT}")
                yield first
                yield from map(decode_line, file)
        except (OSError, EOFError, lzma.LZMAError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._foreign(str(error)) from error

    def _foreign(self, why: str) -> UnavailableProblem:
        return UnavailableProblem(f"The history {self._path} cannot be read: {why}.")

    def archive(self, digest: str) -> bytes:
        if digest not in self._archives:
            raise UnavailableProblem(NOT_KEPT.format(digest[:12]))
        return self._archives[digest]

    def text(self, identifier: str) -> bytes | None:
        return self._texts.get(identifier)


def save(path: Path, runs: Runs, note: str) -> int:
    """Write these runs as a history file; returns the number of entries. Raises OSError, and what `runs` raises."""
    count = 0
    with lzma.open(path, "wb", preset=9 | lzma.PRESET_EXTREME) as file:
        for line in told(runs, note):
            file.write(encode_line(line) + b"\n")
            count += isinstance(line, Stood)
    return count


def told(runs: Runs, note: str = "", wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Line]:
    """The runs as lines: head, and each entry after the archive and the texts that it needs. wanted: of a task's id."""
    yield Head(FORMAT, note)
    bundles: set[str] = set()
    texts: set[str] = set()
    for seq, body in runs.entries():
        peek = _peek(body)
        if not wanted(peek.task):
            continue
        digest = peek.rules.digest
        if digest and digest not in bundles:
            bundles.add(digest)
            yield Kept(digest, runs.archive(digest))
        for identifier in _lists(peek):
            if identifier not in texts and (data := runs.text(identifier)) is not None:
                texts.add(identifier)
                yield Told(identifier, data)
        yield Stood(seq, msgspec.Raw(body))


class _Pin(msgspec.Struct, frozen=True):
    digest: str


class _Peek(msgspec.Struct, frozen=True):
    task: str
    rules: _Pin
    command: tuple[str, msgspec.Raw]


class _Text(msgspec.Struct, frozen=True):
    blob: str = ""


class _Listed(msgspec.Struct, frozen=True):
    change_list: _Text = _Text()


_peeked = msgspec.json.Decoder(_Peek)
_listed = msgspec.json.Decoder(_Listed)


def _peek(body: bytes) -> _Peek:
    try:
        return _peeked.decode(body)
    except msgspec.MsgspecError as error:
        raise CodecError(f"This is no entry: {error}.") from error


def _lists(peek: _Peek) -> Iterator[str]:
    """The list of changed paths that an attempt brought, where it is a stored text."""
    kind, fields = peek.command
    if kind == "AttemptEnded" and (blob := _listed.decode(fields).change_list.blob):
        yield blob
