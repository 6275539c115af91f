"""Answers: every word at every gate that offers it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, HANDS, Player, caps, finding, text
from harness.toy import CHECKED, FANOUT, FINALIZE, REVIEW, REVIEWER, TOY, WORK, WORKER, gate, make
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.effects import Offer, StopAttempt
from loom.kernel.facts import Blocked
from loom.kernel.flow import Agent, Bundle, Fanout, Finalize, Flow, Member, On, Rework, Rule, Spawn
from loom.kernel.policies import effective
from loom.kernel.values import Acceptance, AnswerWord, Approval, Capability, Principal, PrincipalKind, Verdict

SUPERVISED = {"preset": "supervised"}
POLICY = Principal("policy", PrincipalKind.POLICY, "kernel")


def at_the_gate(**submit: object) -> Player:
    player = Player(TOY, {**SUPERVISED, **submit})
    player.report("worker", subject="s1")
    return player


# --------------------------------------------------------------------------------------------------- at a flow's gate


def test_a_gate_says_what_it_is_about() -> None:
    """What is offered, and base, subject, change, policy digest and the log's root of that moment."""
    player = at_the_gate()
    gate = player.gate
    assert ("t-1", "final", "decide", "work") == (gate.id, gate.role, gate.stage, gate.rework)
    assert ("c0", "s1", "s1", "root2") == (gate.base, gate.subject, gate.change, gate.root)
    assert player.task.spec.policy_digest == gate.policy_digest
    assert {"accept", "revise", "abandon"} == player.offers


def test_accept_goes_on_and_is_evidence_by_name() -> None:
    """A person's approval is a decision with its principal, and evidence about exactly this subject."""
    player = at_the_gate()
    approval = Approval("payload", "type", "ed25519", ("sig",))
    player.answer("accept", "fine", approval=approval)
    (decision,) = player.happened(e.DecisionRecorded)
    assert "root2" == decision.root
    assert (ANNA, "s1", approval) == (decision.by, decision.subject, decision.approval)
    assert ("accepted", "done") == (player.task.verdict, player.task.status)
    assert [("approval.final", "s1", ANNA)] == [(x.kind, x.subject, x.by) for x in player.task.evidence]


def test_revise_takes_the_message_to_the_next_agents() -> None:
    """A person's words stand in the state that the next attempts are made from; it is no automatic round."""
    player = at_the_gate()
    player.answer("revise", "look at the edge")
    assert ("work", 2, 0) == (player.task.stage, player.task.round, player.task.spent.rounds)
    assert [("anna", "t-1", "look at the edge")] == [(m.by, m.gate, m.text.value) for m in player.task.messages]
    assert player.task.gate is None
    assert "gate" not in dict(player.task.wakes)


def test_revise_with_ones_own_work_goes_on_after_the_rework_stage() -> None:
    """A person's work is the next subject; what was said about the old one is forgotten, the checks run on the new."""
    player = Player(CHECKED, SUPERVISED)
    player.report("worker", subject="s1", facts={"empty": "no"})
    player.report("checks", checks={"check.test": "passed"})
    player.answer("revise", work="c9", new_subject="s9", new_change="d9")
    task = player.task
    assert ("check", "s9", "c9", "d9", "anna") == (task.stage, task.subject, task.work, task.change, task.author)
    assert ((), ()) == (task.evidence, task.outcomes)
    player.report("checks", checks={"check.test": "passed"})
    player.answer("accept")
    assert "accepted" == player.task.verdict


def test_abandon_ends_the_task() -> None:
    """Given up is a verdict, with who gave it."""
    player = at_the_gate()
    player.answer("abandon", "not worth it")
    assert ("abandoned", "done") == (player.task.verdict, player.task.status)
    assert ANNA == player.happened(e.VerdictReached)[0].by


def test_a_second_answer_is_refused() -> None:
    """A gate is answered once; whoever comes later is told so, whatever the task does meanwhile."""
    player = at_the_gate()
    first = player.answering("revise", "again")
    second = player.answering("accept")
    player.do(first)
    assert "gate_closed" == player.refused(second)
    player.report("worker", subject="s2")
    assert "gate_closed" == player.refused(second)
    player.answer("accept")
    assert "task_done" == player.refused(second)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"gate": "t-2"}, "gate_closed"),
        ({"subject": "s0"}, "stale_answer"),
        ({"base": "c1"}, "stale_answer"),
        ({"change": "d0"}, "stale_answer"),
        ({"policy_digest": "0"}, "stale_answer"),
        ({"word": "retry"}, "not_offered"),
        ({"word": "raise"}, "not_offered"),
        ({"word": "apply"}, "not_offered"),
        ({"accepts": (Acceptance("f1", text("why")),)}, "no_such_finding"),
        ({"word": "abandon", "accepts": (Acceptance("f1", text("why")),)}, "not_fitting"),
        ({"raises": (("attempts", 50),)}, "not_fitting"),
        ({"new_subject": "s9", "work": "c9"}, "not_fitting"),
        ({"word": "revise", "new_subject": "s9"}, "not_fitting"),
        ({"word": "revise", "work": "c9"}, "not_fitting"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(fields: dict[str, object], code: str) -> None:
    """Stale, not offered, or carrying what its word does not use: nothing changes, and the gate stays open."""
    player = at_the_gate()
    answer = replace(player.answering(str(fields.pop("word", "accept"))), **fields)  # type: ignore[arg-type]
    assert code == player.refused(answer)
    player.answer("accept", subject="s1", base="c0", change="s1", policy_digest=player.gate.policy_digest)


@pytest.mark.parametrize("by", [POLICY, HANDS, CORE])
def test_only_a_person_answers(by: Principal) -> None:
    """An agent has no means to answer a gate, and neither has loom itself."""
    player = at_the_gate()
    assert "not_a_person" == player.refused(player.answering("accept"), by)


# ----------------------------------------------------------------------------------------------- accept over blockers


def blocked_at_the_gate() -> Player:
    bundle = make(
        "judged",
        (WORKER, REVIEWER),
        Flow(
            "main",
            (WORK, Spawn("review", "reviewer"), gate(), Finalize("end", Verdict.ACCEPTED, needs=("review.reviewer",))),
            rework="work",
        ),
        floor=("review.reviewer",),
    )
    player = Player(bundle)
    player.report("worker", subject="s1")
    player.report("reviewer", "block", findings=[finding("it leaks"), finding("it is slow"), finding("a nit", "info")])
    return player


def test_accept_over_blockers_names_each_with_a_reason_and_completes() -> None:
    """Each open blocker by name, with a reason, none else; then nothing is missing, and the whole way leads to accepted."""
    player = blocked_at_the_gate()
    assert ["f1", "f2"] == player.blockers()
    assert "blockers_open" == player.refused(player.answering("accept"))
    assert "blockers_open" == player.refused(player.answering("accept", accept={"f1": "known"}))
    assert "blockers_open" == player.refused(player.answering("accept", accept={"f1": "known", "f2": ""}))
    assert "no_such_finding" == player.refused(
        player.answering("accept", accept={"f1": "known", "f2": "bearable", "f3": "no blocker"})
    )
    player.answer("accept", accept={"f1": "known", "f2": "bearable"})
    assert ("accepted", "done") == (player.task.verdict, player.task.status)
    assert {"f1": "known", "f2": "bearable"} == {
        event.finding: event.reason.value for event in player.happened(e.FindingAccepted)
    }
    assert player.replayed().difference is None


def test_a_person_who_accepts_a_stall_is_not_asked_the_same_again() -> None:
    """What was accepted by name in trouble is waived for this subject: the policy's floor is there."""
    player = Player(REVIEW)
    while player.parked != "stall":
        player.report("worker", subject=f"s{player.task.round}")
        player.block("reviewer", "it leaks")
    player.accept_all()
    assert "accepted" == player.task.verdict
    assert ("waived", ANNA) == next((x.outcome, x.by) for x in player.task.evidence if x.kind == "review.reviewer")


# ------------------------------------------------------------------------------------------------------------ trouble


def failed_review() -> Player:
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    player.report("reviewer1")
    player.report("reviewer2")
    for _ in range(2):
        player.fail("reviewer3", "permanent", "no key")
    return player


def test_trouble_answered_accept_goes_on_without_the_result() -> None:
    """A failed reviewer is waived by name and reason; its review counts as waived by this person."""
    player = failed_review()
    assert ({"retry", "accept", "revise", "abandon"}, "trouble") == (player.offers, player.gate.role)
    player.accept_all("not needed here")
    (waived,) = player.happened(e.SpawnWaived)
    assert ("reviewer3", ANNA) == (waived.agent, waived.by)
    assert "accepted" == player.task.verdict


def test_trouble_answered_revise_sends_the_work_back() -> None:
    """Back to the flow's rework stage."""
    player = failed_review()
    player.answer("revise")
    assert ("work", "", None) == (player.task.stage, player.parked, player.task.gate)


def test_trouble_answered_abandon_ends_the_task() -> None:
    """Abandon is offered in every trouble."""
    player = failed_review()
    player.answer("abandon")
    assert "abandoned" == player.task.verdict


def test_a_maker_that_failed_cannot_be_accepted() -> None:
    """What later stages build on cannot stay without result."""
    player = Player(TOY)
    for _ in range(2):
        player.fail("worker", "permanent")
    assert {"retry", "revise", "abandon"} == player.offers


def test_an_agent_that_asks_can_be_retried_accepted_or_revised() -> None:
    """A move that parks for a person: retry runs the stage again, accept goes on, revise goes back."""
    for word, stage in (("retry", "work"), ("accept", "decide"), ("revise", "work")):
        player = Player(TOY, SUPERVISED)
        player.report("worker", "stuck", subject="s1")
        assert ("asked", "the worker is stuck") == (player.parked, player.happened(e.TaskParked)[0].reason.value)
        player.answer(word)
        assert (stage, "") == (player.task.stage, player.parked)


def test_a_stall_parks_and_is_never_accepted_by_itself() -> None:
    """The same blocker three times is a stall, well before the rounds are used up; retry reworks once more, and parks again."""
    player = Player(REVIEW, {"preset": "autonomous"})
    for i in range(3):
        assert "" == player.parked
        player.report("worker", subject=f"s{i}")
        player.block("reviewer", f"it leaks at line {i}")
    assert ("stall", "") == (player.parked, player.task.verdict)
    player.answer("retry")
    assert "work" == player.task.stage
    player.report("worker", subject="s9")
    player.block("reviewer", "it leaks at line 9")
    assert "stall" == player.parked


def test_rounds_park_and_can_be_raised() -> None:
    """Ever other blockers use the rounds up; raise gives more, and a person's decision starts the count anew."""
    player = Player(REVIEW, {"caps": caps(rounds=2)})
    for i in range(3):
        player.report("worker", subject=f"s{i}")
        player.block("reviewer", f"trouble {'abc'[i]}")
    assert ("rounds", {"accept", "revise", "raise", "abandon"}) == (player.parked, player.offers)
    player.answer("raise")
    assert (6, 0, "work") == (player.task.caps.rounds, player.task.spent.rounds, player.task.stage)


def test_without_a_cap_on_rounds_only_a_stall_ends_them() -> None:
    """0 stands for no cap, here as everywhere."""
    player = Player(REVIEW, {"caps": caps(rounds=0, attempts=0)})
    for i in range(12):
        player.report("worker", subject=f"s{i}")
        player.block("reviewer", "trouble " + "abcdefghijkl"[i])
    assert ("", 12) == (player.parked, player.task.spent.rounds)


def test_a_stall_at_a_gate_goes_back_where_the_gate_does() -> None:
    """A policy that reworks is bounded like any other; retry follows the gate's own way back."""
    player = Player(_judged_by_policy(), {"preset": "autonomous"})
    for i in range(3):
        player.report("worker", subject=f"s{i}")
        player.block("reviewer")
    assert ("stall", "decide") == (player.parked, player.task.stage)
    player.answer("retry")
    assert "work" == player.task.stage


def _judged_by_policy() -> Bundle:
    flow = Flow("main", (WORK, Spawn("review", "reviewer"), gate(), FINALIZE))
    return make("policy", (WORKER, REVIEWER), flow)


def test_a_decision_names_the_root_that_the_person_saw() -> None:
    """Who saw a later root of the log says so; else it is the gate's."""
    player = at_the_gate()
    player.answer("accept", root="root7")
    assert ["root7"] == [decision.root for decision in player.happened(e.DecisionRecorded)]


def test_a_stall_goes_back_where_its_stage_does() -> None:
    """The stage's own way back is taken before the flow's."""
    plan = Agent("planner", Capability.ANSWER)
    review = Spawn("review", "reviewer", on=(On(Blocked(), Rework("plan")),))
    flow = Flow("main", (Spawn("plan", "planner"), WORK, review, FINALIZE), rework="work")
    player = Player(make("planned", (plan, WORKER, REVIEWER), flow))
    while player.parked != "stall":
        player.report("planner")
        player.report("worker", subject=f"s{player.task.round}")
        player.block("reviewer")
    player.answer("retry")
    assert "plan" == player.task.stage


def test_going_back_stops_what_still_runs() -> None:
    """A sibling that runs while the task is parked is stopped when a person sends the work back; nothing stays reserved."""
    player = Player(FANOUT, {"caps": caps(attempts=4, cost=1_000)})
    player.report("worker", subject="s1")
    player.grant("reviewer1", reserved=100)
    player.end("reviewer2", "lost")
    assert ("attempts", 100) == (player.parked, player.task.spent.reserved)
    player.answer("raise", raises=(("attempts", 5),))
    player.now_ms = dict(player.task.wakes)["wall"]
    player.do(c.Wake("wall"))
    player.answer("raise")
    player.end("reviewer2", "lost")
    assert "attempts" == player.parked
    report = player.ending("reviewer1", "reported", outcome="approve", subject="s1")
    player.answer("abandon")
    assert [("t/review.1/reviewer1", 2)] == [(s.spawn, s.fence) for s in player.effects(StopAttempt)]
    assert 0 == player.task.spent.reserved
    assert "task_done" == player.refused(report)


def test_a_running_sibling_is_stopped_by_revise() -> None:
    """The objected spawn waits, its sibling runs, the person revises: the sibling's report is stale from then on."""
    never = Rule(
        "no blocks", ("SpawnSettled",), "never", check=lambda before, after: "no" if after.said("reviewer1") else None
    )
    player = Player(replace(FANOUT, rules=(never,)))
    player.report("worker", subject="s1")
    player.grant("reviewer2", reserved=7)
    player.report("reviewer1")
    assert ("objection", 7) == (player.parked, player.task.spent.reserved)
    report = player.ending("reviewer2", "reported", outcome="approve", subject="s1")
    player.answer("revise")
    assert (1, 0, "work") == (len(player.effects(StopAttempt)), player.task.spent.reserved, player.task.stage)
    assert "stale" == player.refused(report)


def test_retry_offers_whatever_waits() -> None:
    """Ready attempts that were held for another reason are offered again, too."""
    answered: list[int] = []
    no = Rule(
        "no grants",
        ("AttemptGranted",),
        "not now",
        check=lambda before, after: None if answered else "not now",
        remedies=(AnswerWord.RETRY,),
    )
    player = Player(replace(TOY, rules=(no,)))
    player.grant("worker")
    assert "objection" == player.parked
    answered.append(1)
    player.answer("retry")
    assert ["t/work.1/worker"] == [o.spawn for o in player.effects(Offer)]
    player.report("worker", subject="s1")


def test_the_preset_gives_each_role_its_policy() -> None:
    """Task override, else preset, else human; trouble is a person's, whatever anyone says."""
    assert (("final", "human"), ("trouble", "human")) == effective(TOY, "supervised", ())
    assert ("final", "auto") in effective(TOY, "supervised", (("final", "auto"), ("trouble", "auto")))
    assert ("trouble", "human") in effective(TOY, "supervised", (("final", "auto"), ("trouble", "auto")))
    assert ("final", "human") in effective(replace(TOY, presets=(("bare", ()),)), "bare", ())


def test_messages_are_bounded() -> None:
    """Only the latest words of people are in the state; all of them are on record."""
    player = at_the_gate()
    for i in range(30):
        player.answer("revise", f"message {i}")
        player.report("worker", subject=f"s{i + 2}")
    assert (20, "message 29") == (len(player.task.messages), player.task.messages[-1].text.value)


def test_a_failed_fanout_of_makers_is_retried_as_a_whole_stage_only_in_part() -> None:
    """Of two failed siblings both run again, the settled one does not."""
    agents = tuple(Agent(f"a{i}", Capability.ANSWER) for i in range(3))
    flow = Flow("main", (Fanout("all", tuple(Member(a.name) for a in agents)), FINALIZE))
    player = Player(make("three", agents, flow), {"bindings": ()})
    player.report("a0")
    player.fail("a1", "permanent")
    player.fail("a2", "permanent")
    player.answer("retry")
    assert (["a1", "a2"], []) == (player.agents("ready"), player.blockers())
    player.report("a1")
    player.report("a2")
    assert "accepted" == player.task.verdict
