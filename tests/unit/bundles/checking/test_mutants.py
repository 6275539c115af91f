"""A sound bundle is proved whole; each of ten mutants is refuted by a trace that the kernel plays to where it goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.mutants import MUTANTS, Mutant, write
from loom.bundles import registry
from loom.bundles.checking.checker import check
from loom.bundles.checking.properties import PROPERTIES
from loom.transports.cli.app import invoke


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """A command line with --json, in this process."""
    code = invoke([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_sound_bundle_is_proved(tmp_path: Path) -> None:
    """Of the bundle that the mutants are made from, every property holds, in every graph."""
    report = check(registry.load(str(write(tmp_path / "sound"))))
    assert () == report.traces
    assert PROPERTIES == report.proved
    assert 6 == len(report.rows)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_is_refuted_by_a_trace(mutant: Mutant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The property is refuted (exit 1), its trace is kept, and replay takes all its commands to the place that it names."""
    folder, trace = write(tmp_path / "mutant", mutant.change), tmp_path / "trace.json"
    code, found = run(capsys, "bundle", "check", str(folder), "--trace", str(trace), "--property", mutant.property)
    assert 1 == code
    assert mutant.property in [one["property"] for one in found["bundles"][0]["refuted"]]
    code, played = run(capsys, "replay", "--commands", str(trace))
    assert 0 == code
    assert mutant.property == played["property"]
    assert mutant.shows in played["end"]["words"]
    assert [] == [entry for entry in played["entries"] if entry["outcome"] == "rejected"]


def test_the_same_trace_leads_elsewhere_in_the_sound_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a mutant accepts with nobody's word, the sound bundle does not accept; --bundle plays it there."""
    mutant = MUTANTS[0]
    trace = tmp_path / "trace.json"
    run(
        capsys,
        "bundle",
        "check",
        str(write(tmp_path / "m", mutant.change)),
        "--trace",
        str(trace),
        "--property",
        "person",
    )
    _, played = run(capsys, "replay", "--commands", str(trace), "--bundle", str(write(tmp_path / "sound")))
    assert "open" == played["end"]["status"]


def test_a_trace_of_another_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that was changed since is named, and nothing is played."""
    folder, trace = write(tmp_path / "m", MUTANTS[3].change), tmp_path / "trace.json"
    run(capsys, "bundle", "check", str(folder), "--trace", str(trace))
    write(folder)
    assert 2 == invoke(["replay", "--commands", str(trace)])
    assert "--bundle" in capsys.readouterr().err
