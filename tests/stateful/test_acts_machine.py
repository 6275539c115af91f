"""Acts under any losses: the world outside is modelled, and never does the same thing twice without a look in between.

The model's workers do what loom's do: they act when they are not told of a doubt, else they look first. They may be lost
before they act, after it, or stopped, or fail, or report late; people give up, ask again and take late results.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.player import Player, text
from harness.toy import DELIVERED
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.limits import MAX_DOUBTS
from loom.kernel.machine import Tick
from loom.kernel.values import End, ErrorClass, Pairs, SpawnStatus, Status, find

EFFECTS: tuple[Pairs, ...] = ((), (("to", "here"),), (("to", "there"),))
CERTAIN = (ErrorClass.PERMANENT, ErrorClass.WORKSPACE)
UNCERTAIN = (ErrorClass.TRANSIENT, ErrorClass.LIMIT, ErrorClass.RATE_LIMIT, ErrorClass.UNPARSEABLE, ErrorClass.NONE)
FINISH_STEPS = 200


@dataclass
class Place:
    """One thing that can be done outside. looked: since it was last done, somebody looked, or said for certain that it was."""

    done: int = 0
    looked: bool = True


class ActsMachine(RuleBasedStateMachine):
    """One accepted task, whose delivery and later acts meet every fate."""

    def __init__(self) -> None:
        super().__init__()
        self.world = {effect: Place() for effect in EFFECTS}
        self.late: list[c.AttemptEnded] = []

    @initialize()
    def accept(self) -> None:
        self.player = Player(DELIVERED, {"preset": "supervised"})
        self.player.report("worker", subject="s1")
        self.player.answer("accept")

    # ----------------------------------------------------------------------------------------------------- workers

    def running(self) -> bool:
        return any(state.status is SpawnStatus.GRANTED for state in self.player.task.spawns)

    def ready(self) -> bool:
        return any(state.status is SpawnStatus.READY for state in self.player.task.spawns)

    @precondition(lambda self: self.ready() and self.player.task.parked is None and not self.player.task.paused)
    @rule(acts=st.booleans())
    def granted(self, acts: bool) -> None:
        """A worker has it: it looks if it is told to, and gets as far as the act, or not."""
        self.player.grant("deliver")
        event = next(v for v in self.player.last.events if isinstance(v, e.AttemptGranted))
        place = self.world[self.player.spawn("deliver").effect]
        self.acted = False
        if event.reconciles:
            place.looked = True
            if place.done:  # it finds what was done: nothing is left to do
                self.acted = True
                return
        if acts:
            assert place.done == 0 or place.looked, "done again blindly"
            place.done, place.looked, self.acted = place.done + 1, False, True

    @precondition(lambda self: self.running())
    @rule()
    def reported(self) -> None:
        """It says what it did; a worker that did nothing yet does it now."""
        effect = self.player.spawn("deliver").effect
        place = self.world[effect]
        if not self.acted:
            assert place.done == 0 or place.looked, "done again blindly"
            place.done += 1
        place.looked = True  # this word is certain: another act that is asked for later is meant to be another one
        self.player.report("deliver")

    @precondition(lambda self: self.running())
    @rule(end=st.sampled_from((End.LOST, End.STOPPED)), error=st.sampled_from((ErrorClass.NONE, ErrorClass.TRANSIENT)))
    def broken_off(self, end: End, error: ErrorClass) -> None:
        """Nobody knows how far it was; what it would have said may come late."""
        agent = self.player.rules.agents["deliver"]
        if self.acted:
            self.late.append(self.player.reporting(agent))
        self.player.end("deliver", end, error_class=error if end is End.LOST else ErrorClass.NONE)

    @precondition(lambda self: self.running())
    @rule(error=st.sampled_from(UNCERTAIN))
    def failed(self, error: ErrorClass) -> None:
        """It failed somewhere on the way, perhaps after the act."""
        self.player.end("deliver", "failed", error_class=error)

    @precondition(lambda self: self.running() and not self.acted)
    @rule(error=st.sampled_from(CERTAIN))
    def refused(self, error: ErrorClass) -> None:
        """It did nothing, and says so."""
        if error is not ErrorClass.NONE:
            self.player.end("deliver", "failed", error_class=error)

    @precondition(lambda self: self.running() and not self.acted)
    @rule()
    def undelivered(self) -> None:
        self.player.end("deliver", "undelivered")

    @precondition(lambda self: self.running())
    @rule()
    def nonsense(self) -> None:
        """What it says cannot be taken."""
        self.player.do(self.player.reporting(self.player.rules.agents["deliver"], "nonsense"))

    # ------------------------------------------------------------------------------------------------------ people

    @precondition(lambda self: self.player.task.status is Status.DONE)
    @rule(effect=st.sampled_from(EFFECTS))
    def asked(self, effect: Pairs) -> None:
        """A person asks for it, perhaps again."""
        self.player.do(c.Act("deliver", effect, text("please")))

    @precondition(lambda self: self.player.task.gate is not None)
    @rule(word=st.sampled_from(("retry", "abandon")))
    def answered(self, word: str) -> None:
        self.player.answer(word)

    @precondition(lambda self: self.late)
    @rule(pick=st.integers(0, 100))
    def took(self, pick: int) -> None:
        """A late word is taken, where it still says something."""
        report = self.late[pick % len(self.late)]
        effect = next((s.effect for s in self.player.task.spawns if s.id == report.spawn), None)
        taken = self.player.try_(c.Take(orphan=1, report=report))
        if isinstance(taken, Tick) and effect is not None:
            self.world[effect].looked = True

    @precondition(lambda self: find(self.player.task.wakes, "act", 0))
    @rule()
    def overdue(self) -> None:
        self.player.now_ms = max(self.player.now_ms, find(self.player.task.wakes, "act", 0))
        self.player.do(c.Wake("act"))

    @precondition(lambda self: self.player.task.status is Status.OPEN)
    @rule()
    def paused_and_resumed(self) -> None:
        self.player.do(c.Resume() if self.player.task.paused else c.Pause())

    # ----------------------------------------------------------------------------------------- what holds at all times

    @invariant()
    def what_may_have_happened_is_in_doubt(self) -> None:
        """Everything that was done without a certain word, and is not being done just now, is in doubt."""
        task = self.player.task
        now = {state.effect for state in task.spawns if state.status is SpawnStatus.GRANTED}
        doubted = {doubt.effect for doubt in task.doubts}
        for effect, place in self.world.items():
            assert place.looked or effect in now or effect in doubted, effect
        assert len(task.doubts) <= MAX_DOUBTS

    def teardown(self) -> None:
        """With good workers it comes to its end, and all of it replays."""
        if not hasattr(self, "player"):
            return
        for _ in range(FINISH_STEPS):
            if self.player.task.status is Status.DONE:
                break
            if self.player.task.paused:
                self.player.do(c.Resume())
            elif self.player.task.gate is not None:
                self.player.answer("retry")
            elif self.running():
                self.reported()
            else:
                self.granted(True)
        assert self.player.task.status is Status.DONE
        assert self.player.replayed().difference is None


ActsMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestActsMachine = ActsMachine.TestCase


def test_blind_workers_are_found_out() -> None:
    """The model can fail: a world in which a doubt is not looked for does the same thing twice."""

    class Blind(ActsMachine):
        """Workers that are never told of a doubt."""

        @precondition(lambda self: self.ready() and self.player.task.parked is None and not self.player.task.paused)
        @rule(acts=st.booleans())
        def granted(self, acts: bool) -> None:
            self.player.grant("deliver")
            place = self.world[self.player.spawn("deliver").effect]
            self.acted = acts
            if acts:
                assert place.done == 0 or place.looked, "done again blindly"
                place.done, place.looked = place.done + 1, False

    machine = Blind()
    machine.accept()
    machine.granted(True)
    machine.broken_off(End.LOST, ErrorClass.NONE)
    with pytest.raises(AssertionError, match="done again blindly"):
        machine.granted(True)
