"""Signed notes: the published example, what we write, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.coordinator.keys import LogKey, make_log_key
from loom.coordinator.proof import notes
from loom.coordinator.proof.notes import Checkpoint, NoteError, VerifierKey

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""Of golang.org/x/mod/sumdb/note."""
KEY = make_log_key("loom.local/abc", bytes(range(32)))
HEAD = Checkpoint("loom.local/abc", 7, bytes(32))


def public(key: LogKey) -> VerifierKey:
    return notes.verifier_key(key.public)


def witness(seed: int = 9) -> tuple[VerifierKey, LogKey]:
    """A witness's key: the same Ed25519, of the type that cosigns."""
    key = make_log_key("witness.example", bytes([seed]) * 32)
    raw = public(key).public
    typed = bytes([notes.COSIGNATURE]) + raw
    return VerifierKey("witness.example", notes.key_id("witness.example", typed), notes.COSIGNATURE, raw), key


def test_the_published_example() -> None:
    """Its signature verifies under its key; with a word changed it is named as wrong."""
    key = notes.verifier_key(PETER)
    assert PETER == key.line
    assert notes.signed_by(notes.parse(EXAMPLE), key)
    with pytest.raises(NoteError, match="PeterNeumann"):
        notes.signed_by(notes.parse(EXAMPLE.replace("answer", "problem")), key)


def test_a_checkpoint_goes_there_and_back() -> None:
    """Origin, size, root: signed, parsed, verified; another key did not sign it."""
    signed = notes.sign(HEAD.text, public(KEY), KEY.sign)
    parsed = notes.parse(signed)
    assert HEAD == notes.checkpoint(parsed.text)
    assert notes.signed_by(parsed, public(KEY))
    assert not notes.signed_by(parsed, public(make_log_key("loom.local/abc", bytes(32))))


def test_a_cosignature_says_when() -> None:
    """A witness adds a line of its own; the log's signature stands; the time is signed, too."""
    key, signer = witness()
    note = notes.cosign(notes.sign(HEAD.text, public(KEY), KEY.sign), key, signer.sign, 1_700_000_000)
    parsed = notes.parse(note)
    assert notes.signed_by(parsed, public(KEY))
    assert notes.signed_by(parsed, key)
    assert 1_700_000_000 == notes.cosigned_at(parsed, key)
    name, identifier, signature = parsed.signatures[1]
    later = (1_700_000_001).to_bytes(8, "big") + signature[8:]
    moved = notes.Note(parsed.text, (parsed.signatures[0], (name, identifier, later)))
    with pytest.raises(NoteError, match=r"witness\.example"):
        notes.signed_by(moved, key)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_no_signed_head(place: int, change: int) -> None:
    """No single byte of a signed checkpoint can be another one."""
    note = notes.sign(HEAD.text, public(KEY), KEY.sign).encode()
    place %= len(note)
    wrong = note[:place] + bytes([note[place] ^ change]) + note[place + 1 :]
    try:
        parsed = notes.parse(wrong.decode())
        good = notes.signed_by(parsed, public(KEY)) and notes.checkpoint(parsed.text) == HEAD
    except ValueError:
        good = False
    assert not good


@pytest.mark.parametrize(
    "text",
    ["", "o\n", "o\n1\n", "o\n01\n" + "A" * 43 + "=\n", "o\n-1\n" + "A" * 43 + "=\n", "o\n1\nAAAA\n", "\n1\nAAAA\n", "o\n1\n!\n",
     "o\n" + "9" * 5_000 + "\n" + "A" * 43 + "=\n"],
)  # fmt: skip
def test_what_is_no_checkpoint(text: str) -> None:
    """Each is refused with a sentence, whatever its numbers."""
    with pytest.raises(NoteError):
        notes.checkpoint(text)


@pytest.mark.parametrize(
    "line", ["", "a+b", "a b+00000000+AQ==", PETER[:-4], PETER.replace("c74f", "c74e"), PETER + "A"]
)
def test_what_is_no_key(line: str) -> None:
    """A key that cannot be what it says verifies nothing."""
    with pytest.raises(NoteError):
        notes.verifier_key(line)


@pytest.mark.parametrize(
    "text", ["", "a\n", "a\n\n", "a\n\nb\n", "a\n\n— x !\n", "a\n\n— x AAAA\n", "a\n\n- x AAAAAAAA\n"]
)
def test_what_is_no_note(text: str) -> None:
    """A text without lines of signatures is refused, not taken for unsigned."""
    with pytest.raises(NoteError):
        notes.parse(text)
