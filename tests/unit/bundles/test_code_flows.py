"""The flows of the bundle `code`, played through the kernel: who runs, who decides, what can never be accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from harness.play import APPROVE, Play, Said, block
from loom.bundles import registry
from loom.kernel import events as e
from loom.kernel.flow import Bundle
from loom.kernel.values import ErrorClass, ParkCode, Status, Verdict

Script = Mapping[str, Sequence[Said]]

AUTONOMOUS, SUPERVISED = "autonomous", "supervised"
LOW = Said(facts={"flow": "medium", "risk": "low"})
CALM: Script = {"classifier": [LOW]}
CHANGED_TESTS = Said(facts={"tests_changed": "yes"})
CHANGED_SETUP = Said(facts={"test_setup_changed": "yes"})
NOTHING = Said(facts={"empty": "yes"}, unchanged=True)
CODING = ["implementer", "checks"]


@pytest.fixture(scope="module")
def code() -> Bundle:
    return registry.load("code")


def play(code: Bundle, script: Script | None = None, *, flow: str = "", preset: str = AUTONOMOUS) -> Play:
    return Play(code, {**CALM, **(script or {})}, flow=flow, preset=preset).run()


def accepted(played: Play) -> bool:
    return played.task.verdict is Verdict.ACCEPTED and played.task.status is Status.DONE


# ---------------------------------------------------------------------------------------------------- the usual ways


def test_medium_goes_all_the_way(code: Bundle) -> None:
    """A medium task runs each agent once, in order, and its branch is delivered; no person is asked."""
    played = play(code)
    planning = ["classifier", "scout", "planner", "plan_reviewer"]
    assert [*planning, *CODING, "correctness", "challenger", "acceptance", "deliver"] == played.agents
    assert [(role, "accept", "policy") for role in ("classify", "plan", "final")] == played.deciders
    assert accepted(played)


def test_every_task_enters_by_classify(code: Bundle) -> None:
    """The classifier chooses among all flows, and the task goes on in the chosen one."""
    for flow in code.flows:
        played = play(code, {"classifier": [Said(facts={"flow": flow.name, "risk": "low"})]})
        assert flow.name == played.task.flow
        assert "classify" == played.stages[0]
        assert played.task.status is Status.DONE


def test_a_pinned_flow_is_not_classified(code: Bundle) -> None:
    """A flow named at submit skips the classifier and its gate, whatever the preset."""
    for flow in code.flows:
        played = play(code, flow=flow.name)
        assert flow.name == played.task.flow
        assert "classifier" not in played.agents
        assert "classify" not in [role for role, _, _ in played.deciders]


def test_a_question_is_answered(code: Bundle) -> None:
    """The question flow edits nothing, asks nobody and ends as answered, even supervised."""
    played = play(code, flow="question", preset=SUPERVISED)
    assert ["responder"] == played.agents
    assert Verdict.ANSWERED is played.task.verdict
    assert ["answer"] == [artifact.name for artifact in played.task.artifacts]


def test_trivial_is_short(code: Bundle) -> None:
    """A trivial change is made, checked and decided; nothing else."""
    assert [*CODING, "deliver"] == play(code, flow="trivial").agents


def test_simple_has_one_reviewer(code: Bundle) -> None:
    """A simple change is planned, reviewed once and held against the task."""
    played = play(code, flow="simple")
    assert ["scout", "planner", *CODING, "correctness", "acceptance", "deliver"] == played.agents
    assert ["final"] == [role for role, _, _ in played.deciders]


# ------------------------------------------------------------------------------------------------------ going back


@pytest.mark.parametrize("reviewer", ["correctness", "challenger", "acceptance"])
def test_a_blocker_sends_the_work_back(code: Bundle, reviewer: str) -> None:
    """A block of any reviewer goes back to the implementer with its finding; then everything is judged again."""
    played = play(code, {reviewer: [block("f(0) fails"), APPROVE]}, preset="on-blockers")
    for agent in ("implementer", "checks", "correctness", "challenger"):
        assert 2 == played.agents.count(agent)
    assert ["f1"] == [finding.id for finding in played.task.carried]
    assert accepted(played)


def test_a_plan_that_is_blocked_is_made_anew(code: Bundle) -> None:
    """The plan reviewer's block goes back to the planner, and nothing is built meanwhile."""
    played = play(code, {"plan_reviewer": [block("no such function"), APPROVE]}, preset="on-blockers")
    assert ["planner", "plan_reviewer", "planner", "plan_reviewer", "implementer"] == played.agents[2:7]
    assert accepted(played)


def test_failed_checks_go_back_before_any_review(code: Bundle) -> None:
    """A failing check costs no reviewer; the implementer gets the output."""
    played = play(code, {"checks": [Said("failed", checks={"test": "failed"}), Said()]}, flow="simple")
    assert ["implementer", "checks", "implementer", "checks", "correctness"] == played.agents[2:7]
    assert "check_output" in [artifact.name for artifact in played.task.artifacts]
    assert accepted(played)


def test_the_same_blocker_again_and_again_is_a_stall(code: Bundle) -> None:
    """A reviewer that always blocks alike ends with a person, within the budget, and never with acceptance."""
    played = play(code, {"correctness": [block("f(0) fails")]})
    assert played.task.parked is not None
    assert ParkCode.STALL is played.task.parked.code
    assert Verdict.NONE is played.task.verdict
    assert played.agents.count("implementer") <= 4


@pytest.mark.parametrize("reviewer", ["correctness", "challenger"])
def test_an_accepted_stall_needs_no_adjudicator(code: Bundle, reviewer: str) -> None:
    """A person who accepts the blocker by name has decided; acceptance is next, and nobody runs a dispute any more."""
    played = play(code, {reviewer: [block("f(0) fails")]})
    (open_blocker,) = (finding.id for finding in played.task.findings)
    before = len(played.agents)
    played.answer("accept", accepts={open_blocker: "known"})
    assert ["acceptance", "deliver"] == played.agents[before:]
    assert accepted(played)


def test_rounds_end_with_a_person(code: Bundle) -> None:
    """Another blocker every round uses the rounds up; exhaustion is never approval."""
    kinds = ("empty input", "a cycle", "two calls at once", "an old caller", "a closed stream", "no memory")
    played = play(code, {"challenger": [block(f"it fails for {kind}") for kind in kinds]})
    assert played.task.parked is not None
    assert ParkCode.ROUNDS is played.task.parked.code


# --------------------------------------------------------------------------------------------------------- reviewers


@pytest.mark.parametrize(
    ("classified", "measured", "expected"),
    [
        ("low", {"touches_security": "no", "size": "small"}, []),
        ("low", {"touches_security": "yes", "size": "small"}, ["security"]),
        ("high", {"touches_security": "no", "size": "small"}, ["security"]),
        ("low", {"touches_security": "no", "size": "large"}, ["style"]),
    ],
)
def test_reviewers_join_by_what_is_measured(
    code: Bundle, classified: str, measured: dict[str, str], expected: list[str]
) -> None:
    """Security and style run exactly when the change, or the risk of the task, calls for them."""
    triage = Said(facts={"flow": "medium", "risk": classified})
    played = play(code, {"classifier": [triage], "implementer": [Said(facts=measured)]})
    assert expected == [name for name in ("security", "style") if name in played.agents]


def test_in_doubt_security_runs(code: Bundle) -> None:
    """Without a classifier there is no risk on record, and the security reviewer looks."""
    assert "security" in play(code, flow="medium").agents


def test_security_blocks_at_once(code: Bundle) -> None:
    """A block of security needs no adjudication, even beside a dispute."""
    script = {
        "implementer": [Said(facts={"touches_security": "yes"})],
        "security": [block("a path leaves the folder"), APPROVE],
        "correctness": [block("f(0) fails", correctness_unproved="yes"), APPROVE],
    }
    played = play(code, script)
    assert "adjudicator" not in played.agents
    assert 2 == played.agents.count("implementer")


def test_a_disputed_claim_is_run(code: Bundle) -> None:
    """One blocks with a claim that only running proves, the other approves: the adjudicator decides whether to go back."""
    script = {
        "correctness": [block("f(0) fails", correctness_unproved="yes"), APPROVE],
        "adjudicator": [block("f(0) fails: ran it")],
    }
    played = play(code, script, preset="on-blockers")
    assert 1 == played.agents.count("adjudicator")
    assert 2 == played.agents.count("implementer")
    assert accepted(played)


def test_a_refuted_claim_goes_to_a_person(code: Bundle) -> None:
    """The adjudicator cannot take another agent's finding away: it stays open, and a person decides over it by name."""
    script = {"challenger": [block("a race", challenger_unproved="yes")], "adjudicator": [APPROVE]}
    played = play(code, script, preset="on-blockers")
    assert "final" == played.gate.role
    assert 1 == played.agents.count("implementer")
    assert accepted(played.answer("accept", accepts={"f1": "was run, does not happen"}))


@pytest.mark.parametrize(
    "script",
    [
        {"correctness": [block("f(0) fails"), APPROVE]},
        {"challenger": [block("a race"), APPROVE]},
        {
            "correctness": [block("f(0) fails", correctness_unproved="yes"), APPROVE],
            "challenger": [block("x"), APPROVE],
        },
    ],
)
def test_no_adjudicator_without_a_dispute(code: Bundle, script: Script) -> None:
    """A proved blocker, or one that both see, goes back directly."""
    assert "adjudicator" not in play(code, script).agents


# ------------------------------------------------------------------------------------------- what only a person may


@pytest.mark.parametrize("flow", ["trivial", "simple", "medium"])
@pytest.mark.parametrize("preset", [AUTONOMOUS, "on-blockers"])
@pytest.mark.parametrize("change", [CHANGED_TESTS, CHANGED_SETUP], ids=["tests", "setup"])
def test_changed_tests_need_a_person(code: Bundle, flow: str, preset: str, change: Said) -> None:
    """In every flow that edits, a change of existing tests or of how they run opens the final gate; a person's accept is enough."""
    played = play(code, {"implementer": [change]}, flow=flow, preset=preset)
    assert "final" == played.gate.role
    assert accepted(played.answer("accept"))
    assert ("final", "accept", "person") == played.deciders[-1]


@pytest.mark.parametrize("flow", ["trivial", "simple", "medium"])
def test_an_empty_change_asks_at_once(code: Bundle, flow: str) -> None:
    """Nothing changed: a person is asked before checks and reviewers are paid, and no policy accepts it later."""
    played = play(code, {"implementer": [NOTHING]}, flow=flow)
    assert played.task.parked is not None
    assert ParkCode.ASKED is played.task.parked.code
    assert "checks" not in played.agents
    played.answer("accept")
    assert "final" == played.gate.role
    assert Verdict.NONE is played.task.verdict


def test_after_an_empty_change_the_work_can_go_on(code: Bundle) -> None:
    """A person's message sends the implementer to work again."""
    played = play(code, {"implementer": [NOTHING, Said()]}, flow="trivial").answer("revise", "really do it")
    assert accepted(played)
    assert ["really do it"] == [message.text.value for message in played.task.messages]


@pytest.mark.parametrize("skipped", ["test", "lint", "typecheck"])
def test_a_skipped_check_needs_a_person(code: Bundle, skipped: str) -> None:
    """Skipped is not passed: the work goes on, and then only a person accepts it."""
    played = play(code, {"checks": [Said("skipped", checks={skipped: "skipped"})]}, flow="trivial")
    assert "final" == played.gate.role
    assert accepted(played.answer("accept"))


def test_a_check_that_is_declared_not_applicable_is_not_missing(code: Bundle) -> None:
    """A trusted project that has no type check can still be decided by a policy."""
    assert accepted(play(code, {"checks": [Said(checks={"typecheck": "not_applicable"})]}, flow="trivial"))


def test_a_stuck_implementer_asks(code: Bundle) -> None:
    """An implementer that cannot go on says so, and a person is asked."""
    played = play(code, {"implementer": [Said("stuck")]}, flow="trivial")
    assert played.task.parked is not None
    assert ParkCode.ASKED is played.task.parked.code


@pytest.mark.parametrize("flow", ["simple", "medium"])
def test_an_unclear_task_asks_before_it_is_built(code: Bundle, flow: str) -> None:
    """A planner that has questions opens the plan gate, whatever the preset; the answer goes to the planner."""
    played = play(code, {"planner": [Said("unclear"), Said()]}, flow=flow)
    assert "plan" == played.gate.role
    assert "implementer" not in played.agents
    assert accepted(played.answer("revise", "the second one"))


def test_a_failed_reviewer_lets_nothing_through(code: Bundle) -> None:
    """A reviewer that cannot be had parks the task; a person may go on without it."""
    played = play(code, {"correctness": [Said(fails=ErrorClass.PERMANENT)]}, flow="simple")
    assert played.task.parked is not None
    assert ParkCode.SPAWN_FAILED is played.task.parked.code
    assert Verdict.NONE is played.task.verdict


# ----------------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("preset", "asked"),
    [
        (SUPERVISED, ["classify", "plan", "final"]),
        ("review-plan", ["plan"]),
        ("review-final", ["final"]),
        ("on-blockers", []),
        (AUTONOMOUS, []),
    ],
)
def test_presets_say_who_decides(code: Bundle, preset: str, asked: list[str]) -> None:
    """Each preset asks a person at exactly its roles, when nothing is wrong."""
    played = play(code, preset=preset)
    for role in asked:
        assert role == played.gate.role
        played.answer("accept")
    assert accepted(played)
    assert asked == [role for role, _, kind in played.deciders if kind == "person"]


def test_revise_at_the_plan_gate_reaches_the_planner(code: Bundle) -> None:
    """A person's revise goes back to the planner with the message, and the gate is asked again."""
    played = play(code, preset="review-plan").answer("revise", "smaller steps")
    assert 2 == played.agents.count("planner")
    assert "plan" == played.gate.role
    assert ["smaller steps"] == [message.text.value for message in played.task.messages]


# ------------------------------------------------------------------------------------------------------------- rules


def test_rules_hold_without_the_gate(code: Bundle) -> None:
    """Were the gate's own reservations gone, the rules still object inside the tick that would accept."""
    roles = tuple(
        replace(role, floor=() if role.name == "final" else role.floor, person_when=None) for role in code.roles
    )
    careless = replace(code, roles=roles, digest="careless")
    cases: tuple[tuple[Script, str], ...] = (
        ({"implementer": [CHANGED_TESTS]}, "changed tests need a person"),
        ({"implementer": [CHANGED_SETUP]}, "changed tests need a person"),
        ({"checks": [Said("skipped", checks={"test": "skipped"})]}, "a policy accepts only what was checked"),
        ({"checks": [Said("skipped", checks={"typecheck": "skipped"})]}, "a policy accepts only what was checked"),
    )
    for script, rule in cases:
        played = play(careless, script, flow="trivial")
        assert [rule] == played.violations
        assert Verdict.NONE is played.task.verdict
        assert "trouble" == played.gate.role


def test_the_empty_rule_holds_without_gate_and_question(code: Bundle) -> None:
    """An empty change that a person let go on past the question is still not a policy's to accept."""
    roles = tuple(
        replace(role, floor=() if role.name == "final" else role.floor, person_when=None) for role in code.roles
    )
    played = play(replace(code, roles=roles, digest="careless"), {"implementer": [NOTHING]}, flow="trivial")
    played.answer("accept")
    assert ["an empty change needs a person"] == played.violations
    assert Verdict.NONE is played.task.verdict


def test_abandoning_is_always_possible(code: Bundle) -> None:
    """No rule stands in the way of an end without acceptance."""
    for script in ({"implementer": [CHANGED_TESTS]}, {"implementer": [NOTHING]}, {"implementer": [Said("stuck")]}):
        played = play(code, script, flow="simple").answer("abandon")
        assert Verdict.ABANDONED is played.task.verdict
        assert [] == played.violations


def test_what_is_delivered_is_what_was_accepted(code: Bundle) -> None:
    """The approval of the final gate is about the subject that the task ends with."""
    played = play(code, {"correctness": [block("f(0) fails"), APPROVE]})
    approvals = [
        event.evidence
        for event in played.events
        if isinstance(event, e.EvidenceRecorded) and event.evidence.kind == "approval.final"
    ]
    assert ["tree2"] == [approval.subject for approval in approvals] == [played.task.subject]
