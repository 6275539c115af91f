"""Providers' limits: one refusal is heard by all, caps hold, and what was learnt outlives the queue."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.coordinator.fitting import Demand, Offered
from loom.coordinator.inbox import Slot
from loom.coordinator.limiter import GROW_MS, SHUT_MAX_MS, UNPROVEN_MS, WINDOW, Limiter
from loom.coordinator.limits import Limits, fault
from loom.coordinator.scheduler import Scheduler
from loom.kernel.limits import RATE_WAIT_SWITCH_MS

API = Demand("anthropic", "anthropic")
SPARE = Demand("anthropic", "anthropic", spare=True)
ELSEWHERE = Demand("openai", "openai")


def slots(free: int) -> list[Slot]:
    return [Slot("w1", "boot", free)]


def offer(queue: Scheduler, count: int, *, demand: Demand = API, project: str = "p", now_ms: int = 0) -> None:
    for _ in range(count):
        queue.offer(
            task="t", spawn="t/s.1/a", attempt=1, not_before_ms=0, now_ms=now_ms, project=project, demand=demand
        )


def place(queue: Scheduler, now_ms: int, free: int = 256) -> list[Offered]:
    found: list[Offered] = []

    def grant(offered: Offered, slot: Slot) -> bool:
        found.append(offered)
        return True

    queue.place(slots(free), now_ms, 256, grant)
    return found


def limits(**values: int) -> Limits:
    """provider_concurrency, provider_per_minute, project_concurrency of every one."""
    pairs = [(f"limits.{kind}s.*.{key}", str(n)) for name, n in values.items() for kind, key in [name.split("_", 1)]]
    return Limits.of(tuple(pairs))


def test_a_refusal_shuts_the_provider_for_everybody_until_it_named() -> None:
    """After one 429 nothing of that provider starts before its time, then one attempt looks; others go on."""
    queue = Scheduler()
    offer(queue, 20)
    offer(queue, 3, demand=ELSEWHERE)
    assert WINDOW + 3 == len(place(queue, 1_000))
    queue.ended("p", "anthropic", refused=True, until_ms=31_000, now_ms=1_000)
    for _ in range(WINDOW - 1):
        queue.ended("p", "anthropic", refused=True, until_ms=30_000, now_ms=1_100)
    offer(queue, 1, demand=ELSEWHERE)
    assert ["openai"] == [offered.demand.provider for offered in place(queue, 30_999)]
    reopens_ms = queue.due_ms
    assert 31_000 <= reopens_ms <= 33_000
    assert [] == place(queue, reopens_ms - 1)
    assert 1 == len(place(queue, reopens_ms))


def test_what_can_go_elsewhere_does_not_wait_for_a_long_limit() -> None:
    """An attempt with another binding behind it is let through, so that its refusal moves it on; for a short one it waits."""
    queue = Scheduler()
    offer(queue, 1)
    place(queue, 0)
    queue.ended("p", "anthropic", refused=True, until_ms=RATE_WAIT_SWITCH_MS * 2, now_ms=0)
    offer(queue, 1)
    offer(queue, 1, demand=SPARE)
    assert [True] == [offered.demand.spare for offered in place(queue, 1)]
    queue.ended("p", "anthropic", refused=True, until_ms=RATE_WAIT_SWITCH_MS * 2, now_ms=1)
    offer(queue, 1, demand=SPARE)
    assert [] == place(queue, RATE_WAIT_SWITCH_MS + 5_000)


def test_no_word_shuts_a_provider_for_ever() -> None:
    """Whatever time was named, one attempt tries again within SHUT_MAX_MS."""
    queue = Scheduler()
    offer(queue, 2)
    place(queue, 0, free=1)
    queue.ended("p", "anthropic", refused=True, until_ms=10**15, now_ms=0)
    assert 1 == len(place(queue, SHUT_MAX_MS + 2_000))


def test_a_full_window_grows_and_a_success_widens_it() -> None:
    """At the start WINDOW run at once; every answer makes room for two; a window that stays full doubles after GROW_MS, and
    after UNPROVEN_MS as long as nothing was answered."""
    silent = Scheduler()
    offer(silent, 200)
    place(silent, 1)
    assert ([], 1 + UNPROVEN_MS) == (place(silent, UNPROVEN_MS), silent.due_ms)
    assert WINDOW == len(place(silent, 1 + UNPROVEN_MS))
    queue = Scheduler()
    offer(queue, 200)
    assert WINDOW == len(place(queue, 0))
    queue.ended("p", "anthropic", served=True, now_ms=10)
    assert 2 == len(place(queue, 10))
    assert [] == place(queue, 20)
    assert queue.due_ms <= 20 + GROW_MS
    assert WINDOW + 1 == len(place(queue, queue.due_ms))


def test_a_pace_spreads_starts_over_the_minute() -> None:
    """With 60 a minute one starts each second, and the next start is when the queue says that a turn is due."""
    queue = Scheduler(limits=limits(provider_per_minute=60))
    offer(queue, 5)
    times, now_ms = [], 5_000
    while queue.ready:
        times += [now_ms] * len(place(queue, now_ms))
        now_ms = queue.due_ms or now_ms
    assert [5_000, 6_000, 7_000, 8_000, 9_000] == times


def test_jitter_is_a_hash_of_the_home() -> None:
    """Two homes come back at different times, each at the same one every time."""
    found: dict[str, set[int]] = {}
    for salt in ("home-a", "home-b", "home-c") * 2:
        limiter = Limiter(salt)
        provider = limiter.of("anthropic")
        assert provider is not None
        provider.began(0)
        limiter.ended("anthropic", served=False, refused=True, until_ms=60_000, now_ms=0)
        found.setdefault(salt, set()).add(provider.shut_ms)
    assert [1, 1, 1] == [len(times) for times in found.values()]
    assert 3 == len(set.union(*found.values()))


def test_what_was_learnt_outlives_the_queue() -> None:
    """A rollback reads the queue again; the provider stays shut, and what is at work is counted once."""
    limiter = Limiter()
    queue = Scheduler(limiter=limiter)
    offer(queue, 3)
    place(queue, 0, free=3)
    queue.ended("p", "anthropic", refused=True, until_ms=5_000, now_ms=0)
    limiter.restart()
    again = Scheduler(limiter=limiter)
    again.found_running("p", "anthropic")
    again.found_running("p", "anthropic")
    offer(again, 1)
    assert [] == place(again, 4_000)
    provider = limiter.of("anthropic")
    assert provider is not None
    assert 2 == provider.running


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("limits.projects.p1.concurrency", "4", ""),
        ("limits.providers.*.per_minute", "", ""),
        ("limits.projects.p1.per_minute", "4", "there is no limit"),
        ("limits.tasks.p1.concurrency", "4", "there is no limit"),
        ("limits.projects.p1.weight", "1001", "whole number from 0 to 1000"),
        ("limits.projects.p1.weight", "-1", "whole number"),
    ],
)
def test_a_wrong_limit_is_named(name: str, value: str, word: str) -> None:
    """The sentence says what there is."""
    assert (word in fault(name, value)) if word else fault(name, value) == ""


def test_a_limit_is_in_force_at_once_and_taken_back_at_once() -> None:
    """A project at its cap is passed over without being tried again; when the cap goes, its lines are open."""
    queue = Scheduler()
    queue.limit(limits(project_concurrency=2))
    offer(queue, 5, demand=Demand())
    offer(queue, 5, demand=Demand(), project="q")
    assert Counter(p=2, q=2) == Counter(offered.project for offered in place(queue, 0))
    queue.limit(Limits())
    assert 6 == len(place(queue, 1))


@settings(max_examples=60, deadline=None)
@given(
    cap=st.integers(1, 5),
    provider_cap=st.integers(1, 6),
    events=st.lists(st.tuples(st.sampled_from(["offer", "place", "end"]), st.integers(0, 3)), min_size=30, max_size=80),
)
def test_caps_are_never_exceeded(cap: int, provider_cap: int, events: list[tuple[str, int]]) -> None:
    """At no time has a project or provider more at work than it may; nothing that may run is left while there is room."""
    queue = Scheduler(limits=limits(project_concurrency=cap, provider_concurrency=provider_cap))
    work: list[Offered] = []
    waiting: Counter[str] = Counter()
    for kind, number in events:
        if kind == "offer":
            offer(queue, number + 1, project=f"p{number}", demand=ELSEWHERE if number == 3 else API)
            waiting[f"p{number}"] += number + 1
        elif kind == "end" and work:
            gone = work.pop(number % len(work))
            queue.ended(gone.project, gone.demand.provider, served=True)
        else:
            found = place(queue, 0)
            work += found
            waiting.subtract(offered.project for offered in found)
            projects = Counter(offered.project for offered in work)
            providers = Counter(offered.demand.provider for offered in work)
            assert all(n <= cap for n in projects.values())
            assert all(n <= provider_cap for n in providers.values())
            for project, left in waiting.items():
                provider = "openai" if project == "p3" else "anthropic"
                assert not left or projects[project] == cap or providers[provider] == provider_cap


def fan_out(api: Callable[[int], int], *, width: int = 64, took_ms: int = 300) -> tuple[int, int]:
    """A fan-out against an API, in virtual time: (answers 429, ms until all were served). api(now_ms): 0 it serves, else until
    when not. An attempt that was refused comes again as the kernel brings it: not before that time."""
    queue = Scheduler()
    offer(queue, width)
    ends: list[tuple[int, int, int]] = []
    refusals = served = now_ms = order = 0
    while served < width:
        while ends and ends[0][0] <= now_ms:
            _, _, until_ms = heapq.heappop(ends)
            queue.ended("p", "anthropic", served=not until_ms, refused=bool(until_ms), until_ms=until_ms, now_ms=now_ms)
            served += not until_ms
            if until_ms:
                again_ms = max(until_ms, now_ms + 1_000)
                queue.offer(
                    task="t", spawn="t/s.1/a", attempt=2, not_before_ms=again_ms, now_ms=now_ms, project="p", demand=API
                )
        for _ in place(queue, now_ms, free=width):
            order, until_ms = order + 1, api(now_ms)
            refusals += bool(until_ms)
            heapq.heappush(ends, (now_ms + (20 if until_ms else took_ms), order, until_ms))
        now_ms = min(_later(now_ms, [queue.due_ms, *(end[0] for end in ends[:1])]))
    return refusals, now_ms


def _later(now_ms: int, times: Iterable[int]) -> list[int]:
    return [time for time in times if time > now_ms] or [now_ms + 1]


def test_a_fan_out_finds_a_limit_out_a_few_times_and_not_once_each() -> None:
    """64 at once against an API that is shut for 30 s: one window of answers 429, and one after it."""
    refusals, _ = fan_out(lambda now_ms: 30_000 if now_ms < 30_000 else 0)
    assert WINDOW <= refusals <= WINDOW + 1


@settings(max_examples=25, deadline=None)
@given(rate=st.integers(3, 30), took_ms=st.integers(50, 3_000))
def test_a_fan_out_settles_at_the_rate_that_is_served(rate: int, took_ms: int) -> None:
    """Whatever an API serves a second: less than one refusal an attempt, and it ends in sensible time."""
    seen: list[int] = []

    def api(now_ms: int) -> int:
        seen[:] = [at_ms for at_ms in seen if at_ms > now_ms - 1_000]
        if len(seen) >= rate:
            return now_ms + 1_000
        seen.append(now_ms)
        return 0

    refusals, now_ms = fan_out(api, took_ms=took_ms)
    assert refusals <= 48
    assert now_ms <= 120_000 + 64 * took_ms
