"""A rule's no is a state: made from the state before, with remedies, never stuck, and the same in replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.player import Player, caps, finding
from harness.toy import CHECKED, DELIVERED, FANOUT, TOY
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.facts import Said, View
from loom.kernel.flow import Bundle, Rule
from loom.kernel.values import AnswerWord

RETRY, REVISE, ABANDON = AnswerWord.RETRY, AnswerWord.REVISE, AnswerWord.ABANDON


def ruled(
    bundle: Bundle,
    *on: str,
    check: Callable[[View, View], str | None],
    remedies: tuple[AnswerWord, ...] = (RETRY, REVISE, ABANDON),
) -> Bundle:
    return replace(bundle, rules=(Rule("law", on, "no", check=check, remedies=remedies),))


def always(before: View, after: View) -> str | None:
    return "not here"


def test_an_objection_parks_from_the_state_before() -> None:
    """Nothing of what the command would have done is in the state; the task waits with the rule's remedies."""
    player = Player(CHECKED, {"preset": "supervised"})
    player.report("worker", subject="s1", facts={"empty": "yes"})
    player.report("checks", checks={"check.test": "passed"})
    taken = player.answer("accept")
    assert ("objected", "") == (taken.outcome, player.task.verdict)
    assert ("objection", "decide", {"revise", "abandon"}) == (player.parked, player.task.stage, player.offers)
    assert "approval.final" not in [one.kind for one in player.task.evidence]
    (raised,) = player.happened(e.ObjectionRaised)
    assert ("no empty work", ("fact empty=yes",)) == (raised.rule, raised.because)
    assert "gate_closed" == player.refused(c.Answer("t-1", AnswerWord.ACCEPT))
    player.answer("revise")
    assert "work" == player.task.stage


@pytest.mark.parametrize("way", ["abandon", "cancel"])
def test_the_way_out_is_never_closed(way: str) -> None:
    """No rule of a bundle can keep a person from giving up."""
    player = Player(
        ruled(CHECKED, "VerdictReached", "TaskClosed", "DecisionRecorded", check=always), {"preset": "supervised"}
    )
    player.report("worker", subject="s1", facts={"empty": "yes"})
    player.do(c.Cancel()) if way == "cancel" else player.end("checks", "lost")
    if way == "abandon":
        player.report("checks", checks={"check.test": "passed"})
        player.answer("abandon")
    assert player.task.verdict in ("cancelled", "abandoned")


def test_an_objected_report_was_still_paid_for() -> None:
    """The attempt has ended: its cost is spent, it counts, its reservation is free, and what it said did not happen."""
    bundle = replace(
        TOY, rules=(Rule("law", ("SpawnSettled",), "never stuck", never=Said("worker", "stuck"), remedies=(RETRY,)),)
    )
    player = Player(bundle, {"caps": caps(cost=1_000)})
    player.grant("worker", reserved=500)
    player.report("worker", "stuck", subject="s1", cost=300, tokens=9)
    spent = player.task.spent
    assert (300, 0, 9, 1) == (spent.cost, spent.reserved, spent.tokens, spent.attempts)
    (closed,) = player.happened(e.AttemptClosed)
    assert ("objected", "s0") == (closed.end, player.task.subject)
    assert ("objection", ["worker"], {"retry", "abandon"}) == (player.parked, player.agents("ready"), player.offers)
    assert "held" == player.refused(player.granting(player.spawn("worker")))
    player.answer("retry")
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict
    assert player.replayed().difference is None


def test_an_objected_sibling_leaves_the_others_alone() -> None:
    """Only the spawn whose report was objected to waits; the others run on and settle."""
    player = Player(
        ruled(FANOUT, "SpawnSettled", check=lambda before, after: "no" if after.said("reviewer2") == "block" else None)
    )
    player.report("worker", subject="s1")
    player.grant_all()
    player.report("reviewer2", "block", findings=[finding("x", agent="reviewer2")])
    player.report("reviewer1")
    player.report("reviewer3")
    assert (["reviewer2"], ["reviewer1", "reviewer3"]) == (player.agents("ready"), player.agents("settled"))
    player.answer("retry")
    player.report("reviewer2")
    assert "accepted" == player.task.verdict


def test_an_objected_wake_is_not_due_for_ever() -> None:
    """A wake that fired has fired; the task is asked about once, and keeps a deadline when it goes on."""
    player = Player(ruled(TOY, "TaskParked", check=always))
    player.now_ms = dict(player.task.wakes)["wall"]
    player.do(c.Wake("wall"))
    assert ("objection", ["gate"]) == (player.parked, [name for name, _ in player.task.wakes])
    assert "not_due" == player.refused(c.Wake("wall"))
    player.answer("retry")
    assert player.now_ms + player.task.caps.wall_ms == dict(player.task.wakes)["wall"]
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict


def test_a_rule_without_a_usable_remedy_still_leaves_abandon() -> None:
    """A bundle that declares what leads nowhere cannot make a task stuck."""
    player = Player(ruled(TOY, "SpawnSettled", check=always, remedies=(AnswerWord.RAISE,)))
    player.report("worker", subject="s1")
    assert {"abandon"} == player.offers
    player.answer("abandon")
    assert "abandoned" == player.task.verdict


def test_a_submission_can_be_objected_to() -> None:
    """There is no state before that could be parked: nothing is created, and the sentence says why."""
    with pytest.raises(AssertionError, match="objected: not here"):
        Player(ruled(TOY, "TaskSubmitted", check=always))


def test_a_rule_sees_before_and_after() -> None:
    """What changed is what a rule can object to."""
    seen: list[tuple[str, str]] = []

    def look(before: View, after: View) -> str | None:
        seen.append((before.said("worker"), after.said("worker")))
        return None

    player = Player(ruled(TOY, "SpawnSettled", check=look))
    player.report("worker", subject="s1")
    assert [("", "done")] == seen


def test_a_rule_that_fails_did_not_answer() -> None:
    """An exception is no answer: it parks, it is on record as an input, and replay takes it from there."""
    healthy: list[int] = []

    def fragile(before: View, after: View) -> str | None:
        if not healthy:
            raise ValueError(f"{object()}\ud800 " + "x" * 1_000)
        return None

    player = Player(ruled(TOY, "SpawnSettled", check=fragile))
    player.report("worker", subject="s1")
    assert ("objection", {"retry", "abandon"}) == (player.parked, player.offers)
    (raised,) = player.happened(e.ObjectionRaised)
    assert raised.sentence.startswith("law did not answer: ") or raised.sentence.startswith("rule law did not answer: ")
    assert len(raised.sentence.encode()) <= 256
    assert [True] == [entry.startswith("rule law: ValueError: <object object at") for entry in player.last.unanswered]
    healthy.append(1)
    player.answer("retry")
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict
    assert player.replayed().difference is None


def test_trouble_in_delivery_leaves_the_verdict() -> None:
    """An objection after the verdict offers what a delivery can have: another try, or the end."""
    player = Player(
        ruled(
            DELIVERED,
            "SpawnSettled",
            check=lambda before, after: "no" if after.said("deliver") and not allowed else None,
        )
    )
    allowed: list[int] = []
    player.report("worker", subject="s1")
    player.report("deliver")
    assert ({"retry", "abandon"}, "accepted") == (player.offers, player.task.verdict)
    allowed.append(1)
    player.answer("retry")
    player.report("deliver")
    assert "done" == player.task.status


def test_what_was_delivered_while_a_person_was_asked_is_not_delivered_twice() -> None:
    """An objection to something else holds the end back; retry closes the task with the delivery that settled."""
    player = Player(ruled(DELIVERED, "TaskPaused", check=always))
    player.report("worker", subject="s1")
    player.grant("deliver")
    player.do(c.Pause())
    assert "objection" == player.parked
    player.report("deliver")
    assert "open" == player.task.status
    player.answer("retry")
    assert ("done", ["t/finalize.1/deliver"]) == (
        player.task.status,
        [event.delivered for event in player.happened(e.TaskClosed)],
    )


def test_several_rules_object_together() -> None:
    """All sentences are on record; what any of them allows is offered."""
    rules = (
        Rule("one", ("SpawnSettled",), "first", check=always, remedies=(REVISE,)),
        Rule("two", ("SpawnSettled",), "second", check=always, remedies=(RETRY,)),
    )
    player = Player(replace(TOY, rules=rules))
    player.report("worker", subject="s1")
    assert ["one", "two"] == [event.rule for event in player.happened(e.ObjectionRaised)]
    assert {"retry", "revise", "abandon"} == player.offers


def test_a_rule_is_asked_only_about_its_events() -> None:
    """What did not happen cannot be objected to."""
    player = Player(ruled(TOY, "TaskPaused", check=always))
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict
