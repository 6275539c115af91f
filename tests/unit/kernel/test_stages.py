"""The five kinds of stage, and how a task moves through its flow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import Player, finding
from harness.toy import (
    CHECKED,
    CHOOSER,
    CHOOSING,
    DELIVERED,
    FANOUT,
    FINALIZE,
    GIVING_UP,
    REVIEW,
    REVIEWER,
    STEPPED,
    TOY,
    WORK,
    WORKER,
    gate,
    make,
    serial,
)
from loom.kernel import events as e
from loom.kernel.effects import Announce, Offer
from loom.kernel.facts import ALWAYS, BOOL, Fact, View
from loom.kernel.flow import Agent, Fanout, Finalize, Flow, Gate, Goto, Member, On, Spawn, Step
from loom.kernel.values import AnswerWord, Capability, Verdict

SUPERVISED = {"preset": "supervised"}


def test_a_task_starts_with_the_first_stage_ready() -> None:
    """Submit opens the first spawn under an id that is derived, offers its attempt, and sets the task's deadline."""
    player = Player(TOY)
    assert ["t/work.1/worker"] == [s.id for s in player.task.spawns]
    assert [("t/work.1/worker", 1)] == [(o.spawn, o.attempt) for o in player.effects(Offer)]
    assert {"wall": player.now_ms + player.task.caps.wall_ms} == dict(player.task.wakes)
    assert ("first", "second") == player.spawn("worker").chain


def test_work_then_policy_then_accepted() -> None:
    """A flow without trouble ends accepted, and its last event closes it."""
    player = Player(TOY)
    player.report("worker", subject="s1")
    assert ("done", "accepted") == (player.task.status, player.task.verdict)
    assert "TaskClosed" == player.kinds()[-1]
    assert "verdict accepted" in [a.what for a in player.effects(Announce)]


def test_a_blocker_sends_the_work_back_with_its_words() -> None:
    """A rework carries the live findings, forgets what was said from there on, and counts a round."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.block("reviewer", "it leaks")
    assert ("work", 2, 1) == (player.task.stage, player.task.round, player.task.spent.rounds)
    assert ["it leaks"] == [f.report.message.value for f in player.task.carried]
    assert ((), ()) == (player.task.findings, player.task.outcomes)
    assert "t/work.2/worker" == player.spawn("worker").id


def test_what_was_said_before_the_rework_stage_stays() -> None:
    """A rework forgets the agents whose stages come again, and no others."""
    chooser = Agent("scout", Capability.ANSWER)
    bundle = make(
        "scouted",
        (chooser, WORKER, REVIEWER),
        Flow("main", (Spawn("scout", "scout"), *REVIEW.flows[0].stages), rework="work"),
    )
    player = Player(bundle)
    player.report("scout")
    player.report("worker", subject="s1")
    player.block("reviewer")
    assert (("scout", "done"),) == player.task.outcomes


def test_new_work_voids_evidence() -> None:
    """Evidence is about one subject: another one has none."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.block("reviewer")
    assert ["review.reviewer"] == [one.kind for one in player.task.evidence]
    player.report("worker", subject="s2")
    assert () == player.task.evidence


def test_a_fanout_runs_all_and_waits_for_the_last() -> None:
    """Siblings are offered together; the stage is left when all have settled, not before."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    assert 3 == len(player.effects(Offer))
    player.report("reviewer2")
    player.report("reviewer1")
    assert "review" == player.task.stage
    player.report("reviewer3")
    assert "accepted" == player.task.verdict


def test_a_finding_stays_in_sight_until_its_agent_has_judged_again() -> None:
    """A round that a failing check ends early takes no review back: the next agents see both, and compare with what was judged."""
    player = Player(CHECKED)
    player.report("worker", subject="s1", facts={"risky": "yes", "empty": "no"})
    player.report("checks", "passed", checks={"check.test": "passed"})
    player.block("reviewer", "it leaks")
    player.report("worker", subject="s2", facts={"risky": "yes", "empty": "no"})
    player.report("checks", "failed", checks={"check.test": "failed"}, findings=[finding("red", agent="checks")])
    assert ["it leaks", "red"] == [f.report.message.value for f in player.task.carried]
    assert "c-s1" == player.task.previous
    player.report("worker", subject="s3", facts={"risky": "yes", "empty": "no"})
    player.report("checks", "passed", checks={"check.test": "passed"})
    player.block("reviewer", "it still leaks")
    assert ["it still leaks"] == [f.report.message.value for f in player.task.carried]
    assert "c-s3" == player.task.previous


def test_one_blocker_of_several_reviewers_goes_back_once_all_have_spoken() -> None:
    """A sibling's blocker does not cut the others short: all findings go back together."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    player.block("reviewer1", "first")
    player.block("reviewer2", "second")
    assert "review" == player.task.stage
    player.report("reviewer3")
    assert ["first", "second"] == [f.report.message.value for f in player.task.carried]
    assert () == player.task.outcomes


def test_a_member_whose_guard_fails_is_skipped_with_the_reason() -> None:
    """A skipped spawn is on record with what was read, and its agent's older word is forgotten."""
    player = Player(CHECKED)
    player.report("worker", subject="s1", facts={"risky": "yes", "empty": "no"})
    player.report("checks", checks={"check.test": "passed"})
    player.block("reviewer")
    player.report("worker", subject="s2", facts={"risky": "no"})
    player.report("checks", checks={"check.test": "passed"})
    (skipped,) = player.happened(e.SpawnSkipped)
    assert ("reviewer", ("fact risky=no",)) == (skipped.agent, skipped.because)
    assert "reviewer" not in dict(player.task.outcomes)
    assert "accepted" == player.task.verdict


def test_a_stage_without_any_member_is_passed_through() -> None:
    """A fan-out whose members are all skipped settles at once."""
    bundle = make("none", (WORKER,), Flow("main", (Fanout("f", (Member("worker", Fact("x")),)), FINALIZE)))
    assert "accepted" == Player(bundle).task.verdict


def test_a_gate_is_skipped_by_its_guard() -> None:
    """A gate whose guard does not hold is passed by, on record with the reason."""
    player = Player(STEPPED, SUPERVISED)
    player.report("worker", subject="s1")
    player.report("reviewer")
    assert "decide" == player.gate.stage
    light = Player(STEPPED, SUPERVISED)
    light.report("worker", "stuck")
    assert "asked" == light.parked
    light.answer("accept")
    assert ["decide"] == [event.stage for event in light.happened(e.StageSkipped)]
    assert "accepted" == light.task.verdict


def test_a_step_writes_facts_and_its_moves_read_them() -> None:
    """What a step computes is a fact by its name, and decides which stage follows."""
    player = Player(STEPPED)
    player.report("worker", subject="s1")
    (heavy,) = [f for f in player.happened(e.FactRecorded) if f.by == "step weigh"]
    assert ("heavy", "yes") == (heavy.name, heavy.value)
    assert "review" == player.task.stage


def stepping(run: object) -> Player:
    step = Step("think", run, writes=(("x", BOOL),))  # type: ignore[arg-type]
    return Player(make("thinking", (WORKER,), Flow("main", (step, WORK, FINALIZE), rework="work")))


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"x": "maybe"}, "step think wrote x=maybe, which it does not declare"),
        ({"x": "yes", "y": "yes"}, "step think wrote y=yes, which it does not declare"),
        (None, "step think gave NoneType, no mapping of facts"),
    ],
)
def test_a_step_that_writes_what_it_does_not_declare_parks(written: object, sentence: str) -> None:
    """Nothing of an undeclared write reaches the state."""
    player = stepping(lambda view: written)
    assert ("unanswered", sentence) == (player.parked, player.happened(e.TaskParked)[0].reason.value)
    assert "x" not in dict(player.task.facts)


def test_a_step_that_fails_parks_and_can_be_tried_again() -> None:
    """No answer of a step is a state with remedies, recorded as an input; replay takes the silence from the record."""
    calls = []

    def flaky(view: View) -> dict[str, str]:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError(f"at {id(calls)}")
        return {"x": "yes"}

    player = stepping(flaky)
    assert "unanswered" == player.parked
    assert [f"step think: RuntimeError: at {id(calls)}"] == list(player.last.unanswered)
    assert {"retry", "abandon"} == player.offers
    player.answer("retry")
    assert ("work", "yes") == (player.task.stage, dict(player.task.facts)["x"])
    assert player.replayed().difference is None


def test_the_flow_is_chosen_by_the_first_agent() -> None:
    """A fact with the name of a flow leads on in that flow, after the same stage."""
    player = Player(CHOOSING)
    player.report("chooser", facts={"flow": "ask"})
    assert ("ask", "answer") == (player.task.flow, player.task.stage)
    player.report("answerer")
    assert "answered" == player.task.verdict
    other = Player(CHOOSING)
    other.report("chooser", facts={"flow": "long"})
    assert ("long", "work") == (other.task.flow, other.task.stage)


def test_a_flow_that_cannot_be_gone_on_with_is_not_chosen() -> None:
    """A value that names no flow with this stage leaves the task where it is."""
    chooser = replace(CHOOSER, facts=(("flow", ("long", "nowhere")),))
    player = Player(replace(CHOOSING, agents=(chooser, *CHOOSING.agents[1:])))
    player.report("chooser", facts={"flow": "nowhere"})
    assert ("long", "work", []) == (player.task.flow, player.task.stage, player.happened(e.FlowChosen))


def test_a_pinned_flow_is_kept() -> None:
    """Who names the flow needs no chooser."""
    player = Player(CHOOSING, {"flow": "ask"})
    assert ("ask", "answer") == (player.task.flow, player.task.stage)


def test_conclude_sets_another_verdict() -> None:
    """A move may end the task, and what then runs no more is nothing."""
    player = Player(GIVING_UP)
    player.report("worker", "stuck")
    assert ("failed", "done") == (player.task.verdict, player.task.status)


def test_finalize_parks_when_something_is_missing() -> None:
    """Nothing is accepted without the evidence that Finalize needs; a skipped check is missing."""
    player = Player(CHECKED, SUPERVISED)
    player.report("worker", subject="s1", facts={"empty": "no"})
    player.report("checks", "skipped", checks={"check.test": "skipped"})
    player.answer("accept")
    assert ("missing", "") == (player.parked, player.task.verdict)
    assert {"revise", "abandon"} == player.offers


def test_an_answer_needs_its_evidence_too() -> None:
    """What a Finalize needs is needed for every verdict."""
    end = Finalize("end", Verdict.ANSWERED, needs=("review.reviewer",))
    player = Player(make("needing", (WORKER,), Flow("main", (WORK, end), rework="work")))
    player.report("worker", subject="s1")
    assert "missing" == player.parked


def test_blockers_at_finalize_can_be_accepted_by_name() -> None:
    """A flow without a gate has a way to accept over a blocker, too: by name, with a reason."""
    bundle = make(
        "nogate", (WORKER, REVIEWER), Flow("main", (WORK, Spawn("review", "reviewer"), FINALIZE), rework="work")
    )
    player = Player(bundle)
    player.report("worker", subject="s1")
    player.block("reviewer")
    assert ("missing", {"accept", "revise", "abandon"}) == (player.parked, player.offers)
    assert "blockers_open" == player.refused(player.answering("accept"))
    player.accept_all()
    assert "accepted" == player.task.verdict


def test_a_flow_without_an_end_parks() -> None:
    """A bundle's mistake is a state that a person sees, not an exception."""
    player = Player(make("endless", (WORKER,), Flow("main", (WORK,), rework="work")))
    player.report("worker", subject="s1")
    assert "asked" == player.parked


def test_a_loop_without_work_parks() -> None:
    """Stages that lead to each other with nobody working are cut off and shown."""
    back = On(ALWAYS, Goto("a"))
    steps = (Step("a", lambda view: {}, ()), Step("b", lambda view: {}, (), on=(back,)), FINALIZE)
    bundle = make("loop", (WORKER,), Flow("main", (WORK, *steps), rework="work"))
    player = Player(bundle)
    player.report("worker", subject="s1")
    assert ("objection", ["kernel.order"]) == (player.parked, [v.rule for v in player.last.violations])


def test_a_gate_never_offers_what_leads_nowhere() -> None:
    """Revise needs a stage to go back to; retry and raise belong to trouble; nobody stands before a gate without answers."""
    words = (AnswerWord.REVISE, AnswerWord.APPLY, AnswerWord.RETRY, AnswerWord.RAISE)
    player = Player(
        make("odd", (WORKER,), Flow("main", (WORK, Gate("g", "final", answers=words), FINALIZE))), SUPERVISED
    )
    player.report("worker", subject="s1")
    assert {"abandon"} == player.offers


def test_apply_goes_back_like_revise() -> None:
    """Apply asks for exactly the suggested fixes: it reworks and never approves."""
    stage = replace(gate(), answers=(AnswerWord.ACCEPT, AnswerWord.APPLY, AnswerWord.ABANDON))
    player = Player(make("applied", (WORKER,), Flow("main", (WORK, stage, FINALIZE), rework="work")), SUPERVISED)
    player.report("worker", subject="s1")
    player.answer("apply", "the first two")
    assert ("work", ()) == (player.task.stage, player.task.evidence)


def test_artifacts_have_versions() -> None:
    """An artifact made again is the next version; what the agent does not declare is dropped."""
    planner = Agent("planner", Capability.ANSWER, makes=("plan",))
    flow = Flow("main", (Spawn("plan", "planner"), gate(rework="plan"), FINALIZE), rework="plan")
    player = Player(make("planned", (planner,), flow), SUPERVISED)
    player.report("planner")
    player.answer("revise")
    player.report("planner", artifacts=(("plan", finding("x").message), ("loot", finding("y").message)))
    assert [("plan", 2)] == [(a.name, a.version) for a in player.task.artifacts]


def test_a_late_step_of_a_long_run_has_a_small_state() -> None:
    """What a run leaves behind leaves the state: after hundreds of steps one spawn is in it."""
    player = Player(serial(100), {"caps": replace(TOY.caps, attempts=0)})
    while player.task.spawns:
        player.report("answerer")
    assert ("answered", 1) == (player.task.verdict, len(player.task.artifacts))


def test_delivery_follows_the_verdict() -> None:
    """The verdict is final before anything is delivered; the task is done when the delivery has settled."""
    player = Player(DELIVERED)
    player.report("worker", subject="s1")
    assert ("open", "accepted", ["deliver"]) == (player.task.status, player.task.verdict, player.agents())
    player.report("deliver")
    assert ("done", "t/finalize.1/deliver") == (player.task.status, player.happened(e.TaskClosed)[0].delivered)
