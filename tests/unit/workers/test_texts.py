"""Texts are redacted before they are hashed, and a report always fits its frame."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from loom.workers.protocol import MAX_FRAME, MAX_INLINE, Change, ChangedPath, End, Report, Result, Text, encode
from loom.workers.texts import Redactor, Texts, fitted


def test_a_secret_is_cut_out_before_the_id_is_made() -> None:
    """The bytes, and so the id, do not depend on the secret; the longest known value goes first."""
    texts = Texts(Redactor({"SHORT": "secret-1", "LONG": "secret-1-and-more", "TINY": "abc", "NONE": None}))
    text_id = texts.add("a secret-1-and-more b secret-1 c abc")
    (text,) = texts.all()
    assert b"a \xc2\xabredacted:LONG\xc2\xbb b \xc2\xabredacted:SHORT\xc2\xbb c abc" == text.data
    assert text_id == hashlib.sha256(text.salt + (text.data or b"")).hexdigest()
    assert "" == texts.add("")


def test_equal_texts_have_different_ids() -> None:
    """A salt of its own keeps a text from being guessed by its id."""
    texts = Texts(Redactor({}))
    assert texts.add("yes") != texts.add("yes")


@given(st.lists(st.integers(0, 3 * MAX_INLINE), max_size=12), st.integers(0, 20_000))
async def test_a_report_fits_its_frame_and_no_text_is_lost(sizes: list[int], message: int) -> None:
    """Whatever the sizes: the frame is within its bound, and each text is inline or was stored, never both or neither."""
    texts = Texts(Redactor({}))
    for number, size in enumerate(sizes):
        texts.add_exact(bytes([number % 256]) * size)
    stored: list[Text] = []

    async def store(text: Text) -> None:
        stored.append(text)

    report = Report(attempt="t/s.0/a#1", fence=1, end=End.REPORTED, message="m" * message)
    done = await fitted(report, texts.all(), store)
    assert len(encode([done])) <= MAX_FRAME
    assert [text.id for text in texts.all()] == [text.id for text in done.texts]
    assert {text.id for text in done.texts if text.data is None} == {text.id for text in stored}
    assert all(text.data is not None and len(text.data) == text.size for text in stored)


async def test_a_change_of_many_files_fits_and_says_what_it_leaves_out() -> None:
    """Thousands of changed files: the frame holds the first of them, and a note counts the others."""
    paths = tuple(ChangedPath(path=f"folder/{number:05}.py", status="A", digest="d" * 64) for number in range(3_000))
    change = Change(commit="c", tree="t", base="b", digest="d", diff="x", paths=paths)
    result = Result(output='"' * 20_000, change=change)

    async def store(text: Text) -> None:
        raise AssertionError("there is no text")

    done = await fitted(Report(attempt="t/s.0/a#1", fence=1, end=End.REPORTED, result=result), (), store)
    assert len(encode([done])) <= MAX_FRAME
    assert done.result is not None
    assert done.result.change is not None
    kept = len(done.result.change.paths)
    assert 0 < kept < 3_000
    assert (f"{3_000 - kept} changed files are not listed one by one; the diff has them all",) == done.notes
