"""Budgets: what a task may consume, and the budgets that it shares with others; reserved at the grant, settled at the end.

    left = cap − spent − reserved

An attempt is granted only if its reservation fits into what is left, and never less is reserved than the dearest attempt of
the task took so far: what runs in parallel cannot add up to more than the cap, however late it reports. How well a single
attempt keeps to its reservation is its `Bound`. Checks and effects run no model: nothing is reserved for them.
"""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.gates import park
from loom.kernel.state import SpawnState
from loom.kernel.values import AnswerWord, Capability, ParkCode, SpawnStatus, Usage, Verdict
from loom.kernel.work import Refused, Work

UNFINISHED = (SpawnStatus.READY, SpawnStatus.GRANTED)
UNCOUNTED = (Capability.CHECKS, Capability.ACT)
"""Capabilities whose attempts run no model: no budget counts them."""
SHARED = {"cost": ParkCode.COST, "tokens": ParkCode.TOKENS}
"""Budgets that a project or a home can have for all of its tasks together."""


def left_of(budget: str, project: str) -> str:
    """The name under which a tick reads what is left of a shared budget: "" (no cap) or a number, below 0 when overdrawn."""
    return f"{budget} left {project}"


def check_grant(work: Work, state: SpawnState, command: c.Grant) -> None:
    """Whether what the grant reserves is admissible. Raises Refused."""
    if min(command.reserved, command.tokens) < 0:
        raise Refused("over_budget", f"the grant of {state.id} reserves less than nothing")
    if work.agent(state).capability in UNCOUNTED:
        return
    caps, spent = work.draft.caps, work.draft.spent
    _fits("cost", command.reserved, caps.cost, spent.cost + spent.reserved, spent.largest)
    _fits("tokens", command.tokens, caps.tokens, spent.tokens + spent.reserved_tokens, spent.largest_tokens)
    for budget, reserved in (("cost", command.reserved), ("tokens", command.tokens)):
        if reserved:
            shared = work.home.read(left_of(budget, work.draft.spec.project))
            if shared and reserved > int(shared):
                raise Refused(
                    "over_budget", f"{reserved} of {budget} cannot be reserved; the project has {shared} left"
                )


def _fits(budget: str, reserved: int, cap: int, gone: int, largest: int) -> None:
    if cap and not max(1, largest) <= reserved <= cap - gone:
        dearest = f", and an attempt took up to {largest}" if largest else ""
        raise Refused(
            "over_budget", f"{reserved} of {budget} cannot be reserved; {max(cap - gone, 0)} are left{dearest}"
        )


def budget_gone(work: Work) -> bool:
    """Whether a cap leaves no room for the attempts that are waiting; if so, the task is parked. What runs may give back
    what it reserved: until it has ended, the others wait."""
    draft = work.draft
    if draft.verdict is not Verdict.NONE:
        return False
    caps, spent = draft.caps, draft.spent
    if not (caps.cost or caps.tokens) and spent.attempts + len(draft.spawns) <= caps.attempts:
        return False  # nearly always
    agents = work.rules.agents
    counted = [s for s in draft.spawns if s.status in UNFINISHED and agents[s.agent].capability not in UNCOUNTED]
    if not any(s.status is SpawnStatus.READY for s in counted):
        return False
    if caps.attempts and spent.attempts + len(counted) > caps.attempts:
        _park(work, ParkCode.ATTEMPTS, f"the budget of {caps.attempts} agent attempts is used up")
    elif caps.cost and _used_up(caps.cost, spent.cost, spent.reserved, spent.largest):
        _park(work, ParkCode.COST, _sentence("micro-units", caps.cost, spent.cost, spent.largest))
    elif caps.tokens and _used_up(caps.tokens, spent.tokens, spent.reserved_tokens, spent.largest_tokens):
        _park(work, ParkCode.TOKENS, _sentence("tokens", caps.tokens, spent.tokens, spent.largest_tokens))
    else:
        return False
    return True


def _used_up(cap: int, spent: int, reserved: int, largest: int) -> bool:
    return spent >= cap or (not reserved and cap - spent < largest)


def _sentence(unit: str, cap: int, spent: int, largest: int) -> str:
    if spent >= cap:
        return f"the budget of {cap} {unit} is used up"
    return f"of the budget of {cap} {unit} {cap - spent} are left, and an attempt took up to {largest}"


def _park(work: Work, code: ParkCode, reason: str, *, offers: tuple[AnswerWord, ...] = ()) -> None:
    waiting = tuple(s.id for s in work.draft.spawns if s.status is SpawnStatus.READY)
    park(work, code, reason, waiting, offers=offers)


def starve(work: Work, command: c.Starve) -> None:
    """Nothing is left of a budget that many tasks share, and nothing that runs will give some back: a person is asked."""
    draft = work.draft
    waits = any(s.status is SpawnStatus.READY and work.agent(s).capability not in UNCOUNTED for s in draft.spawns)
    if draft.parked is not None or draft.paused or not waits:
        raise Refused("not_starved", f"no attempt of task {work.task} waits for a budget")
    if command.budget not in SHARED:
        raise Refused("not_starved", f"{command.budget} is no budget that tasks share")
    left = work.home.read(left_of(command.budget, draft.spec.project))
    if not left or int(left) >= max(1, command.needed):
        raise Refused("not_starved", f"there is {command.budget} left for task {work.task}")
    unit = "micro-units" if command.budget == "cost" else "tokens"
    reason = (
        f"the project's or home's budget has {max(int(left), 0)} {unit} left, and an attempt needs {command.needed}: "
        "raise it, then retry"
    )
    _park(work, SHARED[command.budget], reason, offers=(AnswerWord.RETRY, AnswerWord.ABANDON))


def note_budgets(work: Work, usage: Usage, *, counted: bool) -> None:
    """80 and 100 percent of a budget are events."""
    caps, spent = work.draft.caps, work.draft.spent
    if caps.cost and usage.cost:
        _note(work, "cost", caps.cost, spent.cost, usage.cost)
    if caps.tokens:
        _note(work, "tokens", caps.tokens, spent.tokens, usage.input_tokens + usage.output_tokens)
    if caps.attempts and counted:
        _note(work, "attempts", caps.attempts, spent.attempts, 1)


def _note(work: Work, budget: str, cap: int, now: int, step: int) -> None:
    for percent in crossed(cap, now - step, now):
        work.emit(e.BudgetReached(budget=budget, percent=percent))


def crossed(cap: int, before: int, now: int) -> tuple[int, ...]:
    """The percentages of a cap (80, 100) that were reached on the way from one amount to another."""
    if now * 100 < cap * 80:  # nearly always
        return ()
    return tuple(percent for percent in (80, 100) if now * 100 >= cap * percent > before * 100)


def reservation(left: int, largest: int, allowance: int, *, first: bool) -> int | None:
    """What the scheduler reserves for the next attempt of what is left: the allowance until it is known what attempts take,
    then twice the dearest. first: nothing was spent or reserved yet. None: too little is left, or too little is known."""
    if left < max(1, largest) or (not largest and not first and left < allowance):
        return None
    return min(left, 2 * largest if largest else allowance)
