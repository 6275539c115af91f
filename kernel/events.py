"""Events: what happened, in the past tense. A closed union; each stands in its entry as `[kind, fields]`.

Projections are rebuilt from events alone: an event carries all that a fold needs. `because`: what was read to decide.
"""

# ruff: noqa: PLC0414  an alias says that the name is this module's own, too
from __future__ import annotations

from dataclasses import dataclass

from loom.kernel.ending_events import ResultTaken as ResultTaken
from loom.kernel.ending_events import TaskClosed as TaskClosed
from loom.kernel.ending_events import TaskReopened as TaskReopened
from loom.kernel.ending_events import VerdictReached as VerdictReached
from loom.kernel.heritage import TaskForked as TaskForked
from loom.kernel.home_events import BundleKept as BundleKept
from loom.kernel.home_events import HomeCreated as HomeCreated
from loom.kernel.home_events import HomeEvent as HomeEvent
from loom.kernel.home_events import PrincipalEnrolled as PrincipalEnrolled
from loom.kernel.home_events import ProjectAdded as ProjectAdded
from loom.kernel.home_events import ProjectRemoved as ProjectRemoved
from loom.kernel.home_events import ProjectTrusted as ProjectTrusted
from loom.kernel.home_events import SettingChanged as SettingChanged
from loom.kernel.home_events import Started as Started
from loom.kernel.state import TaskSpec
from loom.kernel.values import (
    NO_TEXT,
    Acceptance,
    AnswerWord,
    Approval,
    Artifact,
    Bound,
    Counts,
    End,
    ErrorClass,
    Evidence,
    Execution,
    Finding,
    Pairs,
    ParkCode,
    Principal,
    Text,
    Usage,
)

Because = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskSubmitted:
    spec: TaskSpec
    subject: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class FlowChosen:
    flow: str
    because: Because = ()


@dataclass(frozen=True, slots=True)
class StageEntered:
    stage: str
    iteration: int
    because: Because = ()


@dataclass(frozen=True, slots=True)
class StageSkipped:
    stage: str
    because: Because = ()


@dataclass(frozen=True, slots=True)
class SpawnOpened:
    """A spawn with its chain of bindings, fixed now. Its first attempt is ready. effect: what exactly an act is to do
    outside, when a person asked for it."""

    spawn: str
    agent: str
    stage: str
    iteration: int
    chain: tuple[str, ...]
    effect: Pairs = ()


@dataclass(frozen=True, slots=True)
class SpawnSkipped:
    spawn: str
    agent: str
    because: Because


@dataclass(frozen=True, slots=True)
class AttemptGranted:
    """For an act, the intent. reconciles: the attempt in doubt before it, whose trace it looks for first ("" : none)."""

    spawn: str
    attempt: int
    fence: int
    worker: str
    boot: str
    binding: int
    price: str
    reserved: int
    bound: Bound
    reconciles: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class AttemptClosed:
    """An attempt is over; usage is settled against its reservation. counted: it consumed one of the task's attempts."""

    spawn: str
    attempt: int
    fence: int
    end: End
    error_class: ErrorClass
    message: Text
    usage: Usage
    execution: Execution
    prompt: Text
    transcript: Text
    output: Text
    counted: bool
    released: int
    repaired: bool = False
    released_tokens: int = 0


@dataclass(frozen=True, slots=True)
class AttemptReadied:
    """The spawn's next attempt may be granted, not before a time, on a binding of its chain. The counters are absolute."""

    spawn: str
    attempt: int
    not_before_ms: int
    binding: int
    reason: str
    transients: int = 0
    waits: int = 0
    losses: int = 0
    undelivered: int = 0
    repairs: int = 0
    repair_output: Text = NO_TEXT
    repair_error: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class SpawnSettled:
    spawn: str
    agent: str
    outcome: str
    summary: Text


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    spawn: str
    agent: str
    error_class: ErrorClass
    reason: Text


@dataclass(frozen=True, slots=True)
class FactRecorded:
    name: str
    value: str  # "" : unknown again
    by: str


@dataclass(frozen=True, slots=True)
class FindingRecorded:
    finding: Finding


@dataclass(frozen=True, slots=True)
class FindingAccepted:
    finding: str
    by: Principal
    reason: Text


@dataclass(frozen=True, slots=True)
class SpawnWaived:
    """A person accepted that a failed spawn stays without result."""

    spawn: str
    agent: str
    by: Principal


@dataclass(frozen=True, slots=True)
class EvidenceRecorded:
    evidence: Evidence
    spawn: str = ""
    summary: Text = NO_TEXT
    output: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class ArtifactMade:
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class SubjectChanged:
    """There is something new to judge: earlier evidence is about another subject. `author` made it, let in by `owner`."""

    subject: str
    work: str
    change: str
    change_text: Text
    change_list: Text
    author: str
    spawn: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class GateOpened:
    """Someone has to decide: what is offered, about what exactly, and who (barred: person, duty) may not accept."""

    gate: str
    role: str
    stage: str
    answers: tuple[AnswerWord, ...]
    base: str
    subject: str
    change: str
    policy_digest: str
    root: str
    reason: Text
    due_ms: int
    rework: str = ""
    shows: tuple[str, ...] = ()
    because: Because = ()
    barred: Pairs = ()


@dataclass(frozen=True, slots=True)
class GateWithdrawn:
    """The question is moot: the task was parked over it, cancelled, or a rule objected to its answer."""

    gate: str


@dataclass(frozen=True, slots=True)
class DecisionRecorded:
    """A gate was decided (by a person or a policy); the gate is closed. `gate` "" : a policy decided without opening one."""

    gate: str
    role: str
    stage: str
    word: AnswerWord
    by: Principal
    message: Text
    base: str
    subject: str
    change: str
    policy_digest: str
    root: str
    accepts: tuple[Acceptance, ...] = ()
    approval: Approval | None = None
    because: Because = ()


@dataclass(frozen=True, slots=True)
class MessageCarried:
    """A person's words go to the next agents."""

    by: str
    gate: str
    text: Text


@dataclass(frozen=True, slots=True)
class Reworked:
    """The flow goes back; the live findings are carried to the next agents and superseded. counted: an automatic round.
    forgets: agents whose stages come again; what they said was about the work before."""

    to: str
    round: int
    counted: bool
    because: Because = ()
    forgets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskParked:
    """The task waits for a person outside the gates of its flow; a gate of role trouble opens with it."""

    code: ParkCode
    reason: Text
    stage: str
    spawns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskUnparked:
    code: ParkCode


@dataclass(frozen=True, slots=True)
class ObjectionRaised:
    """A rule said no to what would have happened."""

    rule: str
    sentence: str
    remedies: tuple[AnswerWord, ...]
    because: Because = ()


@dataclass(frozen=True, slots=True)
class TaskPaused:
    by: Principal
    reason: Text


@dataclass(frozen=True, slots=True)
class TaskResumed:
    by: Principal
    reason: Text


@dataclass(frozen=True, slots=True)
class BudgetRaised:
    caps: Counts
    by: Principal


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """A budget passed 80 or 100 percent."""

    budget: str
    percent: int


@dataclass(frozen=True, slots=True)
class GateOverdue:
    gate: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class WakeSet:
    name: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class WakeCleared:
    name: str


TaskEvent = (
    TaskSubmitted
    | TaskForked
    | FlowChosen
    | StageEntered
    | StageSkipped
    | SpawnOpened
    | SpawnSkipped
    | AttemptGranted
    | AttemptClosed
    | AttemptReadied
    | SpawnSettled
    | SpawnFailed
    | SpawnWaived
    | FactRecorded
    | FindingRecorded
    | FindingAccepted
    | EvidenceRecorded
    | ArtifactMade
    | SubjectChanged
    | GateOpened
    | GateOverdue
    | GateWithdrawn
    | DecisionRecorded
    | MessageCarried
    | Reworked
    | TaskParked
    | TaskUnparked
    | ObjectionRaised
    | TaskPaused
    | TaskResumed
    | BudgetRaised
    | BudgetReached
    | WakeSet
    | WakeCleared
    | VerdictReached
    | TaskClosed
    | TaskReopened
    | ResultTaken
)

Event = TaskEvent | HomeEvent
