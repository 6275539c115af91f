"""Why: from cause to cause, exactly, back to a word from outside; over the histories of real runs."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from loom.transports.histories import FileRuns
from loom.transports.why import Answer, NothingThere, Story, told

HISTORIES = Path(__file__).resolve().parents[2] / "replay" / "histories"
OUTSIDE = ("submitted it", "forked it", "said cancel", "said pause", "said resume", "answered")
"""What the last link of a chain is: a word that came from outside."""


@cache
def story(name: str) -> Story:
    with FileRuns(HISTORIES / f"{name}.history") as runs:
        return told([(seq, json.loads(body)) for seq, body in runs.entries()])


def led_to(answer: Answer) -> str:
    return "\n".join(line for cause in answer.chain for line in cause.led_to)


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.history")), ids=lambda path: path.stem)
def test_everything_in_a_history_has_a_chain(path: Path) -> None:
    """Each spawn, attempt, stage, gate and finding: the causes go back in time, one entry each, to a word from outside."""
    whole = story(path.stem)
    events = [(kind, fields) for entry in whole.entries for kind, fields in entry.events]
    things = {"": None}
    things |= {fields["spawn"]: None for kind, fields in events if kind in ("SpawnOpened", "SpawnSkipped")}
    things |= {f"{f['spawn']}#{f['attempt']}": None for kind, f in events if kind == "AttemptGranted"}
    things |= {fields["stage"]: None for kind, fields in events if kind in ("StageEntered", "StageSkipped")}
    things |= {fields["gate"]: None for kind, fields in events if kind == "GateOpened"}
    things |= {fields["finding"]["id"]: None for kind, fields in events if kind == "FindingRecorded"}
    for thing in things:
        answer = whole.why(thing)
        assert answer.sentence, thing
        assert all(later.seq > earlier.seq for later, earlier in pairwise(answer.chain)), thing
        assert any(words in answer.chain[-1].what for words in OUTSIDE), (thing, answer.chain[-1])


def test_why_it_is_parked() -> None:
    """The gate: why, what it was about, how it was decided; under it the rework that led there, with the blocker."""
    answer = story("stall").why(next(g for k, g in gates("stall")))
    assert "a person is asked at review" in answer.sentence
    assert "the same blocker came back after 2 reworks: f3" in answer.sentence
    assert "decided trouble: accept" in answer.notes[0]
    assert ": f3 total() takes the price of a thing that is given back" in answer.sentence
    assert ": f2 total() takes" in led_to(answer)
    assert "the work went back to implement, round 3" in led_to(answer)


def gates(name: str) -> list[tuple[str, str]]:
    return [(k, f["gate"]) for entry in story(name).entries for k, f in entry.events if k == "GateOpened"]


def test_why_an_agent_ran_again() -> None:
    """A rework names who blocked and the entry in which it did; a retry names the answer."""
    answer = story("rework").why("implementer")
    assert "implementer runs again: the work went back to implement, round 3" == answer.sentence
    said = answer.chain[0]
    assert "attempt 1 of challenger ended: block" in said.what
    reworked = next(line for line in said.led_to if "went back" in line)
    assert "said challenger=block" in reworked
    approved = next(
        entry.seq for entry in reversed(story("rework").entries)
        if entry.seq < said.seq and any(k == "SpawnSettled" and f["agent"] == "correctness" for k, f in entry.events)
    )  # fmt: skip
    assert f"said correctness=approve [entry {approved}]" in reworked
    again = story("fanout").why("security#2")
    assert "security runs again, attempt 2: retry" == again.sentence
    assert "answered retry" in again.chain[0].what
    assert "it was parked (spawn_failed)" in led_to(again)
    repaired = story("simple").why("correctness#2")
    assert "correctness runs again, attempt 2: repair" == repaired.sentence


def test_why_a_stage_or_an_agent_was_skipped() -> None:
    """By its guard, with what was read and where it was measured."""
    assert "stage plan_gate was skipped, because said planner=done" == story("simple").why("plan_gate").sentence
    style = story("medium").why("style")
    assert style.sentence.startswith("style was skipped, because ")
    assert "fact size=small [entry " in style.sentence


def test_why_that_model() -> None:
    """The binding of the attempt, its place in the chain, and what really answered."""
    notes = story("trivial").why("implementer").notes
    assert "1 of 1: the first of its chain, which was fixed when the stage was entered" in notes[0]
    assert "it ended reported, served by recorded/" in notes[1]
    moved = moving("next binding after rate_limit")
    assert "model b:y, 2 of 2: next binding after rate_limit" == moved.why("w#2").notes[0]


def moving(reason: str) -> Story:
    """A spawn that moved on to its second binding."""
    spawn = "t/work.1/w"
    bodies = [
        (["Submit", {"preset": "auto", "flow": ""}], [
            ["StageEntered", {"stage": "work", "iteration": 1}],
            ["SpawnOpened", {"spawn": spawn, "agent": "w", "stage": "work", "iteration": 1, "chain": ["a:x", "b:y"]}],
        ]),
        (["AttemptEnded", {"spawn": spawn, "attempt": 1, "end": "failed", "error_class": "rate_limit"}], [
            ["AttemptReadied", {"spawn": spawn, "attempt": 2, "binding": 1, "reason": reason}],
        ]),
        (["Grant", {"spawn": spawn, "attempt": 2, "worker": "w1"}], [
            ["AttemptGranted", {"spawn": spawn, "attempt": 2, "binding": 1}],
        ]),
    ]  # fmt: skip
    return told(
        [
            (seq, {"n": seq + 1, "now_ms": seq, "command": command, "principal": {"id": "ada"}, "events": events})
            for seq, (command, events) in enumerate(bodies)
        ]
    )


def test_why_a_finding() -> None:
    """Who found it, and the way to it."""
    answer = story("rework").why("f1")
    assert answer.sentence.startswith("checks found f1: ")
    assert "attempt 1 of checks ended: failed" in answer.chain[0].what


@pytest.mark.parametrize("thing", ["f99", "review", "nobody#1", "implementer#9", "t/x.1/y"])
def test_what_is_not_there(thing: str) -> None:
    """One sentence, with what there is."""
    with pytest.raises(NothingThere):
        story("trivial").why(thing)
