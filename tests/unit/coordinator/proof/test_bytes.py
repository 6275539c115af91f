"""Evidence under damage: every byte of a small file, and bytes anywhere in a large one. Found, and the level is named.

A byte that changes in the file as it lies there is found by its form (V1). Somebody who packs the file anew after the change
gets past the form; then it is the hashes (V1), the signatures (V2) and the witness (V4) that find it, each under its name.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import rfc8785

from harness.evidence import Case, states
from harness.proving import Proved
from loom.coordinator.proof import evidence, notes
from loom.coordinator.proof.export import export
from loom.coordinator.proof.judging import Judgement, State
from loom.coordinator.proof.verify import verify
from loom.coordinator.proof.witness import Witness, request

pytestmark = pytest.mark.needs("ssh-keygen")
LARGE_TASKS = 60
LARGE_BYTES = 500_000
RANDOM_CHANGES = 10_000
BY_PART = {evidence.CHECKPOINT: {"V1", "V2", "V4"}, evidence.STATEMENT: {"V1", "V2"}}
"""Part → levels that a change of it can fail; any other part: V1 at least."""


class Witnessed(Case):
    """Evidence of one task under a head that a witness signed: good at all four levels."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        witness = Witness.make(folder / "witness", "audit.example", bytes(32))
        witness.trust(notes.verifier_key(self.made.key))
        self.witness = witness.key.line
        export(self.made.home, self.file, task="t1", cosigned=witness.cosign(request(self.made.home, 0), 1_700_000_000))

    def parts(self) -> dict[str, bytes]:
        opened = evidence.open_evidence(self.file)
        found = {name: opened.part(name) for name in opened.names}
        opened.close()
        return found


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    return Witnessed(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Everything of a home with many tasks, and the log's key."""
    folder = tmp_path_factory.mktemp("large")
    made = Proved.make(folder)
    for number in range(LARGE_TASKS):
        made.task(f"t{number}")
    made.close()
    export(made.home, folder / "all")
    assert LARGE_BYTES < (folder / "all").stat().st_size
    return folder / "all", made.key


def failed_levels(judgement: Judgement) -> set[str]:
    """The levels that something is wrong at; each such line says in which part, and what."""
    wrong = [line for line in judgement.lines if line.state is State.BAD]
    assert all(line.part and line.said for line in wrong)
    return {line.level.value for line in wrong}


def flip(path: Path, key: str, places: Iterable[int], chance: random.Random) -> int:
    """Each of these bytes changed where it lies, one at a time, and changed back. Returns how many were judged."""
    count, known = 0, notes.verifier_key(key)
    descriptor = os.open(path, os.O_RDWR)
    try:
        for place in places:
            was = os.pread(descriptor, 1, place)
            change = chance.randrange(1, 256)
            os.pwrite(descriptor, bytes([was[0] ^ change]), place)
            assert {"V1"} == failed_levels(verify(path, key=known)), (place, change)
            os.pwrite(descriptor, was, place)
            count += 1
    finally:
        os.close(descriptor)
    assert not verify(path, key=known).failed, "as it was, it verifies"
    return count


def repacked(case: Witnessed, parts: Mapping[str, bytes], name: str, places: Iterable[int], seed: int) -> int:
    """Each of these bytes of a part changed, the file packed anew, all four levels judged. Returns how many."""
    chance, target, count = random.Random(seed), case.folder / "repacked", 0
    for place in places:
        part = bytearray(parts[name])
        part[place] ^= chance.randrange(1, 256)
        changed = {**parts, name: bytes(part)}
        evidence.write(target, changed, changed.__getitem__)
        levels = failed_levels(case.judge(target, witness=case.witness))
        assert levels & BY_PART.get(name, {"V1"}), (name, place, levels)
        count += 1
    return count


def test_bytes_all_over_the_file(case: Witnessed) -> None:
    """Sixty bytes where they lie, and four of each part in a file that is packed anew."""
    assert [State.GOOD] * 4 == states(case.judge(witness=case.witness))
    size = case.file.stat().st_size
    assert 60 == flip(case.file, case.made.key, random.Random(7).sample(range(size), 60), random.Random(11))
    parts = case.parts()
    for name, part in parts.items():
        assert 4 == repacked(case, parts, name, random.Random(name).sample(range(len(part)), 4), 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_single_byte(case: Witnessed) -> None:
    """Each byte of the whole file, one after the other, where it lies."""
    size = case.file.stat().st_size
    assert size == flip(case.file, case.made.key, range(size), random.Random(11))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_single_byte_of_a_file_that_is_packed_anew(case: Witnessed) -> None:
    """Each byte of each part, and whoever changed it made the file canonical again: each fails at its level."""
    parts = case.parts()
    assert sum(map(len, parts.values())) == sum(
        repacked(case, parts, name, range(len(part)), 5) for name, part in parts.items()
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(100, id="some"),
        pytest.param(RANDOM_CHANGES, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(1_200)]),
    ],
)
def test_random_bytes_of_a_large_file(large: tuple[Path, str], changes: int) -> None:
    """Anywhere in the evidence of a whole home with sixty tasks."""
    path, key = large
    chance = random.Random(13)
    size = path.stat().st_size
    assert changes == flip(path, key, (chance.randrange(size) for _ in range(changes)), chance)


def test_the_json_parts_are_canonical(case: Witnessed) -> None:
    """rfc8785, which knows nothing of loom, writes each JSON part, the signed payload and each entry the same way."""
    parts = case.parts()
    for name in (evidence.ABOUT, evidence.PROOF, evidence.STATEMENT):
        assert rfc8785.dumps(json.loads(parts[name])) == parts[name], name
    payload = json.loads(parts[evidence.STATEMENT])["payload"]
    raw = base64.b64decode(payload)
    assert rfc8785.dumps(json.loads(raw)) == raw
    for line in parts[evidence.ENTRIES].splitlines():
        assert rfc8785.dumps(json.loads(line)) == line
