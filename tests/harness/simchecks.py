"""What must hold at the end of every simulation, whatever went wrong in it."""

from __future__ import annotations

from collections import Counter

from harness.simnodes import RULES
from harness.simulator import Simulation
from loom.coordinator.codec import encode_events
from loom.coordinator.entry import Entry, decode_entry
from loom.kernel import events as e
from loom.kernel.replay import Record, replay
from loom.workers.protocol import split_attempt


def entries(simulation: Simulation) -> list[Entry]:
    """The ledger, from entry 0 on."""
    rounds = simulation.coordinator.rounds
    assert rounds is not None
    rows = rounds.core.store._connection.execute("SELECT body FROM entry ORDER BY seq")
    return [decode_entry(body) for (body,) in rows]


def faults(simulation: Simulation) -> list[str]:
    """Every law that was broken, as sentences."""
    ledger = entries(simulation)
    found = [
        *_replay(ledger),
        *_settled_once(ledger),
        *_fences(simulation, ledger),
        *_nothing_acknowledged_is_missing(simulation, ledger),
    ]
    if not simulation.finished:
        found += [f"never finished: {sentence}" for sentence in simulation.unfinished()]
        found += [f"never answered: {key}" for key in simulation.client.open]
        spools = {name: len(worker.spool.reports()) for name, worker in simulation.workers.items()}
        found += [f"spools: {spools}"]
    return found


def _replay(ledger: list[Entry]) -> list[str]:
    records = [
        Record(
            seq=seq,
            task=entry.task,
            n=entry.n,
            now_ms=entry.now_ms,
            principal=entry.principal,
            command=entry.command,
            events=entry.events,
            outcome=entry.outcome.value,
            unanswered=entry.unanswered,
            home_reads=entry.home_reads,
            rules_digest=entry.rules.digest,
        )
        for seq, entry in enumerate(ledger)
    ]
    difference = replay(records, RULES.__getitem__, encode_events).difference
    found = [] if difference is None else [f"replay differs: {difference}"]
    times = [entry.now_ms for entry in ledger]
    return found if times == sorted(times) else [*found, "the ledger's time ran back"]


def _settled_once(ledger: list[Entry]) -> list[str]:
    settled: Counter[str] = Counter()
    closed: Counter[tuple[str, int]] = Counter()
    for entry in ledger:
        for event in entry.events:
            if isinstance(event, e.SpawnSettled):
                settled[event.spawn] += 1
            elif isinstance(event, e.AttemptClosed):
                closed[event.spawn, event.fence] += 1
    found = [f"{spawn} settled {count} times" for spawn, count in settled.items() if count > 1]
    return found + [f"{spawn} under fence {fence} closed {n} times" for (spawn, fence), n in closed.items() if n > 1]


def _fences(simulation: Simulation, ledger: list[Entry]) -> list[str]:
    granted: dict[str, list[int]] = {}
    for entry in ledger:
        for event in entry.events:
            if isinstance(event, e.AttemptGranted):
                granted.setdefault(entry.task, []).append(event.fence)
    found = [f"fences of {task} do not grow: {f}" for task, f in granted.items() if f != sorted(set(f))]
    for (attempt, fence), boots in simulation.starts.items():
        if len(boots) > 1:
            found.append(f"{attempt} under fence {fence} was started {len(boots)} times: {boots}")
        if fence not in granted.get(split_attempt(attempt)[0], []):
            found.append(f"{attempt} was started under fence {fence}, which was never granted")
    return found + simulation.overlaps


def _nothing_acknowledged_is_missing(simulation: Simulation, ledger: list[Entry]) -> list[str]:
    keys = {entry.key for entry in ledger}
    found = [
        f"{key} was answered {answered.outcome} and is not in the ledger"
        for key, answered in simulation.client.answered.items()
        if answered.outcome in ("applied", "objected", "duplicate") and key not in keys
    ]
    for worker in simulation.workers.values():
        for kind, (attempt, fence) in worker.answers:
            if kind != "Stale" and f"{attempt}:{fence}:end" not in keys:
                found.append(f"{worker.name} was told {kind} about {attempt} under {fence}, which is not in the ledger")
    return found
