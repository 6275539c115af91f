"""What an operator with the log's key does to the log: caught by a witness that saw a head, not caught without one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harness.proving import Proved
from loom.coordinator import merkle
from loom.coordinator.home import Home
from loom.coordinator.keys import read_log_key
from loom.coordinator.proof import notes
from loom.coordinator.proof.export import export
from loom.coordinator.proof.home_check import verify_home
from loom.coordinator.proof.judging import Level, State
from loom.coordinator.proof.verify import verify
from loom.coordinator.proof.witness import NothingSigned, Witness, WitnessRefused, request
from loom.transports.proving import replayer

NOW_S = 1_700_000_000


@pytest.fixture
def made(tmp_path: Path) -> Proved:
    """A home with one finished task, left in order."""
    found = Proved.make(tmp_path)
    found.task("t1")
    found.close()
    return found


@pytest.fixture
def witness(tmp_path: Path, made: Proved) -> Witness:
    """A witness that has signed the home's head."""
    found = Witness.make(tmp_path / "witness", "audit.example", bytes(32))
    found.trust(notes.verifier_key(made.key))
    found.cosign(request(made.home, 0), NOW_S)
    return found


def go_on(made: Proved, task: str = "t2") -> None:
    made.reopen()
    made.task(task)
    made.close()


def asked(witness: Witness, home: Home) -> str:
    held = witness.held(read_log_key(home.keys / "log.key").origin)
    assert held is not None
    return request(home, held.size)


def rewritten(home: Home, change: Callable[[sqlite3.Connection], None]) -> None:
    """The operator: drops the triggers, changes entries, makes leaves, tree and a signed head that fit them."""
    key = read_log_key(home.keys / "log.key")
    with closing(sqlite3.connect(home.database)) as db, db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        change(db)
        edge = merkle.Edge()
        for seq, body in db.execute("SELECT seq, CAST(body AS BLOB) FROM entry ORDER BY seq").fetchall():
            leaf = merkle.leaf_hash(body)
            db.execute("UPDATE entry SET leaf = ? WHERE seq = ?", (leaf, seq))
            edge = merkle.append(edge, leaf)
        hashes = "[" + ",".join(f'"{each.hex()}"' for each in edge.hashes) + "]"
        db.execute("UPDATE edge SET size = ?, hashes = ?", (edge.size, hashes))
        db.execute("DELETE FROM checkpoint")
        head = notes.Checkpoint(key.origin, edge.size, merkle.root(edge))
        note = notes.sign(head.text, notes.verifier_key(key.public), key.sign)
        db.execute("INSERT INTO checkpoint VALUES (?, 0, ?)", (edge.size, note))


def edit(db: sqlite3.Connection) -> None:
    db.execute(
        """UPDATE entry SET body = replace(body, '"id":"ada"', '"id":"eve"') WHERE body LIKE '%DecisionRecorded%'"""
    )


def reorder(db: sqlite3.Connection) -> None:
    last = db.execute("SELECT max(seq) FROM entry").fetchone()[0]
    for old, new in ((last, -1), (last - 1, last), (-1, last - 1)):
        db.execute("UPDATE entry SET seq = ? WHERE seq = ?", (new, old))


def truncate(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)")


def remove(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM entry WHERE seq = 4")
    db.execute("UPDATE entry SET seq = seq - 1 WHERE seq > 4")


def test_a_log_that_goes_on_is_signed(made: Proved, witness: Witness, tmp_path: Path) -> None:
    """Head after head, each with the witness's signature and its time; evidence on a cosigned head is witnessed."""
    go_on(made)
    note = witness.cosign(asked(witness, made.home), NOW_S + 1)
    parsed = notes.parse(note)
    assert notes.signed_by(parsed, witness.key)
    assert NOW_S + 1 == notes.cosigned_at(parsed, witness.key)
    assert 1 == len(witness.logs())
    export(made.home, tmp_path / "e", task="t1", cosigned=note)
    found = verify(tmp_path / "e", key=notes.verifier_key(made.key), witnesses=[witness.key])
    assert State.GOOD is found.state(Level.WITNESSED), found.lines


@pytest.mark.parametrize("change", [edit, reorder, truncate, remove], ids=lambda change: change.__name__)
def test_what_the_operator_does_is_caught_by_the_witness_alone(
    made: Proved, witness: Witness, change: Callable[[sqlite3.Connection], None]
) -> None:
    """With the key and the triggers dropped, the home agrees with itself: its bytes and heads verify. The witness refuses."""
    rewritten(made.home, change)
    alone = verify_home(made.home, key=notes.verifier_key(made.key))
    found = {line.part for line in alone.lines if line.state is State.BAD}
    assert not [part for part in found if part.startswith(("tree", "head"))], alone.lines
    with pytest.raises(WitnessRefused, match=r"rolled back|forked or rewritten|does not go on"):
        witness.cosign(asked(witness, made.home), NOW_S)


def test_a_changed_word_without_the_key_is_caught_at_home(made: Proved) -> None:
    """Who has the file but not the key makes leaves and tree fit; the signed head does not."""
    key = read_log_key(made.home.keys / "log.key")
    rewritten(made.home, edit)
    other = notes.verifier_key(made.key)
    with closing(sqlite3.connect(made.home.database)) as db, db:
        size, note = db.execute("SELECT size, note FROM checkpoint").fetchone()
        text = notes.parse(note).text
        forged = notes.sign(text, notes.verifier_key(key.public), lambda message: bytes(64))
        db.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (forged, size))
    found = verify_home(made.home, key=other)
    assert State.BAD is found.state(Level.AUTHORITY), found.lines


def test_a_cut_log_is_caught_at_home(made: Proved) -> None:
    """The last entries deleted, the heads left as they were: the last head is ahead of the log."""
    with closing(sqlite3.connect(made.home.database)) as db, db:
        db.execute("DROP TRIGGER entry_is_never_deleted")
        truncate(db)
    found = verify_home(made.home, key=notes.verifier_key(made.key))
    said = [line.said for line in found.lines if line.state is State.BAD]
    assert any("ahead of the log" in each or "edge" in each for each in said), found.lines


def test_a_fork_is_caught(made: Proved, witness: Witness, tmp_path: Path) -> None:
    """Two copies of a home go on, each in its own way; the witness that signed the one refuses the other."""
    shutil.copytree(made.home.path, tmp_path / "fork")
    go_on(made, "here")
    witness.cosign(asked(witness, made.home), NOW_S)
    made.home = Home(tmp_path / "fork")
    go_on(made, "there")
    go_on(made, "and-there")
    with pytest.raises(WitnessRefused, match="does not go on"):
        witness.cosign(asked(witness, made.home), NOW_S)


def test_another_history_by_the_keys_holder_verifies_without_a_witness_only(tmp_path: Path) -> None:
    """The holder of the key takes a copy of before the task was decided, has the coordinator write another end to it, and
    puts it in the place of the first: home and evidence are good at every level that needs no witness, and there is nothing
    to see. The witness that signed the first end refuses the second, and evidence of it lacks the witness's name."""
    made = Proved.make(tmp_path)
    made.task("t0")
    made.close()
    shutil.copytree(made.home.path, tmp_path / "before")
    go_on(made, "t1")
    key = notes.verifier_key(made.key)
    witness = Witness.make(tmp_path / "witness", "audit.example", bytes(32))
    witness.trust(key)
    first = witness.cosign(request(made.home, 0), NOW_S)
    export(made.home, tmp_path / "first", task="t1", cosigned=first)

    shutil.rmtree(made.home.path)
    shutil.move(tmp_path / "before", made.home.path)
    made.now_ms += 60_000
    go_on(made, "t2")
    go_on(made, "t1")
    by = replayer([str(made.bundle)])
    export(made.home, tmp_path / "second", task="t1")
    good, bad, unjudged = State.GOOD, State.BAD, State.OPEN
    for found in (verify_home(made.home, key=key, replay=by), verify(tmp_path / "second", key=key, replay=by)):
        assert [good, good, good, unjudged] == [found.state(level) for level in Level], found.lines

    with pytest.raises(WitnessRefused, match="does not go on"):
        witness.cosign(asked(witness, made.home), NOW_S)
    for name, expected in (("first", good), ("second", bad)):
        found = verify(tmp_path / name, key=key, witnesses=[witness.key], replay=by)
        assert [good, good, good, expected] == [found.state(level) for level in Level], found.lines


def test_an_old_copy_is_caught(made: Proved, witness: Witness, tmp_path: Path) -> None:
    """A copy from before is put back: shorter than what was signed."""
    shutil.copytree(made.home.path, tmp_path / "old")
    go_on(made)
    witness.cosign(asked(witness, made.home), NOW_S)
    with pytest.raises(WitnessRefused, match="rolled back"):
        witness.cosign(asked(witness, Home(tmp_path / "old")), NOW_S)


def test_whom_a_witness_does_not_know(made: Proved, tmp_path: Path) -> None:
    """No signature for a log whose key nobody told, for another key, for what is no request; no head, no request."""
    witness = Witness.make(tmp_path / "w", "audit.example", bytes(32))
    with pytest.raises(WitnessRefused, match="does not know"):
        witness.cosign(request(made.home, 0), NOW_S)
    from loom.coordinator.keys import make_log_key

    witness.trust(notes.verifier_key(make_log_key(made.opened.key.origin, bytes(32)).public))
    with pytest.raises(WitnessRefused, match="not signed by"):
        witness.cosign(request(made.home, 0), NOW_S)
    for text in ("", "old x\n\nn", "new 1\n\nn", "old 1\n!\n\nn", "old " + "9" * 5_000 + "\n\nn"):
        with pytest.raises(WitnessRefused, match="no request"):
            witness.cosign(text, NOW_S)
    with pytest.raises(WitnessRefused, match="already"):
        Witness.make(tmp_path / "w", "other", bytes(32))
    (tmp_path / "fresh").mkdir()
    fresh = Proved.make(tmp_path / "fresh")
    with pytest.raises(NothingSigned):
        request(fresh.home, 0)
    fresh.opened.core.store.close()
