"""State: what some stage or rule can still read, and nothing more.

What is superseded leaves the state and stays in entries and projections, so a tick costs the same late in a run as early.
`TaskState` and `HomeState` are the two folds over the same events.
"""

from __future__ import annotations

from dataclasses import dataclass

from loom.kernel.copying import quicken
from loom.kernel.values import (
    NO_TEXT,
    AgentBinding,
    AnswerWord,
    Artifact,
    Caps,
    CarriedMessage,
    Counts,
    Evidence,
    Finding,
    Pairs,
    ParkCode,
    Principal,
    SpawnStatus,
    Spent,
    Status,
    Text,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What was asked at submit; it never changes."""

    task: str
    project: str
    bundle: str
    rules_digest: str
    semantics: int
    text: Text
    flow: str
    """The pinned flow ("" : chosen on the way)."""
    preset: str
    policies: Pairs
    """Effective policy of each role."""
    policy_digest: str
    base: str
    base_subject: str
    bindings: tuple[AgentBinding, ...]
    caps: Caps
    sandbox: str
    priority: int
    weight: int
    requires: tuple[str, ...]
    options: Pairs
    landing: str
    origin_task: str
    submitter: Principal
    signed: tuple[str, ...] = ()
    """Roles whose decisions a person has to sign."""
    separate: tuple[str, ...] = ()
    """What an approver must not be: submitter, author, owner (kernel/duties.py)."""


@dataclass(frozen=True, slots=True)
class SpawnState:
    """A spawn of the present stage."""

    id: str
    agent: str
    status: SpawnStatus
    chain: tuple[str, ...]
    attempt: int = 1
    fence: int = 0
    not_before_ms: int = 0
    binding: int = 0
    worker: str = ""
    boot: str = ""
    reserved: int = 0
    transients: int = 0
    waits: int = 0
    losses: int = 0
    undelivered: int = 0
    repairs: int = 0
    repair_output: Text = NO_TEXT
    repair_error: Text = NO_TEXT
    subject: str = ""
    """What the task's subject was when the attempt was granted: a judge's word is about this one."""
    reserved_tokens: int = 0
    effect: Pairs = ()
    """What exactly an act is to do outside, when a person asked for it."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An act that may have happened outside: its attempt ended, and nobody can say. It outlives its spawn."""

    agent: str
    effect: Pairs
    attempt: str


def doubt_about(doubts: tuple[Doubt, ...], agent: str, effect: Pairs) -> str:
    """The attempt that left this act in doubt ("" : none)."""
    for doubt in doubts:
        if doubt.agent == agent and doubt.effect == effect:
            return doubt.attempt
    return ""


@dataclass(frozen=True, slots=True)
class GateState:
    """The gate that is open now: of the flow, or of role trouble."""

    id: str
    role: str
    stage: str
    answers: tuple[AnswerWord, ...]
    base: str
    subject: str
    change: str
    policy_digest: str
    root: str
    due_ms: int
    rework: str


@dataclass(frozen=True, slots=True)
class Parked:
    code: ParkCode
    stage: str
    spawns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskState:
    spec: TaskSpec
    n: int
    """Number of the task's entries so far: the next entry is n + 1."""
    now_ms: int
    status: Status
    verdict: Verdict
    paused: bool
    flow: str
    stage: str
    round: int
    iterations: Counts
    """How often each stage was entered."""
    subject: str
    work: str
    previous: str
    """The work that was judged in the round before ("" in the first)."""
    change: str
    author: str
    spawns: tuple[SpawnState, ...]
    outcomes: Pairs
    facts: Pairs
    findings: tuple[Finding, ...]
    finding_count: int
    carried: tuple[Finding, ...]
    """Findings of the rounds before that the next agents are shown."""
    messages: tuple[CarriedMessage, ...]
    stalls: Counts
    evidence: tuple[Evidence, ...]
    """About the present subject only."""
    artifacts: tuple[Artifact, ...]
    """The latest version of each."""
    gate: GateState | None
    gate_count: int
    parked: Parked | None
    caps: Caps
    spent: Spent
    fence: int
    """The last fence given in this task."""
    wakes: Counts
    subject_fence: int
    """The last fence given before the present subject was: an attempt with a higher one saw this subject."""
    doubts: tuple[Doubt, ...]
    owner: str = ""
    """Who let the worker in that made the present subject, where the task asks for it."""


@dataclass(frozen=True, slots=True)
class ProjectState:
    id: str
    name: str
    place: str
    kind: str
    trusted: str = ""
    """Digest of the configuration that a person trusted ("" : none)."""
    setup: Text = NO_TEXT
    """What that configuration says, as it was when it was trusted."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation of a worker: the digest of its secret, and the labels that it brings."""

    digest: str
    expires_ms: int
    labels: tuple[str, ...]
    by: str = ""
    """Who invites."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker from elsewhere that was let in by its key."""

    worker: str
    key: str
    labels: tuple[str, ...]
    host: str
    owner: str = ""
    """The person who let it in."""


@dataclass(frozen=True, slots=True)
class HomeState:
    """What concerns many tasks."""

    origin: str = ""
    log_key: str = ""
    schema: int = 0
    epoch: int = 0
    projects: tuple[ProjectState, ...] = ()
    settings: Pairs = ()
    bundles: Pairs = ()
    """digest → name of the bundles kept."""
    principals: tuple[tuple[str, str], ...] = ()
    """token digest → principal id."""
    signers: Pairs = ()
    """SSH public key → person who signs with it."""
    hands: Pairs = ()
    """verifier key → worker that signs its reports with it."""
    revoked: tuple[str, ...] = ()
    """Keys that sign for nobody any more."""
    invitations: tuple[Invitation, ...] = ()
    workers: tuple[WorkerState, ...] = ()
    """Those that are enrolled and not revoked."""


quicken(TaskSpec, SpawnState, GateState, Parked, TaskState)
