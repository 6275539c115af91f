"""Which sandbox is taken, and what is said when it is less than was hoped for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loom.workers.sandboxes import Bubblewrap, available, choose
from loom.workers.sandboxes.choose import _kinds, probe
from loom.workers.seams import HandsError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Probes are kept for a process; each test asks anew."""
    for each in (_kinds, probe):
        each.cache_clear()
    yield
    for each in (_kinds, probe):
        each.cache_clear()


@pytest.fixture
def without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.needs("bubblewrap")
def test_auto_takes_bubblewrap_where_it_runs() -> None:
    """The best that runs, and nothing to say about it."""
    sandbox, sentence = choose("auto")
    assert ("bubblewrap", "") == (sandbox.kind, sentence)
    assert ("bubblewrap", "none") == available()


def test_auto_falls_back_with_a_sentence(without_bubblewrap: None) -> None:
    """Without bubblewrap: none, and why."""
    sandbox, sentence = choose("auto")
    assert "none" == sandbox.kind
    assert "bubblewrap is not installed" in sentence


@pytest.mark.parametrize("wanted", ["bubblewrap", "docker"])
def test_what_is_asked_for_by_name_is_never_less(without_bubblewrap: None, wanted: str) -> None:
    """A kind that is named and does not run is an error with the reason."""
    with pytest.raises(HandsError, match=f"sandbox {wanted} cannot be used"):
        choose(wanted)


def test_none_can_be_asked_for() -> None:
    """Who asks for none gets it without a word."""
    sandbox, sentence = choose("none")
    assert ("none", "") == (sandbox.kind, sentence)


@pytest.mark.parametrize(
    "script", ["exit 1", "echo 'setting up uid map: Permission denied' >&2; exit 1", "echo outside"]
)
def test_installed_is_not_enough(tmp_path: Path, script: str) -> None:
    """A bwrap that starts and does not contain is not taken at its word: the probe really runs it."""
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    found = Bubblewrap(str(program)).probe()
    assert not found.works
    assert "does not run here" in found.reason
