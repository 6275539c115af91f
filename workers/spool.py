"""The spool: reports and their large texts, durable until the coordinator has answered.

A directory of one worker name (the slot lock makes its process the only writer): `reports` is a journal of framed,
checksummed records, `texts/<id>` holds what does not fit a control frame. Reports of one group cost one fsync. A process
that died leaves its spool to the next one of the same name, which reports again what was not answered.

    record = length (4 bytes) ‖ CRC-32 (4 bytes) ‖ payload;   payload = "R" ‖ Report as JSON  |  "F" ‖ [attempt, fence]

A torn record at the end (the process died while it wrote) is cut off. An answered report is marked without an fsync: should
the mark be lost, the report is sent once more and answered Duplicate. A sound record that this version cannot read (another
one wrote it) is put aside into `reports.bad`, in the same frame, and the log says so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from loom.workers.protocol import Report, Text, salted_id

COMPACT_BYTES = 1024 * 1024
"""A spool with nothing in it is cut back when its journal is longer."""
REWRITE_BYTES = 8 * 1024 * 1024
"""A journal that grew by so much (and to thrice what was in it) is rewritten with what still waits."""

BAD_BYTES = 16 * 1024 * 1024
"""`reports.bad` does not grow beyond this; what would is named in the log alone."""

log = logging.getLogger(__name__)

Key = tuple[str, int]
_HEAD = struct.Struct(">II")
_report = msgspec.json.Decoder(Report)
_mark = msgspec.json.Decoder(tuple[str, int])


class Spool(Protocol):
    """Where reports wait for their answer."""

    def reports(self) -> tuple[Report, ...]:
        """What is not answered yet, oldest first."""
        ...

    def keep(self, reports: Sequence[Report]) -> None:
        """Durable when it returns. Raises OSError when the disk does not take it: nothing was kept then."""
        ...

    def forget(self, reports: Iterable[Report]) -> None:
        """They were answered; their texts go with them."""
        ...

    def keep_text(self, text: Text) -> None:
        """Keeps the bytes of a large text, durably. Raises OSError."""
        ...

    def text(self, text_id: str) -> bytes:
        """The bytes of a kept text. Raises KeyError."""
        ...


class FileSpool:
    """The spool on disk."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._texts = directory / "texts"
        self._texts.mkdir(exist_ok=True, mode=0o700)
        self._directory = directory
        self._waiting: dict[Key, Report] = {}
        self._file = os.open(directory / "reports", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._base = 0
        self._end = 0
        self._read()
        _fsync_directory(directory)
        self._sweep()

    def close(self) -> None:
        os.close(self._file)

    def reports(self) -> tuple[Report, ...]:
        return tuple(self._waiting.values())

    def keep(self, reports: Sequence[Report]) -> None:
        data = b"".join(_record(b"R" + msgspec.json.encode(report)) for report in reports)
        self._append(data)
        os.fdatasync(self._file)
        self._waiting.update({(report.attempt, report.fence): report for report in reports})

    def forget(self, reports: Iterable[Report]) -> None:
        marks = []
        for report in reports:
            key = (report.attempt, report.fence)
            if self._waiting.pop(key, None) is not None:
                marks.append(_record(b"F" + msgspec.json.encode(key)))
                for text in report.texts:
                    if text.data is None:
                        (self._texts / text.id).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # at worst they are reported once more, and answered Duplicate
            if not self._waiting and self._end > COMPACT_BYTES:
                os.ftruncate(self._file, 0)
                self._end = 0
            elif marks:
                self._append(b"".join(marks))
            if self._end > REWRITE_BYTES + 2 * self._base:
                self._rewrite(self._needed())

    def keep_text(self, text: Text) -> None:
        if text.data is None:
            raise ValueError(f"text {text.id} has no bytes to keep")
        path = self._texts / _name(text.id)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(text.data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        _fsync_directory(self._texts)

    def text(self, text_id: str) -> bytes:
        try:
            return (self._texts / _name(text_id)).read_bytes()
        except FileNotFoundError:
            raise KeyError(text_id) from None

    def _append(self, data: bytes) -> None:
        """All of it or, as far as the reader is concerned, nothing."""
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], self._end + done)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end += len(data)

    def _read(self) -> None:
        """Takes in the journal, cuts off what is not sound and puts aside what cannot be read."""
        data = (self._directory / "reports").read_bytes()
        bad = []
        while payload := _payload(data, self._end):
            self._end += _HEAD.size + len(payload)
            try:
                self._take(payload)
            except (msgspec.MsgspecError, ValueError) as error:  # ValueError: bytes that are no UTF-8
                bad.append(payload)
                log.error("a record of the spool %s cannot be read: %s", self._directory, error)
        os.ftruncate(self._file, self._end)
        if bad:
            self._put_aside(b"".join(map(_record, bad)))

    def _take(self, payload: bytes) -> None:
        if payload[:1] == b"R":
            report = _report.decode(payload[1:])
            self._waiting[(report.attempt, report.fence)] = report
        elif payload[:1] == b"F":
            self._waiting.pop(_mark.decode(payload[1:]), None)
        else:
            raise ValueError(f"a kind of record that this version does not know: {payload[:1]!r}")

    def _put_aside(self, data: bytes) -> None:
        """Into `reports.bad`, durably, and only then out of the journal. Raises OSError."""
        path = self._directory / "reports.bad"
        with path.open("ab") as file:
            if file.tell() + len(data) <= BAD_BYTES:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                log.error("what cannot be read lies in %s; start the version of loom that wrote it to report it", path)
        self._rewrite(self._needed())

    def _needed(self) -> bytes:
        return b"".join(_record(b"R" + msgspec.json.encode(report)) for report in self._waiting.values())

    def _rewrite(self, data: bytes) -> None:
        part = self._directory / "reports.part"
        part.write_bytes(data)
        file = os.open(part, os.O_RDWR | os.O_CLOEXEC)
        os.fsync(file)
        part.rename(self._directory / "reports")
        _fsync_directory(self._directory)
        os.close(self._file)
        self._file, self._base, self._end = file, len(data), len(data)

    def _sweep(self) -> None:
        """Texts of reports that were never finished or are answered."""
        named = {text.id for report in self._waiting.values() for text in report.texts}
        for path in self._texts.iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)


class MemorySpool:
    """The spool for tests and the simulator: what `keep` took outlives the actor, as a disk would."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Report] = {}
        self._texts: dict[str, bytes] = {}

    def reports(self) -> tuple[Report, ...]:
        return tuple(self._waiting.values())

    def keep(self, reports: Sequence[Report]) -> None:
        self._waiting.update({(report.attempt, report.fence): report for report in reports})

    def forget(self, reports: Iterable[Report]) -> None:
        for report in reports:
            self._waiting.pop((report.attempt, report.fence), None)
            for text in report.texts:
                self._texts.pop(text.id, None)

    def keep_text(self, text: Text) -> None:
        if text.data is None:
            raise ValueError(f"text {text.id} has no bytes to keep")
        self._texts[text.id] = text.data

    def text(self, text_id: str) -> bytes:
        return self._texts[text_id]


def checked(text: Text, data: bytes) -> bool:
    """Whether the bytes are the text's."""
    return len(data) == text.size and salted_id(text.salt, data) == text.id


def _record(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _payload(data: bytes, start: int) -> bytes:
    """The payload of the record that begins at `start`, b"" when there is no whole, sound one."""
    if len(data) - start < _HEAD.size:
        return b""
    length, crc = _HEAD.unpack_from(data, start)
    payload = data[start + _HEAD.size : start + _HEAD.size + length]
    return payload if len(payload) == length and zlib.crc32(payload) == crc else b""


def _name(text_id: str) -> str:
    if not (text_id.isascii() and text_id.isalnum()):
        raise ValueError(f"{text_id!r} is no text id; write hex SHA-256")
    return text_id


def _fsync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
