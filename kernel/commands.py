"""Commands: what is asked, in the imperative. A closed union; each stands in its entry as `[kind, fields]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from loom.kernel.copying import quicken
from loom.kernel.heritage import Inherited
from loom.kernel.values import (
    NO_TEXT,
    Acceptance,
    AgentBinding,
    AnswerWord,
    Approval,
    Bound,
    Caps,
    Counts,
    End,
    ErrorClass,
    Execution,
    FindingReport,
    Pairs,
    Principal,
    PrincipalKind,
    Statement,
    Text,
    Usage,
)

# ------------------------------------------------------------------------------------------------- about one task


@dataclass(frozen=True, slots=True)
class Submit:
    """Start a task. `flow` "" : the bundle's entry flow decides. `policies`: overrides of single roles over the preset.

    base: handle of the state that work starts from; subject: its digest. origin_task: the task this one follows from.
    """

    task: str
    project: str
    bundle: str
    rules_digest: str
    semantics: int
    text: Text
    flow: str
    preset: str
    policies: Pairs
    base: str
    subject: str
    bindings: tuple[AgentBinding, ...]
    caps: Caps
    sandbox: str = "auto"
    priority: int = 0
    weight: int = 1
    requires: tuple[str, ...] = ()
    options: Pairs = ()
    landing: str = ""
    origin_task: str = ""
    inherited: Inherited | None = None
    """What a fork takes over from its origin."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A ready attempt goes to a worker. The choice is the scheduler's; the kernel checks that it is admissible."""

    spawn: str
    attempt: int
    fence: int
    worker: str
    boot: str
    binding: int
    price: str
    reserved: int
    bound: Bound
    tokens: int = 0
    """Tokens reserved."""


@dataclass(frozen=True, slots=True)
class Starve:
    """Attempts wait for a budget that many tasks share (cost, tokens), and less than one of them needs is left of it."""

    budget: str
    needed: int


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt ended: with a report, or by the coordinator's word (lost, undelivered, stopped)."""

    spawn: str
    attempt: int
    fence: int
    end: End
    error_class: ErrorClass = ErrorClass.NONE
    message: Text = NO_TEXT
    not_before_ms: int = 0
    outcome: str = ""
    facts: Pairs = ()
    findings: tuple[FindingReport, ...] = ()
    artifacts: tuple[tuple[str, Text], ...] = ()
    statements: tuple[Statement, ...] = ()
    subject: str = ""
    work: str = ""
    change: str = ""
    change_text: Text = NO_TEXT
    change_list: Text = NO_TEXT
    summary: Text = NO_TEXT
    output: Text = NO_TEXT
    prompt: Text = NO_TEXT
    transcript: Text = NO_TEXT
    usage: Usage = Usage()
    execution: Execution = Execution()
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision at a gate. subject and change: what the person saw; work, new_subject: a person's own next subject."""

    gate: str
    word: AnswerWord
    message: Text = NO_TEXT
    accepts: tuple[Acceptance, ...] = ()
    base: str = ""
    subject: str = ""
    change: str = ""
    policy_digest: str = ""
    root: str = ""
    work: str = ""
    new_subject: str = ""
    new_change: str = ""
    raises: Counts = ()
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    reason: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class Resume:
    reason: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class Cancel:
    reason: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class Act:
    """Do something outside with accepted work, once. agent: of capability act; effect: what exactly, opaque to the kernel."""

    agent: str
    effect: Pairs = ()
    reason: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class Take:
    """Use the result of an attempt that came too late, instead of trying again. orphan: the number under which it was kept;
    report: what was kept, word by word. Whoever asks leaves it out, and the coordinator puts it in."""

    orphan: int
    report: AttemptEnded | None = None
    reason: Text = NO_TEXT


@dataclass(frozen=True, slots=True)
class Wake:
    """A named wake of the task is due."""

    name: str


TaskCommand = Submit | Grant | Starve | AttemptEnded | Answer | Pause | Resume | Cancel | Act | Take | Wake

# ------------------------------------------------------------------------------------------------- about the home


@dataclass(frozen=True, slots=True)
class CreateHome:
    """Entry 0: the log's origin and its public key."""

    origin: str
    log_key: str
    schema: int


@dataclass(frozen=True, slots=True)
class Start:
    """A coordinator took the home over; the epoch grows by one."""

    epoch: int
    version: str
    boot: str


@dataclass(frozen=True, slots=True)
class AddProject:
    project: str
    name: str
    place: str
    kind: str


@dataclass(frozen=True, slots=True)
class RemoveProject:
    project: str


@dataclass(frozen=True, slots=True)
class TrustProject:
    """What the project's own configuration names may be run, as long as its content has this digest ("" : no trust)."""

    project: str
    digest: str
    content: Text


@dataclass(frozen=True, slots=True)
class ChangeSetting:
    """A setting that can change a decision; value "" : back to its default."""

    name: str
    value: str
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class KeepBundle:
    """A bundle's archive is kept, by digest, from the first task on."""

    name: str
    digest: str
    archive: Text


@dataclass(frozen=True, slots=True)
class EnrolPrincipal:
    """A person, transport or worker gets a name (and a token or key, whose digest is recorded)."""

    principal: Principal
    token_digest: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrolKey:
    """From now on this key signs for a person (an SSH public key) or for a worker (a verifier key)."""

    principal: str
    kind: PrincipalKind
    key: str
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """This key signs for nobody any more; what it signed before stands."""

    key: str
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class RotateLogKey:
    """The log goes on under another key of the same name. note: says so, signed by the old key and by the new one."""

    log_key: str
    note: str


@dataclass(frozen=True, slots=True)
class Restore:
    """A copy of the log goes on under a name of its own. was, size, checkpoint: the log it is a copy of, and how far;
    lost: how many entries of that log are known to be missing here."""

    origin: str
    log_key: str
    was: str
    size: int
    checkpoint: str
    lost: int = 0


@dataclass(frozen=True, slots=True)
class InviteWorker:
    """Whoever shows the secret of this digest may come in as a worker, once, with these labels."""

    invitation: str
    expires_ms: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrolWorker:
    """The secret of an invitation was shown by the holder of this key."""

    worker: str
    key: str
    invitation: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class RevokeWorker:
    """An enrolled worker is not let in any more."""

    worker: str


@dataclass(frozen=True, slots=True)
class ReachBudget:
    """A budget that tasks share reached 80 or 100 percent. project "": the budget of the whole home."""

    project: str
    budget: str
    percent: int


HomeCommand = (
    CreateHome
    | Start
    | AddProject
    | RemoveProject
    | TrustProject
    | ChangeSetting
    | KeepBundle
    | EnrolPrincipal
    | EnrolKey
    | RevokeKey
    | RotateLogKey
    | Restore
    | InviteWorker
    | EnrolWorker
    | RevokeWorker
    | ReachBudget
)

Signable = Answer | ChangeSetting | EnrolKey | RevokeKey
"""What a person's own key can sign."""

Command = TaskCommand | HomeCommand

quicken(*get_args(TaskCommand))
