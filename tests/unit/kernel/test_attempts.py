"""Attempts: granting them, and what follows each way in which one can end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, HANDS, Player, caps, finding, text
from harness.toy import (
    CHECKED,
    CHOOSE,
    CHOOSER,
    CHOOSING,
    DELIVERED,
    FANOUT,
    FINALIZE,
    REVIEW,
    REVIEWER,
    TOY,
    WORK,
    WORKER,
    gate,
    make,
)
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel import limits
from loom.kernel.effects import Offer, StopAttempt
from loom.kernel.facts import All, Blocked
from loom.kernel.flow import Agent, Ask, Flow, On, Rule, Spawn
from loom.kernel.values import Bound, Capability, End, ErrorClass, Principal, PrincipalKind, SpawnStatus, Usage

ONE = {"bindings": ()}


# -------------------------------------------------------------------------------------------------------------- grant


def test_a_grant_gives_the_next_fence() -> None:
    """A granted attempt has a worker, a fence and the subject it was granted on."""
    player = Player(TOY)
    player.grant("worker")
    state = player.spawn("worker")
    assert ("granted", 1, "w1", "s0") == (state.status, state.fence, state.worker, state.subject)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attempt": 2}, "not_ready"),
        ({"spawn": "t/work.9/worker"}, "not_ready"),
        ({"fence": 2}, "inadmissible"),
        ({"fence": 0}, "inadmissible"),
        ({"binding": 1}, "inadmissible"),
        ({"reserved": -1}, "over_budget"),
        ({"reserved": 1_001}, "over_budget"),
    ],
)
def test_an_inadmissible_grant_is_rejected(changes: dict[str, object], code: str) -> None:
    """The scheduler chooses; the kernel takes only what is next, and what the budget has room for."""
    player = Player(TOY, {"caps": caps(cost=1_000)})
    grant = player.granting(player.spawn("worker"))
    assert code == player.refused(replace(grant, **changes))  # type: ignore[arg-type]
    player.do(grant)
    assert "not_ready" == player.refused(grant)


def test_nothing_is_granted_while_paused() -> None:
    """A paused task keeps its ready attempts; resumed, they are offered again."""
    player = Player(TOY)
    player.do(c.Pause())
    assert "held" == player.refused(player.granting(player.spawn("worker")))
    assert "paused" == player.refused(c.Pause())
    player.do(c.Resume())
    assert 1 == len(player.effects(Offer))
    assert "not_paused" == player.refused(c.Resume())
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict


@pytest.mark.parametrize("by", [ANNA, HANDS])
def test_only_loom_itself_grants(by: object) -> None:
    """Neither a person nor a worker can give itself an attempt."""
    player = Player(TOY)
    assert "not_allowed" == player.refused(player.granting(player.spawn("worker")), by)  # type: ignore[arg-type]


def test_only_workers_and_loom_itself_end_attempts() -> None:
    """A person cannot put words into an agent's mouth; a worker cannot steer the task."""
    player = Player(TOY)
    player.grant("worker")
    assert "not_allowed" == player.refused(player.ending("worker", "lost"), ANNA)
    for command in (c.Cancel(), c.Pause(), c.Wake("wall")):
        assert "not_allowed" == player.refused(command, HANDS)
    player.do(player.ending("worker", "lost"), CORE)


# ------------------------------------------------------------------------------------------------------------- stale


def test_a_report_counts_once_and_only_under_its_fence() -> None:
    """Another fence, another attempt, a second report: stale, and nothing changes."""
    player = Player(TOY)
    player.grant("worker")
    report = player.ending("worker", "reported", outcome="done", subject="s1", work="c1")
    for stale in (replace(report, fence=2), replace(report, attempt=2), replace(report, spawn="t/work.2/worker")):
        assert "stale" == player.refused(stale)
    player.end("worker", "lost")
    assert "stale" == player.refused(report)
    player.grant("worker")
    assert "stale" == player.refused(report)


def test_what_no_worker_can_mean_is_rejected() -> None:
    """A negative usage would give money back; "objected" is a rule's word, and a doubt the kernel's."""
    player = Player(TOY)
    player.grant("worker")
    lost = player.ending("worker", "lost")
    for usage in (Usage(input_tokens=-1), Usage(output_tokens=-1), Usage(calls=-1), Usage(cost=-1)):
        assert "malformed" == player.refused(replace(lost, usage=usage))
    for end in (End.OBJECTED, End.IN_DOUBT):
        assert "malformed" == player.refused(replace(lost, end=end))


# ----------------------------------------------------------------------------------------------------- error classes


def test_a_transient_error_is_tried_again_after_a_while() -> None:
    """The next attempt waits, longer each time, on the same binding."""
    player = Player(TOY)
    waits = []
    for _ in range(limits.TRANSIENT_TRIES - 1):
        player.fail("worker", "transient")
        waits.append(player.spawn("worker").not_before_ms - player.now_ms)
        assert [player.spawn("worker").not_before_ms] == [offer.not_before_ms for offer in player.effects(Offer)]
        assert "too_early" == player.refused(player.granting(player.spawn("worker")))
        assert 0 == player.spawn("worker").binding
    assert limits.BACKOFF_BASE_MS <= waits[0] < waits[1] <= limits.BACKOFF_MAX_MS
    assert limits.TRANSIENT_TRIES - 1 == player.task.spent.attempts


def test_after_its_tries_the_next_binding_has_its_turn() -> None:
    """A binding that keeps failing is left, at once and with fresh counts; when the chain ends, the task parks."""
    player = Player(TOY)
    for _ in range(limits.TRANSIENT_TRIES):
        player.fail("worker", "transient")
    state = player.spawn("worker")
    assert (1, 0, player.now_ms) == (state.binding, state.transients, state.not_before_ms)
    for _ in range(limits.TRANSIENT_TRIES):
        player.fail("worker", "transient", "overloaded")
    assert "spawn_failed" == player.parked
    assert "worker failed: overloaded" == player.happened(e.TaskParked)[0].reason.value


def test_the_jitter_is_the_attempts_own() -> None:
    """The same attempt waits the same time in every run; another one another time."""
    one, two, other = Player(TOY), Player(TOY), Player(TOY, {"task": "u"})
    for player in (one, two, other):
        player.fail("worker", "transient")
    waits = [player.spawn("worker").not_before_ms - player.now_ms for player in (one, two, other)]
    assert waits[0] == waits[1] != waits[2]


def test_a_rate_limit_waits_for_the_time_it_names_and_is_not_counted() -> None:
    """Not before the named time, on the same binding; it consumes none of the task's attempts."""
    player = Player(TOY)
    player.grant("worker")
    until = player.now_ms + 60_000
    player.fail("worker", "rate_limit", not_before_ms=until)
    state = player.spawn("worker")
    assert (until, 0, 0) == (state.not_before_ms, state.binding, player.task.spent.attempts)
    player.now_ms = until - 2
    assert "too_early" == player.refused(player.granting(state))
    assert isinstance(player.do(player.granting(state)), object)


def test_a_rate_limit_that_lasts_moves_on_when_there_is_another_binding() -> None:
    """A wait longer than the limit goes to the next binding at once; on the last one it is waited for."""
    player = Player(TOY)
    later = player.now_ms + limits.RATE_WAIT_SWITCH_MS + 10_000
    player.fail("worker", "rate_limit", not_before_ms=later)
    assert (1, player.now_ms) == (player.spawn("worker").binding, player.spawn("worker").not_before_ms)
    player.fail("worker", "rate_limit", not_before_ms=later)
    assert (1, later) == (player.spawn("worker").binding, player.spawn("worker").not_before_ms)


def test_a_rate_limit_without_an_end_is_a_failure() -> None:
    """No wait is longer than a day: the last binding then fails, and a person is asked."""
    player = Player(TOY, ONE)
    player.fail("worker", "rate_limit", not_before_ms=player.now_ms + limits.RATE_WAIT_MAX_MS + 10_000)
    assert "spawn_failed" == player.parked


def test_rate_limits_end_too() -> None:
    """A binding that only ever says "later" is left after its waits."""
    player = Player(TOY, ONE)
    for _ in range(limits.RATE_WAITS_PER_SPAWN):
        assert "" == player.parked
        player.fail("worker", "rate_limit")
    assert ("spawn_failed", 0) == (player.parked, player.task.spent.attempts)


@pytest.mark.parametrize("error_class", ["permanent", "limit", ""])
def test_a_permanent_error_goes_to_the_next_binding_then_to_a_person(error_class: str) -> None:
    """No second try on a binding that cannot; the record tells which failed, and why."""
    player = Player(TOY)
    player.fail("worker", error_class, "no such model")
    assert (1, 2) == (player.spawn("worker").binding, player.spawn("worker").attempt)
    player.fail("worker", error_class, "no key")
    (failed,) = player.happened(e.SpawnFailed)
    assert (error_class or "permanent", "no key") == (failed.error_class, failed.reason.value)
    assert "spawn_failed" == player.parked
    assert ["harness"] == [f.report.origin for f in player.task.findings]


def test_an_unparseable_output_is_repaired_once() -> None:
    """The repair attempt is given the output and the error, is an attempt like any other, and its report counts."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.fail("reviewer", "unparseable", "no JSON", output=text("it is fine"))
    state = player.spawn("reviewer")
    assert ("it is fine", "no JSON") == (state.repair_output.value, state.repair_error.value)
    assert 2 == player.task.spent.attempts
    player.report("reviewer", repaired=True)
    assert "accepted" == player.task.verdict


def test_trouble_on_the_way_does_not_lose_the_repair() -> None:
    """A repair attempt that meets an outage is still a repair when it is tried again, also on the next binding."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.fail("reviewer", "unparseable", "no JSON", output=text("it is fine"))
    for trouble in ("transient", "rate_limit", "permanent"):
        player.fail("reviewer", trouble)
        assert "it is fine" == player.spawn("reviewer").repair_output.value
    player.end("reviewer", "lost")
    assert "no JSON" == player.spawn("reviewer").repair_error.value


def test_a_second_unparseable_output_is_the_harness_trouble_of_a_person() -> None:
    """One repair, then a blocker of harness origin; it is never a pass, and never bad work of an agent."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.fail("reviewer", "unparseable", "no JSON")
    player.fail("reviewer", "unparseable", "still no JSON")
    assert ("spawn_failed", ["harness"]) == (player.parked, [f.report.origin for f in player.task.findings])
    player.answer("revise")
    assert ((), ()) == (player.task.carried, player.task.stalls)


def test_an_unparseable_editor_keeps_its_change_and_what_was_measured() -> None:
    """The work is done, only the words are not: the repair does not edit again, and no measured fact is lost."""
    player = Player(CHECKED)
    player.fail(
        "worker",
        "unparseable",
        "no JSON",
        subject="s1",
        work="c1",
        facts=(("empty", "no"), ("risky", "yes"), ("x", "y")),
    )
    assert ("s1", "c1") == (player.task.subject, player.task.work)
    assert {"empty": "no", "flow_pinned": "no", "risky": "yes"} == dict(player.task.facts)
    player.report("worker", subject="")
    assert ("s1", "check") == (player.task.subject, player.task.stage)


def test_checks_have_nothing_to_repair() -> None:
    """A repair is a model call; what runs no model fails at once."""
    player = Player(CHECKED)
    player.report("worker", subject="s1")
    player.fail("checks", "unparseable")
    assert "spawn_failed" == player.parked


def test_what_was_not_delivered_is_offered_again_and_not_counted() -> None:
    """No worker took it: nothing is known against it, but it does not go on for ever."""
    player = Player(TOY)
    for _ in range(limits.UNDELIVERED_PER_SPAWN - 1):
        player.end("worker", "undelivered")
        assert ("ready", 0) == (player.spawn("worker").status, player.task.spent.attempts)
    player.end("worker", "undelivered")
    assert "spawn_failed" == player.parked


def test_a_lost_attempt_is_tried_at_once_and_quarantined_in_the_end() -> None:
    """A spawn that takes its workers with it is not given to a fourth one."""
    player = Player(TOY)
    for _ in range(limits.LOSSES_PER_SPAWN - 1):
        player.end("worker", "lost")
        assert player.now_ms == player.spawn("worker").not_before_ms
    player.end("worker", "lost")
    (failed,) = player.happened(e.SpawnFailed)
    assert failed.reason.value.startswith("quarantined: 3 workers")
    assert limits.LOSSES_PER_SPAWN == player.task.spent.attempts


def test_a_loss_in_company_is_tried_at_once_and_bounded() -> None:
    """A worker that died with several attempts (transient) says nothing against one of them; but not for ever."""
    player = Player(TOY)
    for lost in range(1, limits.UNDELIVERED_PER_SPAWN):
        player.end("worker", "lost", error_class=ErrorClass.TRANSIENT)
        assert (player.now_ms, lost) == (player.spawn("worker").not_before_ms, player.task.spent.attempts)
    player.end("worker", "lost", error_class=ErrorClass.TRANSIENT)
    assert "spawn_failed" == player.parked


def test_a_stopped_attempt_is_tried_again_and_not_counted() -> None:
    """A worker that leaves takes nothing with it; who only ever stops is bounded, too."""
    player = Player(TOY)
    for _ in range(limits.UNDELIVERED_PER_SPAWN - 1):
        player.end("worker", "stopped")
        assert (player.now_ms, 0) == (player.spawn("worker").not_before_ms, player.task.spent.attempts)
    player.end("worker", "stopped")
    assert "spawn_failed" == player.parked


@pytest.mark.parametrize("end", ["lost", "reported"])
def test_a_class_that_does_not_belong_to_the_end_saves_no_attempt(end: str) -> None:
    """Only a rate limit that failed the attempt is free of charge."""
    player = Player(TOY)
    player.end("worker", end, error_class=ErrorClass.RATE_LIMIT, outcome="done", subject="s1", work="c1")
    assert 1 == player.task.spent.attempts


def test_a_report_has_no_error_class() -> None:
    """What was reported did not fail, whatever else the end says."""
    player = Player(TOY)
    player.end("worker", "reported", error_class=ErrorClass.TRANSIENT, outcome="done", subject="s1", work="c1")
    assert [""] == [closed.error_class for closed in player.happened(e.AttemptClosed)]


def test_a_new_binding_starts_with_fresh_counts() -> None:
    """Waits and tries are counted for one binding; losses for the spawn."""
    player = Player(TOY)
    for end in ("transient", "rate_limit"):
        player.fail("worker", end)
    player.end("worker", "lost")
    before = player.spawn("worker")
    assert (1, 1, 1) == (before.transients, before.waits, before.losses)
    player.fail("worker", "permanent")
    after = player.spawn("worker")
    assert (0, 0, 1, 1) == (after.transients, after.waits, after.losses, after.binding)


# ------------------------------------------------------------------------------------------------- what is unparseable


@pytest.mark.parametrize(
    ("outcome", "findings"),
    [
        ("approve", [finding("but it leaks")]),
        ("block", []),
        ("block", [finding("a nit", "warn")]),
        ("maybe", []),
        ("", []),
    ],
)
def test_a_review_that_contradicts_itself_is_unparseable(outcome: str, findings: list[object]) -> None:
    """Approve with a blocker and block without one are neither: the reviewer is asked to say it again."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.grant("reviewer")
    player.do(player.ending("reviewer", "reported", outcome=outcome, findings=tuple(findings), subject="s1"))
    assert ("review", 1, ()) == (player.task.stage, player.spawn("reviewer").repairs, player.task.evidence)


def test_approving_with_warnings_is_an_approval() -> None:
    """Only a blocking finding contradicts an approval; the warning stays on record."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.report("reviewer", findings=[finding("a nit", "warn")])
    assert ("accepted", 1) == (player.task.verdict, len(player.task.findings))


def test_a_fact_outside_its_alphabet_is_unparseable() -> None:
    """Facts are finite: an unknown value is said again, an undeclared name is dropped."""
    player = Player(CHOOSING)
    player.report("chooser", facts={"flow": "sideways"})
    assert 1 == player.spawn("chooser").repairs
    player.report("chooser", facts={"flow": "ask", "loot": "yes"})
    assert "loot" not in dict(player.task.facts)


def test_a_fact_that_is_not_said_again_is_unknown_again() -> None:
    """The old word of an agent does not stand for its new silence."""

    bundle = make("twice", (CHOOSER,), Flow("long", (CHOOSE, gate(rework="choose"), FINALIZE), rework="choose"))
    player = Player(bundle, {"preset": "supervised"})
    player.report("chooser", facts={"flow": "long"})
    player.answer("revise")
    assert "long" == dict(player.task.facts)["flow"]
    player.report("chooser")
    assert "flow" not in dict(player.task.facts)


def test_an_artifact_that_is_missing_is_unparseable() -> None:
    """An agent that says its first word has made what it makes."""
    player = Player(CHOOSING, {"flow": "ask"})
    player.report("answerer", artifacts=())
    assert 1 == player.spawn("answerer").repairs


def test_an_agent_that_is_stuck_need_not_make_anything() -> None:
    """Only its first word promises what an agent makes."""
    maker = Agent("maker", Capability.ANSWER, outcomes=("done", "stuck"), makes=("plan",))
    player = Player(make("making", (maker,), Flow("main", (Spawn("plan", "maker"), FINALIZE))))
    player.report("maker", "stuck", artifacts=())
    assert "accepted" == player.task.verdict


def test_too_many_findings_are_unparseable() -> None:
    """The bound is said to the agent, which reports the ones that matter."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    many = [finding(f"number {i:x}") for i in range(limits.MAX_FINDINGS_PER_ATTEMPT + 1)]
    player.report("reviewer", "block", findings=many)
    assert "101 findings" in player.spawn("reviewer").repair_error.value


# ----------------------------------------------------------------------------------------------- about which subject


def test_a_review_of_another_subject_is_not_taken() -> None:
    """What a reviewer saw is what its word is about; another subject is a mistake of the hands."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.report("reviewer", subject="s0")
    assert ("spawn_failed", ()) == (player.parked, player.task.evidence)


def test_a_check_must_say_what_it_checked() -> None:
    """Evidence without a subject is none."""
    player = Player(CHECKED)
    player.report("worker", subject="s1")
    player.grant("checks")
    player.do(player.ending("checks", "reported", outcome="passed"))
    assert ("spawn_failed", ()) == (player.parked, player.task.evidence)


def test_a_change_must_say_where_it_is() -> None:
    """A new subject without its work cannot be built on."""
    player = Player(TOY)
    player.grant("worker")
    player.do(player.ending("worker", "reported", outcome="done", subject="s1"))
    assert ("spawn_failed", "s0") == (player.parked, player.task.subject)


def test_an_editor_that_changed_nothing_leaves_the_subject() -> None:
    """No work is no change: where the next one starts from stays known."""
    player = Player(TOY, {"preset": "supervised"})
    player.grant("worker")
    player.do(player.ending("worker", "reported", outcome="done", subject="s0"))
    assert ("s0", "c0", "decide") == (player.task.subject, player.task.work, player.task.stage)


def test_a_blocker_is_never_lost() -> None:
    """Not for want of room, and not behind a milder finding of the same words."""
    player = Player(REVIEW, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.report("reviewer", "block", findings=[finding("twin", "info"), finding("twin"), finding("twin")])
    assert ["twin"] == [f.report.message.value for f in player.task.carried if f.report.severity == "blocking"]


def test_a_sibling_reports_once() -> None:
    """The others still run: what has settled cannot be reported again."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    player.report("reviewer1")
    report = player.records[-1].command
    assert isinstance(report, c.AttemptEnded)
    assert "stale" == player.refused(report)


def test_the_same_finding_is_recorded_once() -> None:
    """A reviewer that runs again over the same subject names the same blocker: it stays one."""
    ask = On(Blocked(), Ask("what now?"))
    flow = Flow("main", (WORK, Spawn("review", "reviewer", on=(ask,)), FINALIZE), rework="work")
    player = Player(make("asking", (WORKER, REVIEWER), flow))
    player.report("worker", subject="s1")
    player.block("reviewer")
    for _ in range(2):
        player.answer("retry")
        player.block("reviewer")
        assert ["f1"] == player.blockers()
    player.answer("accept", accept={"f1": "known"})
    assert "accepted" == player.task.verdict


@pytest.mark.parametrize(("more", "blockers"), [((), []), ((Spawn("more", "worker"),), ["f2"])])
def test_what_a_person_accepted_stays_accepted_for_this_subject(more: tuple[Spawn, ...], blockers: list[str]) -> None:
    """Named again about the same subject, an accepted blocker is still accepted; about another subject it is open again."""
    ask = On(Blocked(), Ask("what now?"))
    review = Spawn("review", "reviewer", on=(ask,))
    flow = Flow("main", (WORK, review, *more, Spawn("again", "reviewer"), FINALIZE), rework="work")
    player = Player(make("asking", (WORKER, REVIEWER), flow))
    player.report("worker", subject="s1")
    player.block("reviewer")
    player.answer("accept", accept={"f1": "known"})
    if more:
        player.report("worker", subject="s2")
    player.block("reviewer")
    assert (blockers, "missing" if blockers else "") == (player.blockers(), player.parked)


def test_one_failing_sibling_costs_one_rerun() -> None:
    """Retry runs the failed sibling again and nobody else; what the others said stays."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    player.report("reviewer1")
    player.fail("reviewer2", "permanent")
    player.fail("reviewer2", "permanent", "no key")
    assert "" == player.parked
    player.report("reviewer3")
    assert "spawn_failed" == player.parked
    player.answer("retry")
    assert (["reviewer2"], 3) == (player.agents("ready"), player.spawn("reviewer2").attempt)
    assert ["t/review.1/reviewer2"] == [o.spawn for o in player.effects(Offer)]
    player.report("reviewer2")
    assert "accepted" == player.task.verdict
    assert player.replayed().difference is None


# ------------------------------------------------------------------------------------------------------------ delivery


def test_a_failed_delivery_asks_a_person_and_can_be_tried_again() -> None:
    """The verdict stands; retry delivers again, and nothing blocks the accepted task."""
    player = Player(DELIVERED)
    player.report("worker", subject="s1")
    player.fail("deliver", "permanent", "no room")
    assert ("spawn_failed", {"retry", "abandon"}, "accepted") == (player.parked, player.offers, player.task.verdict)
    assert [] == player.blockers()
    assert "verdict_final" == player.refused(c.Cancel())
    player.answer("retry")
    player.report("deliver")
    assert ("done", "accepted") == (player.task.status, player.task.verdict)


def test_a_failed_delivery_can_be_left() -> None:
    """Abandon ends the delivery, not the verdict."""
    player = Player(DELIVERED)
    player.report("worker", subject="s1")
    player.fail("deliver", "permanent")
    player.answer("abandon")
    assert ("done", "accepted", "") == (
        player.task.status,
        player.task.verdict,
        player.happened(e.TaskClosed)[0].delivered,
    )


def test_a_delivery_that_still_runs_is_stopped_by_abandon() -> None:
    """A person who leaves the delivery leaves nothing running behind."""
    bundle = replace(DELIVERED, rules=(Rule("no pause", ("TaskPaused",), "no", never=All(())),))
    player = Player(bundle)
    player.report("worker", subject="s1")
    assert ["t/finalize.1/deliver"] == [offer.spawn for offer in player.effects(Offer)]
    player.grant("deliver")
    player.do(c.Pause())
    player.answer("abandon")
    assert (["t/finalize.1/deliver"], "done") == (
        [stop.spawn for stop in player.effects(StopAttempt)],
        player.task.status,
    )


def test_a_delivery_that_refuses_is_not_one() -> None:
    """Only the first word of the delivering agent says that it is delivered."""
    agents = tuple(replace(a, outcomes=("done", "refused")) if a.name == "deliver" else a for a in DELIVERED.agents)
    player = Player(replace(DELIVERED, agents=agents))
    player.report("worker", subject="s1")
    player.report("deliver", "refused", summary=text("somebody else's"))
    assert ("spawn_failed", "open") == (player.parked, player.task.status)


def test_the_delivery_needs_no_budget() -> None:
    """What was accepted is delivered even when the last attempt cost more than there was."""
    player = Player(DELIVERED, {"caps": caps(cost=100, attempts=1)})
    player.grant("worker", reserved=100)
    player.report("worker", subject="s1", cost=150)
    player.grant("deliver", bound=Bound.NONE)
    assert SpawnStatus.GRANTED is player.spawn("deliver").status


def test_a_worker_ends_its_own_attempts_only() -> None:
    """Another worker's report changes nothing, whatever it says; the one that was granted still ends it."""
    player = Player(TOY)
    player.grant("worker")
    stranger = Principal("evil", PrincipalKind.WORKER, "fabric")
    before = player.task
    forged = player.reporting(player.rules.agents["worker"], subject="s1")
    assert "stale" == player.refused(forged, stranger)
    assert before == player.task
    player.do(forged)
    assert "SpawnSettled" in player.kinds()
