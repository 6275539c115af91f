"""How fast the kernel is by itself: `python -m harness.bench_kernel [--profile]`, from tests/.

The flow is a row of answers, one after the other: each step is a Grant and an AttemptEnded, with all rules asked. Then the
same history is replayed, and folded again from its events. Last, ticks of a task with ten thousand entries behind it, and of
one with five thousand findings on record, against its first ones.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import cast

from harness.player import ANNA, CORE, HANDS, T0, HomeOfOne, Player, finding, submission, text
from harness.toy import REVIEW, serial
from loom.coordinator.codec import encode_events
from loom.kernel import commands as c
from loom.kernel.fold import evolve
from loom.kernel.limits import MAX_FINDINGS_PER_ATTEMPT
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import Record, replay
from loom.kernel.state import TaskState
from loom.kernel.values import Bound, End, Execution, Principal, Usage
from loom.kernel.work import Rules, rules_for

STEPS = 9
TASKS = 50
ROUNDS = 20
LONG, LATE, WINDOW = 5_110, 10_000, 100
"""Steps (two ticks each) of the long task; the entry that is looked at; steps that are compared."""
ROUNDS_OF_FINDINGS = 52
RESULT = text("r" * 200)
HOME = HomeOfOne()


def run(rules: Rules, submit: c.Submit) -> list[Record]:
    """One task from Submit to its verdict."""
    task: TaskState | None = None
    records: list[Record] = []

    def take(command: c.TaskCommand, by: Principal) -> TaskState:
        taken = tick(rules, task, HOME, by, command, T0 + len(records))
        if isinstance(taken, Rejection):
            raise SystemExit(f"{taken.code}: {taken.sentence}")
        records.append(
            Record(
                len(records), submit.task, taken.task.n, T0 + len(records), by, command, taken.events, taken.outcome,
                taken.unanswered, taken.home_reads, submit.rules_digest,
            )
        )  # fmt: skip
        return taken.task

    task = take(submit, ANNA)
    while task.spawns:
        state = task.spawns[0]
        grant = c.Grant(state.id, state.attempt, task.fence + 1, "w1", "b1", 0, "", 0, Bound.METERED)
        task = take(grant, CORE)
        end = c.AttemptEnded(
            state.id, state.attempt, grant.fence, End.REPORTED,
            outcome="done", artifacts=(("answer", RESULT),), summary=RESULT, output=RESULT, prompt=RESULT,
            usage=Usage(1000, 200, 0, 1, 900, "p1"), execution=Execution("w1", "b1", "host", "worker", 0, "model"),
        )  # fmt: skip
        task = take(end, HANDS)
    return records


def timed(rules: Rules, records: list[Record]) -> list[float]:
    """Seconds of processor time of each tick of a history taken again: the least of five rounds."""
    least = [1.0] * len(records)
    for _ in range(5):
        task: TaskState | None = None
        for place, record in enumerate(records):
            began = time.process_time()
            taken = tick(rules, task, HOME, record.principal, cast(c.TaskCommand, record.command), record.now_ms)
            least[place] = min(least[place], time.process_time() - began)
            assert isinstance(taken, Tick), taken
            task = taken.task
    return least


def late_against_first() -> float:
    """What a tick costs at entry 10,000 of one run, as a share of the first ones (medians over a hundred steps)."""
    bundle = serial(LONG)
    rules, submit = rules_for(bundle), submission(bundle, caps=replace(bundle.caps, attempts=0), preset="autonomous")
    spent = timed(rules, run(rules, submit))
    return median(spent[LATE : LATE + 2 * WINDOW]) / median(spent[3 : 3 + 2 * WINDOW])


def rounds_against_first(rounds: int, findings: int) -> tuple[int, list[float]]:
    """(findings on record, what each tick of a round of work and review costs at the end, as a share of the first rounds)."""
    player = Player(REVIEW, {"caps": replace(REVIEW.caps, attempts=0, rounds=0), "preset": "autonomous"})
    begins = []
    for number in range(rounds):
        begins.append(len(player.records))
        player.report("worker", subject=f"s{number + 1}")
        said = [finding(f"{number} {place}", path=f"p{number}-{place}") for place in range(findings)]
        player.report("reviewer", "block", findings=said)
    spent = timed(player.rules, player.records)
    first, last = begins[1:6], begins[-5:]
    shares = [median(spent[at + i] for at in last) / median(spent[at + i] for at in first) for i in range(4)]
    return player.task.finding_count, shares


def best(measure: Callable[[], None]) -> float:
    """Seconds of processor time of the quickest of some rounds: the least disturbed one."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        measure()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    bundle = serial(STEPS)
    rules = rules_for(bundle)
    submit = submission(bundle, caps=replace(bundle.caps, attempts=0), preset="autonomous")
    histories = [run(rules, submit) for _ in range(TASKS)]
    ticks = sum(map(len, histories))

    def live() -> None:
        for records in histories:
            task = None
            for record in records:
                taken = tick(rules, task, HOME, record.principal, cast(c.TaskCommand, record.command), record.now_ms)
                assert isinstance(taken, Tick)
                task = taken.task

    def again() -> None:
        for records in histories:
            assert replay(records, lambda _: rules, encode_events).difference is None

    def fold() -> None:
        for records in histories:
            task = None
            for record in records:
                task = evolve(task, record.events, record.now_ms)

    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(live)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    print(f"Grant + AttemptEnded, rules asked: {best(live) / ticks * 2e6:6.1f} µs")
    print(f"replay:                            {ticks / best(again):6.0f} ticks/s")
    print(f"fold alone:                        {ticks / best(fold):6.0f} entries/s")
    print(f"a tick at entry {LATE:,} of a flow of {LONG:,} stages, against the first ones: {late_against_first():.2f}")
    for rounds, findings in ((LATE // 4, 1), (ROUNDS_OF_FINDINGS, MAX_FINDINGS_PER_ATTEMPT)):
        count, shares = rounds_against_first(rounds, findings)
        each = " ".join(f"{share:.2f}" for share in shares)
        print(
            f"round {rounds:,}, {count:,} findings on record, against the first: {each} (Grant, report, Grant, review)"
        )


if __name__ == "__main__":
    main()
