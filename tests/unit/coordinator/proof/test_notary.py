"""Signed heads: only of what was committed, at most one a second; rotation: the old key signs the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.proving import Proved
from loom.coordinator.errors import KeyDamaged, StoreFull
from loom.coordinator.keys import LOG_KEY, make_log_key, write_private
from loom.coordinator.merkle import root
from loom.coordinator.proof import notes
from loom.coordinator.proof.export import export
from loom.coordinator.proof.home_check import verify_home
from loom.coordinator.proof.judging import Judgement, Level, State
from loom.coordinator.proof.notary import EVERY_MS
from loom.coordinator.proof.reading import LogReader
from loom.coordinator.proof.rotating import follow, rotation_text
from loom.coordinator.proof.rotation import NEXT_KEY, rotate
from loom.coordinator.proof.verify import verify
from loom.kernel.commands import ChangeSetting


@pytest.fixture
def made(tmp_path: Path) -> Proved:
    return Proved.make(tmp_path)


def heads(made: Proved) -> list[notes.Checkpoint]:
    with LogReader(made.home) as log:
        return [notes.checkpoint(notes.parse(note).text) for _, _, note in log.checkpoints()]


def test_heads_are_signed_once_a_second(made: Proved) -> None:
    """Many looks, many entries: one head in a second, the committed one; nothing new, no head."""
    notary, core = made.opened.notary, made.opened.core
    for mono_ms in range(0, EVERY_MS, 100):
        made.ask(_setting(mono_ms))
        notary.look(core.head.edge, mono_ms, made.now_ms)
    (head,) = heads(made)
    assert head.size < core.head.seq
    notary.look(core.head.edge, EVERY_MS, made.now_ms)
    notary.look(core.head.edge, 2 * EVERY_MS, made.now_ms)
    assert [head.size, core.head.seq] == [each.size for each in heads(made)]
    assert root(core.head.edge) == heads(made)[-1].root
    made.close()
    assert not verify_home(made.home, key=notes.verifier_key(made.key)).failed


def _setting(number: int) -> ChangeSetting:
    return ChangeSetting("a", str(number + 1))


def test_a_full_disk_costs_a_head_and_nothing_else(made: Proved, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head is signed when there is room again; the store stands as it was."""
    notary, core = made.opened.notary, made.opened.core
    with monkeypatch.context() as patched:
        patched.setattr(core.store, "commit", _full)
        notary.look(core.head.edge, 0, made.now_ms)
    assert [] == heads(made)
    made.ask(_setting(1))
    notary.look(core.head.edge, EVERY_MS, made.now_ms)
    assert [core.head.seq] == [each.size for each in heads(made)]
    made.close()


def _full() -> None:
    raise StoreFull("the disk is full.")


def test_rotation(made: Proved, tmp_path: Path) -> None:
    """Entries, heads and evidence before and after verify with the old key and with the new one; the old private key is gone."""
    made.task("t1")
    made.close()
    old = notes.verifier_key(made.key)
    before = tmp_path / "before"
    export(made.home, before, task="t1")
    line = rotate(made.home, version="0")
    new = notes.verifier_key(made.key)
    assert (line, old.name) == (new.line, new.name)
    assert old.identifier not in (made.home.keys / LOG_KEY).read_text()
    made.reopen()
    made.task("t2")
    made.close()
    assert [old.identifier, new.identifier] == _signers(made)
    after = tmp_path / "after"
    export(made.home, after, task="t2")
    for path, key in ((before, old), (after, old), (after, new)):
        found = verify(path, key=key)
        assert _authority(found) is State.GOOD, found.lines
    assert _authority(verify(before, key=new)) is State.BAD, "the new key vouches for nothing before it"
    assert not verify_home(made.home, key=old).failed


def _authority(judgement: Judgement) -> State:
    said = [line.state for line in judgement.lines if line.level is Level.AUTHORITY and line.part == "checkpoint"]
    return said[0]


def _signers(made: Proved) -> list[str]:
    with LogReader(made.home) as log:
        found = [notes.parse(note).signatures[0][1] for _, _, note in log.checkpoints()]
    return list(dict.fromkeys(found))


def test_a_crash_in_the_middle_of_a_rotation(made: Proved) -> None:
    """The next key lies there: without its entry it is forgotten, with it it is taken; the ledger decides."""
    made.close()
    old = made.key
    following = make_log_key(made.opened.key.origin, bytes(32))
    waiting = made.home.keys / NEXT_KEY
    write_private(waiting, following.line + "\n")
    made.reopen()
    assert (old, False) == (made.opened.key.public, waiting.exists())
    made.close()
    kept = (made.home.keys / LOG_KEY).read_text()
    rotated = rotate(made.home, version="0")
    now = (made.home.keys / LOG_KEY).read_text()
    write_private(waiting, now)
    (made.home.keys / LOG_KEY).write_text(kept)
    made.reopen()
    assert (rotated, False) == (made.opened.key.public, waiting.exists())
    made.close()
    (made.home.keys / LOG_KEY).write_text(kept)
    with pytest.raises(KeyDamaged, match="not the key of this log"):
        made.reopen()


def test_who_signs_over() -> None:
    """A chain holds only with both signatures, for this name, from the key that is trusted."""
    a, b, c = (make_log_key("o", bytes([n]) * 32) for n in (1, 2, 3))
    keys = [notes.verifier_key(each.public) for each in (a, b, c)]

    def turned(old: int, new: int, *, by: int | None = None) -> str:
        signers = (a, b, c)
        text = rotation_text("o", signers[old].public, signers[new].public)
        note = notes.sign(text, keys[old], signers[old if by is None else by].sign)
        return note + notes.signature_line(keys[new], signers[new].sign(text.encode()))

    assert tuple(keys) == follow(keys[0], [turned(0, 1), turned(1, 2)])
    assert tuple(keys[1:]) == follow(keys[1], [turned(0, 1), turned(1, 2)])
    assert (keys[2],) == follow(keys[2], [turned(0, 1), turned(1, 2)])
    with pytest.raises(notes.NoteError):
        follow(keys[0], [turned(0, 1, by=2)])
    half = turned(0, 1).rsplit("— ", 1)[0]
    with pytest.raises(notes.NoteError, match="both"):
        follow(keys[0], [half])
