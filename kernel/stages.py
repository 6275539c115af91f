"""How a task moves through its flow: entering each of the five kinds of stage, and leaving it.

`run` follows the moves until the task waits for something: an attempt, a decision, or nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from loom.kernel import events as e
from loom.kernel.budgets import UNCOUNTED, UNFINISHED, budget_gone
from loom.kernel.closing import stop_running
from loom.kernel.effects import Announce, Offer
from loom.kernel.evidence import missing
from loom.kernel.facts import holds, live_blockers
from loom.kernel.flow import Ask, Conclude, Fanout, Finalize, Gate, Goto, Member, Move, On, Rework, Spawn, Step
from loom.kernel.gates import open_gate, park
from loom.kernel.limits import MAX_MOVES_PER_TICK, STALL_REPEATS
from loom.kernel.policies import rule
from loom.kernel.values import (
    NO_TEXT,
    AnswerWord,
    Evidence,
    ParkCode,
    Principal,
    SpawnStatus,
    Verdict,
    find,
    get,
)
from loom.kernel.work import POLICY, SYSTEM, Unanswered, Work, say

LOCAL_CHAIN = ("local",)
"""The chain of agents that need no provider: checks and effects."""


def run(work: Work) -> None:
    """Follow the moves until the task waits."""
    moves = 0
    while work.goto is not None and work.draft.parked is None:
        moves += 1
        name, because = work.goto
        work.goto = None
        if moves > MAX_MOVES_PER_TICK:
            park(work, ParkCode.ASKED, f"the flow entered {MAX_MOVES_PER_TICK} stages without work: mend the bundle")
            return
        enter(work, name, because)


def go_next(work: Work) -> None:
    """On to the stage after the present one."""
    flow, draft = work.flow, work.draft
    place = work.rules.stages[draft.flow, draft.stage] + 1
    if place >= len(flow.stages):
        park(work, ParkCode.ASKED, f"flow {flow.name} ends without Finalize: mend the bundle")
        return
    work.goto = (flow.stages[place].name, work.because())


def leave(work: Work, *, as_it_is: bool = False) -> None:
    """The present stage has settled: take the first move whose guard holds, else the next stage. as_it_is: a person took it
    as it stands, so that no word that was said before sends the work back or asks once more."""
    stage = work.stage
    if isinstance(stage, Spawn) and stage.chooses:
        _choose_flow(work, stage)
    on: tuple[On, ...] = () if isinstance(stage, Gate | Finalize) else stage.on
    for option in on:
        if as_it_is and isinstance(option.move, Rework | Ask):
            continue
        if holds(option.when, work.view):
            _move(work, option.move)
            return
    go_next(work)


def stage_settled(work: Work) -> bool:
    return not any(
        spawn.status in UNFINISHED for spawn in reversed(work.draft.spawns)
    )  # the last is the likeliest to run


def _move(work: Work, move: Move) -> None:
    match move:
        case Rework(to):
            rework(work, to)
        case Goto(to):
            work.goto = (to, work.because())
        case Ask(reason):
            park(work, ParkCode.ASKED, reason)
        case Conclude(verdict):
            conclude(work, verdict, SYSTEM)
        case _:
            assert_never(move)


def rework(work: Work, to: str) -> None:
    """Back to a stage with the live findings, unless the same trouble keeps coming back or the rounds are used up."""
    draft = work.draft
    stalled = [f for f in live_blockers(draft.findings) if find(draft.stalls, f.report.stall_key, 0) >= STALL_REPEATS]
    if stalled:
        names = ", ".join(f.id for f in stalled)
        park(work, ParkCode.STALL, f"the same blocker came back after {STALL_REPEATS} reworks: {names}")
    elif draft.caps.rounds and draft.spent.rounds >= draft.caps.rounds:
        park(
            work,
            ParkCode.ROUNDS,
            f"{draft.spent.rounds} rounds of rework are used up, and the work would go back once more",
        )
    else:
        go_back(work, to, counted=True)


def go_back(work: Work, to: str, *, counted: bool, since: str = "") -> None:
    """The flow goes back; what was found is carried to the next agents, and what was said from stage `since` on (else
    `to`) is forgotten. Nothing of the stage that is left goes on running."""
    stop_running(work)
    forgets = _agents_since(work, since or to)
    work.emit(e.Reworked(to=to, round=work.draft.round + 1, counted=counted, because=work.because(), forgets=forgets))
    work.goto = (to, ())


def _agents_since(work: Work, stage: str) -> tuple[str, ...]:
    """The agents that have spoken and whose stages are this one or come after it."""
    flow = work.flow
    later = flow.stages[work.rules.stages[flow.name, stage] :]
    agents = {s.agent for s in later if isinstance(s, Spawn)}
    agents.update(member.agent for s in later if isinstance(s, Fanout) for member in s.members)
    return tuple(agent for agent, _ in work.draft.outcomes if agent in agents)


def rework_again(work: Work) -> None:
    """A person wants the rework that was held back: where the present stage goes back to, else where the flow does."""
    stage = work.stage
    if isinstance(stage, Gate):
        to = stage.rework
    else:
        options = () if isinstance(stage, Finalize) else stage.on
        to = next((o.move.to for o in options if isinstance(o.move, Rework) and holds(o.when, work.view)), "")
    go_back(work, to or work.flow.rework or stage.name, counted=False)


def _choose_flow(work: Work, stage: Spawn) -> None:
    chosen = work.view.fact(stage.chooses)
    if chosen and chosen != work.draft.flow and (chosen, stage.name) in work.rules.stages:
        work.emit(e.FlowChosen(flow=chosen, because=work.because()))


# ------------------------------------------------------------------------------------------------------- entering


def enter(work: Work, name: str, because: tuple[str, ...], settled: tuple[str, ...] = ()) -> None:
    """Enter a stage. settled: agents of it whose results were taken over from another task."""
    draft = work.draft
    iteration = find(draft.iterations, name, 0) + 1
    work.emit(e.StageEntered(stage=name, iteration=iteration, because=because))
    stage = work.rules.stage(draft.flow, name)
    match stage:
        case Spawn():
            _open_spawns(work, (Member(stage.agent, stage.when),), iteration, settled)
        case Fanout():
            _open_spawns(work, stage.members, iteration, settled)
        case Gate():
            consult(work, stage)
        case Step():
            _compute(work, stage)
        case Finalize():
            _finalize(work, stage)
        case _:
            assert_never(stage)


def _open_spawns(work: Work, members: tuple[Member, ...], iteration: int, settled: tuple[str, ...]) -> None:
    stage = work.draft.stage
    for member in members:
        spawn = f"{work.task}/{stage}.{iteration}/{member.agent}"
        if member.when is not None and not holds(member.when, work.view):
            work.emit(e.SpawnSkipped(spawn=spawn, agent=member.agent, because=work.because()))
            continue
        chain = chain_of(work, member.agent)
        work.emit(e.SpawnOpened(spawn=spawn, agent=member.agent, stage=stage, iteration=iteration, chain=chain))
        if member.agent in settled:
            word = get(work.draft.outcomes, member.agent, "")
            work.emit(e.SpawnSettled(spawn=spawn, agent=member.agent, outcome=word, summary=NO_TEXT))
    if stage_settled(work):
        leave(work)
        return
    offer_all(work)


def offer_all(work: Work) -> None:
    """Offer every attempt that waits, unless a budget of the task is used up: then it parks."""
    draft = work.draft
    if draft.parked is not None or budget_gone(work):
        return
    for state in draft.spawns:
        if state.status is SpawnStatus.READY:
            work.effects.append(Offer(work.task, state.id, state.attempt, state.not_before_ms))


def offer(work: Work, spawn: str) -> None:
    """Offer a spawn's next attempt to the scheduler, unless a budget of the task is used up: then it parks."""
    draft = work.draft
    state = draft.spawn(spawn)
    if state is None or draft.parked is not None:
        return
    if budget_gone(work):
        return
    work.effects.append(Offer(work.task, spawn, state.attempt, state.not_before_ms))


def chain_of(work: Work, agent: str) -> tuple[str, ...]:
    """The bindings of an agent, fixed when its spawn opens."""
    if work.rules.agents[agent].capability in UNCOUNTED:
        return LOCAL_CHAIN
    chains = {binding.agent: binding.chain for binding in work.draft.spec.bindings}
    return chains.get(agent) or chains.get("*") or LOCAL_CHAIN


_BACK = (AnswerWord.REVISE, AnswerWord.APPLY)
_ANSWERS = (AnswerWord.ACCEPT, *_BACK, AnswerWord.ABANDON)
"""What a gate of a flow can offer; retry and raise are remedies of trouble."""


def consult(work: Work, stage: Gate) -> None:
    """Ask the policy of the gate's role; open the gate for a person when it says so."""
    draft = work.draft
    if stage.when is not None and not holds(stage.when, work.view):
        work.emit(e.StageSkipped(stage=stage.name, because=work.because()))
        go_next(work)
        return
    policy = get(draft.spec.policies, stage.role, "human")
    ruling = rule(work.rules.roles[stage.role], policy, draft, reworkable=bool(stage.rework))
    answers = tuple(word for word in stage.answers if word in _ANSWERS and (stage.rework or word not in _BACK))
    if ruling.word is None:
        open_gate(
            work, role=stage.role, answers=answers or (AnswerWord.ABANDON,), reason=ruling.reason,
            rework=stage.rework, shows=stage.shows, because=ruling.because,
        )  # fmt: skip
        return
    work.emit(
        e.DecisionRecorded(
            gate="",
            role=stage.role,
            stage=stage.name,
            word=ruling.word,
            by=POLICY,
            message=say(ruling.reason),
            base=draft.spec.base,
            subject=draft.subject,
            change=draft.change,
            policy_digest=draft.spec.policy_digest,
            root=work.home.read("root"),
            because=ruling.because,
        )
    )
    if ruling.word is AnswerWord.REVISE:
        rework(work, stage.rework)
        return
    record_approval(work, stage.role, draft.subject, POLICY)
    go_next(work)


def record_approval(work: Work, role: str, subject: str, by: Principal) -> None:
    """An approval is evidence about what was approved."""
    evidence = Evidence(kind=f"approval.{role}", subject=subject, outcome="accept", by=by)
    work.emit(e.EvidenceRecorded(evidence=evidence))


def _compute(work: Work, stage: Step) -> None:
    alphabet = dict(stage.writes)
    try:
        written = work.ask(f"step {stage.name}", stage.run, work.view)
    except Unanswered as silence:
        park(work, ParkCode.UNANSWERED, str(silence))
        return
    if not isinstance(written, Mapping):
        park(work, ParkCode.UNANSWERED, f"step {stage.name} gave {type(written).__name__}, no mapping of facts")
        return
    for name, value in written.items():
        if name not in alphabet or value not in alphabet[name]:
            park(work, ParkCode.UNANSWERED, f"step {stage.name} wrote {name}={value}, which it does not declare")
            return
    for name in sorted(written):
        work.emit(e.FactRecorded(name=name, value=written[name], by=f"step {stage.name}"))
    leave(work)


def _finalize(work: Work, stage: Finalize) -> None:
    draft = work.draft
    blockers = live_blockers(draft.findings) if stage.verdict is Verdict.ACCEPTED else ()
    lacking = missing(stage.needs, draft.subject, draft.evidence)
    if blockers or lacking:
        names = ", ".join([*lacking, *(f.id for f in blockers)])
        park(work, ParkCode.MISSING, f"not acceptable yet: {names}")
        return
    conclude(work, stage.verdict, SYSTEM, deliver=stage.deliver)


def conclude(work: Work, verdict: Verdict, by: Principal, *, deliver: str = "") -> None:
    """The verdict, which is final; then the delivery if there is one, else the end."""
    draft = work.draft
    if draft.gate is not None:
        work.emit(e.GateWithdrawn(gate=draft.gate.id))
    stop_running(work)
    work.emit(e.VerdictReached(verdict=verdict, by=by, because=work.because()))
    work.effects.append(Announce(work.task, f"verdict {verdict}"))
    if not deliver:
        work.emit(e.TaskClosed())
        return
    iteration = find(draft.iterations, draft.stage, 1)
    spawn = f"{work.task}/{draft.stage}.{iteration}/{deliver}"
    work.emit(e.SpawnOpened(spawn=spawn, agent=deliver, stage=draft.stage, iteration=iteration, chain=LOCAL_CHAIN))
    offer(work, spawn)
