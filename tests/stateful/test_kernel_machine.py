"""The machine under any order of commands, legal and not: what has to hold after every step, and that nothing is ever stuck."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.player import ANNA, CORE, HANDS, Player, caps, finding, text
from harness.toy import ALL
from loom.bundles.code.bundle import BUNDLE as CODE
from loom.coordinator.codec import encode_value
from loom.kernel import commands as c
from loom.kernel.effects import Offer, SetWake
from loom.kernel.evidence import missing
from loom.kernel.facts import live_blockers
from loom.kernel.flow import Agent, Bundle, Finalize
from loom.kernel.limits import MAX_LIVE_FINDINGS, MAX_MESSAGES, MAX_STALL_KEYS
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.values import (
    NO_TEXT,
    AnswerWord,
    Artifact,
    Capability,
    End,
    ErrorClass,
    FindingReport,
    Principal,
    SpawnStatus,
    Statement,
    Status,
    Usage,
    Verdict,
    find,
)

BUNDLES: tuple[Bundle, ...] = (*ALL, replace(CODE, digest="code"))
ANY = st.integers(0, 1_000_000)
CHECKS = ("check.test", "check.lint", "check.typecheck")
RESERVED = 100
STATE_BYTES = 200_000
WAY_ON = (
    AnswerWord.ACCEPT,
    AnswerWord.RAISE,
    AnswerWord.RETRY,
    AnswerWord.REVISE,
    AnswerWord.APPLY,
    AnswerWord.ABANDON,
)
FINISH_STEPS = 400


NUISANCES = ("again", "again", "grant", "answer", "pause", "wall", "gate", "wake", "cancel")


class KernelMachine(RuleBasedStateMachine):
    """One task of any bundle, and a model of what its environment has been told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.offered: set[tuple[str, int]] = set()
        self.armed: set[tuple[str, int]] = set()
        self.fence = 0
        self.subjects = 0
        self.late: list[c.AttemptEnded] = []
        """What attempts that ended otherwise would have said."""

    @initialize(bundle=st.sampled_from(BUNDLES), preset=ANY, tight=st.booleans(), pinned=st.booleans())
    def submit(self, bundle: Bundle, preset: int, tight: bool, pinned: bool) -> None:
        some = caps(attempts=6, rounds=2, cost=1_500, tokens=5_000) if tight else caps(attempts=0, cost=0)
        self.player = Player(
            bundle,
            {
                "preset": bundle.presets[preset % len(bundle.presets)][0],
                "caps": some,
                "flow": bundle.flows[preset % len(bundle.flows)].name if pinned else "",
            },
        )
        self.note(self.player.last)

    # ------------------------------------------------------------------------------------------------------- commands

    def give(self, command: c.Command, by: Principal | None = None) -> None:
        self.player.now_ms += 1
        taken = self.player.try_(command, by)  # type: ignore[arg-type]
        if isinstance(taken, Tick):
            self.note(taken)

    def note(self, taken: Tick) -> None:
        self.offered |= {(x.spawn, x.attempt) for x in taken.effects if isinstance(x, Offer)}
        self.armed |= {(x.name, x.due_ms) for x in taken.effects if isinstance(x, SetWake)}
        if any(getattr(event, "verdict", None) is Verdict.ACCEPTED for event in taken.events):
            self.check_accepted()

    def grant(self, pick: int, off: int = 0, early: bool = False) -> None:
        """A grant, sometimes too early or under a wrong fence."""
        spawns = self.player.task.spawns
        if spawns:
            state = spawns[pick % len(spawns)]
            if not early:
                self.player.now_ms = max(self.player.now_ms, state.not_before_ms)
            grant = self.player.granting(state)
            self.give(replace(grant, fence=grant.fence + off))

    @rule(pick=ANY)
    def grant_what_is_ready(self, pick: int) -> None:
        """What a scheduler does; a paused task is resumed first."""
        if self.player.task.paused:
            self.give(c.Resume())
        ready = [i for i, s in enumerate(self.player.task.spawns) if s.status is SpawnStatus.READY]
        for place in ready[: 1 + pick % 3]:
            self.grant(place)

    @rule(pick=ANY, sort=ANY, fresh=st.booleans())
    def good_report(self, pick: int, sort: int, fresh: bool) -> None:
        """A report that fits, whatever its word: what a well-behaved agent says."""
        agent = self.running(pick)
        if agent is not None:
            word = agent.outcomes[sort % len(agent.outcomes)] if sort % 3 else agent.outcomes[0]
            blocks = agent.judges and word == "block"
            found = [finding(f"trouble {'abcdefgh'[sort % 8]}", agent=agent.name)] if blocks else []
            self.give(self.saying(agent, word, found, fresh, sort))

    @rule(pick=ANY, word=ANY, sort=ANY, blocks=st.integers(0, 2), fresh=st.booleans())
    def any_report(self, pick: int, word: int, sort: int, blocks: int, fresh: bool) -> None:
        """A report: any outcome, fitting or not, with or without findings, about this subject or another."""
        agent = self.running(pick)
        if agent is not None:
            words = (*agent.outcomes, *agent.outcomes, "nonsense")
            found = [finding(f"trouble {'abc'[(sort + i) % 3]}", agent=agent.name) for i in range(blocks)]
            self.give(self.saying(agent, words[word % len(words)], found, fresh, sort))

    def running(self, pick: int) -> Agent | None:
        states = [s for s in self.player.task.spawns if s.status is SpawnStatus.GRANTED]
        return self.player.rules.agents[states[pick % len(states)].agent] if states else None

    def saying(self, agent: Agent, word: str, found: list[FindingReport], fresh: bool, sort: int) -> c.AttemptEnded:
        if fresh:
            self.subjects += 1
        editing = agent.capability is Capability.EDIT
        subject = (
            f"s{self.subjects}"
            if editing
            else ""
            if agent.capability is Capability.ANSWER
            else self.player.task.subject
        )
        alphabets = (*agent.facts, *((measure.fact, measure.values) for measure in agent.measures))
        outcome = ("passed", "passed", "failed", "skipped")[sort % 4]
        return self.player.ending(
            agent.name,
            "reported",
            outcome=word,
            findings=tuple(found),
            facts=tuple(sorted((name, values[sort % len(values)]) for name, values in alphabets)),
            artifacts=tuple((name, text(name)) for name in agent.makes),
            statements=tuple(Statement(kind, outcome, NO_TEXT, NO_TEXT) for kind in CHECKS),
            subject=subject,
            work=f"c-{subject}" if editing else "",
            usage=self.usage(agent),
        )

    def usage(self, agent: Agent) -> Usage:
        return Usage(input_tokens=50, calls=1, cost=min(RESERVED, self.player.spawn(agent.name).reserved))

    @rule(
        pick=ANY, end=st.sampled_from(End), error=st.sampled_from(ErrorClass), later=st.sampled_from((0, 1_000, 10**12))
    )
    def end(self, pick: int, end: End, error: ErrorClass, later: int) -> None:
        """A running attempt ends in any other way."""
        agent = self.running(pick)
        if agent is not None and end is not End.REPORTED:
            self.late.append(self.saying(agent, agent.outcomes[0], [], later == 0, pick))
            ending = self.player.ending(agent.name, end, error_class=error, output=text("half"))
            self.give(replace(ending, not_before_ms=self.player.now_ms + later if later else 0))

    @precondition(lambda self: self.player.task.gate is not None)
    @rule(pick=ANY, own=st.sampled_from((False, False, True)))
    def answer(self, pick: int, own: bool) -> None:
        """One of the offered words, with all that it needs; sometimes with the person's own work."""
        words = self.player.gate.answers
        answer = self.answering(words[pick % len(words)])
        if answer.word is AnswerWord.ABANDON and pick % 5:
            return
        if own and answer.word is AnswerWord.REVISE:
            self.subjects += 1
            answer = replace(answer, new_subject=f"s{self.subjects}", work=f"c-s{self.subjects}")
        self.give(answer)

    def answering(self, word: AnswerWord) -> c.Answer:
        """The word, with all that it needs."""
        named = {f.id: "known" for f in live_blockers(self.player.task.findings)} if word is AnswerWord.ACCEPT else {}
        parked = self.player.parked
        raises = (
            (("cost", self.player.task.caps.cost + 5_000),) if word is AnswerWord.RAISE and parked == "cost" else ()
        )
        return self.player.answering(word, "words" if word is AnswerWord.REVISE else "", accept=named, raises=raises)

    @precondition(lambda self: self.late)
    @rule(pick=ANY, by=st.sampled_from((ANNA, ANNA, HANDS)))
    def take(self, pick: int, by: Principal) -> None:
        """A person takes what came too late, whether or not it still fits; nobody else does."""
        self.give(c.Take(orphan=1, report=self.late[-1 - pick % min(3, len(self.late))]), by)

    @rule(pick=ANY)
    def act(self, pick: int) -> None:
        """Somebody wants it brought somewhere, at any time."""
        agents = self.player.rules.agents.values()
        names = [agent.name for agent in agents if agent.capability is Capability.ACT or not pick % 5]
        self.give(c.Act(names[pick % len(names)] if names else "nobody", (("to", "abc"[pick % 3]),)))

    @rule(seed=ANY, count=st.integers(1, 25))
    def play(self, seed: int, count: int) -> None:
        """A stretch of mostly good work: the deep places lie behind it. After each of its steps everything has to hold."""
        draw = Random(seed)
        for _ in range(count):
            if self.player.task.status is Status.DONE:
                return
            pick = draw.randrange(10**6)
            if self.player.task.gate is not None:
                self.answer(pick, draw.random() < 0.2)
            self.grant_what_is_ready(pick)
            if draw.random() < 0.75:
                self.good_report(pick, draw.randrange(10**6), draw.random() < 0.8)
            elif draw.random() < 0.5:
                self.any_report(pick, draw.randrange(10**6), pick, draw.randrange(3), draw.random() < 0.5)
            else:
                self.end(pick, draw.choice(list(End)), draw.choice(list(ErrorClass)), draw.choice((0, 1_000, 10**12)))
                if self.late and draw.random() < 0.7:
                    self.take(0, ANNA)
            self.all_holds()

    def all_holds(self) -> None:
        self.the_ledger_adds_up()
        self.somebody_is_next()
        self.every_gate_has_a_way_on()

    @rule(what=st.sampled_from(NUISANCES), pick=ANY, by=st.sampled_from((ANNA, CORE, HANDS)))
    def nuisance(self, what: str, pick: int, by: Principal) -> None:
        """What also happens: the past once more from anybody, grants out of turn, pauses, deadlines, answers that do not fit."""
        player = self.player
        match what:
            case "again":
                self.give(player.records[pick % len(player.records)].command, by)
            case "grant":
                self.grant(pick, off=(0, 1, -1)[pick % 3], early=True)
            case "answer" if player.task.gate is not None:
                self.give(player.answering(list(AnswerWord)[pick % len(AnswerWord)]))
            case "pause":
                self.give((c.Pause(), c.Resume())[pick % 2])
            case "wall" | "gate" if find(player.task.wakes, what, 0) and not pick % 3:
                player.now_ms = max(player.now_ms, find(player.task.wakes, what, 0))
                self.give(c.Wake(what))
            case "wake":
                self.give(c.Wake(("wall", "gate", "tea")[pick % 3]))
            case "cancel" if not pick % 7:
                self.give(c.Cancel())

    # ----------------------------------------------------------------------------------------- what holds at all times

    def check_accepted(self) -> None:
        task = self.player.task
        stage = self.player.rules.stage(task.flow, task.stage)
        assert isinstance(stage, Finalize)
        assert () == live_blockers(task.findings)
        assert () == missing(stage.needs, task.subject, task.evidence)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """What is reserved is what the running attempts hold; spent and reserved stay under the cap; fences grow."""
        task = self.player.task
        if task.status is Status.OPEN:
            assert task.spent.reserved == sum(s.reserved for s in task.spawns if s.status is SpawnStatus.GRANTED)
        assert not task.caps.cost or task.spent.cost + task.spent.reserved <= task.caps.cost
        assert task.fence >= self.fence
        assert task.n == len(self.player.records)
        self.fence = task.fence

    @invariant()
    def somebody_is_next(self) -> None:
        """Every ready attempt was offered and every wake armed; else a gate is open."""
        task = self.player.task
        if task.status is Status.DONE:
            assert (task.gate, task.spawns, task.wakes) == (None, (), ())
            return
        if task.parked is None:
            for state in task.spawns:
                assert state.status is not SpawnStatus.READY or (state.id, state.attempt) in self.offered, state
        assert set(task.wakes) <= self.armed
        waits = [s for s in task.spawns if s.status in (SpawnStatus.READY, SpawnStatus.GRANTED)]
        assert task.gate is not None or (waits and task.parked is None)
        assert (task.parked is None) or (task.gate is not None and task.gate.role == "trouble")
        assert task.verdict is not Verdict.NONE or task.gate is not None or dict(task.wakes)["wall"]

    @invariant()
    def every_gate_has_a_way_on(self) -> None:
        """At least one offered answer is taken, unobjected, and is no answer to the same question again."""
        if self.player.task.gate is not None:
            taken = [self.try_answer(word) for word in self.player.task.gate.answers]
            assert any(isinstance(t, Tick) and not t.violations for t in taken), taken

    def try_answer(self, word: AnswerWord) -> Tick | Rejection:
        player = self.player
        return tick(player.rules, player.task, player.home, ANNA, self.answering(word), player.now_ms + 1)

    @invariant()
    def the_state_is_small(self) -> None:
        """Bounded, however long the run."""
        task = self.player.task
        assert len(task.findings) <= MAX_LIVE_FINDINGS + 200
        assert len(task.messages) <= MAX_MESSAGES
        assert len(task.stalls) <= MAX_STALL_KEYS
        assert len({artifact.name for artifact in task.artifacts}) == len(task.artifacts)
        assert all(isinstance(artifact, Artifact) for artifact in task.artifacts)
        assert len(encode_value(task)) < STATE_BYTES

    # ------------------------------------------------------------------------------------------------------- the end

    def teardown(self) -> None:
        """With good workers and a willing person every task comes to its end; and all of it replays."""
        if not hasattr(self, "player"):
            return
        for _ in range(FINISH_STEPS):
            if self.player.task.status is Status.DONE:
                break
            self.help_along()
        assert self.player.task.status is Status.DONE, (
            self.player.task.stage,
            self.player.parked,
            self.player.task.spawns,
        )
        assert self.player.replayed().difference is None

    def help_along(self) -> None:
        task = self.player.task
        if task.paused:
            self.give(c.Resume())
        elif task.gate is not None:
            self.give(self.leading())
        else:
            state = next(s for s in task.spawns if s.status in (SpawnStatus.READY, SpawnStatus.GRANTED))
            if state.status is SpawnStatus.READY:
                self.grant(task.spawns.index(state))
            if self.player.task.spawns and self.player.spawn(state.agent).status is SpawnStatus.GRANTED:
                agent = self.player.rules.agents[state.agent]
                good = self.saying(agent, agent.outcomes[0], [], True, 1)
                good = replace(good, statements=tuple(Statement(kind, "passed", NO_TEXT, NO_TEXT) for kind in CHECKS))
                self.give(good)

    def leading(self) -> c.Answer:
        """The first offered word, in the order of hope, that is taken without objection."""
        for word in WAY_ON:
            if word in self.player.gate.answers:
                taken = self.try_answer(word)
                if isinstance(taken, Tick) and not taken.violations:
                    return self.answering(word)
        raise AssertionError(f"no way on from {self.player.gate}")


KernelMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestKernelMachine = KernelMachine.TestCase
