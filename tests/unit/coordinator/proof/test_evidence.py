"""Evidence files: what is true verifies, at each level; whatever is changed is found, and named."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.evidence import Case, states, wrong
from harness.proving import Proved
from loom.coordinator import merkle
from loom.coordinator.keys import make_log_key, read_log_key
from loom.coordinator.proof import evidence, notes
from loom.coordinator.proof.export import ExportRefused, export
from loom.coordinator.proof.judging import Level, State
from loom.coordinator.proof.page import page
from loom.coordinator.proof.reading import LogReader
from loom.coordinator.proof.tree import multiproof, multiroot
from loom.coordinator.proof.verify import verify
from loom.transports.proving import replayer

pytestmark = pytest.mark.needs("ssh-keygen")
GOOD, OPEN, BAD = State.GOOD, State.OPEN, State.BAD


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("evidence"))


def test_what_is_true_verifies(case: Case) -> None:
    """Integrity, authority and replay hold; nobody was named as a witness. The same export is the same file."""
    found = case.judge()
    assert [GOOD, GOOD, GOOD, OPEN] == states(found), found.lines
    again = case.folder / "again"
    export(case.made.home, again, task="t1")
    assert case.file.read_bytes() == again.read_bytes()


def test_what_is_not_given_is_not_judged(case: Case) -> None:
    """Without key, approvers, bundle: only the integrity of the bytes is known, and that is said."""
    assert [GOOD, OPEN, OPEN, OPEN] == states(verify(case.file))
    found = verify(case.file, key=notes.verifier_key(case.made.key), replay=replayer())
    assert [GOOD, OPEN, OPEN, OPEN] == states(found)
    assert "not installed" in "".join(line.said for line in found.lines)


def test_everything_of_a_home(case: Case) -> None:
    """Both tasks and the home's own entries: each entry of the log, none left out, all derived again."""
    target = case.folder / "all"
    export(case.made.home, target)
    assert [GOOD, GOOD, GOOD, OPEN] == states(case.judge(target))


@pytest.mark.parametrize("leave_out", ["all", "one"])
def test_texts_may_be_left_out(case: Case, leave_out: str) -> None:
    """By id, at export or by whoever hands the file on: everything still verifies, and what is left out is counted."""
    opened = evidence.open_evidence(case.file)
    parts = {each: opened.part(each) for each in opened.names}
    opened.close()
    texts = [name for name in parts if name.startswith(evidence.TEXTS)]
    assert len(texts) == 2
    dropped = texts if leave_out == "all" else texts[:1]
    handed_on, exported = case.folder / "handed-on", case.folder / "exported"
    kept = {name: part for name, part in parts.items() if name not in dropped}
    evidence.write(handed_on, kept, kept.__getitem__)
    export(case.made.home, exported, task="t1", leave_out=[name.removeprefix(evidence.TEXTS) for name in dropped])
    assert exported.read_bytes() == handed_on.read_bytes()
    found = case.judge(handed_on)
    assert [GOOD, GOOD, GOOD, OPEN] == states(found)
    assert f"{len(dropped)} are left out" in "".join(line.said for line in found.lines)


# ------------------------------------------------------------------------------------------------------- tampering


def test_every_part_that_is_changed_is_named(case: Case) -> None:
    """A byte in the middle of each part, in a file that is canonical again: found at its level, and the part is named."""
    opened = evidence.open_evidence(case.file)
    names = opened.names
    opened.close()
    for name in names:
        found = case.judge(case.changed(name, lambda part: part[:20] + bytes([part[20] ^ 1]) + part[21:]))
        assert found.failed, name
        named = name in wrong(found) or (name, True) == (evidence.PROOF, "entries" in wrong(found))
        assert named or name in (evidence.ENTRIES, evidence.CHECKPOINT, evidence.STATEMENT, evidence.ABOUT), wrong(
            found
        )


def resigned(case: Case, change: Callable[[list[bytes], dict[str, object]], None], *, hashes: bool = False) -> Path:
    """What the owner of the log's key could make: entries changed, proof and statement made to fit, head signed again."""
    key = read_log_key(case.made.home.keys / "log.key")
    opened = evidence.open_evidence(case.file)
    parts = {each: opened.part(each) for each in opened.names}
    opened.close()
    bodies = parts[evidence.ENTRIES].split(b"\n")[:-1]
    proof = json.loads(parts[evidence.PROOF])
    change(bodies, proof)
    leaves = {seq: merkle.leaf_hash(body) for seq, body in zip(proof["indices"], bodies, strict=True)}
    root = multiroot(leaves, proof["size"], [bytes.fromhex(each) for each in proof["hashes"]])
    head = notes.Checkpoint(key.origin, proof["size"], root)
    parts[evidence.CHECKPOINT] = notes.sign(head.text, notes.verifier_key(key.public), key.sign).encode()
    parts[evidence.ENTRIES] = b"".join(body + b"\n" for body in bodies)
    parts[evidence.PROOF] = evidence.canonical(proof)
    parts[evidence.PAGE] = page(list(zip(proof["indices"], bodies, strict=True)), head, "t1")
    digests = {
        name: hashlib.sha256(part).hexdigest()
        for name, part in parts.items()
        if not name.startswith(evidence.TEXTS) and name not in (evidence.STATEMENT, evidence.CHECKPOINT)
    }
    about = json.loads(parts[evidence.ABOUT])
    parts[evidence.STATEMENT] = evidence.statement(digests, about, key.public, key.sign)
    target = case.folder / "resigned"
    evidence.write(target, parts, parts.__getitem__)
    return target


def _place(bodies: list[bytes], word: bytes) -> int:
    return next(place for place, body in enumerate(bodies) if word in body)


def test_the_owner_of_the_key_changes_nothing_that_replay_and_people_say(case: Case) -> None:
    """With head and statement signed anew: a changed decision fails its replay, a changed approval its signature; and
    exactly as it was, it verifies (so that it is the change that is found)."""
    assert [GOOD, GOOD, GOOD, OPEN] == states(case.judge(resigned(case, lambda bodies, proof: None)))

    def verdict(bodies: list[bytes], proof: dict[str, object]) -> None:
        place = _place(bodies, b'"VerdictReached"')
        bodies[place] = bodies[place].replace(b'"verdict":"accepted"', b'"verdict":"answered"')

    found = case.judge(resigned(case, verdict))
    assert (GOOD, GOOD, BAD) == tuple(states(found)[:3]), found.lines

    def word(bodies: list[bytes], proof: dict[str, object]) -> None:
        place = _place(bodies, b'["Answer"')
        bodies[place] = bodies[place].replace(b'"word":"accept"', b'"word":"revise"')

    found = case.judge(resigned(case, word))
    assert BAD is found.state(Level.AUTHORITY)
    assert "the approval of ada" in wrong(found)

    def unsigned(bodies: list[bytes], proof: dict[str, object]) -> None:
        place = _place(bodies, b'["Answer"')
        entry = json.loads(bodies[place])
        del entry["command"][1]["approval"]
        bodies[place] = evidence.canonical(entry)

    assert "approval of ada" in wrong(case.judge(resigned(case, unsigned)))


def test_a_removed_entry_is_missed(case: Case) -> None:
    """An entry of the task taken out, its leaf put into the proof: the numbers have a gap."""

    def remove(bodies: list[bytes], proof: dict[str, object]) -> None:
        indices = proof["indices"]
        assert isinstance(indices, list)
        place = _place(bodies, b'["Answer"') - 1
        del bodies[place], indices[place]
        with LogReader(case.made.home) as log:
            found = multiproof(log.node, indices, proof["size"])  # type: ignore[arg-type]
        proof["hashes"] = [each.hex() for each in found]

    found = case.judge(resigned(case, remove))
    assert "is missing" in wrong(found), found.lines


def test_an_approval_by_nobody_you_know(case: Case) -> None:
    """The log says that the key signs for ada; whoever judges knows another one: refused."""
    case.approvers, kept = {"ada": frozenset({"ssh-ed25519 AAAA"})}, case.approvers
    try:
        assert "does not sign for ada" in wrong(case.judge())
    finally:
        case.approvers = kept


def test_another_logs_key_and_another_witness(case: Case) -> None:
    """A head that the named key or witness did not sign is no head of theirs."""
    other = make_log_key(case.made.opened.key.origin, bytes(32))
    found = verify(case.file, key=notes.verifier_key(other.public))
    assert "is not signed by" in wrong(found)
    assert "did not sign" in wrong(case.judge(witness=other.public))


def test_more_than_a_file_can_have(case: Case, tmp_path: Path) -> None:
    """Parts of foreign names, twice, out of order, compressed, cut off, or something around them: refused at once."""
    plain = case.file.read_bytes()
    for data in (b"", b"PK\x03\x04", plain[:-1], plain + b"x", b"x" + plain, plain[: len(plain) // 2]):
        (tmp_path / "f").write_bytes(data)
        assert verify(tmp_path / "f").failed, data[:8]
    for name in ("../../etc/passwd", "texts/x", "texts/" + "a" * 64, "bundles/" + "b" * 64, "more"):
        shutil.copy(case.file, tmp_path / "f")
        with zipfile.ZipFile(tmp_path / "f", "a") as archive:
            archive.writestr(name, b"x")
        assert verify(tmp_path / "f").failed, name


def test_what_cannot_be_exported(case: Case, tmp_path: Path) -> None:
    """An unknown task; a head that does not cover the task yet."""
    with pytest.raises(ExportRefused, match="no task nobody"):
        export(case.made.home, tmp_path / "f", task="nobody")
    key = read_log_key(case.made.home.keys / "log.key")
    early = notes.sign(notes.Checkpoint(key.origin, 3, bytes(32)).text, notes.verifier_key(key.public), key.sign)
    with pytest.raises(ExportRefused, match="covers 3 entries"):
        export(case.made.home, tmp_path / "f", task="t1", cosigned=early)
    assert not list(tmp_path.iterdir())


def test_no_code_of_a_file_is_run(case: Case, tmp_path: Path) -> None:
    """A bundle that writes a file when it is imported: replay is not run, and there is no file."""
    mark = tmp_path / "mark"
    made = Proved.make(tmp_path)
    (made.bundle / "rules.py").write_text(
        f"open({str(mark)!r}, 'a').close()\n" + (made.bundle / "rules.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    made.task("t1")
    made.close()
    assert mark.exists(), "the home itself runs its bundle"
    mark.unlink()
    export(made.home, tmp_path / "e", task="t1")
    found = verify(tmp_path / "e", key=notes.verifier_key(made.key), replay=replayer())
    assert [GOOD, GOOD, OPEN, OPEN] == states(found), found.lines
    assert not mark.exists()


def test_the_statement_is_dsse(case: Case) -> None:
    """securesystemslib, which knows nothing of loom, reads the envelope and verifies its signature."""
    dsse = pytest.importorskip("securesystemslib.dsse", reason="an oracle of the extra dev")
    from securesystemslib.signer._key import SSlibKey

    opened = evidence.open_evidence(case.file)
    envelope = json.loads(opened.part(evidence.STATEMENT))
    opened.close()
    public = notes.verifier_key(case.made.key)
    read = dsse.Envelope.from_dict(json.loads(json.dumps(envelope)))
    key = SSlibKey(case.made.key, "ed25519", "ed25519", {"public": public.public.hex()})
    assert read.verify([key], 1)
    payload = json.loads(base64.b64decode(envelope["payload"]))
    assert ("https://in-toto.io/Statement/v1", "t1") == (payload["_type"], payload["predicate"]["task"])
