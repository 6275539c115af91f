"""The chain of a task: a fold over its events, as every surface shows it.

Events come as the ledger's JSON (`[kind, fields]`, fields that equal their default left out), so this works on what was
read, needs none of the kernel's classes, and shows an event of a later version by leaving it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Event = tuple[str, dict[str, Any]]
State = Literal["ready", "running", "done", "failed", "waived", "waiting", "decided", "mark", "trouble"]


@dataclass(slots=True)
class Text:
    """A text of the ledger: inline, or the id of a stored one."""

    value: str = ""
    blob: str = ""


@dataclass(slots=True)
class Found:
    """A finding, as short as a chain shows it."""

    id: str
    severity: str
    place: str
    message: Text
    evidence: Text


@dataclass(slots=True)
class Link:
    """One line of the chain: a spawn, a decision, or a mark between them. cost None: unknown."""

    kind: Literal["spawn", "gate", "mark"]
    name: str
    state: State
    agent: str = ""
    stage: str = ""
    iteration: int = 0
    id: str = ""
    word: str = ""
    by: str = ""
    note: Text = field(default_factory=Text)
    chain: tuple[str, ...] = ()
    binding: int = 0
    model: str = ""
    sandbox: str = ""
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int | None = 0
    started_ms: int = 0
    ended_ms: int = 0
    findings: list[Found] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    due_ms: int = 0

    @property
    def blocking(self) -> int:
        """How many blocking findings it brought."""
        return sum(found.severity == "blocking" for found in self.findings)

    @property
    def reference(self) -> str:
        """The reference that the spawn runs, or will run, with."""
        return self.chain[min(self.binding, len(self.chain) - 1)] if self.chain else ""


@dataclass(slots=True)
class Chain:
    """A task so far. Feed it events in order, by `apply`."""

    task: str = ""
    text: Text = field(default_factory=Text)
    project: str = ""
    bundle: str = ""
    flow: str = ""
    preset: str = ""
    base: str = ""
    links: list[Link] = field(default_factory=list)
    verdict: str = ""
    verdict_by: str = ""
    closed: bool = False
    delivered: str = ""
    paused: bool = False
    parked: str = ""
    work: str = ""
    change: str = ""
    rounds: int = 0
    cost_cap: int = 0
    policies: dict[str, str] = field(default_factory=dict)
    started_ms: int = 0
    now_ms: int = 0

    def apply(self, now_ms: int, events: Iterable[Event]) -> None:
        """Takes the events of one entry."""
        self.now_ms = max(self.now_ms, now_ms)
        for kind, fields in events:
            fold = getattr(self, f"_{kind}", None)
            if fold is not None:
                fold(fields)

    # -------------------------------------------------------------------------------------------------- what is asked

    @property
    def gate(self) -> Link | None:
        """The gate that is open."""
        return next((link for link in reversed(self.links) if link.kind == "gate" and link.state == "waiting"), None)

    @property
    def running(self) -> tuple[Link, ...]:
        """The spawns that run now."""
        return tuple(link for link in self.links if link.state == "running")

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.closed

    def spent(self) -> tuple[int, int, int, bool]:
        """(micro-USD, input tokens, output tokens, whether some cost is unknown)."""
        spawns = [link for link in self.links if link.kind == "spawn"]
        return (
            sum(link.cost or 0 for link in spawns),
            sum(link.input_tokens for link in spawns),
            sum(link.output_tokens for link in spawns),
            any(link.cost is None for link in spawns),
        )

    def open_blockers(self) -> int:
        """Blocking findings of the latest run of each agent of this round."""
        latest = {link.agent: link for link in self.links if link.kind == "spawn"}
        return sum(link.blocking for link in latest.values())

    def _spawn(self, fields: dict[str, Any]) -> Link | None:
        wanted = fields.get("spawn", "")
        return next((link for link in reversed(self.links) if link.kind == "spawn" and link.id == wanted), None)

    def _mark(self, name: str, note: Text | None = None, state: State = "mark") -> None:
        self.links.append(Link("mark", name, state, note=note or Text(), started_ms=self.now_ms, ended_ms=self.now_ms))

    # ----------------------------------------------------------------------------------------------------- the events

    def _TaskSubmitted(self, fields: dict[str, Any]) -> None:  # noqa: N802 (named as the event is)
        spec = fields["spec"]
        self.task, self.project, self.bundle = spec["task"], spec.get("project", ""), spec.get("bundle", "")
        self.text, self.flow, self.preset = text_of(spec.get("text")), spec.get("flow", ""), spec.get("preset", "")
        self.base, self.cost_cap = spec.get("base", ""), spec.get("caps", {}).get("cost", 0)
        self.policies = dict(spec.get("policies", ()))
        self.started_ms = self.now_ms

    def _FlowChosen(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.flow = fields["flow"]

    def _SpawnOpened(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.links.append(
            Link(
                "spawn",
                fields["agent"],
                "ready",
                agent=fields["agent"],
                stage=fields["stage"],
                iteration=fields.get("iteration", 0),
                id=fields["spawn"],
                chain=tuple(fields.get("chain", ())),
                started_ms=self.now_ms,
            )
        )

    def _AttemptGranted(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if link := self._spawn(fields):
            if not link.attempts:
                link.started_ms = self.now_ms
            link.state, link.attempts, link.note = "running", fields.get("attempt", 1), Text()
            link.binding = fields.get("binding", 0)

    def _AttemptClosed(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if link := self._spawn(fields):
            usage, execution = fields.get("usage", {}), fields.get("execution", {})
            link.state, link.ended_ms = "ready", self.now_ms
            link.input_tokens += usage.get("input_tokens", 0)
            link.output_tokens += usage.get("output_tokens", 0)
            cost = usage.get("cost") if usage.get("calls") else 0
            link.cost = None if cost is None or link.cost is None else link.cost + cost
            link.model = execution.get("served_by", "") or link.model
            link.sandbox = execution.get("sandbox", "") or link.sandbox
            if fields.get("end") != "reported":
                link.note = text_of(fields.get("message"))

    def _AttemptReadied(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if link := self._spawn(fields):
            link.state, link.binding = "ready", fields.get("binding", 0)
            if not link.note.value and not link.note.blob:
                link.note = Text(fields.get("reason", ""))

    def _SpawnSettled(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if link := self._spawn(fields):
            link.state, link.word, link.note = "done", fields.get("outcome", ""), text_of(fields.get("summary"))

    def _SpawnFailed(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if link := self._spawn(fields):
            link.state, link.note = "failed", text_of(fields.get("reason"))

    def _SpawnWaived(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if link := self._spawn(fields):
            link.state = "waived"

    def _FindingRecorded(self, fields: dict[str, Any]) -> None:  # noqa: N802
        finding = fields["finding"]
        if link := self._spawn(finding):
            report = finding["report"]
            place = report.get("place", {})
            where = f"{place.get('path', '')}:{place['line']}" if place.get("line") else place.get("path", "")
            link.findings.append(
                Found(
                    finding["id"],
                    report["severity"],
                    where,
                    text_of(report.get("message")),
                    text_of(report.get("evidence")),
                )
            )

    def _EvidenceRecorded(self, fields: dict[str, Any]) -> None:  # noqa: N802
        evidence = fields["evidence"]
        kind = str(evidence["kind"])
        if kind.startswith("check.") and (link := self._spawn(fields)):
            link.checks[kind.removeprefix("check.")] = evidence["outcome"]

    def _SubjectChanged(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.work, self.change = fields.get("work", ""), fields.get("change", "")

    def _GateOpened(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.links.append(
            Link(
                "gate",
                fields["role"],
                "waiting",
                id=fields["gate"],
                stage=fields.get("stage", ""),
                note=text_of(fields.get("reason")),
                answers=tuple(fields.get("answers", ())),
                started_ms=self.now_ms,
                due_ms=fields.get("due_ms", 0),
            )
        )

    def _DecisionRecorded(self, fields: dict[str, Any]) -> None:  # noqa: N802
        by = fields["by"]
        gate = self.gate if fields.get("gate") else None
        if gate is None:
            gate = Link(
                "gate", fields.get("role", ""), "decided", stage=fields.get("stage", ""), started_ms=self.now_ms
            )
            self.links.append(gate)
        gate.state, gate.word, gate.ended_ms = "decided", fields["word"], self.now_ms
        person = by.get("kind") == "person"
        gate.by = by["id"] if person else f"policy {self.policies.get(gate.name, '')}".rstrip()
        gate.note = text_of(fields.get("message")) if person else gate.note

    def _GateWithdrawn(self, fields: dict[str, Any]) -> None:  # noqa: N802
        if self.gate is not None:
            self.gate.state, self.gate.word = "waived", "withdrawn"

    def _Reworked(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.rounds = fields.get("round", self.rounds)
        self._mark(f"back to {fields['to']}")

    def _TaskParked(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.parked = fields.get("code", "")
        self._mark(f"parked: {str(fields.get('code', '')).replace('_', ' ')}", text_of(fields.get("reason")), "trouble")

    def _TaskUnparked(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.parked = ""

    def _ObjectionRaised(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self._mark(f"rule {fields['rule']} objects", Text(fields.get("sentence", "")), "trouble")

    def _TaskPaused(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.paused = True
        self._mark("paused", text_of(fields.get("reason")))

    def _TaskResumed(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.paused = False
        self._mark("resumed", text_of(fields.get("reason")))

    def _BudgetReached(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self._mark(f"{fields['percent']} % of the {fields['budget']} budget is used")

    def _VerdictReached(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.verdict, self.verdict_by = fields["verdict"], fields["by"]["id"]

    def _TaskClosed(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.closed, self.delivered = True, fields.get("delivered") or self.delivered
        for link in self.links:
            if link.state in ("ready", "running"):
                link.state, link.word = "failed", "stopped"

    def _TaskReopened(self, fields: dict[str, Any]) -> None:  # noqa: N802
        self.closed = False
        self._mark(f"{fields['by']['id']} asked for more", text_of(fields.get("reason")))

    def _ResultTaken(self, fields: dict[str, Any]) -> None:  # noqa: N802
        late = f"{fields['spawn'].rsplit('/', 1)[-1]}#{fields['attempt']}"
        self._mark(f"{fields['by']['id']} took the late result of {late}", text_of(fields.get("reason")))


def text_of(found: Any) -> Text:
    """A Text of the ledger's JSON (None: empty)."""
    found = found or {}
    return Text(found.get("value", ""), found.get("blob", ""))
