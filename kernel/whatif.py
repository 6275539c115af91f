"""What-if: the recorded commands of a task taken again under other rules, as far as the recorded inputs reach.

    way = Way(other)
    for record in records:
        if (parting := way.take(record)) is not None: …     # here it leaves the recorded way; nothing after it is known

Nothing is called and nothing invented: what an agent would have said to another question is not on record. So the walk ends
at the first entry that is decided otherwise. What only explains a decision (`because`, reasons, digests of policies) may
differ: the way is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import Record, RecordedHome
from loom.kernel.state import TaskState
from loom.kernel.values import NO_TEXT, Pairs, PrincipalKind, put
from loom.kernel.work import Asking, Rules, ask_directly, recorded_silence

EXPLAINING: dict[str, object] = {"because": (), "reason": NO_TEXT, "policy_digest": "", "root": ""}
"""Fields of events that say why, and their value when nothing is said."""


class Fate(StrEnum):
    """What other rules would have made of a recorded run."""

    SAME = "same"
    OBJECTED = "objected"
    """A rule says no to what happened."""
    ASKS = "asks"
    """A person would be asked where nobody was."""
    OTHER = "other"
    """The flow goes another way."""
    UNKNOWN = "unknown"
    """The recorded command does not fit, or what a rule needs is not on record."""


@dataclass(frozen=True, slots=True)
class Parting:
    """Where a run leaves the recorded way. recorded, supposed: the first events that differ (None: there is none more)."""

    fate: Fate
    seq: int
    n: int
    command: str
    sentence: str
    rule: str = ""
    because: tuple[str, ...] = ()
    recorded: e.Event | None = None
    supposed: e.Event | None = None


class NotOnRecord(Exception):
    """What other rules would measure cannot be told from what was recorded; the message is a sentence."""


Measured = Callable[[c.AttemptEnded], Pairs]
"""The added facts about what an attempt made. Raises NotOnRecord."""


def _nothing(command: c.AttemptEnded) -> Pairs:
    return ()


@dataclass(frozen=True)
class Other:
    """Other rules. policies: of single roles, over the recorded ones. measured: facts that nobody measured then; added: their
    names."""

    rules: Rules
    policies: Pairs = ()
    measured: Measured = _nothing
    added: frozenset[str] = frozenset()
    ask: Asking = field(default=ask_directly)


class Way:
    """One task, walked under other rules. `take` wants its records in order, from the first one on."""

    def __init__(self, other: Other) -> None:
        self._other = other
        self._task: TaskState | None = None

    def take(self, record: Record) -> Parting | None:
        """The next recorded command; None: it leads to what it led to."""
        other = self._other
        try:
            command = self._supposed(record)
        except NotOnRecord as missing:
            return _parting(record, Fate.UNKNOWN, str(missing))

        def ask(name: str, function: Any, *arguments: Any) -> Any:
            if silence := recorded_silence(name, record.unanswered):
                raise silence
            return other.ask(name, function, *arguments)

        home = RecordedHome(record.home_reads)
        taken = tick(other.rules, self._task, home, record.principal, command, record.now_ms, ask)
        if isinstance(taken, Rejection):
            return _rejected(record, taken)
        self._task = taken.task
        return _objected(record, taken) or self._differing(record, taken)

    def _supposed(self, record: Record) -> c.TaskCommand:
        """The recorded command as it would have been given."""
        command = record.command
        match command:
            case c.Submit():
                policies = command.policies
                for role, policy in self._other.policies:
                    policies = put(policies, role, policy)
                return replace(command, policies=policies)
            case c.Answer():
                return replace(command, policy_digest="")  # the digest is of the policies then; the rest must fit
            case c.AttemptEnded() if command.work:  # only editing brings one
                facts = command.facts
                for name, value in self._other.measured(command):
                    facts = put(facts, name, value)
                return replace(command, facts=facts)
            case c.Grant() | c.AttemptEnded() | c.Pause() | c.Resume() | c.Cancel() | c.Wake():
                return command
            case _:
                raise TypeError(f"{type(command).__name__} is no command about a task")

    def _differing(self, record: Record, taken: Tick) -> Parting | None:
        """The first event that is another one than recorded."""
        added = self._other.added
        supposed = [ev for ev in taken.events if not (isinstance(ev, e.FactRecorded) and ev.name in added)]
        for place in range(max(len(supposed), len(record.events))):
            now = supposed[place] if place < len(supposed) else None
            then = record.events[place] if place < len(record.events) else None
            if now is None or then is None or bare(now) != bare(then):
                fate = Fate.ASKS if asks(supposed[place:]) and not asks(record.events[place:]) else Fate.OTHER
                return _parted(record, fate, then, now, supposed[place:])
        return None


def bare(event: e.Event) -> e.Event:
    """The event without what only explains it."""
    if isinstance(event, e.TaskSubmitted):
        return replace(event, spec=replace(event.spec, policies=(), policy_digest="", preset=""))
    if isinstance(event, e.DecisionRecorded) and event.by.kind is PrincipalKind.POLICY:
        event = replace(event, message=NO_TEXT)
    changes = {each.name: EXPLAINING[each.name] for each in fields(event) if each.name in EXPLAINING}
    return replace(event, **changes) if changes else event  # type: ignore[arg-type]


def asks(events: Iterable[e.Event]) -> bool:
    """Whether a gate opens among these events."""
    return any(isinstance(event, e.GateOpened) for event in events)


def _parting(record: Record, fate: Fate, sentence: str, **more: Any) -> Parting:
    return Parting(fate, record.seq, record.n, type(record.command).__name__, sentence, **more)


def _rejected(record: Record, rejection: Rejection) -> Parting:
    if rejection.code == "objected":  # a task that would not have begun
        return _parting(record, Fate.OBJECTED, rejection.sentence)
    return _parting(record, Fate.UNKNOWN, f"the recorded command does not fit: {rejection.sentence}")


def _objected(record: Record, taken: Tick) -> Parting | None:
    """The first rule that says no, and did not say it then."""
    then = {event.rule for event in record.events if isinstance(event, e.ObjectionRaised)}
    for violation in taken.violations:
        if violation.rule not in then:
            return _parting(
                record, Fate.OBJECTED, violation.sentence, rule=violation.rule, because=violation.because,
                recorded=_outcome(record.events),
            )  # fmt: skip
    return None


def _outcome(events: Iterable[e.Event]) -> e.Event | None:
    """What the recorded command led to, in one event: a verdict, a decision, a gate; else the first one."""
    weighty = (e.VerdictReached, e.DecisionRecorded, e.GateOpened, e.SpawnSettled)
    happened = tuple(events)
    for kind in weighty:
        for event in happened:
            if isinstance(event, kind):
                return event
    return happened[0] if happened else None


def _parted(record: Record, fate: Fate, then: e.Event | None, now: e.Event | None, rest: list[e.TaskEvent]) -> Parting:
    gate = next((event for event in rest if isinstance(event, e.GateOpened)), None)
    if fate is Fate.ASKS and gate is not None:
        sentence = f"a person would be asked at {gate.stage} (role {gate.role}): {gate.reason.value}"
        return _parting(record, fate, sentence, because=gate.because, recorded=then, supposed=gate)
    because = tuple(getattr(now, "because", ()))
    return _parting(record, fate, "the flow goes another way", because=because, recorded=then, supposed=now)
