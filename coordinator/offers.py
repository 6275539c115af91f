"""What the scheduler is told: attempts that became ready, ended, or were there at the start."""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache
from typing import Protocol

from loom.coordinator.bindings import split_address
from loom.coordinator.fitting import Demand
from loom.coordinator.inbox import HOME_LABEL
from loom.coordinator.scheduler import Scheduler
from loom.coordinator.store import Store
from loom.kernel.attempts import AFTER_RATE_LIMIT
from loom.kernel.commands import AttemptEnded, TaskCommand
from loom.kernel.events import AttemptClosed
from loom.kernel.flow import Agent
from loom.kernel.machine import Tick
from loom.kernel.state import SpawnState, TaskState
from loom.kernel.values import Capability, End, ErrorClass, SpawnStatus, Status
from loom.kernel.work import Rules


class Knows(Protocol):
    """The queue, and where an agent's demands are found."""

    queue: Scheduler

    def rules(self, digest: str) -> Rules: ...


def offer(knows: Knows, task: TaskState, spawn: str, attempt: int, not_before_ms: int, now_ms: int) -> None:
    """Queue a ready attempt of the task."""
    state = spawn_of(task, spawn)
    if state is None or task.status is Status.DONE:
        return
    spec = task.spec
    requires = requires_of(spec.requires, knows.rules(spec.rules_digest).agents[state.agent])
    knows.queue.offer(
        task=spec.task,
        spawn=spawn,
        attempt=attempt,
        not_before_ms=not_before_ms,
        now_ms=now_ms,
        priority=spec.priority,
        weight=spec.weight,
        project=spec.project,
        demand=demand_of(state.chain, state.binding, requires),
    )


def follow(queue: Scheduler, before: TaskState | None, command: TaskCommand, taken: Tick, now_ms: int) -> None:
    """What a command other than a grant means for attempts at work, and for those of its task that were held."""
    if before is None:
        return
    for event in taken.events:
        if type(event) is AttemptClosed and (state := spawn_of(before, event.spawn)):
            if state.status is not SpawnStatus.GRANTED:
                continue
            queue.ended(
                before.spec.project,
                demand_of(state.chain, state.binding, ()).provider,
                served=event.end is End.REPORTED,
                refused=event.error_class is ErrorClass.RATE_LIMIT,
                until_ms=command.not_before_ms if type(command) is AttemptEnded else 0,
                now_ms=now_ms,
            )
    queue.stirred(before.spec.task)


def restore(knows: Knows, store: Store, shunned: Container[tuple[str, int | str]], now_ms: int) -> None:
    """Everything that the rows say is ready or at work, into an empty queue."""
    for spawn in store.granted_spawns():
        provider = demand_of(spawn.chain, spawn.binding, ()).provider
        knows.queue.found_running(spawn.project, provider)
    for spawn in store.ready_spawns():
        if (spawn.spawn, spawn.attempt) in shunned:
            continue
        try:
            agent = knows.rules(spawn.rules_digest).agents.get(spawn.agent)
        except LookupError:  # nothing of it can be granted; the grant says so
            agent = None
        requires = requires_of(spawn.requires, agent) if agent else spawn.requires
        demand = demand_of(spawn.chain, spawn.binding, requires)
        if spawn.why == AFTER_RATE_LIMIT:
            knows.queue.limiter.found_shut(demand.provider, spawn.not_before_ms, now_ms)
        knows.queue.offer(
            task=spawn.task,
            spawn=spawn.spawn,
            attempt=spawn.attempt,
            not_before_ms=spawn.not_before_ms,
            now_ms=now_ms,
            priority=spawn.priority,
            weight=spawn.weight,
            project=spawn.project,
            demand=demand,
        )


def spawn_of(task: TaskState, spawn: str) -> SpawnState | None:
    """The spawn of this id in the task's present stage."""
    for state in task.spawns:
        if state.id == spawn:
            return state
    return None


def requires_of(task: tuple[str, ...], agent: Agent) -> tuple[str, ...]:
    """The labels that a worker needs for an agent's attempt of a task with these requirements. An external effect reaches
    what lies beside the home (a person's repository): it needs a worker there, whatever the work itself needed."""
    if agent.capability is Capability.ACT:
        return (*agent.requires, HOME_LABEL)
    return (*task, *agent.requires)


def demand_of(chain: tuple[str, ...], binding: int, requires: tuple[str, ...]) -> Demand:
    """What the attempt on this place of its chain asks for."""
    return _demand(chain[binding], requires, binding + 1 < len(chain))


@lru_cache(maxsize=1024)
def _demand(ref: str, requires: tuple[str, ...], spare: bool) -> Demand:
    family, colon, rest = ref.partition(":")
    if not colon:  # an agent that needs no provider
        return Demand(requires=frozenset(requires))
    address = split_address(family, rest)
    return Demand(family, f"{family}@{address}" if address else family, frozenset(requires), spare)
