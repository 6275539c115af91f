"""The rules of the kernel, and how every rule is asked: a pure predicate over before, after and events.

A rule's "no" is a Violation with the remedies that lead on; never an exception. Each rule names the events that can break
it, so a tick asks only those that could have changed their mind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from loom.kernel import events as e
from loom.kernel.duties import APPROVING, conflict
from loom.kernel.evidence import missing
from loom.kernel.facts import View, holds, live_blockers
from loom.kernel.flow import Finalize, Rule
from loom.kernel.policies import Policy
from loom.kernel.state import TaskState, doubt_about
from loom.kernel.values import (
    AnswerWord,
    Capability,
    End,
    PrincipalKind,
    SpawnStatus,
    Status,
    Verdict,
    find,
    get,
)
from loom.kernel.work import Asking, Rules, Unanswered, brief

UNFINISHED = (SpawnStatus.READY, SpawnStatus.GRANTED)
RETRY, REVISE, ABANDON = AnswerWord.RETRY, AnswerWord.REVISE, AnswerWord.ABANDON
GIVEN_UP = (Verdict.ABANDONED, Verdict.CANCELLED)
BROKEN_OFF = (End.LOST, End.STOPPED, End.OBJECTED)
"""Ends without the worker's own word: of an act, they are recorded as a doubt."""
Events = tuple[e.TaskEvent, ...]


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    sentence: str
    remedies: tuple[AnswerWord, ...]
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Law:
    """A rule of the kernel. on: the kinds of events that can break it (empty: any). The check gives a sentence or None."""

    name: str
    on: tuple[type, ...]
    check: Callable[[Rules, TaskState | None, TaskState, Events], str | None]
    remedies: tuple[AnswerWord, ...] = (RETRY, REVISE, ABANDON)


def objections(
    rules: Rules, before: TaskState | None, after: TaskState, events: Events, ask: Asking
) -> tuple[Violation, ...]:
    """Every rule's no to this tick: the kernel's laws first, then the bundle's rules."""
    found = []
    kinds = frozenset(map(type, events))
    for law in _laws_for(kinds):
        sentence = law.check(rules, before, after, events)
        if sentence is not None:
            found.append(Violation(f"kernel.{law.name}", sentence, law.remedies))
    if not rules.bundle.rules or _way_out(events):
        return tuple(found)
    names = {kind.__name__ for kind in kinds}
    for rule in rules.bundle.rules:
        if not names.isdisjoint(rule.on):
            violation = _ask_rule(rule, before, after, ask)
            if violation is not None:
                found.append(violation)
    return tuple(found)


def _way_out(events: Events) -> bool:
    """A person gives up. No rule of a bundle is asked: the way out is never closed."""
    return any(type(event) is e.VerdictReached and event.verdict in GIVEN_UP for event in events)


@lru_cache(maxsize=1024)
def _laws_for(kinds: frozenset[type]) -> tuple[Law, ...]:
    return tuple(law for law in LAWS if not law.on or not kinds.isdisjoint(law.on))


def _ask_rule(rule: Rule, before: TaskState | None, after: TaskState, ask: Asking) -> Violation | None:
    view = View(after)
    if rule.never is not None:
        broken = holds(rule.never, view)
        return Violation(rule.name, rule.sentence, rule.remedies, tuple(view.reads)) if broken else None
    if rule.check is None:
        return None
    try:
        sentence = ask(f"rule {rule.name}", rule.check, View(before or after), view)
    except Unanswered as silence:
        return Violation(rule.name, brief(str(silence)), (RETRY, ABANDON), tuple(view.reads))
    return None if sentence is None else Violation(rule.name, brief(str(sentence)), rule.remedies, tuple(view.reads))


# ------------------------------------------------------------------------------------------------------------- shape


def _next_actor(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    if after.status is Status.DONE or (after.gate is not None and after.gate.answers):
        return None
    if after.parked is None and after.gate is None:
        for state in after.spawns:
            if state.status in UNFINISHED:
                return None
    return f"task {after.spec.task} is open and in nobody's queue at stage {after.stage}"


def _deadline(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    if after.status is Status.DONE or after.gate is not None or find(after.wakes, "wall", 0):
        return None
    return None if after.verdict is not Verdict.NONE else f"task {after.spec.task} waits without a deadline"


def _settled(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    """What runs is ended before its stage is left, before a verdict, and before the end."""
    closed = {event.spawn for event in events if type(event) is e.AttemptClosed}
    for state in before.spawns if before else ():
        if state.status is SpawnStatus.GRANTED and state.id not in closed:
            return f"the task goes on while {state.id} is still running"
    return None


def _final_verdict(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    if before is not None and before.verdict is not Verdict.NONE and before.verdict is not after.verdict:
        return f"the verdict {before.verdict} is final; it cannot become {after.verdict}"
    if after.status is Status.DONE and after.verdict is Verdict.NONE:
        return f"task {after.spec.task} ended without a verdict"
    return None


def _order(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    """Stages are entered in the order of the flow; only a rework, or a person's word in trouble, goes back."""
    flow, stage = (before.flow, before.stage) if before else ("", "")
    last, free = rules.stages.get((flow, stage), -1), False
    for event in events:
        if isinstance(event, e.Reworked | e.TaskUnparked):
            free = True
        elif type(event) is e.FlowChosen:
            flow = event.flow
            last = rules.stages.get((flow, stage), -1)
        elif type(event) is e.StageEntered:
            place = rules.stages.get((flow, event.stage), -1)
            if place < 0:
                return f"flow {flow} has no stage {event.stage}"
            if place <= last and not free:
                return f"stage {event.stage} was entered again without a rework"
            stage, last, free = event.stage, place, False
    return None


# -------------------------------------------------------------------------------------------------------------- work


def _accepted(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    if after.verdict is not Verdict.ACCEPTED:
        return None
    blockers = live_blockers(after.findings)
    if blockers:
        return f"accepted over open blockers: {', '.join(f.id for f in blockers)}"
    stage = rules.stage(after.flow, after.stage)
    needs = stage.needs if isinstance(stage, Finalize) else ()
    if not isinstance(stage, Finalize):
        return f"accepted at stage {after.stage}, which is no Finalize"
    lacking = missing(needs, after.subject, after.evidence)
    return f"accepted without {', '.join(lacking)} about {after.subject}" if lacking else None


def _decided(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    for event in events:
        if type(event) is not e.DecisionRecorded:
            continue
        if not event.by.id:
            return f"a decision of role {event.role} without a principal"
        policy = get(after.spec.policies, event.role, Policy.HUMAN.value)
        if policy == Policy.HUMAN and event.by.kind is not PrincipalKind.PERSON:
            return f"role {event.role} needs a person; {event.by.id} is not one"
        if event.by.kind is PrincipalKind.PERSON and not event.gate:
            return f"a person's decision of role {event.role} without a gate"
    return None


def _duties(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    """Where duties are separate, nobody accepted what they had a hand in."""
    if before is None or not before.spec.separate:
        return None
    for event in events:
        if isinstance(event, e.DecisionRecorded) and event.word in APPROVING:
            hand = conflict(before, event.by) if event.by.kind is PrincipalKind.PERSON else ""
            if hand:
                return f"{event.role} was accepted, although duties are separate and {hand}"
    return None


def _policy_floor(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    """A policy that accepted had nothing open and nothing missing, judged by the findings and evidence of that moment."""
    for event in events:
        if type(event) is not e.DecisionRecorded or event.by.kind is not PrincipalKind.POLICY:
            continue
        if event.word is not AnswerWord.ACCEPT:
            continue
        floor = rules.roles[event.role].floor
        if floor is None:
            return f"a policy accepted role {event.role}, which has no floor"
        lacking = missing(floor, event.subject, after.evidence)
        if event.subject == after.subject and (lacking or live_blockers(after.findings)):
            return f"a policy accepted role {event.role} with {', '.join(lacking) or 'open blockers'}"
    return None


# ------------------------------------------------------------------------------------------------------------ ledger


def _fences(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    last = before.fence if before else 0
    for event in events:
        if type(event) is e.AttemptGranted:
            if event.fence <= last:
                return f"fence {event.fence} of {event.spawn} does not grow past {last}"
            last = event.fence
    return None


def _current_fence(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    spawns = before.spawns if before else ()
    ended: set[str] = set()
    for event in events:
        if type(event) is not e.AttemptClosed:
            continue
        held = next((s.fence for s in spawns if s.id == event.spawn and s.status is SpawnStatus.GRANTED), 0)
        if held != event.fence or event.spawn in ended:
            return f"{event.spawn} was ended under fence {event.fence}, which it does not hold"
        ended.add(event.spawn)
    return None


def _numbers(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    """Numbers without a gap, time that does not run back."""
    n, now_ms = (before.n, before.now_ms) if before else (0, 0)
    if after.n != n + 1:
        return f"entry {after.n} does not follow entry {n}"
    return f"entry {after.n} is at {after.now_ms}, before {now_ms}" if after.now_ms < now_ms else None


def _reserved(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    spent, cap = after.spent, after.caps.cost
    if spent.reserved < 0 or spent.reserved_tokens < 0:
        return "more was released than reserved"
    if cap and spent.cost + spent.reserved > cap and any(g.reserved for g in events if type(g) is e.AttemptGranted):
        return f"{spent.cost} spent and {spent.reserved} reserved are above the cap of {cap}"
    cap, gone = after.caps.tokens, spent.tokens + spent.reserved_tokens
    if cap and gone > cap and any(g.tokens for g in events if type(g) is e.AttemptGranted):
        return f"{spent.tokens} tokens spent and {spent.reserved_tokens} reserved are above the cap of {cap}"
    return None


def _reconciled(rules: Rules, before: TaskState | None, after: TaskState, events: Events) -> str | None:
    """An act is never done again blindly: lost, it is in doubt; what follows a doubt looks first; only its own result ends it."""
    doubts = before.doubts if before else ()
    states = {state.id: state for state in (*(before.spawns if before else ()), *after.spawns)} if doubts else {}
    for event in events:
        if type(event) is e.AttemptGranted and doubts and (state := states.get(event.spawn)):
            doubted = doubt_about(doubts, state.agent, state.effect)
            if event.reconciles != doubted:
                return f"attempt {event.attempt} of {event.spawn} does not look for what {doubted or 'nobody'} did before it"
        elif type(event) is e.AttemptClosed and event.end in BROKEN_OFF and _acts(rules, event.spawn):
            return f"attempt {event.attempt} of {event.spawn} ended {event.end}, and nobody doubts what it did outside"
    settled = {event.agent for event in events if type(event) is e.SpawnSettled} if doubts else ()
    for doubt in doubts:
        if doubt.agent not in settled and not doubt_about(after.doubts, doubt.agent, doubt.effect):
            return f"nobody looked whether {doubt.attempt} did something outside"
    return None


def _acts(rules: Rules, spawn: str) -> bool:
    agent = rules.agents.get(spawn.rsplit("/", 1)[-1])
    return agent is not None and agent.capability is Capability.ACT


LAWS: tuple[Law, ...] = (
    Law("numbers", (), _numbers, (RETRY, ABANDON)),
    Law("next_actor", (), _next_actor, (RETRY, ABANDON)),
    Law("deadline", (), _deadline, (RETRY, ABANDON)),
    Law("settled", (e.VerdictReached, e.StageEntered, e.TaskClosed), _settled, (RETRY, ABANDON)),
    Law("final_verdict", (e.VerdictReached, e.TaskClosed), _final_verdict, (RETRY, ABANDON)),
    Law("order", (e.StageEntered,), _order),
    Law("accepted", (e.VerdictReached,), _accepted),
    Law("decided", (e.DecisionRecorded,), _decided),
    Law("duties", (e.DecisionRecorded,), _duties),
    Law("policy_floor", (e.DecisionRecorded,), _policy_floor),
    Law("fences", (e.AttemptGranted,), _fences, (RETRY, ABANDON)),
    Law("current_fence", (e.AttemptClosed,), _current_fence, (RETRY, ABANDON)),
    Law("reconciled", (e.AttemptGranted, e.AttemptClosed, e.TaskClosed, e.TaskReopened), _reconciled, (RETRY, ABANDON)),
    Law("reserved", (e.AttemptGranted, e.AttemptClosed), _reserved, (RETRY, ABANDON)),
)
