"""A person accepts trouble as it is: the stage goes where it leads when what was accepted stands in nobody's way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, Player
from harness.toy import FINALIZE, REVIEWER, SIBLINGS, WORK, WORKER, gate, make
from loom.kernel import events as e
from loom.kernel.facts import All, Any, Not, Said
from loom.kernel.flow import Ask, Bundle, Conclude, Fanout, Flow, Goto, Member, On, Rework, Spawn
from loom.kernel.values import Verdict

ONE, TWO, THREE = (Said(sibling.name, "block") for sibling in SIBLINGS)
JUDGE = replace(REVIEWER, name="judge")


def judged(*moves: On) -> Bundle:
    """work → three reviewers → a judge → last → gate → accepted; `moves`: those of the reviewers' stage."""
    reviews = Fanout("review", tuple(Member(sibling.name) for sibling in SIBLINGS), on=moves)
    last = Spawn("last", "reviewer")
    flow = Flow("main", (WORK, reviews, Spawn("dispute", "judge"), last, gate(), FINALIZE), rework="work")
    return make("judged", (WORKER, REVIEWER, JUDGE, *SIBLINGS), flow)


USUAL = (
    On(ONE, Rework("work")),
    On(Not(Any((TWO, THREE))), Goto("last")),
    On(Not(All((TWO, Said("reviewer3", "approve")))), Rework("work")),
)


def stalled(bundle: Bundle, *blocking: str) -> Player:
    """A play whose reviewers block the same way until a person is asked."""
    player = Player(bundle)
    while player.parked != "stall":
        player.report("worker", subject=f"s{player.task.round}")
        for sibling in SIBLINGS:
            if sibling.name in blocking:
                player.block(sibling.name, f"{sibling.name} says no")
            else:
                player.report(sibling.name, "approve")
    return player


@pytest.mark.parametrize("blocking", [("reviewer1",), ("reviewer2", "reviewer3"), ("reviewer1", "reviewer2")])
def test_an_accepted_stall_makes_the_stages_own_move(blocking: tuple[str, ...]) -> None:
    """Who accepted every blocker by name does not pay for the judge of a dispute that is settled."""
    player = stalled(judged(*USUAL), *blocking)
    player.accept_all()
    assert ("last", "") == (player.task.stage, player.parked)
    assert ["last"] == [entered.stage for entered in player.happened(e.StageEntered)]
    assert [] == player.happened(e.Reworked)
    player.report("reviewer", "approve")
    assert ("accepted", None) == (player.task.verdict, player.replayed().difference)


def test_the_move_says_whose_word_was_waived() -> None:
    """The record tells why the flow went on: the block was said, and a person accepted it."""
    player = stalled(judged(*USUAL), "reviewer2", "reviewer3")
    player.accept_all()
    (entered,) = player.happened(e.StageEntered)
    assert {"said reviewer2=waived", "said reviewer3=waived"} <= set(entered.because)


def test_a_failed_sibling_that_is_accepted_makes_the_stages_own_move() -> None:
    """Going on without one reviewer leads where the approval of the others leads."""
    player = Player(judged(*USUAL))
    player.report("worker", subject="s1")
    for name in ("reviewer1", "reviewer2"):
        player.report(name, "approve")
    for _ in range(2):
        player.fail("reviewer3", "permanent")
    assert "spawn_failed" == player.parked
    player.accept_all()
    assert "last" == player.task.stage


@pytest.mark.parametrize(
    "again",
    [On(Said("reviewer2", "approve"), Rework("work")), On(Said("reviewer2", "approve"), Ask("is that right?"))],
    ids=["rework", "ask"],
)
def test_no_word_that_was_said_sends_it_back_or_asks_again(again: On) -> None:
    """What a person took as it is cannot be sent back by what another agent said of it before."""
    player = stalled(judged(On(ONE, Rework("work")), again), "reviewer1")
    player.accept_all()
    assert ("dispute", "") == (player.task.stage, player.parked)
    assert [] == player.happened(e.Reworked)


def test_an_answered_question_leads_to_what_the_stage_concludes() -> None:
    """The move that asked is passed over, the ones after it are not."""
    stuck = Said("worker", "stuck")
    work = replace(WORK, on=(On(stuck, Ask("stuck")), On(stuck, Conclude(Verdict.FAILED))))
    player = Player(make("concluding", (WORKER,), Flow("main", (work, gate(), FINALIZE), rework="work")))
    player.report("worker", "stuck", subject="s1")
    player.answer("accept")
    assert "failed" == player.task.verdict


def test_a_stall_at_a_gate_is_decided_again() -> None:
    """A policy that could only send back decides anew when a person accepted what it saw; then nothing is missing."""
    finalize = replace(FINALIZE, needs=("approval.final",))
    flow = Flow("main", (WORK, Spawn("review", "reviewer"), gate(), finalize))
    player = Player(make("policy", (WORKER, REVIEWER), flow, floor=("review.reviewer",)), {"preset": "autonomous"})
    while player.parked != "stall":
        player.report("worker", subject=f"s{player.task.round}")
        player.block("reviewer")
    assert "decide" == player.task.stage
    player.accept_all()
    assert ("accepted", None) == (player.task.verdict, player.replayed().difference)


def test_what_was_waived_is_heard_again_when_it_is_said_again() -> None:
    """A waiver is about what was said of one subject: a new block about a new subject counts."""
    player = stalled(judged(*USUAL), "reviewer2", "reviewer3")
    player.accept_all()
    player.block("reviewer", "something new")
    assert "decide" == player.task.stage
    player.answer("revise")
    player.report("worker", subject="s9")
    player.report("reviewer1", "approve")
    player.block("reviewer2", "another trouble")
    player.report("reviewer3", "approve")
    assert ("dispute", ["reviewer2"]) == (player.task.stage, [f.agent for f in player.task.findings])
    assert ANNA.id not in {shown.by.id for shown in player.task.evidence if shown.kind == "review.reviewer2"}
