"""Fill a store as core does, without core: kernel ticks over the toy bundles, each appended as an entry.

ledger = Ledger(Store.create(path))
ledger.create_home()
ledger.submit(0)
for pick in range(40):
    ledger.advance(pick)         # some legal command about some open task
ledger.commit()
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from harness import toy
from harness.play import NoHome, finding, text
from loom.coordinator.entry import Entry, Rules
from loom.coordinator.inbox import Outcome, SaltedText
from loom.coordinator.merkle import Edge
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.events import Event
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.machine import Rejection, tick
from loom.kernel.state import HomeState, SpawnState, TaskState
from loom.kernel.values import (
    NO_TEXT,
    Acceptance,
    AgentBinding,
    AnswerWord,
    Bound,
    Capability,
    End,
    ErrorClass,
    Execution,
    Principal,
    PrincipalKind,
    Severity,
    SpawnStatus,
    Statement,
    Status,
    Text,
    Usage,
)
from loom.kernel.work import rules_for

PERSON = Principal("ada", PrincipalKind.PERSON, "cli")
WORKER = Principal("w1", PrincipalKind.WORKER, "fabric")
SYSTEM = Principal("loom", PrincipalKind.SYSTEM, "kernel", assurance="A0")
BUNDLES = toy.ALL
CLASSES = (ErrorClass.TRANSIENT, ErrorClass.RATE_LIMIT, ErrorClass.PERMANENT, ErrorClass.UNPARSEABLE)


@dataclass(frozen=True)
class Kept:
    """What a commit published."""

    edge: Edge
    home: HomeState
    tasks: dict[str, TaskState]


def salted(data: bytes, salt: bytes = b"salt") -> SaltedText:
    """A text to store."""
    return SaltedText(hashlib.sha256(salt + data).hexdigest(), salt, len(data), data)


class Ledger:
    """Appends entries; `kept` is what the last commit published, the other fields are ahead of it."""

    def __init__(self, store: Store, kept: Kept | None = None, now_ms: int = 1_000) -> None:
        self.store = store
        self.kept = kept or Kept(Edge(), HomeState(), {})
        self.now_ms = now_ms
        self._open = False
        self.edge, self.home, self.tasks = self.kept.edge, self.kept.home, dict(self.kept.tasks)

    # ------------------------------------------------------------------------------------------------- transactions

    def begin(self) -> None:
        if not self._open:
            self.store.begin()
            self._open = True

    def commit(self) -> None:
        """Make everything so far durable."""
        self.begin()
        self.store.commit()
        self._open = False
        self.kept = Kept(self.edge, self.home, dict(self.tasks))

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        self.store.rollback()
        self._open = False
        self.edge, self.home, self.tasks = self.kept.edge, self.kept.home, dict(self.kept.tasks)

    # ------------------------------------------------------------------------------------------------------ entries

    def create_home(self) -> None:
        """Entries 0 and 1: the home, and its first epoch."""
        self.about_home(c.CreateHome("loom.local/test", "loom.local/test+00000000+AQ==", 1))
        self.about_home(c.Start(1, "0.1", "boot"))

    def about_home(self, command: c.HomeCommand, principal: Principal = PERSON) -> None:
        """One command about the home."""
        events = tick_home(self.home, principal, command, self.now_ms)
        self.append(self.entry("", 0, principal, command, events))
        self.home = evolve_home(self.home, events)

    def submit(self, bundle: int, preset: str = "autonomous") -> str:
        """A new task of one of the toys; returns its id."""
        chosen = BUNDLES[bundle % len(BUNDLES)]
        task = f"task{self.edge.size:06}"
        submit = c.Submit(
            task=task,
            project="p1",
            bundle=chosen.name,
            rules_digest=chosen.digest,
            semantics=1,
            text=text(f"do what {chosen.name} does"),
            flow="",
            preset=preset,
            policies=(),
            base="base",
            subject="subject0",
            bindings=(AgentBinding("*", ("recorded:x", "recorded:y")),),
            caps=chosen.caps,
        )
        self.take(task, PERSON, submit)
        return task

    def take(self, task: str, principal: Principal, command: c.TaskCommand) -> bool:
        """One command about a task; False when the kernel rejected it."""
        before = self.tasks.get(task)
        name = command.bundle if isinstance(command, c.Submit) else before.spec.bundle if before else ""
        bundle = next(each for each in BUNDLES if each.name == name)
        self.now_ms += 1_000
        taken = tick(rules_for(bundle), before, NoHome(), principal, command, self.now_ms)
        if isinstance(taken, Rejection):
            return False
        entry = self.entry(task, taken.task.n, principal, command, taken.events)
        self.append(msgspec.structs.replace(entry, outcome=Outcome(taken.outcome), rules=Rules(1, bundle.digest)))
        self.tasks[task] = taken.task
        return True

    def entry(self, task: str, n: int, principal: Principal, command: c.Command, events: tuple[Event, ...]) -> Entry:
        """The next entry; its key is its place in the log."""
        return Entry(
            epoch=self.home.epoch,
            task=task,
            n=n,
            now_ms=self.now_ms,
            nonce="0" * 16,
            principal=principal,
            key=f"key-{self.edge.size}",
            command=command,
            events=events,
            outcome=Outcome.APPLIED,
            rules=Rules(1),
        )

    def append(self, entry: Entry) -> None:
        """Gathered, as core does; what the database itself refuses is refused by `flush` or `commit`."""
        self.begin()
        self.edge = self.store.append(entry, self.edge)

    def flush(self) -> None:
        """Everything so far as rows, readable inside the open transaction."""
        self.begin()
        self.store.flush()

    # ------------------------------------------------------------------------------------------------- what comes next

    def advance(self, pick: int) -> bool:
        """Some legal command about some open task, chosen by a number. False: there was none to make."""
        open_tasks = [task for task, state in sorted(self.tasks.items()) if state.status is Status.OPEN]
        if not open_tasks:
            return False
        task = open_tasks[pick % len(open_tasks)]
        principal, command = self._next(self.tasks[task], pick // len(open_tasks))
        return self.take(task, principal, command)

    def _next(self, state: TaskState, pick: int) -> tuple[Principal, c.TaskCommand]:
        if pick % 29 == 28:
            return PERSON, (c.Cancel(), c.Pause(text("wait")), c.Resume())[pick % 3]
        if state.paused:
            return PERSON, c.Resume()
        running = [spawn for spawn in state.spawns if spawn.status is SpawnStatus.GRANTED]
        ready = [spawn for spawn in state.spawns if spawn.status is SpawnStatus.READY]
        if ready and state.parked is None and (pick % 2 or not running):
            spawn = ready[pick % len(ready)]
            self.now_ms = max(self.now_ms, spawn.not_before_ms)
            grant = c.Grant(
                spawn.id, spawn.attempt, state.fence + 1, "w1", "boot", spawn.binding, "p1", pick % 5, Bound.METERED
            )
            return SYSTEM, grant
        if running:
            return WORKER, self._end(state, running[pick % len(running)], pick)
        if state.gate is not None:
            return PERSON, self._answer(state, pick)
        if state.wakes:
            name, due_ms = state.wakes[pick % len(state.wakes)]
            self.now_ms = max(self.now_ms, due_ms)
            return SYSTEM, c.Wake(name)
        return PERSON, c.Cancel()

    def _answer(self, state: TaskState, pick: int) -> c.Answer:
        assert state.gate is not None
        word = state.gate.answers[pick % len(state.gate.answers)]
        blockers = [f for f in state.findings if f.report.severity is Severity.BLOCKING and f.status.value == "open"]
        accepts = tuple(Acceptance(f.id, text("it is meant")) for f in blockers) if word is AnswerWord.ACCEPT else ()
        raises = (("cost", 10**9 + pick),) if word is AnswerWord.RAISE else ()
        return c.Answer(
            state.gate.id, word, message=text("as I say") if pick % 2 else NO_TEXT, accepts=accepts, raises=raises
        )

    def _end(self, state: TaskState, spawn: SpawnState, pick: int) -> c.AttemptEnded:
        kind = pick % 11
        usage = Usage(100 + pick % 7, 20, 3, 1, None if pick % 3 == 0 else 500, "est")
        execution = Execution("w1", "boot", "host", "api", spawn.binding, "model", "none", wall_ms=12)
        if kind < 3:
            end = (End.LOST, End.UNDELIVERED, End.FAILED)[kind]
            return c.AttemptEnded(
                spawn.id, spawn.attempt, spawn.fence, end, CLASSES[pick % 4] if end is End.FAILED else ErrorClass.NONE,
                message=text("so it went"), usage=usage, execution=execution,
            )  # fmt: skip
        return self._report(state, spawn, pick, usage, execution)

    def _report(
        self, state: TaskState, spawn: SpawnState, pick: int, usage: Usage, execution: Execution
    ) -> c.AttemptEnded:
        bundle = next(each for each in BUNDLES if each.name == state.spec.bundle)
        agent = next(each for each in bundle.agents if each.name == spawn.agent)
        outcome = agent.outcomes[pick % len(agent.outcomes)] if pick % 4 == 0 else agent.outcomes[0]
        facts = {name: values[pick % len(values)] for name, values in agent.facts}
        facts.update({each.fact: each.values[pick % len(each.values)] for each in agent.measures})
        edits, checks = agent.capability is Capability.EDIT, agent.capability is Capability.CHECKS
        mark = f"{state.n}.{pick % 3}"
        output = salted(f"what {spawn.id} said, {mark}".encode() * 20)
        self.begin()
        self.store.put_text(output)
        return c.AttemptEnded(
            spawn.id,
            spawn.attempt,
            spawn.fence,
            End.REPORTED,
            outcome=outcome,
            facts=tuple(sorted(facts.items())),
            findings=(finding(f"wrong {pick % 2}"),) if outcome == "block" else (),
            artifacts=tuple((name, text(f"{name} by {agent.name}")) for name in agent.makes),
            statements=(Statement("check.test", "passed", text("all well"), NO_TEXT),) if checks else (),
            subject=f"subject{mark}" if edits else state.subject if checks else "",
            work=f"work{mark}" if edits else "",
            change=f"change{mark}" if edits else "",
            summary=text("so it is"),
            output=Text(blob=output.id, size=output.size),
            usage=usage,
            execution=execution,
        )
