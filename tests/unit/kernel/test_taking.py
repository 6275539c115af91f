"""Late results: a person takes one, and it goes the way of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, HANDS, Player, caps, finding, text
from harness.toy import DELIVERED, FANOUT, REVIEW, TOY
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.effects import StopAttempt
from loom.kernel.facts import Said
from loom.kernel.flow import Rule
from loom.kernel.limits import LOSSES_PER_SPAWN
from loom.kernel.values import End, SpawnStatus, Status, Usage, Verdict


def late(player: Player, agent: str, outcome: str = "", **fields: object) -> c.AttemptEnded:
    """What the agent's running attempt would have reported; it is lost instead."""
    if player.spawn(agent).status is SpawnStatus.READY:
        player.grant(agent)
    fields.setdefault("usage", Usage(input_tokens=70, output_tokens=30, calls=1, cost=500))
    report = player.reporting(player.rules.agents[agent], outcome, **fields)  # type: ignore[arg-type]
    player.end(agent, "lost")
    return report


def taking(report: c.AttemptEnded | None) -> c.Take:
    return c.Take(orphan=1, report=report, reason=text("it is good"))


def test_a_late_result_settles_what_waits_for_another_try() -> None:
    """No second attempt: the work goes on with what was done, and what it had cost is counted."""
    player = Player(TOY, {"preset": "supervised"})
    report = late(player, "worker", subject="s1")
    taken = player.do(taking(report))
    result = next(v for v in taken.events if isinstance(v, e.ResultTaken))
    assert ("t/work.1/worker", 1, ANNA, text("it is good")) == (result.spawn, result.attempt, result.by, result.reason)
    assert ("s1", "c-s1", "w1") == (player.task.subject, player.task.work, player.task.author)
    assert (1, 100, 500) == (player.task.spent.attempts, player.task.spent.tokens, player.task.spent.cost)
    assert "final" == player.gate.role
    assert player.replayed().difference is None


def test_a_late_result_ends_the_trouble_it_was_the_lack_of() -> None:
    """Parked because nobody came through: the gate is withdrawn, its findings are answered, the flow goes on."""
    player = Player(TOY, {"preset": "supervised"})
    report = late(player, "worker", subject="s1")
    for _ in range(LOSSES_PER_SPAWN - 1):
        player.end("worker", "lost")
    gate = player.gate.id
    assert "spawn_failed" == player.parked
    taken = player.do(taking(report))
    assert e.GateWithdrawn(gate) in taken.events
    assert ("", "final") == (player.parked, player.gate.role)
    player.answer("accept")
    assert Verdict.ACCEPTED is player.task.verdict


def test_the_trouble_lasts_while_another_lacks_its_result() -> None:
    """One of two failed siblings: the question stays open about the other."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    player.report("reviewer3")
    report = late(player, "reviewer1", "approve")
    for agent in ("reviewer1", "reviewer2"):
        while player.spawn(agent).status is not SpawnStatus.FAILED:
            player.end(agent, "lost")
    player.do(taking(report))
    assert ("spawn_failed", SpawnStatus.SETTLED) == (player.parked, player.spawn("reviewer1").status)
    player.answer("retry")
    player.report("reviewer2")
    assert Status.DONE is player.task.status


def test_a_budget_that_is_used_up_is_no_trouble_any_more() -> None:
    """The attempt for which there was no room is not needed."""
    player = Player(TOY, {"preset": "supervised", "caps": caps(attempts=1)})
    report = late(player, "worker", subject="s1")
    assert "attempts" == player.parked
    player.do(taking(report))
    assert ("", "final") == (player.parked, player.gate.role)


def test_another_try_that_runs_is_stopped() -> None:
    """What is done already is not paid for again."""
    player = Player(TOY, {"preset": "supervised"})
    report = late(player, "worker", subject="s1")
    player.grant("worker")
    taken = player.do(taking(report))
    assert [StopAttempt("t", "t/work.1/worker", 2, 2, "w1")] == [x for x in taken.effects if isinstance(x, StopAttempt)]
    closed = next(v for v in taken.events if isinstance(v, e.AttemptClosed))
    assert (2, End.STOPPED) == (closed.attempt, closed.end)


def test_another_trouble_keeps_its_question() -> None:
    """A result does not answer what a person was asked about time."""
    player = Player(TOY, {"preset": "supervised"})
    report = late(player, "worker", subject="s1")
    player.now_ms = dict(player.task.wakes)["wall"]
    player.do(c.Wake("wall"))
    player.do(taking(report))
    assert "wall" == player.parked
    player.answer("raise")
    assert "final" == player.gate.role


def test_a_late_block_blocks() -> None:
    """Nothing is bypassed: a late review that blocks sends the work back."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.do(taking(late(player, "reviewer", "block", findings=(finding("it leaks"),))))
    assert ("work", 2) == (player.task.stage, player.task.round)


def test_a_rule_may_object_to_a_late_result() -> None:
    """The rules of the bundle are asked as with any report; then the task is parked, and the spawn has no result."""
    rule = Rule("not done", ("SpawnSettled",), "it is never done", never=Said("worker", "done"))
    player = Player(replace(TOY, rules=(rule,)), {"preset": "supervised"})
    taken = player.do(taking(late(player, "worker", subject="s1")))
    assert ["not done"] == [violation.rule for violation in taken.violations]
    assert ("objection", SpawnStatus.READY, "s0") == (player.parked, player.spawn("worker").status, player.task.subject)


def test_what_is_settled_needs_no_other_result() -> None:
    """The second try came through before a person took the first."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    report = late(player, "reviewer1")
    player.report("reviewer1")
    assert "settled" == player.refused(taking(report))


def test_what_the_flow_has_left_is_nobodys_work() -> None:
    """The task went on with another try's result."""
    player = Player(TOY, {"preset": "supervised"})
    report = late(player, "worker", subject="s1")
    player.report("worker", subject="s2")
    assert "gone_on" == player.refused(taking(report))
    player.answer("accept")
    assert "task_done" == player.refused(taking(report))


def test_a_review_of_what_is_not_judged_any_more_is_refused() -> None:
    """It was granted before the present subject came to be, whatever it says itself."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    report = late(player, "reviewer")
    old = replace(player.task, subject_fence=report.fence)
    player._state = player.task = old
    assert "other_subject" == player.refused(taking(report))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"end": End.FAILED}, "no_result"),
        ({"attempt": 9}, "no_such_attempt"),
        ({"fence": 9}, "no_such_attempt"),
        ({"outcome": "nonsense"}, "unfit"),
        ({"subject": "s7", "work": ""}, "unfit"),
        ({"usage": Usage(calls=-1)}, "unfit"),
        ({"spawn": "t/work.1/nobody"}, "gone_on"),
    ],
)
def test_what_no_report_may_be_is_not_taken(changes: dict[str, object], code: str) -> None:
    """The same admission as for a report; a refusal changes nothing."""
    player = Player(TOY, {"preset": "supervised"})
    report = late(player, "worker", subject="s1")
    assert code == player.refused(taking(replace(report, **changes)))  # type: ignore[arg-type]
    assert SpawnStatus.READY is player.spawn("worker").status


def test_what_still_runs_reports_by_itself() -> None:
    """The attempt that holds the fence is not late."""
    player = Player(TOY)
    player.grant("worker")
    report = player.reporting(player.rules.agents["worker"], subject="s1")
    assert "still_running" == player.refused(taking(report))


def test_a_number_under_which_nothing_is_kept() -> None:
    """The coordinator found nothing to put in."""
    assert "no_such_orphan" == Player(TOY).refused(taking(None))


def test_what_it_cost_finds_no_room_beside_what_runs() -> None:
    """Spent and reserved stay under the cap: it is taken when the others have ended."""
    player = Player(FANOUT, {"caps": caps(cost=1_000)})
    player.report("worker", subject="s1")
    report = late(player, "reviewer1")
    player.grant("reviewer2", reserved=600)
    assert "over_budget" == player.refused(taking(report))
    player.report("reviewer2", cost=100)
    player.do(taking(report))
    assert (600, 0) == (player.task.spent.cost, player.task.spent.reserved)


@pytest.mark.parametrize(("by", "code"), [(HANDS, "not_allowed"), (CORE, "not_a_person")])
def test_only_a_person_takes(by: object, code: str) -> None:
    """Neither a worker nor loom itself decides that."""
    player = Player(TOY)
    assert code == player.refused(taking(late(player, "worker", subject="s1")), by)  # type: ignore[arg-type]


def test_a_late_word_ends_the_doubt_about_an_act() -> None:
    """The worker that was lost says that it was done: nobody does it again, and nobody has to look."""
    player = Player(DELIVERED, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.answer("accept")
    report = late(player, "deliver", usage=Usage())
    assert 1 == len(player.task.doubts)
    player.do(taking(report))
    assert (Status.DONE, 0) == (player.task.status, len(player.task.doubts))
    assert player.replayed().difference is None
