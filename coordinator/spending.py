"""What the tasks of a project, and of the whole home, spent and reserved together; and the budgets that hold them.

    budgets.home.cost_usd            money of all tasks of this home            budgets.home.tokens
    budgets.projects.ID.cost_usd     money of all tasks of one project          budgets.projects.ID.tokens
    budgets.attempt.cost_usd         what a first attempt reserves (1.00)       budgets.attempt.tokens (500000)

Settings of the ledger, in force from the entry that changes them; `*` stands for every project that has no word of its own. The
sums are read from the rows once, when there is a budget to hold, and kept with each tick from then on. They belong to `Head`:
what a rollback takes back was not spent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from loom.kernel.budgets import crossed, reservation
from loom.kernel.flow import Agent
from loom.kernel.limits import MAX_INTEGER
from loom.kernel.state import TaskState
from loom.kernel.values import Capability, Pairs, Spent

PREFIX = "budgets."
HOME = ""
"""The scope of all projects together."""
EVERY = "*"
BUDGETS = ("cost", "tokens")
KEYS = {"cost_usd": "cost", "tokens": "tokens"}
ALLOWANCE = {"cost": 1_000_000, "tokens": 500_000}
"""What an attempt reserves before its task has shown what attempts take: micro-units, tokens."""
NAME = re.compile(r"budgets\.(home|attempt|projects\.([A-Za-z0-9_*-]+))\.(cost_usd|tokens)")
MICRO = 1_000_000


def amount(key: str, value: str) -> int:
    """Micro-units or tokens of a setting's value. Raises ValueError."""
    try:
        given = Decimal(value) * (MICRO if key == "cost_usd" else 1)
    except InvalidOperation:
        given = Decimal(-1)
    if not given.is_finite() or not 0 <= given <= MAX_INTEGER or given != int(given):
        raise ValueError(value)
    return int(given)


def fault(name: str, value: str) -> str:
    """What is wrong with a budget ("" : nothing). value "" : none any more."""
    found = NAME.fullmatch(name)
    if found is None:
        return f"there is no budget {name}; there are budgets.home, budgets.attempt and budgets.projects.ID, each .cost_usd or .tokens"
    try:
        if value:
            amount(found[3], value)
    except ValueError:
        unit = "an amount of dollars such as 12.50" if found[3] == "cost_usd" else "a whole number of tokens"
        return f"{name} is {unit}, not {value!r}"
    return ""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The budgets in force: (scope, budget) → cap, and the allowance of an attempt. scope: a project's id, `*`, or HOME."""

    caps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    allowance: Mapping[str, int] = field(default_factory=lambda: ALLOWANCE)

    @classmethod
    def of(cls, settings: Pairs) -> Budgets:
        caps: dict[tuple[str, str], int] = {}
        allowance = dict(ALLOWANCE)
        for name, value in settings:
            if not name.startswith(PREFIX) or not value or fault(name, value):
                continue
            found = NAME.fullmatch(name)
            assert found is not None
            given = amount(found[3], value)
            if found[1] == "attempt":
                allowance[KEYS[found[3]]] = max(1, given)
            else:
                caps[found[2] or HOME, KEYS[found[3]]] = given
        return cls(caps, allowance)

    def cap(self, scope: str, budget: str) -> int:
        """0: none."""
        found = self.caps.get((scope, budget))
        if found is None and scope != HOME:
            found = self.caps.get((EVERY, budget))
        return found or 0


Sums = Mapping[str, Spent]
"""Scope → what its tasks spent and reserved; only the amounts of Spent that budgets hold are kept."""


def added(sums: Sums, project: str, before: Spent, after: Spent) -> Sums:
    """The sums after one tick of a task of this project."""
    changed = dict(sums)
    for scope in (project, HOME):
        was = changed.get(scope, Spent())
        changed[scope] = Spent(
            tokens=was.tokens + after.tokens - before.tokens,
            cost=was.cost + after.cost - before.cost,
            reserved=was.reserved + after.reserved - before.reserved,
            reserved_tokens=was.reserved_tokens + after.reserved_tokens - before.reserved_tokens,
            largest=max(was.largest, after.largest),
            largest_tokens=max(was.largest_tokens, after.largest_tokens),
        )
    return changed


def summed(rows: Iterable[tuple[str, int, int, int, int, int, int]]) -> Sums:
    """The sums of the rows of sql/spent.sql."""
    sums: Sums = {}
    for project, cost, reserved, tokens, reserved_tokens, largest, largest_tokens in rows:
        of_project = Spent(
            cost=cost,
            reserved=reserved,
            tokens=tokens,
            reserved_tokens=reserved_tokens,
            largest=largest,
            largest_tokens=largest_tokens,
        )
        sums = added(sums, project, Spent(), of_project)
    return sums


def of_budget(spent: Spent, budget: str) -> tuple[int, int, int]:
    """(spent, reserved, largest of one attempt) of a budget."""
    if budget == "cost":
        return spent.cost, spent.reserved, spent.largest
    return spent.tokens, spent.reserved_tokens, spent.largest_tokens


def left(budgets: Budgets, sums: Sums, budget: str, project: str) -> int | None:
    """What is left for the project's tasks together; below 0 when overdrawn; None: no budget holds them."""
    found: int | None = None
    for scope in (project, HOME):
        if cap := budgets.cap(scope, budget):
            spent, reserved, _ = of_budget(sums.get(scope, Spent()), budget)
            found = min(cap - spent - reserved, MAX_INTEGER if found is None else found)
    return found


def reached(budgets: Budgets, before: Sums, after: Sums, project: str) -> tuple[tuple[str, str, int], ...]:
    """(scope, budget, percent) of each 80 and 100 percent that was reached from one tick to the next."""
    return tuple(
        (scope, budget, percent)
        for scope in (project, HOME)
        for budget in BUDGETS
        if (cap := budgets.cap(scope, budget))
        for percent in crossed(
            cap,
            of_budget(before.get(scope, Spent()), budget)[0],
            of_budget(after.get(scope, Spent()), budget)[0],
        )
    )


@dataclass(frozen=True, slots=True)
class Ask:
    """What the next attempt would reserve. waits: nothing can be reserved before something ends. starved: the shared budget
    that has less left than is needed and nothing reserved ("" : none)."""

    cost: int = 0
    tokens: int = 0
    waits: bool = False
    starved: str = ""
    needed: int = 0


NOTHING = Ask()


def ask(task: TaskState, agent: Agent, budgets: Budgets, sums: Sums) -> Ask:
    """What to reserve for an attempt of this agent, by the task's own budgets and by those that it shares."""
    if agent.capability in (Capability.CHECKS, Capability.ACT):
        return NOTHING
    amounts = []
    for budget, cap in (("cost", task.caps.cost), ("tokens", task.caps.tokens)):
        project = task.spec.project
        shared = left(budgets, sums, budget, project)
        if not cap and shared is None:
            amounts.append(0)
            continue
        spent, reserved, largest = of_budget(task.spent, budget)
        room, gone = cap - spent - reserved if cap else MAX_INTEGER, spent + reserved
        if shared is not None:  # what a sibling in another task took, the next one may take as well
            others = [of_budget(sums.get(s, Spent()), budget) for s in (project, HOME) if budgets.cap(s, budget)]
            room, largest = min(room, shared), max(largest, *(other[2] for other in others))
            gone = max(gone, *(other[0] + other[1] for other in others))
        found = reservation(room, largest, budgets.allowance[budget], first=not gone)
        if found is None:
            needed = max(1, largest)
            starved = shared is not None and shared < needed and not _reserved(budgets, sums, budget, project)
            return Ask(waits=True, starved=budget if starved else "", needed=needed)
        amounts.append(found)
    return Ask(amounts[0], amounts[1])


def _reserved(budgets: Budgets, sums: Sums, budget: str, project: str) -> bool:
    """Whether attempts that run have reserved something of a shared budget: they may give some of it back."""
    return any(
        of_budget(sums.get(scope, Spent()), budget)[1] > 0 for scope in (project, HOME) if budgets.cap(scope, budget)
    )
