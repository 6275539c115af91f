"""What parks a task besides failures: time, budgets, submission faults; and that every wait has an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, HANDS, T0, HomeOfOne, Player, caps, submission
from harness.toy import CHECKED, DELIVERED, FANOUT, REVIEW, TOY
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel import limits
from loom.kernel.effects import Announce, Offer, SetWake, StopAttempt
from loom.kernel.machine import Rejection, tick
from loom.kernel.values import Caps
from loom.kernel.work import rules_for


def due(player: Player, name: str) -> None:
    """Let the wake of this name come due, and take it."""
    player.now_ms = max(player.now_ms, dict(player.task.wakes)[name])
    player.do(c.Wake(name))


# ------------------------------------------------------------------------------------------------------------- submit


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"semantics": 2}, "other_semantics"),
        ({"flow": "none"}, "no_such_flow"),
        ({"preset": "yolo"}, "no_such_policy"),
        ({"policies": (("final", "yolo"),)}, "no_such_policy"),
        ({"policies": (("nobody", "auto"),)}, "no_such_policy"),
        ({"policies": (("trouble", "auto"),)}, "no_such_policy"),
        ({"base": ""}, "no_base"),
        ({"subject": ""}, "no_base"),
        ({"caps": Caps(rounds=-1)}, "bad_caps"),
        ({"caps": Caps(wall_ms=-1)}, "bad_caps"),
    ],
)
def test_a_faulty_submission_creates_nothing(changes: dict[str, object], code: str) -> None:
    """A wrong name is said before anything exists."""
    taken = tick(rules_for(TOY), None, HomeOfOne(), ANNA, submission(TOY, **changes), T0)
    assert isinstance(taken, Rejection)
    assert (code, True) == (taken.code, len(taken.sentence) > 10)


def test_who_submits_and_when() -> None:
    """A worker submits nothing; a task exists once; time is a number that does not run back."""
    rules, home = rules_for(TOY), HomeOfOne()
    for by, now_ms, code in ((HANDS, T0, "not_allowed"), (ANNA, -1, "bad_time"), (ANNA, 2**53, "bad_time")):
        taken = tick(rules, None, home, by, submission(TOY), now_ms)
        assert isinstance(taken, Rejection)
        assert code == taken.code
    player = Player(TOY)
    assert "task_exists" == player.refused(submission(TOY))
    player.now_ms -= 10
    assert "time_ran_back" == player.refused(c.Pause())
    nobody = tick(rules, None, home, ANNA, c.Pause(), T0)
    assert isinstance(nobody, Rejection)
    assert "no_such_task" == nobody.code


# --------------------------------------------------------------------------------------------------- pause and cancel


def test_what_runs_while_paused_is_taken() -> None:
    """Pause holds grants only: a report is not lost, and the next attempt waits."""
    player = Player(REVIEW)
    player.grant("worker")
    player.do(c.Pause())
    player.do(player.ending("worker", "reported", outcome="done", subject="s1", work="c1"))
    assert (["reviewer"], True) == (player.agents("ready"), player.task.paused)
    assert "held" == player.refused(player.granting(player.spawn("reviewer")))


def test_cancel_stops_everything() -> None:
    """Running attempts are stopped, their reservation is released, the gate is gone, and nothing can happen any more."""
    player = Player(FANOUT, {"caps": caps(cost=1_000)})
    player.report("worker", subject="s1")
    player.grant("reviewer1", reserved=300)
    player.grant("reviewer2", reserved=300)
    report = player.ending("reviewer1", "reported", outcome="approve", subject="s1")
    player.do(c.Cancel())
    assert ("cancelled", "done", 0) == (player.task.verdict, player.task.status, player.task.spent.reserved)
    assert [2, 3] == [stop.fence for stop in player.effects(StopAttempt)]
    for command in (report, c.Cancel(), c.Pause()):
        assert "task_done" == player.refused(command)


def test_cancel_at_a_gate_withdraws_it() -> None:
    """The question is moot, on record."""
    player = Player(TOY, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.do(c.Cancel())
    assert ["GateWithdrawn", "VerdictReached", "TaskClosed"] == player.kinds()


# -------------------------------------------------------------------------------------------------------------- wakes


def test_a_wake_is_taken_when_it_is_due_and_once() -> None:
    """Early, unknown and a second time: rejected."""
    player = Player(TOY)
    assert "not_due" == player.refused(c.Wake("wall"))
    assert "not_due" == player.refused(c.Wake("tea"))
    due(player, "wall")
    assert "not_due" == player.refused(c.Wake("wall"))


def test_a_wake_is_due_at_its_time() -> None:
    """Not a millisecond before, and exactly then."""
    player = Player(TOY)
    at = dict(player.task.wakes)["wall"]
    player.now_ms = at - 2
    assert "not_due" == player.refused(c.Wake("wall"))
    player.do(c.Wake("wall"))
    assert at == player.task.now_ms


def test_the_wall_withdraws_the_question_on_record() -> None:
    """An open gate that is replaced is not left open in the rows."""
    player = Player(TOY, {"preset": "supervised"})
    player.report("worker", subject="s1")
    due(player, "wall")
    assert ["WakeCleared", "GateWithdrawn", "TaskParked", "GateOpened", "WakeSet"] == player.kinds()


def test_resuming_a_parked_task_offers_nothing() -> None:
    """Paused and parked are two things: the person's answer is still needed."""
    player = Player(TOY)
    player.do(c.Pause())
    due(player, "wall")
    player.do(c.Resume())
    assert ([], "wall") == (player.effects(Offer), player.parked)


def test_the_wall_parks_and_is_never_acceptance() -> None:
    """Time that is used up asks a person: more of it, or the end."""
    player = Player(TOY)
    due(player, "wall")
    assert ("wall", {"raise", "abandon"}) == (player.parked, player.offers)
    player.answer("raise")
    assert player.now_ms + 2 * limits.TASK_WALL_MS == dict(player.task.wakes)["wall"]
    assert 1 == len(player.effects(SetWake))
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict


def test_raising_another_budget_at_the_wall_leaves_no_task_without_a_deadline() -> None:
    """A person who raises something else goes on, too, and the time starts again."""
    player = Player(TOY)
    due(player, "wall")
    player.answer("raise", raises=(("attempts", 50),))
    assert player.now_ms + limits.TASK_WALL_MS == dict(player.task.wakes)["wall"]


def test_no_cap_on_time_is_the_longest_time() -> None:
    """0 stands for no cap, and still every wait has an end; a time beyond all numbers is cut."""
    for wall_ms, end in ((0, T0 + 1 + limits.TASK_WALL_MS), (limits.MAX_INTEGER, limits.MAX_INTEGER)):
        assert end == dict(Player(TOY, {"caps": caps(wall_ms=wall_ms)}).task.wakes)["wall"]


def test_the_wall_does_not_hide_a_failure() -> None:
    """A failed spawn is not stepped over because the time ran out on top of it: raise tries it again."""
    player = Player(TOY)
    for _ in range(2):
        player.fail("worker", "permanent")
    assert "spawn_failed" == player.parked
    due(player, "wall")
    player.answer("raise")
    assert (["worker"], "work") == (player.agents("ready"), player.task.stage)


def test_what_ends_while_parked_at_the_wall_is_taken_up() -> None:
    """A result that came while a person was asked is not paid twice: only the decision after it was held back."""
    player = Player(REVIEW)
    player.grant("worker")
    due(player, "wall")
    player.do(player.ending("worker", "reported", outcome="done", subject="s1", work="c1"))
    assert ("wall", "work") == (player.parked, player.task.stage)
    player.answer("raise")
    assert ("review", 1) == (player.task.stage, player.task.spent.attempts)


def test_what_fails_while_parked_at_the_wall_is_tried_again() -> None:
    """And a failure that came meanwhile is no result."""
    player = Player(REVIEW, {"bindings": ()})
    player.grant("worker")
    due(player, "wall")
    player.fail("worker", "permanent")
    player.answer("raise")
    assert (["worker"], "work") == (player.agents("ready"), player.task.stage)


@pytest.mark.parametrize("parked", ["stall", "asked", "decide"])
def test_the_wall_over_another_question_asks_it_again(parked: str) -> None:
    """Raise gives time; the question that was open before is still the question."""
    player = Player(REVIEW, {"preset": "supervised"})
    if parked == "asked":
        player.report("worker", "stuck")
    elif parked == "stall":
        while player.parked != "stall":
            player.report("worker", subject=f"s{player.task.round}")
            player.block("reviewer")
    else:
        player.report("worker", subject="s1")
        player.report("reviewer")
    before = player.gate
    due(player, "wall")
    assert "gate_closed" == player.refused(c.Answer(before.id, before.answers[0]))
    player.answer("raise")
    assert (before.role, before.stage, before.answers) == (player.gate.role, player.gate.stage, player.gate.answers)


def test_a_gate_nobody_answers_reminds_again_and_again() -> None:
    """An open gate has a due time; overdue, it is announced, and due again later."""
    player = Player(TOY, {"preset": "supervised", "caps": caps(wall_ms=100 * limits.GATE_WAIT_MS)})
    player.report("worker", subject="s1")
    for _ in range(3):
        due(player, "gate")
        later = player.now_ms + limits.GATE_WAIT_MS
        assert (later, later) == (player.gate.due_ms, dict(player.task.wakes)["gate"])
        assert ["gate t-1 overdue"] == [a.what for a in player.effects(Announce)]
    player.answer("accept")


def test_the_wall_after_the_verdict_changes_nothing() -> None:
    """What was accepted in time is delivered."""
    player = Player(DELIVERED)
    player.report("worker", subject="s1")
    due(player, "wall")
    assert ("", ["WakeCleared"]) == (player.parked, player.kinds())
    player.report("deliver")
    assert "done" == player.task.status


# ------------------------------------------------------------------------------------------------------------ budgets


def test_attempts_are_counted_before_they_start() -> None:
    """A fan-out that would pass the cap starts none of its agents; raise lets all of them run."""
    player = Player(FANOUT, {"caps": caps(attempts=3)})
    player.report("worker", subject="s1")
    assert ("attempts", {"raise", "abandon"}) == (player.parked, player.offers)
    assert "held" == player.refused(player.granting(player.spawn("reviewer1")))
    player.answer("raise")
    assert (43, 3) == (player.task.caps.attempts, len(player.agents("ready")))


def test_what_has_settled_needs_no_attempt_more() -> None:
    """A fan-out that fits the cap exactly runs through, one after the other."""
    player = Player(FANOUT, {"caps": caps(attempts=4)})
    player.report("worker", subject="s1")
    for agent in ("reviewer1", "reviewer2", "reviewer3"):
        player.report(agent)
    assert "accepted" == player.task.verdict


@pytest.mark.parametrize(("budget", "spent"), [("cost", {"cost": 100}), ("tokens", {"tokens": 100})])
def test_a_sibling_that_uses_the_budget_up_holds_the_others_back(budget: str, spent: dict[str, int]) -> None:
    """The attempts that wait are not granted on nothing: a person is asked as soon as it is known."""
    player = Player(FANOUT, {"caps": caps(**{budget: 100})})
    player.report("worker", subject="s1")
    player.grant("reviewer1", reserved=100 if budget == "cost" else 0)
    player.report("reviewer1", **spent)  # type: ignore[arg-type]
    assert (budget, ["reviewer2", "reviewer3"]) == (player.parked, player.agents("ready"))


def test_checks_are_free() -> None:
    """No budget counts what runs no model, and none holds it back."""
    player = Player(CHECKED, {"caps": caps(attempts=1, cost=100, tokens=10), "preset": "on-blockers"})
    player.grant("worker", reserved=100)
    player.report("worker", subject="s1", facts={"empty": "no", "risky": "no"}, cost=120, tokens=11)
    assert ("", "check") == (player.parked, player.task.stage)
    player.report("checks", checks={"check.test": "passed"})
    assert ("accepted", 1) == (player.task.verdict, player.task.spent.attempts)


def test_money_is_reserved_at_the_grant_and_settled_at_the_end() -> None:
    """Spent and reserved together never pass the cap by a grant; what was not used is free again."""
    player = Player(FANOUT, {"caps": caps(cost=1_000)})
    player.report("worker", subject="s1")
    player.grant("reviewer1", reserved=600)
    assert "over_budget" == player.refused(player.granting(player.spawn("reviewer2"), reserved=401))
    player.grant("reviewer2", reserved=400)
    player.report("reviewer1", cost=100)
    assert (100, 400) == (player.task.spent.cost, player.task.spent.reserved)
    player.end("reviewer2", "lost")
    assert (100, 0) == (player.task.spent.cost, player.task.spent.reserved)
    player.grant("reviewer2", reserved=900)


def test_money_that_is_used_up_parks_and_must_be_raised_by_name() -> None:
    """loom does not guess what somebody wants to pay."""
    player = Player(REVIEW, {"caps": caps(cost=1_000)})
    player.grant("worker", reserved=1_000)
    player.report("worker", subject="s1", cost=1_000)
    assert "cost" == player.parked
    assert [("cost", 80), ("cost", 100)] == [(x.budget, x.percent) for x in player.happened(e.BudgetReached)]
    assert "name_the_budget" == player.refused(player.answering("raise"))
    assert "not_a_raise" == player.refused(player.answering("raise", raises=(("cost", 1_000),)))
    assert "not_a_raise" == player.refused(player.answering("raise", raises=(("beer", 1_000),)))
    assert "not_a_raise" == player.refused(player.answering("raise", raises=(("tokens", 1_000),)))
    player.answer("raise", raises=(("cost", 2_000),))
    player.report("reviewer")
    assert "accepted" == player.task.verdict


def test_tokens_park_too() -> None:
    """The default raise doubles what was used."""
    player = Player(REVIEW, {"caps": caps(tokens=100)})
    player.report("worker", subject="s1", tokens=150)
    assert "tokens" == player.parked
    player.answer("raise")
    assert (300, "review") == (player.task.caps.tokens, player.task.stage)


def test_an_unknown_cost_is_never_zero() -> None:
    """What has no price is counted as unpriced, beside what has one."""
    player = Player(REVIEW)
    player.report("worker", subject="s1", cost=None)
    player.report("reviewer", cost=7)
    assert (1, 7) == (player.task.spent.unpriced, player.task.spent.cost)


def test_a_stuck_worker_asks_with_its_stage() -> None:
    """A move to Ask parks with the reason that the bundle gives."""
    player = Player(replace(TOY, name="stuck"))
    player.report("worker", "stuck")
    (parked,) = player.happened(e.TaskParked)
    assert ("the worker is stuck", "work") == (parked.reason.value, parked.stage)


def test_loom_itself_may_cancel() -> None:
    """The coordinator's own principal is not a person, and may end a task."""
    player = Player(TOY)
    player.do(c.Cancel(), CORE)
    assert "cancelled" == player.task.verdict


def test_the_reason_of_trouble_is_the_failures_own() -> None:
    """A sibling that ends after the one that failed does not take the reason away."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    for _ in range(2):
        player.fail("reviewer1", "permanent", "no key")
    player.report("reviewer2")
    player.report("reviewer3")
    assert ["reviewer1 failed: no key"] == [parked.reason.value for parked in player.happened(e.TaskParked)]


def test_a_raise_leads_on_without_a_cap_too() -> None:
    """wall_ms 0 is the longest that any task has; when it is used up, the offered raise goes on."""
    player = Player(TOY, {"caps": caps(wall_ms=0)})
    due(player, "wall")
    assert "raise" in player.offers
    player.answer("raise")
    assert ("", 2 * limits.TASK_WALL_MS) == (player.parked, player.task.caps.wall_ms)
