"""Recorded commands under other rules: the same way, an objection, a person, another way; and nothing invented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.player import Player
from harness.toy import REVIEW, TOY
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.facts import BOOL, Fact, Said, View
from loom.kernel.flow import Bundle, Measure, Role, Rule
from loom.kernel.values import Pairs
from loom.kernel.whatif import Fate, NotOnRecord, Other, Parting, Way
from loom.kernel.work import Unanswered, ask_directly, rules_for


def accepted(bundle: Bundle = REVIEW, preset: str = "autonomous") -> Player:
    """A run that a policy accepted."""
    player = Player(bundle, {"preset": preset})
    player.report("worker", subject="s1")
    player.report("reviewer")
    assert "accepted" == player.task.verdict
    return player


def walked(player: Player, other: Other) -> Parting | None:
    """Where the run leaves the recorded way."""
    way = Way(other)
    for record in player.records:
        if (parting := way.take(record)) is not None:
            return parting
    return None


def ruled(*rules: Rule, bundle: Bundle = REVIEW, **changes: Any) -> Other:
    return Other(rules_for(replace(bundle, rules=(*bundle.rules, *rules), **changes)))


def test_its_own_rules_go_the_same_way() -> None:
    """Nothing changed: every entry is as it was, with gates, rework, and objections in it."""
    for preset in ("autonomous", "supervised"):
        player = Player(REVIEW, {"preset": preset})
        player.report("worker", subject="s1")
        player.block("reviewer")
        player.report("worker", subject="s2")
        player.report("reviewer")
        if preset == "supervised":
            player.answer("accept")
        assert "accepted" == player.task.verdict
        assert walked(player, Other(rules_for(REVIEW))) is None


def test_a_rule_that_objects_is_named_with_its_entry() -> None:
    """Rule, sentence, what it read, and what was recorded instead; at the entry with the verdict."""
    player = accepted()
    rule = Rule("two eyes", ("VerdictReached",), "one reviewer is not enough", never=Said("reviewer", "approve"))
    parting = walked(player, ruled(rule))
    assert parting is not None
    last = player.records[-1]
    assert (Fate.OBJECTED, last.seq, last.n) == (parting.fate, parting.seq, parting.n)
    assert ("two eyes", "one reviewer is not enough") == (parting.rule, parting.sentence)
    assert ("said reviewer=approve",) == parting.because
    assert isinstance(parting.recorded, e.VerdictReached)


def test_a_rule_by_a_function_objects_and_its_silence_is_an_objection_too() -> None:
    """A pure function of before and after; one that raises does not let the run pass as the same."""

    def check(before: View, after: View) -> str | None:
        return "no" if after.said("reviewer") == "approve" else None

    def broken(before: View, after: View) -> str | None:
        raise ZeroDivisionError

    found = walked(accepted(), ruled(Rule("mine", ("VerdictReached",), "no", check=check)))
    assert (Fate.OBJECTED, "no") == (found and found.fate, found and found.sentence)
    found = walked(accepted(), ruled(Rule("mine", ("VerdictReached",), "no", check=broken)))
    assert found is not None
    assert (Fate.OBJECTED, True) == (found.fate, "did not answer: ZeroDivisionError" in found.sentence)


def test_an_objection_that_was_recorded_is_no_news() -> None:
    """A rule that objected then objects again: the same way; another one beside it is named."""
    rule = Rule("never", ("VerdictReached",), "not like this", never=Said("reviewer", "approve"))
    bundle = replace(REVIEW, rules=(rule,))
    player = Player(bundle, {"preset": "autonomous"})
    player.report("worker", subject="s1")
    player.report("reviewer")
    assert "objection" == player.parked
    assert walked(player, Other(rules_for(bundle))) is None
    parting = walked(player, ruled(replace(rule, name="also never"), bundle=bundle))
    assert ("also never", Fate.OBJECTED) == (parting and parting.rule, parting and parting.fate)


def test_another_floor_asks_a_person() -> None:
    """A policy decided then; with a floor that was not reached, a person would be asked: where, and why."""
    parting = walked(accepted(), ruled(roles=(Role("final", floor=("review.reviewer", "check.test")),)))
    assert parting is not None
    assert (Fate.ASKS, True) == (parting.fate, "a person would be asked at decide (role final)" in parting.sentence)
    assert "evidence is missing: check.test" in parting.sentence
    assert isinstance(parting.recorded, e.DecisionRecorded)
    assert isinstance(parting.supposed, e.GateOpened)


def test_other_policies() -> None:
    """`human` where a policy decided: a person would be asked; a policy where a person was: another way."""
    human = Other(rules_for(REVIEW), policies=(("final", "human"),))
    assert Fate.ASKS is (walked(accepted(), human) or pytest.fail("same")).fate
    supervised = Player(REVIEW, {"preset": "supervised"})
    supervised.report("worker", subject="s1")
    supervised.report("reviewer")
    supervised.answer("accept")
    auto = Other(rules_for(REVIEW), policies=(("final", "auto"),))
    parting = walked(supervised, auto)
    assert parting is not None
    assert (Fate.OTHER, "GateOpened", "DecisionRecorded") == (
        parting.fate, type(parting.recorded).__name__, type(parting.supposed).__name__,
    )  # fmt: skip


def test_what_only_explains_may_differ() -> None:
    """A gate that is a person's for another reason, under policies of another digest, is the same gate."""
    player = Player(REVIEW, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.report("reviewer")
    gate = player.task.gate
    assert gate is not None
    player.answer("accept", policy_digest=gate.policy_digest)
    floors = ruled(roles=(Role("final", floor=("review.reviewer",), person_when=Said("reviewer", "approve")),))
    assert walked(player, floors) is None


def test_another_bundle_is_followed_until_a_command_does_not_fit() -> None:
    """Another flow: the stage that comes instead is named; one that lacks the preset takes not even the first command."""
    parting = walked(accepted(), Other(rules_for(TOY)))
    assert parting is not None
    assert (Fate.OTHER, "review", "decide") == (
        parting.fate, getattr(parting.recorded, "stage", ""), getattr(parting.supposed, "stage", ""),
    )  # fmt: skip
    poor = replace(REVIEW, presets=(("supervised", (("final", "human"),)),), default_preset="supervised")
    parting = walked(accepted(), Other(rules_for(poor)))
    assert parting is not None
    assert (Fate.UNKNOWN, 1) == (parting.fate, parting.n)
    assert "has no policy preset autonomous" in parting.sentence


def measuring(value: str) -> Other:
    """A rule over a fact that nobody measured then."""

    def measured(command: c.AttemptEnded) -> Pairs:
        if value == "?":
            raise NotOnRecord("the list of what it changed is not stored any more")
        return (("touches", value),)

    worker = replace(REVIEW.agents[0], measures=(Measure("touches", "paths", BOOL, ("x/",)),))
    rule = Rule("untouched", ("VerdictReached",), "it was touched", never=Fact("touches"))
    bundle = replace(REVIEW, agents=(worker, *REVIEW.agents[1:]), rules=(rule,))
    return Other(rules_for(bundle), measured=measured, added=frozenset({"touches"}))


def test_a_fact_that_is_measured_anew() -> None:
    """It counts for the rules and is no difference by itself; where it cannot be measured, the fate is unknown from there."""
    assert walked(accepted(), measuring("no")) is None
    objected = walked(accepted(), measuring("yes"))
    assert (Fate.OBJECTED, ("fact touches=yes",)) == (objected and objected.fate, objected and objected.because)
    unknown = walked(accepted(), measuring("?"))
    assert (Fate.UNKNOWN, "AttemptEnded") == (unknown and unknown.fate, unknown and unknown.command)
    assert unknown is not None
    assert "not stored any more" in unknown.sentence


def test_a_silence_on_record_is_taken_from_there() -> None:
    """A rule that did not answer then does not answer now: what was an accident of that day is no difference."""

    def slow(before: View, after: View) -> str | None:
        return None

    rule = Rule("slow", ("VerdictReached",), "no", check=slow)
    bundle = replace(REVIEW, rules=(rule,))
    player = Player(bundle, {"preset": "autonomous"}, ask=_silent)
    player.report("worker", subject="s1")
    player.report("reviewer")
    assert "objection" == player.parked
    assert walked(player, Other(rules_for(bundle))) is None


def _silent(name: str, function: Any, *arguments: Any) -> Any:
    if not name.startswith("rule "):
        return ask_directly(name, function, *arguments)
    raise Unanswered(name, "it took too long")
