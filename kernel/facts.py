"""Guards: what flows and rules may ask about a task, as data over finite alphabets.

A guard is a tree of small frozen records; `holds(guard, view)` evaluates it, and the view remembers what was read. That one
record gives `because` on events, incremental checking of rules, and the abstract states of the model checker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, assert_never

from loom.kernel.values import (
    REVIEW,
    WAIVED,
    Evidence,
    Finding,
    FindingStatus,
    Origin,
    Pairs,
    PrincipalKind,
    Severity,
    get,
)

YES = "yes"
NO = "no"
BOOL = (YES, NO)


@dataclass(frozen=True, slots=True)
class Fact:
    """The fact `name` has the value `value`."""

    name: str
    value: str = YES


@dataclass(frozen=True, slots=True)
class Said:
    """The agent's latest outcome is `word`. What a person waived about the present subject counts as not said."""

    agent: str
    word: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A blocking finding is open (of any origin, or of one)."""

    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """There is evidence of this kind and outcome about the present subject; `person`: made by a person."""

    kind: str
    outcome: str
    person: bool = False


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Any:
    parts: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Guard


@dataclass(frozen=True, slots=True)
class AtLeast:
    count: int
    parts: tuple[Guard, ...]


Guard = Fact | Said | Blocked | Shown | All | Any | Not | AtLeast

ALWAYS = All(())


class Readable(Protocol):
    """What a view looks at: a task's state, finished or in the making."""

    @property
    def facts(self) -> Pairs: ...
    @property
    def outcomes(self) -> Pairs: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def evidence(self) -> tuple[Evidence, ...]: ...
    @property
    def subject(self) -> str: ...


class View:
    """A task as guards, steps and rules of a bundle see it. `reads` lists what was asked, with the answer."""

    __slots__ = ("_task", "reads")

    def __init__(self, task: Readable) -> None:
        self._task = task
        self.reads: list[str] = []

    def fact(self, name: str) -> str:
        """The value of a fact, "" when nothing was recorded."""
        value = get(self._task.facts, name, "")
        self.reads.append(f"fact {name}={value or '?'}")
        return value

    def said(self, agent: str) -> str:
        """The latest outcome of an agent; "" when it did not run in this round, or when a person waived its review."""
        word = get(self._task.outcomes, agent, "")
        if word and self._waived(agent):
            self.reads.append(f"said {agent}={WAIVED}")
            return ""
        self.reads.append(f"said {agent}={word or '?'}")
        return word

    def _waived(self, agent: str) -> bool:
        """Whether a person accepted what this agent said about the present subject: then it stands in nobody's way."""
        kind, subject = REVIEW + agent, self._task.subject
        return any(e.kind == kind and e.outcome == WAIVED and e.subject == subject for e in self._task.evidence)

    def blockers(self, origin: Origin | None = None) -> tuple[Finding, ...]:
        """The open blocking findings."""
        found = live_blockers(self._task.findings, origin)
        self.reads.append(f"blockers{'' if origin is None else ' ' + origin}={','.join(f.id for f in found) or 'none'}")
        return found

    def shown(self, kind: str, outcome: str, person: bool = False) -> bool:
        """Whether there is such evidence about the present subject."""
        subject = self._task.subject
        shown = any(
            e.kind == kind
            and e.outcome == outcome
            and e.subject == subject
            and (not person or e.by.kind is PrincipalKind.PERSON)
            for e in self._task.evidence
        )
        self.reads.append(f"shown {kind}={outcome}{' by a person' if person else ''}: {YES if shown else NO}")
        return shown


def live_blockers(findings: Iterable[Finding], origin: Origin | None = None) -> tuple[Finding, ...]:
    """The findings that stand in the way of acceptance."""
    return tuple(
        f
        for f in findings
        if f.status is FindingStatus.OPEN
        and f.report.severity is Severity.BLOCKING
        and (origin is None or f.report.origin is origin)
    )


def bad_work(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The blockers that say something about the work; trouble of the harness is never counted as bad work."""
    return tuple(f for f in live_blockers(findings) if f.report.origin is not Origin.HARNESS)


def holds(guard: Guard, view: View) -> bool:
    """Whether the guard holds. Evaluation stops as soon as the answer is known, in the order written."""
    match guard:
        case Fact(name, value):
            return view.fact(name) == value
        case Said(agent, word):
            return view.said(agent) == word
        case Blocked(origin):
            return bool(view.blockers(origin))
        case Shown(kind, outcome, person):
            return view.shown(kind, outcome, person)
        case All(parts):
            return all(holds(part, view) for part in parts)
        case Any(parts):
            return any(holds(part, view) for part in parts)
        case Not(part):
            return not holds(part, view)
        case AtLeast(count, parts):
            return sum(holds(part, view) for part in parts) >= count
        case _:
            assert_never(guard)
