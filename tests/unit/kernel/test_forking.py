"""What a fork takes over, and what it does not: results, never decisions; and where it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import Player, Refusal
from harness.toy import FANOUT, REVIEW, TOY
from loom.kernel import events as e
from loom.kernel.flow import Bundle
from loom.kernel.forking import inherit
from loom.kernel.heritage import Inherited
from loom.kernel.work import Refused


def taken(player: Player, stage: str, n: int = 0) -> Inherited:
    """What a fork of the player's task would take over, after its entry n (0: the last)."""
    records = [record for record in player.records if not n or record.n <= n]
    events = [event for record in records for event in record.events]
    return inherit(player.task, events, Inherited(records[-1].n, stage))


def fork(bundle: Bundle, inherited: Inherited, preset: str = "autonomous") -> Player:
    """A task that goes on from there."""
    return Player(bundle, {"preset": preset, "origin_task": "origin", "inherited": inherited})


def reviewed(preset: str = "supervised") -> Player:
    player = Player(REVIEW, {"preset": preset})
    player.report("worker", subject="s1", tokens=70, cost=5)
    player.block("reviewer", "it leaks")
    player.report("worker", subject="s2")
    return player


def test_results_are_taken_over_and_nothing_is_paid_again() -> None:
    """The subject, the round, what was found before; spent begins at nothing; the stage is entered as it was the first time."""
    origin = reviewed()
    found = fork(REVIEW, taken(origin, "review"))
    task = found.task
    assert (origin.task.subject, origin.task.work, 2) == (task.subject, task.work, task.round)
    assert origin.task.carried == task.carried
    assert (0, 0, 0) == (task.spent.attempts, task.spent.tokens, task.spent.cost)
    assert ["reviewer"] == found.agents("ready")
    assert "t/review.2/reviewer" == found.spawn("reviewer").id
    (forked,) = found.happened(e.TaskForked)
    assert ("origin", len(origin.records), "review") == (forked.origin, forked.n, forked.stage)
    found.report("reviewer")
    assert "accepted" == task.verdict or "accepted" == found.task.verdict
    assert found.replayed().difference is None


def test_settled_siblings_stay_settled() -> None:
    """Of a fan-out only what had no result is opened for work; with all results there, the flow goes on at once."""
    origin = Player(FANOUT, {"preset": "supervised"})
    origin.report("worker", subject="s1")
    origin.report("reviewer1")
    origin.report("reviewer3")
    found = fork(FANOUT, taken(origin, "review"), "supervised")
    assert (["reviewer2"], ["reviewer1", "reviewer3"]) == (found.agents("ready"), found.agents("settled"))
    found.report("reviewer2")
    assert "final" == found.gate.role
    assert found.replayed().difference is None
    origin.report("reviewer2")
    there = fork(
        FANOUT, replace(taken(origin, "review"), settled=("reviewer1", "reviewer2", "reviewer3")), "supervised"
    )
    assert "final" == there.gate.role


def test_decisions_are_not_taken_over() -> None:
    """An approval, an accepted blocker and a waived review were about the other task; the trouble of its attempts, too."""
    origin = Player(REVIEW, {"preset": "supervised"})
    origin.report("worker", subject="s1")
    for _ in range(2):
        origin.block("reviewer", "it leaks")
        origin.report("worker", subject=f"s{origin.now_ms}")
    origin.block("reviewer", "it leaks")
    assert "stall" == origin.parked
    origin.accept_all()
    assert {"accepted"} == {finding.status.value for finding in origin.task.findings}
    inherited = taken(origin, "decide")
    assert [] == [each for each in inherited.evidence if each.by.id == "anna"]
    assert {"open"} == {finding.status.value for finding in inherited.findings}
    found = fork(REVIEW, inherited, "supervised")
    assert ("final", "supervised") == (found.gate.role, found.task.spec.preset)
    with pytest.raises(Refusal, match="blockers_open"):
        found.answer("accept")
    failing = Player(REVIEW, {"preset": "supervised"})
    failing.report("worker", subject="s1")
    for _ in range(2):
        failing.fail("reviewer", "permanent")
    assert "spawn_failed" == failing.parked
    assert () == taken(failing, "review").findings


def test_what_another_bundle_does_not_know_is_left_behind() -> None:
    """A review without its reviewer is no evidence there; a stage that is not there is refused."""
    origin = Player(REVIEW, {"preset": "supervised"})
    origin.report("worker", subject="s1")
    origin.report("reviewer")
    found = fork(TOY, taken(origin, "decide"), "supervised")
    assert ((), (("worker", "done"),)) == (found.task.evidence, found.task.outcomes)
    with pytest.raises(Refusal, match="bundle toy has no stage review"):
        fork(TOY, taken(origin, "review"))


def test_a_place_from_which_nothing_goes_on_is_refused() -> None:
    """After the verdict, and at a stage that was not entered."""
    origin = reviewed("autonomous")
    with pytest.raises(Refused, match="was not entered"):
        taken(origin, "decide")
    origin.report("reviewer")
    assert "accepted" == origin.task.verdict
    with pytest.raises(Refused, match="verdict was given"):
        taken(origin, "review")


def test_a_fork_that_was_not_filled_is_refused() -> None:
    """The kernel takes none without what stands in the origin's record, nor one that is about another base."""
    with pytest.raises(Refusal, match="no_origin"):
        fork(REVIEW, Inherited(3, "review"))
    inherited = taken(reviewed(), "review")
    with pytest.raises(Refusal, match="no_origin"):
        fork(REVIEW, replace(inherited, base="another"))
    with pytest.raises(Refusal, match="no_origin"):
        Player(REVIEW, {"inherited": inherited})
