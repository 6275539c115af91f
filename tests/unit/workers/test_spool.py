"""The spool keeps reports until they are answered, over deaths of its process; both implementations alike."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from loom.workers import spool as spools
from loom.workers.protocol import End, Report, Text, salted_id
from loom.workers.spool import FileSpool, MemorySpool, Spool

Make = Callable[[], Spool]


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens the same spool: the second call is the next process."""
    if request.param == "file":
        return lambda: FileSpool(tmp_path / "spool")
    memory = MemorySpool()
    return lambda: memory


def report(number: int, texts: tuple[Text, ...] = ()) -> Report:
    return Report(attempt=f"t/s.1/a#{number}", fence=number, end=End.REPORTED, texts=texts)


def large(data: bytes = b"x" * 40_000) -> Text:
    return Text(id=salted_id(b"salt", data), salt=b"salt", size=len(data), data=data)


def test_what_was_kept_is_there_for_the_next_process(make: Make) -> None:
    """Reports come back oldest first, without those that were answered."""
    first = make()
    first.keep([report(1), report(2)])
    first.keep([report(3)])
    first.forget([report(2)])
    assert (report(1), report(3)) == make().reports()


def test_large_texts_live_as_long_as_their_report(make: Make) -> None:
    """The bytes are there for the next process, and gone when the report was answered."""
    text = large()
    named = report(1, (Text(id=text.id, salt=text.salt, size=text.size),))
    first = make()
    first.keep_text(text)
    first.keep([named])
    again = make()
    assert text.data == again.text(text.id)
    again.forget([named])
    with pytest.raises(KeyError):
        again.text(text.id)


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    """The process died while it wrote: what was durable before is there, and more can be kept."""
    spool = FileSpool(tmp_path)
    spool.keep([report(1), report(2)])
    journal = tmp_path / "reports"
    journal.write_bytes(journal.read_bytes()[:-3])
    again = FileSpool(tmp_path)
    assert (report(1),) == again.reports()
    again.keep([report(4)])
    assert (report(1), report(4)) == FileSpool(tmp_path).reports()


def test_a_flipped_byte_is_no_report(tmp_path: Path) -> None:
    """A record that is not what was written is not reported."""
    FileSpool(tmp_path).keep([report(1)])
    journal = tmp_path / "reports"
    data = bytearray(journal.read_bytes())
    data[-2] ^= 1
    journal.write_bytes(data)
    assert () == FileSpool(tmp_path).reports()


def test_the_journal_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rewritten while reports wait, cut back when none does."""
    monkeypatch.setattr(spools, "REWRITE_BYTES", 4_000)
    monkeypatch.setattr(spools, "COMPACT_BYTES", 1_000)
    spool = FileSpool(tmp_path)
    spool.keep([report(0)])
    for number in range(1, 200):
        spool.keep([report(number)])
        spool.forget([report(number)])
        assert (tmp_path / "reports").stat().st_size < 8_000
    assert (report(0),) == FileSpool(tmp_path).reports()
    spool.keep([report(number) for number in range(1, 30)])
    spool.forget(spool.reports())
    assert 0 == (tmp_path / "reports").stat().st_size


def test_a_full_disk_keeps_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OSError, and the journal is as before: the report is not taken for durable."""
    spool = FileSpool(tmp_path)
    spool.keep([report(1)])
    before = (tmp_path / "reports").read_bytes()

    def full(file: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="space"):
            spool.keep([report(2)])
    assert (before, (report(1),)) == ((tmp_path / "reports").read_bytes(), spool.reports())
    spool.keep([report(2)])
    assert (report(1), report(2)) == FileSpool(tmp_path).reports()


def test_texts_of_no_report_are_swept(tmp_path: Path) -> None:
    """A text whose report was never finished does not stay."""
    text = large()
    FileSpool(tmp_path).keep_text(text)
    FileSpool(tmp_path)
    assert [] == list((tmp_path / "texts").iterdir())


@pytest.mark.parametrize(
    "payload", [b'R{"attempt":"t/s.1/a#7","fence":7,"end":"of a later version"}', b'F{"x":1}', b"X new", b'R"\xff"']
)
def test_a_sound_record_of_another_version_is_put_aside(
    tmp_path: Path, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts all the same with what it can read; the record lies in reports.bad, once, and the log says so."""
    FileSpool(tmp_path).keep([report(1)])
    record = struct.pack(">II", len(payload), zlib.crc32(payload)) + payload
    with (tmp_path / "reports").open("ab") as journal:
        journal.write(record)
    again = FileSpool(tmp_path)
    assert (report(1),) == again.reports()
    assert record == (tmp_path / "reports.bad").read_bytes()
    assert "reports.bad" in caplog.text
    again.keep([report(2)])
    assert (report(1), report(2)) == FileSpool(tmp_path).reports()
    assert record == (tmp_path / "reports.bad").read_bytes()
