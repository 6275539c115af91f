"""Beside its peers: loom is compared figure by figure; a peer that fails is said and does not end the comparison."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent / "peers"


def load(name: str) -> ModuleType:
    """A program of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made  # its dataclasses look for their module
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with this interpreter in the place of the peers'."""
    made = load("compare")
    monkeypatch.setattr(made, "interpreter", lambda: Path(sys.executable))
    return made


def figures(one: float, many: float) -> dict[str, object]:
    return {
        "steps_per_s": {"1": one, "128": many},
        "cpu_s_per_1000_steps": 0.5,
        "ms_a_stage": 2.0,
        "settings": "durable",
        "runs": [],
    }


def test_ratios_are_loom_to_each_peer(compare: ModuleType) -> None:
    """Of the mean of the two runs of loom, load by load."""
    both = compare.middle(figures(300, 1_000), figures(500, 3_000))
    assert {"X": {"1": 4.0, "128": 20.0}} == compare.ratios({"loom": both, "X": figures(100, 100)})


def test_a_peer_that_fails_is_said(compare: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the end of what it said; the others and loom stand in the output all the same."""
    (tmp_path / "works.py").write_text(f"print({json.dumps(figures(10, 20))!r})")
    (tmp_path / "fails.py").write_text("import a_library_that_is_nowhere")
    monkeypatch.setattr(compare, "HERE", tmp_path)
    monkeypatch.setattr(compare, "PEERS", {"LangGraph": "fails.py", "DBOS": "works.py"})
    monkeypatch.setattr(compare, "loom", lambda quick: figures(30, 80))
    monkeypatch.setattr(sys, "argv", ["compare", "--json"])
    said: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *words, **_: said.append(str(words[0])))
    assert 0 == compare.main()
    found = json.loads(said[-1])
    assert {"DBOS": {"1": 3.0, "128": 4.0}} == found["ratios"]
    assert "a_library_that_is_nowhere" in found["missing"]["LangGraph"]


def test_the_workload_is_looms(compare: ModuleType) -> None:
    """The peers' calls, stages and sizes are those of the bundle that loom is measured with."""
    workload = load("workload")
    calls = (*workload.BEFORE, *workload.REVIEWERS, *workload.AFTER)
    assert compare.CALLS == workload.CALLS == len(calls)
    assert compare.STAGES == workload.STAGES == len(calls) - len(workload.REVIEWERS) + 1
    assert set(compare.LOOM_TASKS) == set(workload.TASKS)
    assert 2_000 == len(workload.ANSWER)
