"""Acts outside: the grant is the intent, what is not known is in doubt, and what follows a doubt looks first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, HANDS, Player, text
from harness.toy import CHOOSING, DELIVERED, TOY
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.limits import ACT_WAIT_MS, LOSSES_PER_SPAWN, MAX_DOUBTS, MAX_EFFECT_BYTES
from loom.kernel.state import Doubt
from loom.kernel.values import NO_TEXT, End, ErrorClass, Status, Verdict, find

WHERE = (("to", "there"),)
ELSEWHERE = (("to", "elsewhere"),)
SEND = c.Act("deliver", WHERE, text("the others wait for it"))


def accepted(bundle: object = DELIVERED) -> Player:
    """A task that was accepted and delivered."""
    player = Player(bundle, {"preset": "supervised"})  # type: ignore[arg-type]
    player.report("worker", subject="s1")
    player.answer("accept")
    if bundle is DELIVERED:
        player.report("deliver")
    return player


def sending() -> Player:
    """Accepted work that a person wants to have somewhere; the attempt runs."""
    player = accepted()
    player.do(SEND)
    player.grant("deliver")
    return player


def intents(player: Player) -> list[tuple[int, str]]:
    """(attempt, the one in doubt before it) of each grant of an act."""
    events = [event for record in player.records for event in record.events]
    return [(v.attempt, v.reconciles) for v in events if isinstance(v, e.AttemptGranted) and "/deliver" in v.spawn]


# ---------------------------------------------------------------------------------------------------- asked for


def test_an_act_opens_the_task_until_it_is_done() -> None:
    """The verdict stands; who asked, why and for what is on record; then the task is closed again, delivered as before."""
    player = accepted()
    first = player.last.events[-1]
    taken = player.do(SEND)
    spawn = "t/finalize.2/deliver"
    assert [
        e.TaskReopened("finalize", 2, ANNA, text("the others wait for it")),
        e.SpawnOpened(spawn, "deliver", "finalize", 2, ("local",), WHERE),
    ] == list(taken.events[:2])
    assert (Status.OPEN, Verdict.ACCEPTED) == (player.task.status, player.task.verdict)
    assert player.now_ms + ACT_WAIT_MS == find(player.task.wakes, "act", 0)
    player.report("deliver", summary=text("sent"))
    assert (Status.DONE, (), ()) == (player.task.status, player.task.wakes, player.task.doubts)
    assert (e.TaskClosed(delivered="t/finalize.1/deliver"), e.TaskClosed()) == (first, player.last.events[-1])
    assert player.replayed().difference is None


def test_acts_come_one_after_the_other() -> None:
    """While one is on its way another one is refused; afterwards the same may be asked for again."""
    player = sending()
    assert "busy" == player.refused(SEND)
    player.report("deliver")
    player.do(SEND)
    assert ["t/finalize.3/deliver"] == [state.id for state in player.task.spawns]


def test_only_accepted_work_has_effects() -> None:
    """Without the verdict accepted there is no act: not before it, not after another one."""
    player = Player(DELIVERED, {"preset": "supervised"})
    assert "not_accepted" == player.refused(SEND)
    player.do(c.Cancel())
    assert "not_accepted" == player.refused(SEND)
    answered = Player(CHOOSING, {"flow": "ask"})
    answered.report("answerer")
    assert "not_accepted" == answered.refused(SEND)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (replace(SEND, agent="worker"), "no_such_act"),
        (replace(SEND, agent="nobody"), "no_such_act"),
        (replace(SEND, effect=(("to", "x" * MAX_EFFECT_BYTES),)), "too_large"),
    ],
)
def test_an_act_is_one_of_the_bundles(command: c.Act, code: str) -> None:
    """Only an agent of capability act acts, and what it is to do is bounded."""
    assert code == accepted().refused(command)


def test_a_bundle_without_acts_says_so() -> None:
    """The refusal names what there is."""
    player = accepted(TOY)
    assert "no_such_act" == player.refused(SEND)


def test_a_worker_asks_for_nothing() -> None:
    """Acts are for people and for loom itself."""
    assert "not_allowed" == accepted().refused(SEND, HANDS)


# -------------------------------------------------------------------------------------------------------- in doubt


@pytest.mark.parametrize("end", ["lost", "stopped"])
def test_a_broken_off_act_is_in_doubt_and_looked_for(end: str) -> None:
    """Its end is on record as a doubt; the next attempt names it, and its result ends it."""
    player = sending()
    player.end("deliver", end)
    closed = next(v for v in player.last.events if isinstance(v, e.AttemptClosed))
    doubt = Doubt("deliver", WHERE, "t/finalize.2/deliver#1")
    assert (End.IN_DOUBT, (doubt,)) == (closed.end, player.task.doubts)
    readied = next(v for v in player.last.events if isinstance(v, e.AttemptReadied))
    assert f"reconcile after {end}" == readied.reason
    player.report("deliver")
    assert ((), Status.DONE) == (player.task.doubts, player.task.status)
    assert [(1, ""), (1, ""), (2, doubt.attempt)] == intents(player)


@pytest.mark.parametrize(
    ("error", "by", "doubted"),
    [
        ("transient", HANDS, True),
        ("limit", HANDS, True),
        ("unparseable", HANDS, True),
        ("permanent", HANDS, False),
        ("workspace", HANDS, False),
        ("permanent", CORE, True),  # not the worker's own word: its report could not be read
    ],
)
def test_only_the_workers_certain_word_leaves_no_doubt(error: str, by: object, doubted: bool) -> None:
    """A worker that failed for good did nothing outside; any other failure may have."""
    player = sending()
    player.do(player.ending("deliver", "failed", error_class=ErrorClass(error)), by)  # type: ignore[arg-type]
    assert doubted is bool(player.task.doubts)


def test_a_report_that_cannot_be_taken_leaves_a_doubt() -> None:
    """It may have been done, even though what was said of it is not taken."""
    player = sending()
    player.do(player.reporting(player.rules.agents["deliver"], "nonsense"))
    assert ("spawn_failed", 1) == (player.parked, len(player.task.doubts))
    player.answer("retry")
    player.report("deliver")
    assert [(1, ""), (1, ""), (2, "t/finalize.2/deliver#1")] == intents(player)


def test_what_surely_was_not_done_is_given_back() -> None:
    """The person who asked reads why; nobody has to answer, and the same may be asked for again."""
    player = sending()
    player.fail("deliver", "permanent", "there is no such place")
    failed = next(v for v in player.last.events if isinstance(v, e.SpawnFailed))
    assert (text("there is no such place"), Status.DONE, None) == (failed.reason, player.task.status, player.task.gate)
    player.do(SEND)
    player.grant("deliver")
    assert (1, "") == intents(player)[-1]


def test_what_was_never_begun_is_no_doubt() -> None:
    """An attempt that reached no worker is simply given again."""
    player = sending()
    player.end("deliver", "undelivered")
    player.grant("deliver")
    assert [(1, ""), (1, ""), (2, "")] == intents(player)


def test_a_reconcile_that_fails_leaves_the_doubt() -> None:
    """It did nothing itself; whether the one before did is as open as it was."""
    player = sending()
    player.end("deliver", "lost")
    player.fail("deliver", "permanent", "something else is there")
    assert ("spawn_failed", {"retry", "abandon"}) == (player.parked, player.offers)
    assert "t/finalize.2/deliver#1" == player.task.doubts[0].attempt


def test_a_doubt_outlives_its_spawn() -> None:
    """Given up in doubt and asked for again: it looks first. What is to be done elsewhere has nothing to look for."""
    player = sending()
    player.fail("deliver", "transient")
    for _ in range(LOSSES_PER_SPAWN):
        player.end("deliver", "lost")
    player.answer("abandon")
    assert (Status.DONE, Verdict.ACCEPTED) == (player.task.status, player.task.verdict)
    in_doubt = player.task.doubts[0].attempt
    player.do(replace(SEND, effect=ELSEWHERE))
    player.report("deliver")
    player.do(SEND)
    player.report("deliver")
    assert [(1, ""), (1, in_doubt)] == intents(player)[-2:]
    assert () == player.task.doubts
    assert player.replayed().difference is None


def test_a_running_act_that_is_given_up_is_in_doubt() -> None:
    """Abandon stops it, and nobody can say how far it was."""
    player = sending()
    player.now_ms = find(player.task.wakes, "act", 0)
    player.do(c.Wake("act"))
    assert ("wall", {"retry", "abandon"}) == (player.parked, player.offers)
    player.answer("abandon")
    assert (Status.DONE, 1) == (player.task.status, len(player.task.doubts))


def test_a_late_act_asks_a_person_and_waits_again() -> None:
    """Every wait has an end: after it the person is asked, and retry gives the time once more."""
    player = accepted()
    player.do(SEND)
    player.now_ms = find(player.task.wakes, "act", 0)
    player.do(c.Wake("act"))
    player.answer("retry")
    assert player.now_ms + ACT_WAIT_MS == find(player.task.wakes, "act", 0)
    player.report("deliver")
    assert Status.DONE is player.task.status


def test_doubts_are_bounded() -> None:
    """Beyond the limit those in doubt come first."""
    player = accepted()
    for number in range(MAX_DOUBTS):
        player.do(replace(SEND, effect=(("to", str(number)),)))
        for _ in range(LOSSES_PER_SPAWN):
            player.end("deliver", "lost")
        player.answer("abandon")
    assert "too_many_doubts" == player.refused(SEND)
    player.do(replace(SEND, effect=(("to", "3"),), reason=NO_TEXT))
    player.report("deliver")
    player.do(SEND)
