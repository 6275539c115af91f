"""Budgets hold however many attempts run at once and however late they report: of a task, of a project, of a home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import toy
from harness.ledger import PERSON
from harness.play import text
from loom.coordinator.core import COORDINATOR, Core
from loom.coordinator.inbox import Granted, Outcome, Request, Slot, Turned
from loom.coordinator.spending import Budgets, fault, left
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.flow import Fanout, Finalize, Flow, Member
from loom.kernel.values import AgentBinding, AnswerWord, Bound, Caps, End, Principal, PrincipalKind, Usage, Verdict
from loom.kernel.work import rules_for

WORKERS = 64
CALL = 300_000
"""What every attempt costs: 0.30 USD."""
DOLLAR = 1_000_000
NAMES = tuple(f"reader{number}" for number in range(WORKERS))
READERS = tuple(replace(toy.REVIEWER, name=name) for name in NAMES)
WIDE = toy.make(
    "wide", READERS, Flow("main", (Fanout("read", tuple(map(Member, NAMES))), Finalize("end", Verdict.ACCEPTED)))
)
RULES = {bundle.digest: rules_for(bundle) for bundle in (WIDE, toy.TOY)}
SLOTS = tuple(Slot(f"w{number}", "boot", 1, ("home",)) for number in range(WORKERS))


@pytest.fixture
def core(home: Path) -> Iterator[Core]:
    made = Core(Store.create(home / "state.db"), rules=RULES.__getitem__)
    made.turn([Request("home", COORDINATOR, "", c.CreateHome("o", "k", 1))], (), 1_000)
    made.start(version="0", boot="boot", now_ms=1_001)
    yield made
    made.store.close()


def submit(
    number: int, *, bundle: str = "wide", cost: int = 0, tokens: int = 0, project: str = "p", served: str = "stub:x"
) -> Request:
    asked = WIDE if bundle == "wide" else toy.TOY
    command = c.Submit(
        task=f"task{number}", project=project, bundle=asked.name, rules_digest=asked.digest, semantics=1, text=text("do it"),
        flow="", preset="autonomous", policies=(), base="base", subject="subject",
        bindings=(AgentBinding("*", (served,)),), caps=Caps(attempts=0, cost=cost, tokens=tokens),
    )  # fmt: skip
    return Request(f"key{number}", PERSON, "", command)


def setting(name: str, value: str) -> Request:
    return Request(f"{name}={value}", PERSON, "", c.ChangeSetting(name, value))


def end(granted: Granted, *, cost: int | None = CALL, tokens: int = 0) -> Request:
    """A worker's late report."""
    task = granted.task
    judges = task.spec.bundle == "wide"
    command = c.AttemptEnded(
        granted.spawn, granted.attempt, granted.fence, End.REPORTED, outcome="approve" if judges else "done",
        subject="" if judges else "s2", work="" if judges else "w", usage=Usage(tokens, 0, 0, 1, cost),
    )  # fmt: skip
    hands = Principal(granted.worker, PrincipalKind.WORKER, "fabric")
    return Request(f"{granted.spawn}#{granted.attempt}:{granted.fence}", hands, task.spec.task, command)


def run_dry(core: Core, first: Turned, *, cost: int | None = CALL, tokens: int = 0) -> tuple[int, int]:
    """Let everything granted end, all of a round together, until nothing is granted any more; every free worker is
    offered always. Returns (attempts, most at once)."""
    running, count, most, now_ms = list(first.granted), 0, 0, 3_000
    while running:
        count, most, now_ms = count + len(running), max(most, len(running)), now_ms + 1
        ends, running = [end(one, cost=cost, tokens=tokens) for one in running], []
        turned = core.turn(ends, SLOTS, now_ms)
        assert {Outcome.APPLIED} == {reply.outcome for reply in turned.replies}
        running += turned.granted
    return count, most


def spent(core: Core) -> int:
    return int(core.store._connection.execute("SELECT sum(cost) FROM task").fetchone()[0])


def test_64_workers_never_pass_the_cap_of_a_task(core: Core) -> None:
    """A cap of 1.00 USD, calls of 0.30, 64 ready at once: three are paid, then a person is asked; nobody guessed the price."""
    turned = core.turn([submit(1, cost=DOLLAR)], SLOTS, 2_000)
    assert (3, 1) == run_dry(core, turned)
    assert 3 * CALL == spent(core)
    task = core.task("task1")
    assert task is not None
    assert task.parked is not None
    assert ("cost", 0) == (task.parked.code, task.spent.reserved)


def test_what_an_attempt_takes_is_learnt(core: Core) -> None:
    """With 20.00 USD twenty run at once on the default allowance; then as many as twice their price leaves room for."""
    turned = core.turn([submit(1, cost=20 * DOLLAR)], SLOTS, 2_000)
    assert 20 == len(turned.granted)
    assert {DOLLAR} == {next(s for s in g.task.spawns if s.id == g.spawn).reserved for g in turned.granted}
    count, most = run_dry(core, turned)
    assert (64, 23) == (count, most)
    assert 64 * CALL == spent(core) <= 20 * DOLLAR


def test_tokens_are_reserved_as_money_is(core: Core) -> None:
    """1,250,000 tokens, 500,000 an attempt: two at once and no third, whatever else is free."""
    turned = core.turn([submit(1, tokens=1_250_000)], SLOTS, 2_000)
    assert 2 == len(turned.granted)
    run_dry(core, turned, cost=None, tokens=450_000)
    task = core.task("task1")
    assert task is not None
    assert 900_000 == task.spent.tokens


@pytest.mark.parametrize(
    "name", ["budgets.projects.p.cost_usd", "budgets.projects.*.cost_usd", "budgets.home.cost_usd"]
)
def test_64_workers_never_pass_a_budget_that_tasks_share(core: Core, name: str) -> None:
    """20 tasks without a cap of their own, 1.00 USD for all of them: three calls are paid, then every task asks a person."""
    core.turn([setting(name, "1.00")], (), 1_500)
    turned = core.turn([submit(number) for number in range(20)], SLOTS, 2_000)
    assert (3, 1) == run_dry(core, turned)
    assert 3 * CALL == spent(core)
    parked = {task.parked.code for n in range(20) if (task := core.task(f"task{n}")) and task.parked}
    assert {"cost"} == parked
    reached = core.store._connection.execute("SELECT count(*) FROM entry WHERE body LIKE '%SharedBudgetReached%'")
    assert 1 == reached.fetchone()[0]


def test_a_raised_budget_lets_a_task_go_on(core: Core) -> None:
    """After the setting is raised, the answer retry is enough; the next attempt is granted at once."""
    core.turn([setting("budgets.home.cost_usd", "0.50")], (), 1_500)
    run_dry(core, core.turn([submit(1)], SLOTS, 2_000))
    task = core.task("task1")
    assert task is not None
    assert task.gate is not None
    assert ("retry", "abandon") == task.gate.answers
    again = Request("again", PERSON, "task1", c.Answer(task.gate.id, AnswerWord.RETRY))
    assert () == core.turn([again], SLOTS, 9_000).granted
    core.turn([setting("budgets.home.cost_usd", "5")], (), 9_001)
    task = core.task("task1")
    assert task is not None
    assert task.gate is not None
    again = Request("once more", PERSON, "task1", c.Answer(task.gate.id, AnswerWord.RETRY))
    assert core.turn([again], SLOTS, 9_002).granted


def test_what_another_task_gives_back_is_taken_by_the_one_that_waits(core: Core) -> None:
    """A task that finds everything reserved waits without a person, and goes on when the other's attempt ends."""
    core.turn([setting("budgets.home.cost_usd", "1.20")], (), 1_500)
    first = core.turn([submit(1, bundle="toy")], SLOTS, 2_000)
    waiting = core.turn([submit(2, bundle="toy", project="q")], SLOTS, 2_001)
    assert (1, 0) == (len(first.granted), len(waiting.granted))
    after = core.turn([end(first.granted[0])], SLOTS, 2_003)
    assert ["task2"] == [one.task.spec.task for one in after.granted]


def test_the_sums_survive_a_restart(core: Core, home: Path) -> None:
    """A new coordinator reads what was spent and what running attempts have reserved: the budget goes on where it was."""
    core.turn([setting("budgets.home.cost_usd", "3.00")], (), 1_500)
    first = core.turn([submit(1)], SLOTS, 2_000)
    core.turn([end(first.granted[0])], (), 2_001)
    before = core.head.sums
    assert before is not None
    core.store.close()
    again = Core(Store.open(home / "state.db"), rules=RULES.__getitem__)
    try:
        assert dict(before) == again.head.sums
        assert left(again.budgets, again.head.sums or {}, "cost", "p") == 3 * DOLLAR - CALL - 2 * DOLLAR
    finally:
        again.store.close()


def test_a_grant_says_how_well_its_bound_holds(core: Core) -> None:
    """The record names the bound of the binding; without a budget there is none."""
    free = core.turn([submit(1, bundle="toy")], SLOTS, 2_000)
    held = core.turn([submit(2, bundle="toy", cost=DOLLAR, served="anthropic:x")], SLOTS, 2_001)
    assert 1 == len(free.granted) == len(held.granted)
    bounds = core.store._connection.execute("SELECT bound FROM spawn WHERE status = 'granted' ORDER BY id").fetchall()
    assert [(Bound.NONE.value,), (Bound.ENFORCED.value,)] == bounds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("budgets.home.cost_usd", "-1"), ("budgets.home.cost_usd", "much"), ("budgets.home.tokens", "1.5"),
        ("budgets.home.cost_usd", "nan"), ("budgets.home.rounds", "3"), ("budgets.projects.cost_usd", "3"),
    ],
)  # fmt: skip
def test_what_is_no_budget_is_said(name: str, value: str) -> None:
    """A wrong name or amount is named, and holds nobody back."""
    assert fault(name, value)
    assert {} == Budgets.of(((name, value),)).caps


def test_budgets_are_read_from_settings() -> None:
    """Dollars become micro-units; the project's own word counts before the word for all."""
    settings = (("budgets.projects.*.cost_usd", "2.5"), ("budgets.projects.p.cost_usd", "0.000001"))
    budgets = Budgets.of(settings)
    assert (1, 2_500_000, 0) == (budgets.cap("p", "cost"), budgets.cap("q", "cost"), budgets.cap("", "cost"))
