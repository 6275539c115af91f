"""The machine: one command taken through the rules, with no clock, no randomness and no I/O.

    tick(rules, task, home, principal, command, now_ms) -> Tick(events, effects, task …) | Rejection

    Submit ─▶ stage ─▶ stage ─▶ … ─▶ Finalize ─▶ verdict          Spawn   runs one agent
               ▲         │                                        Fanout  runs several at once
               └─ rework ┘  (bounded; a stall parks)              Gate    a policy or a person decides
                                                                  Step    pure computation
    READY ─Grant▶ GRANTED ─AttemptEnded▶ SETTLED | FAILED | READY Finalize sets the verdict

Three outcomes. *Applied*: events and a new state. *Objected*: a rule said no; the task is parked, made from the state
before, and a person is offered remedies. *Rejected*: stale, malformed, not allowed; nothing happened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, assert_never

from loom.kernel import acting
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.answering import answer, arm_wall
from loom.kernel.attempts import close, ended, grant, ready_afresh
from loom.kernel.budgets import starve
from loom.kernel.copying import quicken
from loom.kernel.draft import newborn
from loom.kernel.duties import SEPARATE_DUTIES, listed
from loom.kernel.effects import Announce, Effect, SetWake
from loom.kernel.forking import begin as fork
from loom.kernel.gates import OFFERS, park
from loom.kernel.invariants import Violation, objections
from loom.kernel.limits import GATE_WAIT_MS, MAX_INTEGER, SEMANTICS
from loom.kernel.policies import Policy, digest, effective
from loom.kernel.stages import conclude, offer_all, run
from loom.kernel.state import TaskSpec, TaskState
from loom.kernel.taking import take
from loom.kernel.values import (
    SIGNED_ROLES,
    TROUBLE,
    AnswerWord,
    End,
    ParkCode,
    Principal,
    PrincipalKind,
    SpawnStatus,
    Status,
    Verdict,
    find,
    put,
)
from loom.kernel.work import SYSTEM, Asking, Home, Refused, Rules, Unanswered, Work, ask_directly


@dataclass(frozen=True, slots=True)
class Tick:
    """What a command led to. `violations` non-empty: Objected. `unanswered`: functions of the bundle that gave no answer."""

    events: tuple[e.TaskEvent, ...]
    effects: tuple[Effect, ...]
    task: TaskState
    violations: tuple[Violation, ...] = ()
    unanswered: tuple[str, ...] = ()
    home_reads: tuple[tuple[str, str], ...] = ()

    @property
    def outcome(self) -> str:
        return "objected" if self.violations else "applied"


quicken(Tick)


@dataclass(frozen=True, slots=True)
class Rejection:
    """The command was not taken; the state is as before."""

    code: str
    sentence: str


class _Recorder:
    """Home reads and unanswered functions of one tick, for the entry."""

    __slots__ = ("_ask", "_home", "reads", "silences")

    def __init__(self, home: Home, ask: Asking) -> None:
        self._home = home
        self._ask = ask
        self.reads: dict[str, str] = {}
        self.silences: dict[str, Unanswered] = {}

    def read(self, name: str) -> str:
        if name not in self.reads:
            self.reads[name] = self._home.read(name)
        return self.reads[name]

    def ask(self, name: str, function: Any, *arguments: Any) -> Any:
        if name in self.silences:
            raise self.silences[name]
        try:
            return self._ask(name, function, *arguments)
        except Unanswered as silence:
            self.silences[name] = silence
            raise


def tick(
    rules: Rules,
    task: TaskState | None,
    home: Home,
    principal: Principal,
    command: c.TaskCommand,
    now_ms: int,
    ask: Asking = ask_directly,
) -> Tick | Rejection:
    """Take one command about one task. `task` None: only Submit. now_ms: never smaller than the task's last."""
    recorder = _Recorder(home, ask)
    try:
        work = _begin(rules, task, recorder, principal, command, now_ms)
        _take(work, command)
    except Refused as refusal:
        return Rejection(refusal.code, refusal.sentence)
    after = work.draft.freeze(now_ms)
    violations = objections(rules, task, after, tuple(work.events), recorder.ask)
    if violations and task is None:
        return Rejection("objected", "; ".join(v.sentence for v in violations))
    if violations and task is not None:
        work = _object(rules, task, recorder, principal, command, now_ms, violations)
        after = work.draft.freeze(now_ms)
    return Tick(
        events=tuple(work.events),
        effects=tuple(work.effects),
        task=after,
        violations=violations,
        unanswered=tuple(silence.recorded for silence in recorder.silences.values()),
        home_reads=tuple(sorted(recorder.reads.items())),
    )


def _begin(
    rules: Rules, task: TaskState | None, recorder: _Recorder, principal: Principal, command: c.TaskCommand, now_ms: int
) -> Work:
    if not 0 <= now_ms <= MAX_INTEGER:
        raise Refused("bad_time", f"now_ms {now_ms} is out of range")
    if isinstance(command, c.Submit):
        if principal.kind in (PrincipalKind.WORKER, PrincipalKind.POLICY):
            raise Refused("not_allowed", f"{principal.id} is a {principal.kind}; it cannot submit a task")
        if task is not None:
            raise Refused("task_exists", f"task {command.task} exists")
        signed, separate = listed(recorder.read(SIGNED_ROLES)), listed(recorder.read(SEPARATE_DUTIES))
        spec = _spec(rules, principal, command, signed, separate)
        submitted = e.TaskSubmitted(spec=spec, subject=command.subject, now_ms=now_ms)
        work = Work(rules, newborn(submitted), recorder, principal, now_ms, recorder.ask)
        work.events.append(submitted)
        return work
    if principal.kind not in _MAY.get(type(command), (PrincipalKind.PERSON, PrincipalKind.SYSTEM)):
        raise Refused(
            "not_allowed", f"{principal.id} is a {principal.kind}; {type(command).__name__} is not its to give"
        )
    if task is None:
        raise Refused("no_such_task", "there is no such task in this home")
    if now_ms < task.now_ms:
        raise Refused("time_ran_back", f"now_ms {now_ms} is before the task's last, {task.now_ms}")
    if task.status is Status.DONE and not isinstance(command, c.Act):
        raise Refused("task_done", f"task {task.spec.task} is done ({task.verdict}); nothing more can happen to it")
    return Work(rules, task, recorder, principal, now_ms, recorder.ask)


_MAY: dict[type, tuple[PrincipalKind, ...]] = {
    c.Grant: (PrincipalKind.SYSTEM,),
    c.Starve: (PrincipalKind.SYSTEM,),
    c.Wake: (PrincipalKind.SYSTEM,),
    c.AttemptEnded: (PrincipalKind.WORKER, PrincipalKind.SYSTEM),
    c.Answer: tuple(PrincipalKind),  # whose answer counts is the gate's to say
}
"""Who may give a command; any other is for people and for loom itself. A worker speaks for its attempts only."""


def _take(work: Work, command: c.TaskCommand) -> None:
    match command:
        case c.AttemptEnded():
            ended(work, command)
        case c.Grant():
            grant(work, command)
        case c.Submit():
            _submit(work, command)
        case c.Answer():
            answer(work, command)
        case c.Pause():
            _pause(work, command)
        case c.Resume():
            _resume(work, command)
        case c.Cancel():
            _cancel(work)
        case c.Act():
            acting.act(work, command)
        case c.Take():
            take(work, command)
        case c.Wake():
            _wake(work, command)
        case c.Starve():
            starve(work, command)
        case _:
            assert_never(command)


# --------------------------------------------------------------------------------------------------------- submit


def _spec(
    rules: Rules, principal: Principal, command: c.Submit, signed: tuple[str, ...], separate: tuple[str, ...]
) -> TaskSpec:
    bundle = rules.bundle
    if command.semantics != SEMANTICS:
        raise Refused(
            "other_semantics", f"the task asks for semantics {command.semantics}; this kernel has {SEMANTICS}"
        )
    if command.flow and command.flow not in rules.flows:
        raise Refused("no_such_flow", f"bundle {bundle.name} has no flow {command.flow}: {', '.join(rules.flows)}")
    if command.preset not in dict(bundle.presets):
        names = ", ".join(name for name, _ in bundle.presets)
        raise Refused("no_such_policy", f"bundle {bundle.name} has no policy preset {command.preset}: {names}")
    for role, policy in command.policies:
        if role not in rules.roles or policy not in tuple(Policy):
            raise Refused("no_such_policy", f"policy {role}={policy}: no such role or policy in bundle {bundle.name}")
    caps = command.caps
    if min(caps.attempts, caps.rounds, caps.tokens, caps.cost, caps.wall_ms) < 0:
        raise Refused("bad_caps", "a cap of a task is negative; 0 stands for no cap")
    if not command.base or not command.subject:
        raise Refused("no_base", "a task needs the base that its work starts from")
    policies = effective(bundle, command.preset, command.policies)
    for role in signed:  # no policy has a key
        policies = put(policies, role, Policy.HUMAN.value) if role in rules.roles else policies
    return TaskSpec(
        task=command.task,
        project=command.project,
        bundle=command.bundle,
        rules_digest=command.rules_digest,
        semantics=command.semantics,
        text=command.text,
        flow=command.flow,
        preset=command.preset,
        policies=policies,
        policy_digest=digest(bundle, policies, signed, separate),
        base=command.base,
        base_subject=command.subject,
        bindings=command.bindings,
        caps=command.caps,
        sandbox=command.sandbox,
        priority=command.priority,
        weight=command.weight,
        requires=command.requires,
        options=command.options,
        landing=command.landing,
        origin_task=command.origin_task,
        submitter=principal,
        signed=signed,
        separate=separate,
    )


def _submit(work: Work, command: c.Submit) -> None:
    if command.inherited is not None:
        arm_wall(work, command.caps.wall_ms)
        fork(work, command, command.inherited)
        return
    pinned = "yes" if command.flow else "no"
    work.emit(e.FlowChosen(flow=command.flow or work.rules.bundle.entry))
    work.emit(e.FactRecorded(name="flow_pinned", value=pinned, by="submit"))
    arm_wall(work, command.caps.wall_ms)
    work.goto = (work.flow.stages[0].name, ())
    run(work)


# ------------------------------------------------------------------------------------------- pause, cancel, wakes


def _pause(work: Work, command: c.Pause) -> None:
    if work.draft.paused:
        raise Refused("paused", f"task {work.task} is paused already")
    work.emit(e.TaskPaused(by=work.principal, reason=command.reason))


def _resume(work: Work, command: c.Resume) -> None:
    if not work.draft.paused:
        raise Refused("not_paused", f"task {work.task} is not paused")
    work.emit(e.TaskResumed(by=work.principal, reason=command.reason))
    offer_all(work)


def _cancel(work: Work) -> None:
    if work.draft.verdict is not Verdict.NONE:
        raise Refused("verdict_final", f"task {work.task} is {work.draft.verdict}; only its delivery is left")
    conclude(work, Verdict.CANCELLED, work.principal)


def _wake(work: Work, command: c.Wake) -> None:
    draft = work.draft
    due_ms = find(draft.wakes, command.name, 0)
    if not due_ms or due_ms > work.now_ms:
        raise Refused("not_due", f"wake {command.name} of task {work.task} is not due")
    if command.name == "gate" and draft.gate is not None:
        later = work.now_ms + GATE_WAIT_MS
        work.emit(e.GateOverdue(gate=draft.gate.id, due_ms=later))
        work.emit(e.WakeSet(name="gate", due_ms=later))
        work.effects.append(SetWake(work.task, "gate", later))
        work.effects.append(Announce(work.task, f"gate {draft.gate.id} overdue"))
        return
    work.emit(e.WakeCleared(name=command.name))
    if command.name == "wall" and draft.verdict is Verdict.NONE:
        waiting = tuple(s.id for s in draft.spawns if s.status is SpawnStatus.READY)
        park(work, ParkCode.WALL, "the task's time is used up", waiting)
    elif command.name == acting.WAKE:
        acting.overdue(work)


# --------------------------------------------------------------------------------------------------------- objected


def _object(
    rules: Rules,
    task: TaskState,
    recorder: _Recorder,
    principal: Principal,
    command: c.TaskCommand,
    now_ms: int,
    violations: tuple[Violation, ...],
) -> Work:
    """What happens instead: the task, as it was before, is parked with the rules' remedies. What cannot be undone stays: an
    attempt that ended has ended and was paid for, a wake that fired has fired."""
    work = Work(rules, task, recorder, principal, now_ms, recorder.ask)
    held: tuple[str, ...] = ()
    if isinstance(command, c.AttemptEnded):
        state = work.draft.spawn(command.spawn)
        if state is not None:
            close(work, state, replace(command, end=End.OBJECTED))
            ready_afresh(work, state, "objected")
            held = (state.id,)
    elif isinstance(command, c.Wake):
        work.emit(e.WakeCleared(name=command.name))
    for violation in violations:
        work.emit(
            e.ObjectionRaised(
                rule=violation.rule,
                sentence=violation.sentence,
                remedies=violation.remedies,
                because=violation.because,
            )
        )
    remedies = {word for violation in violations for word in violation.remedies} | {AnswerWord.ABANDON}
    offers = tuple(word for word in OFFERS[ParkCode.OBJECTION] if word in remedies) or OFFERS[ParkCode.OBJECTION]
    names = ", ".join(violation.rule for violation in violations)
    park(work, ParkCode.OBJECTION, f"objection by {names}: {violations[0].sentence}", held, offers=offers)
    return work


__all__ = ["SYSTEM", "TROUBLE", "Rejection", "Tick", "tick"]
