"""What is watched while a history runs: no word leaves a process before it is true, and no two hands hold one spawn.

Whatever is seen here is a sentence in `broken`, with the virtual time; the laws of the end are in `laws`.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.sim.disk import Durable, Holder
from harness.sim.world import World
from loom.coordinator.api import Answered, ToClient
from loom.coordinator.entry import Entry
from loom.coordinator.leases import end_key
from loom.kernel.commands import AttemptEnded
from loom.kernel.values import End
from loom.workers.protocol import Assign, Committed, Duplicate, Stale, ToWorker, Welcome, attempt_id

IDLE_TURNS = 50

if TYPE_CHECKING:
    from harness.sim.worker import WorkerNode


@dataclass
class Witness:
    """Sees every message that leaves the coordinator, and every start of an attempt."""

    world: World
    durable: Durable
    broken: list[str] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    """Of each life of the coordinator, in order."""
    starts: dict[Holder, list[str]] = field(default_factory=dict)
    """Who began which attempt: boot nonces, over all lives."""
    told: list[tuple[str, str, Holder]] = field(default_factory=list)
    """(worker, answer, attempt): what workers heard about their reports."""
    idle_turns: int = 0
    working: dict[str, WorkerNode] = field(default_factory=dict)
    """All processes of workers."""

    def __post_init__(self) -> None:
        self.durable.watch = self.is_committed

    def fault(self, sentence: str) -> None:
        self.world.note("law", "BROKEN:", sentence)
        self.broken.append(f"at {self.world.now_ms / 1000:.3f}: {sentence}")

    def died(self, who: str, error: BaseException) -> None:
        """A process ended by an error that nobody planned."""
        self.world.note(who, "dies of", "".join(traceback.format_exception(error)))
        self.fault(f"{who} died of {type(error).__name__}: {error}")

    def coordinator_is_up(self, epoch: int) -> None:
        if self.epochs and epoch <= self.epochs[-1]:
            self.fault(f"a coordinator took epoch {epoch} after one of epoch {self.epochs[-1]}")
        self.epochs.append(epoch)

    def is_due_again(self, *, moved: bool) -> None:
        """A turn was taken and the next one is due at once; without an end, that is a processor for nothing."""
        self.idle_turns = 0 if moved else self.idle_turns + 1
        if self.idle_turns == IDLE_TURNS:
            self.fault(f"{IDLE_TURNS} turns on end had nothing to do, and the next one is due")

    def leaves_for_worker(self, worker: str, message: ToWorker) -> None:
        """Nothing is assigned or acknowledged before it is durable."""
        match message:
            case Assign(attempt=attempt, fence=fence) if (attempt, fence) not in self.durable.granted:
                self.fault(f"{attempt} was assigned to {worker} under fence {fence} before that grant was durable")
            case Committed(attempt=attempt, fence=fence) | Duplicate(attempt=attempt, fence=fence):
                if end_key((attempt, fence)) not in self.durable.keys:
                    kind = type(message).__name__
                    self.fault(f"{worker} is told {kind} about {attempt} under fence {fence}: it is not durable")
            case Stale(attempt=attempt, fence=fence) if (attempt, fence, worker) not in self.durable.orphans:
                self.fault(f"{worker} is told Stale about {attempt} under {fence}, and it was not kept as an orphan")
            case Welcome(epoch=epoch) if epoch != self.epochs[-1]:
                self.fault(f"{worker} is welcomed under epoch {epoch}; this coordinator's is {self.epochs[-1]}")
            case _:
                pass

    def leaves_for_client(self, client: str, message: ToClient) -> None:
        """Nothing is answered before it is durable."""
        told = isinstance(message, Answered) and message.outcome in ("applied", "objected", "duplicate")
        if isinstance(message, Answered) and told and message.key not in self.durable.keys:
            self.fault(f"{client} is told {message.outcome} about {message.key}: it is not durable")

    def is_committed(self, entry: Entry) -> None:
        """Nothing is called lost while its worker is at it: its own lease ran out before."""
        command = entry.command
        if not isinstance(command, AttemptEnded) or command.end is not End.LOST:
            return
        key = (attempt_id(command.spawn, command.attempt), command.fence)
        twins = self._twins()
        for worker in self.working.values():
            if key in worker.alive and key not in worker.excused and worker.worker not in twins:
                self.fault(f"{key[0]} under fence {key[1]} is called lost while {worker.name} is at it")

    def _twins(self) -> set[str]:
        """Names that two processes have: each takes what the other one had for lost."""
        return {worker.worker for worker in self.working.values() if worker.worker != worker.name}

    def begins(self, who: WorkerNode, key: Holder) -> None:
        """One attempt is begun once, and nobody else is at work on the same spawn now."""
        boots = self.starts.setdefault(key, [])
        boots.append(who.boot)
        if len(boots) > 1:
            self.fault(f"{key[0]} under fence {key[1]} was begun {len(boots)} times: {', '.join(boots)}")
        spawn = key[0].rpartition("#")[0]
        twins = self._twins()
        for other in self.working.values():
            if other is who or {who.worker, other.worker} & twins:
                continue
            for busy in other.alive:
                if busy[0].rpartition("#")[0] == spawn and busy not in other.excused:
                    self.fault(f"{who.name} began {key[0]}:{key[1]} while {other.name} was at {busy[0]}:{busy[1]}")
