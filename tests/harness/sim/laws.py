"""What must hold at the end of every history, whatever went wrong in it. Read from the ledger's bytes, with folds of their own.

    faults(simulation) -> sentences         empty: every law held

The laws count again what the kernel counts; only the replay and the states between entries use the kernel's fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.sim.plan import RULES
from harness.sim.simulation import Simulation
from loom.coordinator import merkle
from loom.coordinator.codec import encode_events
from loom.coordinator.entry import Entry, decode_entry
from loom.coordinator.leases import end_key
from loom.coordinator.rebuild import rebuild_projections
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.fold import evolve
from loom.kernel.replay import Record, replay
from loom.kernel.state import TaskState
from loom.kernel.values import Capability, End, ErrorClass, PrincipalKind, SpawnStatus, Status
from loom.workers.protocol import attempt_id


def faults(simulation: Simulation) -> list[str]:
    """Every law that was broken, as sentences."""
    bodies = simulation.bodies()
    ledger = [decode_entry(body) for body in bodies]
    found = list(simulation.witness.broken)
    found += _log(simulation, bodies)
    found += _replay(ledger)
    found += _tasks(ledger, simulation.witness.epochs)
    found += _acknowledged(simulation, ledger)
    found += _projections(simulation)
    if not simulation.finished:
        found += _unfinished(simulation, ledger)
    return found


# ----------------------------------------------------------------------------------------------------------- the log


def _log(simulation: Simulation, bodies: list[str]) -> Iterator[str]:
    """The tree over the stored bytes is the stored edge; a text that an entry names as a file is there."""
    connection = simulation.disk.connection
    edge = merkle.Edge()
    leaves = [leaf for (leaf,) in connection.execute("SELECT leaf FROM entry ORDER BY seq")]
    for seq, body in enumerate(bodies):
        leaf = merkle.leaf_hash(body.encode())
        if leaves[seq] != leaf:
            yield f"the leaf of entry {seq} is not of its bytes"
        edge = merkle.append(edge, leaf)
    size, hashes = connection.execute("SELECT size, hashes FROM edge").fetchone()
    if (size, hashes) != (edge.size, _hashes(edge)):
        yield f"the stored edge covers {size} entries and is not the edge of the {edge.size} that are there"
    for (identifier,) in connection.execute("SELECT id FROM blob WHERE data IS NULL AND salt IS NOT NULL"):
        if identifier.hex() not in simulation.disk.texts:
            yield f"text {identifier.hex()[:12]} is named in the ledger and lost"


def _hashes(edge: merkle.Edge) -> str:
    return "[" + ",".join(f'"{each.hex()}"' for each in edge.hashes) + "]"


def _replay(ledger: list[Entry]) -> Iterator[str]:
    """Every command, taken again, leads to the recorded events, byte for byte; time does not run back."""
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
    if difference is not None:
        yield f"replay differs: {difference}"
    times = [entry.now_ms for entry in ledger]
    if times != sorted(times):
        yield "the ledger's time ran back"


def _projections(simulation: Simulation) -> Iterator[str]:
    """The rows are what a rebuild from the entries makes."""
    if different := rebuild_projections(simulation.disk.connection).different:
        yield f"rebuilt projections differ: {', '.join(different)}"


# ------------------------------------------------------------------------------------------------------------- tasks


@dataclass
class Account:
    """One task, counted by the laws themselves."""

    cap: int = 0
    cost: int = 0
    held: dict[str, tuple[int, int, str, int]] = field(default_factory=dict)
    """spawn → (attempt, fence, worker, reserved) of what is granted."""
    doubts: set[str] = field(default_factory=set)
    """Agents whose last act may have happened outside."""
    acts: frozenset[str] = frozenset()
    """Agents that act outside."""
    fence: int = 0
    state: TaskState | None = None

    @property
    def reserved(self) -> int:
        return sum(grant[3] for grant in self.held.values())


def _tasks(ledger: list[Entry], up: list[int]) -> Iterator[str]:
    """Entry by entry: numbers, fences, settlements, budgets, next actors. up: the epochs that coordinators had."""
    accounts: dict[str, Account] = {}
    settled: Counter[str] = Counter()
    epochs = [entry.command.epoch for entry in ledger if isinstance(entry.command, c.Start)]
    if epochs != list(range(1, len(epochs) + 1)) or not set(up) <= set(epochs):
        yield f"the epochs are {epochs}; coordinators were up under {up}"
    for seq, entry in enumerate(ledger):
        if not entry.task:
            continue
        account = accounts.setdefault(entry.task, Account())
        where = f"entry {seq} ({entry.task})"
        for event in entry.events:
            if isinstance(event, e.SpawnSettled):
                settled[event.spawn] += 1
        yield from (f"{where}: {sentence}" for sentence in _ended_by(account, entry))
        yield from (f"{where}: {sentence}" for sentence in _counted(account, entry))
        if account.state is not None and entry.n != account.state.n + 1:
            yield f"{where}: number {entry.n} follows {account.state.n}"
        account.state = evolve(account.state, entry.events, entry.now_ms)
        yield from (f"{where}: {sentence}" for sentence in _state(account, account.state))
    yield from (f"{spawn} settled {count} times" for spawn, count in settled.items() if count > 1)


def _ended_by(account: Account, entry: Entry) -> Iterator[str]:
    """Only who holds an attempt ends it, under its fence. A law of the kernel never has to object."""
    command = entry.command
    if isinstance(command, c.AttemptEnded):
        attempt, fence, worker, _ = account.held.get(command.spawn, (0, 0, "", 0))
        if (attempt, fence) != (command.attempt, command.fence):
            said = f"{attempt_id(command.spawn, command.attempt)}:{command.fence}"
            yield f"{said} was ended while attempt {attempt} held it under fence {fence}"
        if entry.principal.kind is PrincipalKind.WORKER and entry.principal.id != worker:
            yield f"{command.spawn} was ended by {entry.principal.id}; {worker or 'nobody'} held it"
    for name in entry.violations:
        if name.startswith("kernel."):
            yield f"{type(command).__name__} ran into {name}"


def _counted(account: Account, entry: Entry) -> Iterator[str]:
    """Grants, closings and budgets, event by event: never two holders, never above the cap."""
    for event in entry.events:
        match event:
            case e.TaskSubmitted():
                account.cap = event.spec.caps.cost
                agents = RULES[event.spec.rules_digest].agents.values()
                account.acts = frozenset(agent.name for agent in agents if agent.capability is Capability.ACT)
            case e.BudgetRaised(caps=caps):
                account.cap = dict(caps).get("cost", account.cap)
            case e.AttemptGranted():
                if event.spawn in account.held:
                    yield f"{event.spawn} was granted again while it was held: {account.held[event.spawn]}"
                if event.spawn.rpartition("/")[2] in account.doubts and not event.reconciles:
                    yield f"{event.spawn} acts again under fence {event.fence} without looking first"
                if event.fence <= account.fence:
                    yield f"fence {event.fence} was given after {account.fence}"
                account.fence = event.fence
                account.held[event.spawn] = (event.attempt, event.fence, event.worker, event.reserved)
            case e.AttemptClosed():
                grant = account.held.pop(event.spawn, None)
                if grant is None or grant[1] != event.fence:
                    yield f"{event.spawn} was closed under fence {event.fence}; it was held as {grant}"
                elif grant[3] != event.released:
                    yield f"{event.spawn} had reserved {grant[3]}, and {event.released} was released"
                account.cost += event.usage.cost or 0
                _remember_doubt(account, event)
            case _:
                pass
        if account.cap and account.cost + account.reserved > account.cap:
            yield f"{account.cost} spent and {account.reserved} reserved are above the cap of {account.cap}"


def _remember_doubt(account: Account, event: e.AttemptClosed) -> None:
    """An act that did not end by its worker's clear word may have happened; one that was reported is known."""
    agent = event.spawn.rpartition("/")[2]
    if agent not in account.acts or event.end is End.UNDELIVERED:
        return
    known = event.end is End.REPORTED or event.error_class in (ErrorClass.PERMANENT, ErrorClass.WORKSPACE)
    if event.end is End.REPORTED:
        account.doubts.discard(agent)
    elif not known:
        account.doubts.add(agent)


def _state(account: Account, state: TaskState) -> Iterator[str]:
    """The fold says what was counted; an open task has somebody who comes next."""
    spent = state.spent
    if (spent.cost, spent.reserved) != (account.cost, account.reserved):
        said = f"{spent.cost} spent, {spent.reserved} reserved"
        yield f"the state says {said}; it is {account.cost} and {account.reserved}"
    running = {spawn.id: spawn.fence for spawn in state.spawns if spawn.status is SpawnStatus.GRANTED}
    if running != {spawn: grant[1] for spawn, grant in account.held.items()}:
        yield f"the state says that {running} run; it is {account.held}"
    if state.status is Status.OPEN and state.gate is None:
        waits = any(spawn.status in (SpawnStatus.READY, SpawnStatus.GRANTED) for spawn in state.spawns)
        if state.parked is not None or not waits:
            yield f"nobody comes next at stage {state.stage}"


# ------------------------------------------------------------------------------------------------------ acknowledged


def _acknowledged(simulation: Simulation, ledger: list[Entry]) -> Iterator[str]:
    """What people and workers were told is in the ledger, and says the same."""
    keys = {entry.key: seq for seq, entry in enumerate(ledger) if entry.key}
    for person in simulation.people.values():
        for asked in person.asked.values():
            seqs = {said.seq for said in asked.answers if said.outcome in ("applied", "objected", "duplicate")}
            if seqs and seqs != {keys.get(asked.key, -1)}:
                yield f"{asked.key} was answered with entries {sorted(seqs)}; the ledger has it at {keys.get(asked.key)}"
    orphans = set(simulation.disk.connection.execute("SELECT spawn || '#' || attempt, fence, worker FROM orphan"))
    for worker, kind, (attempt, fence) in simulation.witness.told:
        if kind == "Stale":
            if (attempt, fence, worker) not in orphans:
                yield f"{worker} was told Stale about {attempt} under {fence}: there is no such orphan"
        elif end_key((attempt, fence)) not in keys:
            yield f"{worker} was told {kind} about {attempt} under {fence}, which is not in the ledger"
    granted = {
        (attempt_id(event.spawn, event.attempt), event.fence)
        for entry in ledger
        for event in entry.events
        if isinstance(event, e.AttemptGranted)
    }
    for attempt, fence in simulation.witness.starts:
        if (attempt, fence) not in granted:
            yield f"{attempt} was begun under fence {fence}, which was never granted"


def _unfinished(simulation: Simulation, ledger: list[Entry]) -> Iterator[str]:
    """Why the calm time was not enough."""
    states: dict[str, TaskState | None] = {}
    for entry in ledger:
        if entry.task:
            states[entry.task] = evolve(states.get(entry.task), entry.events, entry.now_ms)
    yield "the calm time was not enough:"
    for name, state in states.items():
        if state is not None and state.status is not Status.DONE:
            spawns = ", ".join(f"{spawn.id} {spawn.status.value} at {spawn.worker or '–'}" for spawn in state.spawns)
            yield f"  {name} ({state.spec.bundle}) stands at {state.stage}: {spawns or 'no spawn'}, gate {state.gate}"
    for person in simulation.people.values():
        yield from (f"  {person.name} waits for an answer to {key}" for key in person.waits)
    for worker in simulation.workers.values():
        if reports := worker.spool.reports():
            yield f"  {worker.name} has {len(reports)} reports in its spool"
