"""Backup and restore: a copy of a home at work, and a home from it whose log has a name of its own."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from harness.proving import Proved
from loom.coordinator.backup import DATABASE, MANIFEST, BackupBroken, NotEmpty, backup, restore
from loom.coordinator.home import Home
from loom.coordinator.keys import log_key, read_log_key
from loom.coordinator.proof import notes
from loom.coordinator.proof.home_check import verify_home
from loom.coordinator.proof.judging import State
from loom.coordinator.proof.reading import LogReader
from loom.coordinator.proof.witness import Witness, WitnessRefused, request
from loom.transports.proving import replayer


@pytest.fixture
def made(tmp_path: Path) -> Proved:
    """A home at work, with a long text, a repository's files, settings and secrets."""
    found = Proved.make(tmp_path)
    found.task("t1")
    home = found.home.path
    (home / "repos/p/objects/ab").mkdir(parents=True)
    (home / "repos/p/objects/ab/cd").write_bytes(b"object")
    (home / "repos/p/HEAD").write_text("ref: refs/heads/main\n")
    (home / "config.toml").write_text("[run]\n")
    (home / "secrets.json").write_text('{"A_KEY": "canary-of-a-secret"}')
    return found


def test_there_and_back(made: Proved, tmp_path: Path) -> None:
    """Taken while the home is open; restored, it verifies and replays under a new name, and says whose copy it is."""
    kept = backup(made.home, tmp_path / "b")
    made.task("t2")
    made.close()
    home = Home(tmp_path / "restored")
    found = restore(tmp_path / "b", home, version="0")
    assert (made.opened.key.origin, kept.entries, 0) == (found.was, found.entries, found.lost)
    assert found.origin != found.was
    new = notes.verifier_key(log_key(home.keys).public)
    judged = verify_home(home, key=new, replay=replayer([str(made.bundle)]))
    assert not judged.failed, judged.lines
    with LogReader(home) as log:
        bodies = [body for _, body, _ in log.entries()]
        assert found.origin == log.origin()
    assert json.loads(bodies[kept.entries])["command"][0] == "Restore"
    assert b"object" == (home.path / "repos/p/objects/ab/cd").read_bytes()
    assert "[run]\n" == (home.path / "config.toml").read_text()
    home.check_private()


def test_no_key_and_no_secret_leaves_the_home(made: Proved, tmp_path: Path) -> None:
    """Private key, token and secrets are in no byte of the backup."""
    backup(made.home, tmp_path / "b")
    data = (tmp_path / "b").read_bytes()
    keys = made.home.keys
    secrets = [read_log_key(keys / "log.key").line, (keys / "client.token").read_text().strip(), "canary-of-a-secret"]
    assert [] == [each for each in secrets if each.encode() in data]
    made.close()


def test_what_is_lost_is_on_record(made: Proved, tmp_path: Path) -> None:
    """The witness's last head says how much of the old log is missing; the witness takes the new one for another log."""
    backup(made.home, tmp_path / "b")
    made.task("t2")
    made.close()
    witness = Witness.make(tmp_path / "w", "audit.example", bytes(32))
    witness.trust(notes.verifier_key(made.key))
    note = witness.cosign(request(made.home, 0), 1)
    head = notes.checkpoint(notes.parse(note).text)
    home = Home(tmp_path / "restored")
    found = restore(tmp_path / "b", home, version="0", last_head=note)
    assert head.size - found.entries == found.lost > 0
    with pytest.raises(WitnessRefused, match="does not know"):
        witness.cosign(request(home, 0), 1)
    other = notes.Checkpoint("loom.local/other", 9, bytes(32))
    key = read_log_key(made.home.keys / "log.key")
    foreign = notes.sign(other.text, notes.verifier_key(key.public), key.sign)
    with pytest.raises(BackupBroken, match="a backup of"):
        restore(tmp_path / "b", Home(tmp_path / "again"), version="0", last_head=foreign)


def test_a_home_goes_on_after_a_restore(made: Proved, tmp_path: Path) -> None:
    """New tasks run in the restored home, and everything verifies under its key."""
    backup(made.home, tmp_path / "b")
    made.close()
    made.home = Home(tmp_path / "restored")
    restore(tmp_path / "b", made.home, version="0")
    made.reopen()
    made.task("t3")
    made.close()
    judged = verify_home(made.home, key=notes.verifier_key(made.key), replay=replayer([str(made.bundle)]))
    assert {State.GOOD} == {line.state for line in judged.lines}, judged.lines


def test_what_is_no_backup(made: Proved, tmp_path: Path) -> None:
    """Changed, cut off, with a file that it does not name or that leads out of the home: refused, nothing is made."""
    backup(made.home, tmp_path / "b")
    made.close()
    data = (tmp_path / "b").read_bytes()
    place = data.index(b"object")
    wrongs = [b"", b"x", data[:-40], data[:place] + b"OBJECT" + data[place + 6 :]]
    for number, wrong in enumerate(wrongs):
        (tmp_path / "x").write_bytes(wrong)
        with pytest.raises(BackupBroken):
            restore(tmp_path / "x", Home(tmp_path / f"r{number}"), version="0")
        assert not (tmp_path / f"r{number}").exists()
    for name in ("../evil", "/etc/evil", "keys/log.key", "secrets.json", "repos/../../evil"):
        _with(tmp_path / "b", tmp_path / "x", name)
        with pytest.raises(BackupBroken, match="no file of a home"):
            restore(tmp_path / "x", Home(tmp_path / "r"), version="0")


def _with(source: Path, target: Path, name: str) -> None:
    """The backup with one more file, named in its manifest."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        manifest = json.loads(old.read(MANIFEST))
        manifest["files"][name] = hashlib.sha256(b"x").hexdigest()
        for each in old.namelist():
            new.writestr(each, json.dumps(manifest) if each == MANIFEST else old.read(each))
        new.writestr(name, b"x")
        assert DATABASE in new.namelist()


def test_nothing_is_written_over(made: Proved, tmp_path: Path) -> None:
    """A directory with something in it stays as it is; a failing backup leaves the old one."""
    backup(made.home, tmp_path / "b")
    before = (tmp_path / "b").read_bytes()
    with pytest.raises(NotEmpty):
        restore(tmp_path / "b", made.home, version="0")
    made.close()
    with (made.home.path / "state.db").open("r+b") as file:
        file.seek(os.path.getsize(made.home.path / "state.db") // 2)
        file.write(os.urandom(65_536))
    with pytest.raises(Exception, match=r"damaged|L01"):
        backup(made.home, tmp_path / "b")
    assert before == (tmp_path / "b").read_bytes()
    assert [] == [each for each in os.listdir(tmp_path) if each.startswith(".")]
