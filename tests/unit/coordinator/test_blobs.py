"""Long texts as files: chunks in order, resumable, checked against the id, whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ledger import salted
from loom.coordinator.blobs import BlobFiles
from loom.coordinator.errors import BlobMismatch, BlobMissing, BlobTooLarge
from loom.workers.protocol import MAX_BLOB

DATA = bytes(range(256)) * 40
ONE = salted(DATA)


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "blobs")


def test_chunks_make_a_text(files: BlobFiles, tmp_path: Path) -> None:
    """Sent in pieces, it stands under its id, and nothing partial is left."""
    assert 0 == files.begin(ONE.id, ONE.salt, ONE.size)
    offset = 0
    while offset < ONE.size:
        offset = files.append(ONE.id, offset, DATA[offset : offset + 1_000])
    assert not files.has(ONE.id)
    files.finish(ONE.id)
    assert DATA == files.read(ONE.id)
    assert (tmp_path / "blobs" / ONE.id[:2] / ONE.id).is_file()
    assert [] == list((tmp_path / "blobs" / "part").iterdir())
    assert ONE.size == files.begin(ONE.id, ONE.salt, ONE.size)
    files.finish(ONE.id)


def test_an_interrupted_text_goes_on_where_it_was(files: BlobFiles, tmp_path: Path) -> None:
    """Another process takes up what the first one held."""
    files.begin(ONE.id, ONE.salt, ONE.size)
    files.append(ONE.id, 0, DATA[:3_000])
    later = BlobFiles(tmp_path / "blobs")
    assert 3_000 == later.begin(ONE.id, ONE.salt, ONE.size)
    assert 3_000 == later.append(ONE.id, 0, DATA[:3_000])
    later.append(ONE.id, 3_000, DATA[3_000:])
    later.finish(ONE.id)
    assert DATA == later.read(ONE.id)


@pytest.mark.parametrize("sent", [DATA[:-1], DATA[:-1] + b"!"])
def test_other_bytes_are_refused(files: BlobFiles, sent: bytes) -> None:
    """Too short or changed: refused, forgotten, and the true text can be sent after it."""
    files.begin(ONE.id, ONE.salt, ONE.size)
    files.append(ONE.id, 0, sent)
    with pytest.raises(BlobMismatch):
        files.finish(ONE.id)
    assert not files.has(ONE.id)
    files.put(ONE.id, ONE.salt, DATA)
    assert DATA == files.read(ONE.id)


def test_bounds(files: BlobFiles) -> None:
    """Longer than announced, longer than any, never begun, not there: each is said."""
    with pytest.raises(BlobTooLarge):
        files.begin(ONE.id, ONE.salt, MAX_BLOB + 1)
    files.begin(ONE.id, ONE.salt, 10)
    with pytest.raises(BlobMismatch):
        files.append(ONE.id, 0, DATA)
    for call in (lambda: files.append("0" * 64, 0, b"x"), lambda: files.finish("0" * 64), lambda: files.read("0" * 64)):
        with pytest.raises(BlobMissing):
            call()


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 63 + "/"])
def test_names_that_are_no_ids_reach_no_file(files: BlobFiles, name: str) -> None:
    """What is not 64 hex digits names nothing."""
    with pytest.raises(BlobMissing):
        files.read(name)


def test_an_empty_text(files: BlobFiles) -> None:
    """Nothing is a text, too."""
    nothing = salted(b"")
    files.put(nothing.id, nothing.salt, b"")
    assert b"" == files.read(nothing.id)
