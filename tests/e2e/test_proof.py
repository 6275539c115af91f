"""Proof from the command line: signed, exported, verified elsewhere, witnessed, backed up and restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import Cli, eventually
from harness.signing import Signer

pytestmark = [pytest.mark.needs("git"), pytest.mark.needs("ssh-keygen")]

TASK = "The shares of a bill have to add up to the bill."


def test_a_run_that_somebody_else_verifies(loom: Cli, project: Path, scripted: tuple[str, str], tmp_path: Path) -> None:
    """The final decision must be signed and is; the evidence verifies with keys from elsewhere, under a witness, after a
    rotation too; changed by a byte it does not; a home restored from a backup verifies under its own name."""
    signer = Signer.make(tmp_path / "ada")
    key = str(signer.path)
    assert 0 == loom("init", cwd=project).code
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    added = loom("keys", "add", key, "--json", cwd=project)
    assert (0, signer.public) == (added.code, added.json["key"]), added
    other = Signer.make(tmp_path / "eve")
    refused = loom("keys", "add", str(other.path), cwd=project)
    assert (4, True) == (refused.code, "--sign" in refused.err), refused
    required = loom("keys", "require", "final", "--sign", key, cwd=project)
    assert 0 == required.code, required

    run = loom("run", TASK, "--json", *scripted, cwd=project)
    assert 3 == run.code, run
    task = run.json["task"]["id"]
    assert 4 == loom("answer", task, "accept", cwd=project).code
    assert 4 == loom("answer", task, "accept", "--sign", str(other.path), cwd=project).code
    answered = loom("answer", task, "accept", "--sign", key, cwd=project)
    assert 0 == answered.code, answered
    shown = eventually(lambda: _done(loom, project, task), within=40)
    assert ["A2"] == [each["by"]["assurance"] for each in shown["decisions"] if each["role"] == "final"]

    pub = tmp_path / "log.pub"
    pub.write_bytes((project / ".loom/keys/log.pub").read_bytes())
    approvers = tmp_path / "approvers"
    approvers.write_text(f"{added.json['principal']} {signer.public}\n")
    witness = loom("witness", "new", str(tmp_path / "w"), "--name", "audit.example").out.strip()
    (tmp_path / "w.pub").write_text(witness)
    assert 0 == loom("keys", "rotate", cwd=project).code
    eventually(lambda: loom("witness", "ask", cwd=project).code == 0, what="a signed head")
    head = str(tmp_path / "head")
    new_pub = str(project / ".loom/keys/log.pub")
    checked = loom("witness", "check", str(tmp_path / "w"), str(project / ".loom"), "--key", new_pub, "-o", head)
    assert 0 == checked.code, checked

    file = tmp_path / "run.loom-evidence"
    exported = loom("export", task, "-o", str(file), "--cosigned", head, cwd=project)
    assert 0 == exported.code, exported
    options = ("--key", str(pub), "--approvers", str(approvers), "--witness", str(tmp_path / "w.pub"), "--json")
    found = loom("verify", str(file), *options)
    assert {"V1": "good", "V2": "good", "V3": "good", "V4": "good"} == found.json["levels"], found
    assert 0 == found.code
    reports = [line["said"] for line in found.json["lines"] if line["part"] == "reports"]
    count = reports[0].split()[0]
    assert [f"{count} of {count} reports are signed by the worker's enrolled key"] == reports

    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert 1 == loom("verify", str(file), *options).code

    _restored(loom, project, tmp_path, head)


def _done(loom: Cli, project: Path, task: str) -> dict[str, object]:
    found: dict[str, object] = loom("show", task, "--json", cwd=project).json
    there = found["task"]
    assert isinstance(there, dict)
    return found if there["status"] == "done" else {}


def _restored(loom: Cli, project: Path, folder: Path, head: str) -> None:
    backup = loom("backup", str(folder / "b"), cwd=project)
    assert 0 == backup.code, backup
    restored = loom("restore", str(folder / "b"), str(folder / "again"), "--last-head", head, "--json")
    assert 0 == restored.code, restored
    pub = str(folder / "again/keys/log.pub")
    found = loom("verify", str(folder / "again"), "--key", pub, "--json")
    assert (0, "good", "good") == (found.code, found.json["levels"]["V1"], found.json["levels"]["V3"]), found
    refused = loom("witness", "check", str(folder / "w"), str(folder / "again"))
    assert (4, True) == (refused.code, "does not know the log" in refused.err), refused
