"""Every recorded history is a path of the abstract graph: what keeps the proof honest."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from harness.follow import Follower
from harness.player import ANNA, Player, finding, text
from harness.toy import ALL
from loom.bundles import registry
from loom.bundles.checking.graph import Atlas
from loom.kernel import commands as c
from loom.kernel.events import TaskParked
from loom.kernel.facts import live_blockers
from loom.kernel.flow import Agent, Bundle
from loom.kernel.machine import Tick
from loom.kernel.replay import Record
from loom.kernel.values import (
    NO_TEXT,
    AnswerWord,
    Capability,
    Caps,
    End,
    ErrorClass,
    FindingReport,
    Origin,
    SpawnStatus,
    Statement,
    Status,
    Usage,
    Verdict,
    find,
)
from loom.transports.histories import FileRuns
from loom.transports.replaying import record_of

HISTORIES = Path(__file__).parents[3] / "replay" / "histories"
CHECKS = ("check.lint", "check.test", "check.typecheck")
STEPS = 140


class Walk:
    """A task among workers and people who do anything that a real one may do, chosen by a seed."""

    def __init__(self, bundle: Bundle, flow: str, preset: str, seed: int) -> None:
        self.draw = random.Random(f"{flow} {preset} {seed}")
        caps = Caps(attempts=self.draw.choice((0, 6, 40)), rounds=self.draw.choice((1, 4)))
        self.player = Player(bundle, {"preset": preset, "flow": flow, "caps": caps})
        self.made = 0

    def run(self, steps: int) -> Player:
        for _ in range(steps):
            if self.player.task.status is Status.DONE:
                break
            self.step()
        return self.player

    def give(self, command: c.TaskCommand) -> Tick | None:
        taken = self.player.try_(command)
        return taken if isinstance(taken, Tick) else None

    def step(self) -> None:
        task, draw = self.player.task, self.draw
        chance = draw.random()
        running = [s for s in task.spawns if s.status is SpawnStatus.GRANTED]
        ready = [s for s in task.spawns if s.status is SpawnStatus.READY]
        if chance < 0.02:
            self.give(c.Pause() if not task.paused else c.Resume())
        elif chance < 0.05 and find(task.wakes, "wall", 0):
            self.player.now_ms = max(self.player.now_ms, find(task.wakes, "wall", 0))
            self.give(c.Wake("wall"))
        elif chance < 0.053:
            self.give(c.Cancel())
        elif task.paused:
            self.give(c.Resume())
        elif task.gate is not None and (not running or chance < 0.5):
            self.answer()
        elif ready and task.parked is None and (not running or chance < 0.6):
            state = draw.choice(ready)
            self.player.now_ms = max(self.player.now_ms, state.not_before_ms)
            self.give(self.player.granting(state))
        elif running:
            self.end(self.player.rules.agents[draw.choice(running).agent])

    def answer(self) -> None:
        gate, draw = self.player.gate, self.draw
        words = [word for word in gate.answers if word is not AnswerWord.ABANDON or draw.random() < 0.1]
        if not words:
            return
        word = draw.choice(words)
        named = {f.id: "known" for f in live_blockers(self.player.task.findings)} if word is AnswerWord.ACCEPT else {}
        answer = self.player.answering(word, accept=named)
        if word is AnswerWord.REVISE and draw.random() < 0.3:
            self.made += 1
            answer = replace(answer, new_subject=f"own{self.made}", work=f"own{self.made}")
        self.player.try_(answer, ANNA)

    def end(self, agent: Agent) -> None:
        draw = self.draw
        chance = draw.random()
        if chance < 0.1:
            end = draw.choice([End.LOST, End.UNDELIVERED, End.STOPPED])
            self.give(self.player.ending(agent.name, end))
        elif chance < 0.25:
            error = draw.choice(
                [ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.WORKSPACE, ErrorClass.RATE_LIMIT]
            )
            self.give(self.player.ending(agent.name, "failed", error_class=error))
        elif chance < 0.32:
            self.give(self.report(agent, "nonsense"))
        else:
            self.give(self.report(agent, draw.choice(agent.outcomes)))

    def report(self, agent: Agent, word: str) -> c.AttemptEnded:
        draw, task = self.draw, self.player.task
        alphabets = [*agent.facts, *((measure.fact, measure.values) for measure in agent.measures)]
        facts = tuple(sorted((name, draw.choice(values)) for name, values in alphabets))
        subject, work = "", ""
        if agent.capability is Capability.EDIT:
            if draw.random() < 0.8:
                self.made += 1
                subject, work = f"s{self.made}", f"c{self.made}"
            else:
                subject, work = task.subject, task.work
        elif agent.capability is not Capability.ANSWER:
            subject = task.subject
        found: list[FindingReport] = []
        if agent.judges and word == "block":
            found = [
                finding(draw.choice(("it leaks", "it is slow", f"case {draw.choice('abcdefghi')}")), agent=agent.name)
            ]
        outcomes = [draw.choice(("passed", "passed", "failed", "skipped", "not_applicable")) for _ in CHECKS]
        if agent.capability is Capability.CHECKS and word in agent.outcomes:
            word = "failed" if "failed" in outcomes else "skipped" if "skipped" in outcomes else "passed"
            if word == "failed":
                found = [finding(f"it failed: {draw.choice('abcdefghi')}", agent=agent.name, origin=Origin.CHECK)]
        checks = agent.capability is Capability.CHECKS
        return self.player.ending(
            agent.name,
            "reported",
            outcome=word,
            facts=facts,
            findings=tuple(found),
            artifacts=tuple((name, text(name)) for name in agent.makes),
            statements=tuple(Statement(k, o, NO_TEXT, NO_TEXT) for k, o in zip(CHECKS, outcomes, strict=True))
            if checks
            else (),
            subject=subject,
            work=work,
            change=subject if work else "",
            usage=Usage(input_tokens=5, calls=1),
        )


def follow(bundle: Bundle, flows: tuple[str, ...], seeds: range) -> Follower:
    """Walks through these flows under every preset, followed on the graph."""
    follower = Follower(Atlas(bundle))
    for flow in flows:
        for preset, _ in bundle.presets:
            for seed in seeds:
                player = Walk(bundle, flow, preset, seed).run(STEPS)
                try:
                    follower.follow(player.records)
                except AssertionError as error:
                    raise AssertionError(f"flow {flow or '(chosen)'}, preset {preset}, seed {seed}: {error}") from error
    return follower


@pytest.mark.parametrize("bundle", ALL, ids=lambda bundle: bundle.name)
def test_walks_of_toys_are_paths(bundle: Bundle) -> None:
    """Whatever workers and people do, each entry of the record is an edge of the graph, or stays at its place."""
    follower = follow(bundle, ("", *(flow.name for flow in bundle.flows)), range(8))
    assert follower.by_edge * 10 > follower.entries, "hardly anything was followed"


@pytest.mark.parametrize("flow", ["question", "trivial", "simple"])
def test_walks_of_the_small_flows_are_paths(flow: str) -> None:
    """The same for the bundle that ships."""
    follower = follow(registry.load("code"), (flow,), range(6))
    assert follower.by_edge * 10 > follower.entries


@pytest.mark.slow
def test_walks_of_the_large_flow_are_paths() -> None:
    """The same for fan-outs whose siblings end in any order, with every flow chosen on the way."""
    follower = follow(registry.load("code"), ("medium", ""), range(25))
    assert follower.by_edge * 10 > follower.entries


def test_the_walks_see_much() -> None:
    """The walks come to all kinds of places: verdicts, objections, trouble of every kind that a flow can have."""
    code = registry.load("code")
    players = [Walk(code, "simple", preset, seed).run(STEPS) for preset, _ in code.presets for seed in range(12)]
    verdicts = {player.task.verdict for player in players}
    assert {Verdict.ACCEPTED, Verdict.ABANDONED, Verdict.NONE, Verdict.CANCELLED} <= verdicts | {Verdict.NONE}
    parks = [
        event.code.value for p in players for r in p.records for event in r.events if isinstance(event, TaskParked)
    ]
    assert {"spawn_failed", "asked", "wall", "attempts", "rounds", "stall"} <= set(parks)


@pytest.mark.slow
def test_recorded_runs_are_paths() -> None:
    """Every run in the repository's history files is a path of the graph of the bundle that it was recorded with."""
    followers: dict[str, Follower] = {}
    for path in sorted(HISTORIES.glob("*.history")):
        tasks: dict[str, list[Record]] = {}
        with FileRuns(path) as runs:
            for seq, body in runs.entries():
                record = record_of(seq, body)
                if record.task:
                    tasks.setdefault(record.task, []).append(record)
            for records in tasks.values():
                submit = records[0].command
                if isinstance(submit, c.Submit) and submit.inherited:
                    continue  # a fork begins in the middle, with results of its origin: no submission of this graph
                digest = records[0].rules_digest
                if digest not in followers:
                    followers[digest] = Follower(Atlas(registry.load_archive(runs.archive(digest), digest)))
                followers[digest].follow(records)
    assert sum(follower.by_edge for follower in followers.values()) > 100
