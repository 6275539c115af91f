"""Each law of the kernel, violated by events or a state that look legal; and that a tick never does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, Player, caps, finding, text
from harness.toy import CHECKED, DELIVERED, FANOUT, REVIEW, TOY
from loom.kernel import events as e
from loom.kernel.fold import evolve
from loom.kernel.invariants import LAWS, Violation, objections
from loom.kernel.state import TaskState
from loom.kernel.values import (
    NO_TEXT,
    AnswerWord,
    Bound,
    End,
    ErrorClass,
    Execution,
    Principal,
    SpawnStatus,
    Status,
    Usage,
    Verdict,
)
from loom.kernel.work import POLICY, ask_directly

Change = Callable[[TaskState], TaskState]


def judge(player: Player, *events: e.TaskEvent, change: Change | None = None) -> list[Violation]:
    """What the rules say to these events after the player's state, folded honestly unless `change` forges the result."""
    after = evolve(player.task, events, player.now_ms + 1)
    after = change(after) if change else after
    return list(objections(player.rules, player.task, after, events, ask_directly))


def laws(found: list[Violation]) -> set[str]:
    assert all(violation.remedies and violation.sentence for violation in found)
    return {violation.rule.removeprefix("kernel.") for violation in found}


def accepted() -> e.VerdictReached:
    return e.VerdictReached(Verdict.ACCEPTED, ANNA)


def decision(player: Player, **changes: object) -> e.DecisionRecorded:
    task = player.task
    made = e.DecisionRecorded(
        gate="t-1",
        role="final",
        stage=task.stage,
        word=AnswerWord.ACCEPT,
        by=ANNA,
        message=NO_TEXT,
        base="c0",
        subject=task.subject,
        change="",
        policy_digest="",
        root="",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def granted(player: Player, fence: int, reserved: int = 0, agent: str = "worker") -> e.AttemptGranted:
    state = player.spawn(agent)
    return e.AttemptGranted(state.id, state.attempt, fence, "w1", "b1", 0, "", reserved, Bound.METERED)


def closed(player: Player, fence: int, released: int = 0, agent: str = "worker") -> e.AttemptClosed:
    state = player.spawn(agent)
    return e.AttemptClosed(
        state.id,
        1,
        fence,
        End.LOST,
        ErrorClass.NONE,
        NO_TEXT,
        Usage(),
        Execution(),
        NO_TEXT,
        NO_TEXT,
        NO_TEXT,
        True,
        released,
    )


def readied(player: Player, agent: str = "worker") -> e.AttemptReadied:
    return e.AttemptReadied(player.spawn(agent).id, 2, 0, 0, "lost")


def running(**submit: object) -> Player:
    player = Player(TOY, submit)
    player.grant("worker")
    return player


def at_finalize(bundle: object = REVIEW) -> Player:
    """A task one honest step before its verdict: the state at Finalize is forged from here."""
    player = Player(bundle, {"preset": "supervised"})  # type: ignore[arg-type]
    player.report("worker", subject="s1")
    return player


# -------------------------------------------------------------------------------------------------------------- shape


def test_numbers() -> None:
    """Entries of a task have numbers without a gap, and times that do not run back."""
    player = Player(TOY)
    event = e.TaskPaused(ANNA, NO_TEXT)
    assert {"numbers"} == laws(judge(player, event, change=lambda after: replace(after, n=after.n + 1)))
    assert {"numbers"} == laws(judge(player, event, change=lambda after: replace(after, n=after.n - 1)))
    assert {"numbers"} == laws(judge(player, event, change=lambda after: replace(after, now_ms=0)))
    assert set() == laws(judge(player, event))


def test_next_actor() -> None:
    """An open task is never in nobody's queue: not settled and left, not parked without a gate, not before a gate without
    answers."""
    player = running()
    settled = e.SpawnSettled(player.spawn("worker").id, "worker", "done", NO_TEXT)
    assert {"next_actor"} == laws(judge(player, closed(player, 1), settled))
    parked = e.TaskParked("asked", NO_TEXT, "work")  # type: ignore[arg-type]
    assert {"next_actor"} == laws(judge(player, parked))
    gate = e.GateOpened("t-1", "trouble", "work", (), "", "", "", "", "", NO_TEXT, 0)
    assert {"next_actor"} == laws(judge(player, parked, gate))
    assert set() == laws(judge(player, parked, replace(gate, answers=(AnswerWord.ABANDON,))))


def test_deadline() -> None:
    """No open task waits without an end."""
    assert {"deadline"} == laws(judge(Player(TOY), e.WakeCleared("wall")))


def test_settled() -> None:
    """What runs is ended before its stage is left, before a verdict, and before the end."""
    player = running()
    entered = e.StageEntered("decide", 1)
    spawned = e.SpawnOpened("t/decide.1/worker", "worker", "decide", 1, ("local",))
    assert {"settled"} == laws(judge(player, entered, spawned))
    assert {"settled"} == laws(judge(player, e.VerdictReached(Verdict.CANCELLED, ANNA), e.TaskClosed()))
    assert set() == laws(judge(player, closed(player, 1), e.VerdictReached(Verdict.CANCELLED, ANNA), e.TaskClosed()))


def test_final_verdict() -> None:
    """A verdict does not become another one, and without one nothing ends."""
    player = Player(DELIVERED)
    player.report("worker", subject="s1")
    assert "accepted" == player.task.verdict
    assert {"final_verdict"} == laws(judge(player, e.VerdictReached(Verdict.CANCELLED, ANNA)))
    assert {"final_verdict"} == laws(judge(Player(TOY), e.TaskClosed()))


def test_order() -> None:
    """Stages come in the order of the flow; a rework frees the next entry, and only that one."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    again, review = e.StageEntered("work", 2), e.StageEntered("review", 2)
    spawned = e.SpawnOpened("t/x.2/worker", "worker", "x", 2, ("local",))
    back = e.Reworked("work", 2, True)
    assert {"order"} == laws(judge(player, again, spawned))
    assert {"order"} == laws(judge(player, review, spawned))
    assert {"order"} == laws(judge(player, e.StageEntered("nowhere", 1), spawned))
    assert {"order"} == laws(judge(player, back, again, again, spawned))
    assert set() == laws(judge(player, back, again, review, spawned))


def test_a_policys_decision_does_not_free_the_order() -> None:
    """Only a rework and a person's word in trouble go back."""
    player = at_finalize(TOY)
    spawned = e.SpawnOpened("t/x.2/worker", "worker", "x", 2, ("local",))
    found = judge(player, decision(player), e.StageEntered("work", 2), spawned)
    assert {"order"} == laws(found)


# --------------------------------------------------------------------------------------------------------------- work


def test_accepted_over_a_blocker() -> None:
    """However the events came about: an accepted task has no open blocker."""
    player = at_finalize()
    player.report("reviewer", findings=[finding("a nit", "warn")])

    def forge(after: TaskState) -> TaskState:
        (nit,) = after.findings
        return replace(after, findings=(replace(nit, report=finding("it leaks")),))

    events = (decision(player), e.StageEntered("finalize", 1), accepted(), e.TaskClosed())
    assert {"accepted"} == laws(judge(player, *events, change=forge))
    assert set() == laws(judge(player, *events))


def test_accepted_without_its_evidence() -> None:
    """What Finalize needs is there, about exactly this subject."""
    player = at_finalize(CHECKED)
    events = (e.StageEntered("finalize", 1), accepted(), e.TaskClosed())
    assert {"accepted"} == laws(judge(player, *events))
    player.report("checks", checks={"check.test": "passed"})
    assert set() == laws(judge(player, *events))
    moved = replace(player.task, subject="s2")
    assert "accepted" in laws(judge(player, *events, change=lambda after: replace(after, subject=moved.subject)))


def test_accepted_elsewhere() -> None:
    """Only Finalize accepts."""
    assert {"accepted"} == laws(judge(Player(TOY), accepted(), e.TaskClosed()))


def test_decided() -> None:
    """A decision has a principal; a role that needs a person has one; a person decides at a gate."""
    player = at_finalize(TOY)
    for wrong in ({"by": POLICY}, {"by": CORE}, {"by": replace(ANNA, id="")}, {"gate": ""}):
        found = laws(
            judge(player, decision(player, **wrong), e.StageEntered("finalize", 1), accepted(), e.TaskClosed())
        )
        assert "decided" in found, wrong


@pytest.mark.parametrize(
    ("duty", "by"),
    [
        ("submitter", ANNA),
        ("submitter", replace(ANNA, id="bot", acting_for="anna")),
        ("author", replace(ANNA, id="cleo")),
        ("owner", replace(ANNA, id="olga")),
    ],
)
def test_duties(duty: str, by: Principal) -> None:
    """However the decision came about: nobody accepts what they submitted, made, or let the maker in for."""
    player = Player(TOY, {"preset": "supervised"}, read={"separate_duties": duty, "owner w1": "olga"})
    player.report("worker", subject="s1")
    if duty == "author":
        player.answer("revise", work="c9", new_subject="s9", by=replace(ANNA, id="cleo"))
    rest = (e.StageEntered("finalize", 1), accepted(), e.TaskClosed())
    assert {"duties"} == laws(judge(player, decision(player, by=by, gate=player.gate.id), *rest))
    for fine in ({"by": replace(ANNA, id="bob")}, {"word": AnswerWord.ABANDON}):
        made = replace(decision(player, by=by, gate=player.gate.id), **fine)
        assert "duties" not in laws(judge(player, made, *rest)), fine


def test_policy_floor() -> None:
    """A policy's acceptance has its floor, and nothing open."""
    player = Player(REVIEW)
    player.report("worker", subject="s1")
    player.fail("reviewer", "permanent")
    by_policy = decision(player, by=POLICY, gate="")
    events = (by_policy, e.StageEntered("finalize", 1), accepted(), e.TaskClosed())
    assert {"policy_floor"} == laws(judge(player, *events))
    bare = Player(replace(TOY, roles=(replace(TOY.roles[0], floor=None),)))
    assert "policy_floor" in laws(judge(bare, replace(by_policy, subject="s0"), e.StageEntered("finalize", 1)))


# ------------------------------------------------------------------------------------------------------------- ledger


def test_fences() -> None:
    """A fence never comes again and never falls."""
    player = Player(FANOUT)
    player.report("worker", subject="s1")
    for fences in ((0,), (1,), (2, 2), (3, 2)):
        events = [granted(player, fence, agent=f"reviewer{i + 1}") for i, fence in enumerate(fences)]
        assert {"fences"} == laws(judge(player, *events)), fences
    assert set() == laws(judge(player, granted(player, 2, agent="reviewer1"), granted(player, 3, agent="reviewer2")))


def test_current_fence() -> None:
    """An attempt is ended under the fence that it holds, once, and only while it runs."""
    player = running()
    assert {"current_fence"} == laws(judge(player, closed(player, 2), readied(player)))
    assert {"current_fence"} == laws(judge(player, closed(player, 1), closed(player, 1), readied(player)))
    assert {"current_fence"} == laws(judge(Player(TOY), closed(Player(TOY), 1), readied(player)))
    assert set() == laws(judge(player, closed(player, 1), readied(player)))


def test_reserved() -> None:
    """No grant passes the cap, and no end releases what was not reserved."""
    player = Player(TOY, {"caps": caps(cost=100)})
    assert {"reserved"} == laws(judge(player, granted(player, 1, reserved=101)))
    assert set() == laws(judge(player, granted(player, 1, reserved=100)))
    player.grant("worker", reserved=100)
    assert {"reserved"} == laws(judge(player, closed(player, 1, released=101), readied(player)))


def delivering(end: str = "") -> Player:
    """A task whose delivery runs, or has ended so."""
    player = Player(DELIVERED, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.answer("accept")
    player.grant("deliver")
    if end:
        player.end("deliver", end)
    return player


def test_reconciled_after_a_doubt() -> None:
    """An act after one in doubt looks first, and says after which."""
    player = delivering("lost")
    blind = granted(player, 3, agent="deliver")
    assert {"reconciled"} == laws(judge(player, blind))
    assert {"reconciled"} == laws(judge(player, replace(blind, reconciles="t/finalize.1/deliver#7")))
    assert set() == laws(judge(player, replace(blind, reconciles="t/finalize.1/deliver#1")))


def test_reconciled_is_nothing_lost() -> None:
    """An act that is broken off is in doubt, whatever the end is called."""
    player = delivering()
    for end in (End.LOST, End.STOPPED, End.OBJECTED):
        event = replace(closed(player, 2, agent="deliver"), end=end)
        assert {"reconciled"} == laws(judge(player, event, readied(player, "deliver"))), end
    event = replace(closed(player, 2, agent="deliver"), end=End.IN_DOUBT)
    assert set() == laws(judge(player, event, readied(player, "deliver")))


def test_reconciled_ends_a_doubt() -> None:
    """A doubt does not go away by itself, not even with the task's end."""
    player = delivering("lost")
    over = e.TaskClosed()
    assert {"reconciled"} == laws(judge(player, over, change=lambda after: replace(after, doubts=())))
    assert set() == laws(judge(player, over))


def test_every_law_has_its_test_here() -> None:
    """A law that is added is violated here, too."""
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set() == {law.name for law in LAWS if not any(test.startswith(law.name) for test in tests)}


@pytest.mark.parametrize("law", [law.name for law in LAWS])
def test_the_remedies_of_a_law_lead_on(law: str) -> None:
    """Each law offers retry or revise, and abandon."""
    remedies = {word for one in LAWS if one.name == law for word in one.remedies}
    assert AnswerWord.ABANDON in remedies
    assert remedies & {AnswerWord.RETRY, AnswerWord.REVISE}


def test_a_law_that_a_bundle_breaks_is_an_objection_in_the_tick() -> None:
    """A bundle that tries to accept past its work is parked by the kernel, with a way on."""
    from harness.toy import WORK, WORKER, make
    from loom.kernel.facts import ALWAYS
    from loom.kernel.flow import Conclude, Flow, On

    grab = replace(WORK, on=(On(ALWAYS, Conclude(Verdict.ACCEPTED)),))
    player = Player(make("grab", (WORKER,), Flow("main", (grab,), rework="work")))
    player.report("worker", subject="s1")
    assert ("objection", ["kernel.accepted"]) == (player.parked, [v.rule for v in player.last.violations])
    assert Status.OPEN is player.task.status
    assert SpawnStatus.READY is player.spawn("worker").status
    player.answer("abandon", text("no").value)
    assert "abandoned" == player.task.verdict
