"""The scheduler alone: who is next, where it goes, and that nobody waits for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from loom.coordinator.fitting import Demand, Offered
from loom.coordinator.inbox import Slot
from loom.coordinator.limits import Limits
from loom.coordinator.lines import AGE_MS, AGED_EVERY
from loom.coordinator.scheduler import Scheduler

STUB, OTHER = Demand("stub", "stub"), Demand("other", "other")
BOTH = ("stub", "other")


def slot(worker: str = "w1", free: int = 1, families: tuple[str, ...] = BOTH, labels: tuple[str, ...] = ()) -> Slot:
    return Slot(worker, "boot", free, families=families, labels=labels)


def fill(queue: Scheduler, project: str, count: int, **more: object) -> None:
    """So many attempts of one project, each of a task of its own."""
    for number in range(count):
        task = f"{project}-{number}"
        arguments: dict[str, object] = {"not_before_ms": 0, "now_ms": 0, "demand": STUB, **more}
        queue.offer(task=task, spawn=f"{task}/s.1/a", attempt=1, project=project, **arguments)  # type: ignore[arg-type]


def placed(queue: Scheduler, slots: Sequence[Slot], *, now_ms: int = 0, limit: int = 256) -> list[tuple[Offered, str]]:
    """What one turn grants, in order: (attempt, worker)."""
    found: list[tuple[Offered, str]] = []

    def grant(offered: Offered, slot: Slot) -> bool:
        found.append((offered, slot.worker))
        return True

    queue.place(slots, now_ms, limit, grant)
    return found


def test_one_project_is_first_come_first_served() -> None:
    """Within a project and priority the order is that of becoming ready."""
    queue = Scheduler()
    fill(queue, "p", 20)
    assert [f"p-{n}" for n in range(20)] == [offered.task for offered, _ in placed(queue, [slot(free=20)])]


def test_a_higher_priority_goes_first_and_an_aged_attempt_gets_a_share() -> None:
    """Fresh attempts of a lower priority wait; once they are aged, one grant in AGED_EVERY is theirs."""
    queue = Scheduler()
    fill(queue, "low", 8, priority=-1)
    fill(queue, "high", 40)
    early = placed(queue, [slot(free=8)], now_ms=AGE_MS - 1)
    assert {"high"} == {offered.project for offered, _ in early}
    late = [offered.project for offered, _ in placed(queue, [slot(free=16)], now_ms=AGE_MS)]
    assert 16 // AGED_EVERY == late.count("low")


def test_the_widest_worker_is_taken_and_a_warm_one_before_it() -> None:
    """Free slots are evened out; a worker that has the project warm is preferred while it has room."""
    queue = Scheduler()
    fill(queue, "p", 4)
    assert Counter(w1=3, w2=1) == Counter(w for _, w in placed(queue, [slot("w1", 4), slot("w2", 2)]))
    queue = Scheduler(near=lambda project, task: ("w2", "gone"))
    fill(queue, "p", 4)
    assert ["w2", "w2", "w1", "w1"] == [w for _, w in placed(queue, [slot("w1", 4), slot("w2", 2)])]


def test_labels_and_families_are_demands() -> None:
    """An attempt goes to a worker that has every label it requires and serves its family; else it stays."""
    queue = Scheduler()
    gpu = Demand("stub", "stub", frozenset({"gpu"}))
    fill(queue, "p", 1, demand=gpu)
    fill(queue, "q", 1, demand=OTHER)
    assert [] == placed(queue, [slot(families=("stub",), labels=("docker",))])
    assert 2 == queue.ready
    workers = [slot("w1", 2, ("stub",), ("gpu", "docker")), slot("w2", 1, ("other",))]
    assert {("p", "w1"), ("q", "w2")} == {(offered.project, w) for offered, w in placed(queue, workers)}


def test_what_its_task_holds_comes_back_one_by_one() -> None:
    """None means that the task has to move: the attempt waits for that, in its old place, and nothing else does."""
    queue = Scheduler()
    for number in range(3):
        queue.offer(task="t", spawn=f"t/{number}", attempt=1, not_before_ms=0, now_ms=0)
    queue.offer(task="u", spawn="u/0", attempt=1, not_before_ms=0, now_ms=0)
    tried: list[str] = []

    def grant(offered: Offered, slot: Slot) -> bool | None:
        tried.append(offered.spawn)
        return None if offered.task == "t" else True

    queue.place([slot(free=9)], 0, 9, grant)
    assert ["t/0", "t/1", "t/2", "u/0"] == list(dict.fromkeys(tried))
    assert 0 == queue.ready
    queue.stirred("t")
    assert ["t/0", "t/1", "t/2"] == [offered.spawn for offered, _ in placed(queue, [slot(free=9)])]


def test_a_line_that_stands_alone_is_taken_as_one_by_one() -> None:
    """With and without others beside it, and up to its project's cap: the same workers in the same order, the same times after."""
    alone, beside = Scheduler(), Scheduler()
    for queue in (alone, beside):
        queue.limit(Limits.of((("limits.projects.p.concurrency", "9"),)))
        fill(queue, "p", 20, weight=3)
    fill(beside, "q", 1, demand=Demand("nobody", "nobody"))
    workers = [slot("w1", 5, ("stub",)), slot("w2", 7, ("stub",))]
    found = [[(offered.task, worker) for offered, worker in placed(queue, workers)] for queue in (alone, beside)]
    assert found[0] == found[1]
    assert 9 == len(found[0])
    times = [
        {(line.share.virtual, line.rank.virtual) for line in queue.lines if line.project.name == "p"}
        for queue in (alone, beside)
    ]
    assert times[0] == times[1] != {(0, 0)}


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    sizes=st.lists(st.integers(1, 7), min_size=40, max_size=40),
)
def test_weights_hold_within_a_bound(weights: list[int], sizes: list[int]) -> None:
    """While all of them wait, grants / weight of two projects differ by no more than 1/v + 1/w, after every turn."""
    queue = Scheduler()
    for place, weight in enumerate(weights):
        fill(queue, f"p{place}", 300, weight=weight)
    got: Counter[str] = Counter()
    for size in sizes:
        got.update(offered.project for offered, _ in placed(queue, [slot(free=size)]))
        for i, v in enumerate(weights):
            for j, w in enumerate(weights):
                assert got[f"p{i}"] / v - got[f"p{j}"] / w <= 1 / v + 1 / w + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 4), st.integers(-1, 1), st.booleans(), st.integers(1, 3)), min_size=30, max_size=60
    )
)
def test_nobody_starves(arrivals: list[tuple[int, int, bool, int]]) -> None:
    """Whatever keeps coming with a higher priority: the first attempt, of the lowest, is granted within a bound."""
    queue = Scheduler()
    now_ms = 0
    fill(queue, "victim", 1, priority=-2)
    waited_since_aged = 0
    for project, priority, other, count in arrivals * 4:
        now_ms += AGE_MS // 20
        more = {"priority": priority, "demand": OTHER if other else STUB, "now_ms": now_ms}
        fill(queue, f"p{project}", count + 1, **more)
        projects = [offered.project for offered, _ in placed(queue, [slot(free=1)], now_ms=now_ms)]
        if "victim" in projects:
            break
        waited_since_aged += now_ms >= AGE_MS
    assert waited_since_aged <= 4 * AGED_EVERY
    assert "victim" in projects
