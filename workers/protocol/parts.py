"""What messages are made of: frozen msgspec Structs."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

import msgspec


class Capability(StrEnum):
    """What an agent's hands may do; the worker chooses provider, harness or checks runner by it."""

    ANSWER = "answer"  # one model call
    READ = "read"  # may read the workspace
    EDIT = "edit"  # works in the workspace through a harness
    CHECKS = "checks"  # runs the project's checks, no model
    ACT = "act"  # an external effect


class End(StrEnum):
    """How an attempt ended."""

    REPORTED = "reported"
    FAILED = "failed"
    LOST = "lost"
    UNDELIVERED = "undelivered"
    STOPPED = "stopped"


class ErrorClass(StrEnum):
    """Why an attempt failed; the kernel decides by it what comes next."""

    NONE = ""
    TRANSIENT = "transient"  # again after a backoff: 5xx, overloaded, dropped stream, timeout
    RATE_LIMIT = "rate_limit"  # not before the time that the provider named; consumes no attempt
    PERMANENT = "permanent"  # next binding of the chain: auth, unknown model, context too long, refused request
    UNPARSEABLE = "unparseable"  # the model answered, the answer is not of the agent's output type
    WORKSPACE = "workspace"  # the result cannot be taken as a commit (nested repository, too large …)
    LIMIT = "limit"  # a bound of this attempt was reached: deadline, cost, turns


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what messages are made of."""


class Text(Part, frozen=True, kw_only=True):
    """A salted text: `id` = hex SHA-256(salt ‖ bytes); `data` is None when the bytes went over the blob socket.

    The salt is drawn once by whoever makes the text and kept with it, so that a re-send is byte-identical.
    """

    id: str
    salt: bytes
    size: int
    data: bytes | None = None


def salted_id(salt: bytes, data: bytes) -> str:
    """The id of a salted text, hex."""
    return hashlib.sha256(salt + data).hexdigest()


class Usage(Part, frozen=True, kw_only=True):
    """What an attempt consumed. `cost_microusd` None: the price is unknown (never zero for unknown)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cost_microusd: int | None = None
    price: str = ""
    """Where the cost comes from: "reported" (by the tool), "estimated:<price table version>", "" (unknown)."""


class Binding(Part, frozen=True, kw_only=True):
    """Provider, model and harness for one attempt. `ref` is what the user wrote or the tier resolved to."""

    ref: str
    family: str
    model: str
    harness: str = ""
    base_url: str = ""
    index: int = 0


class WorkspaceRef(Part, frozen=True, kw_only=True):
    """The commit an attempt works on, and where its result goes. `source`: a bare repository's path or URL; the host `*` in
    a URL is the one by which the worker reaches its coordinator."""

    source: str
    commit: str
    base: str
    """The task's base commit; the canonical diff is base..result."""
    publish: str = ""
    """The full ref under which an editing attempt's result commit is pushed (refs/loom/…)."""
    token: str = ""
    """Opens the URL, for this attempt, as long as it is leased."""
    pin: str = ""
    """Of the URL's server: the SHA-256 of its public key, as curl writes it (`sha256//…`)."""
    previous: str = ""
    """The commit that was judged in the round before ("" in the first): the interdiff is previous..commit."""


class Ticket(Part, frozen=True, kw_only=True):
    """What an attempt's token opens at the git server. repository "": nothing (any more); publish: the ref it may create."""

    repository: str = ""
    publish: str = ""


class Input(Part, frozen=True, kw_only=True):
    """One named input of a prompt. Exactly one of `value` (JSON text or plain text) and `text` (by id) is meant."""

    name: str
    media: Literal["text", "json"] = "text"
    value: str = ""
    text: str = ""
    """Id of a text to be fetched from the coordinator ("" : `value` is the input)."""


class Measure(Part, frozen=True, kw_only=True):
    """A fact that the worker's hands measure in the workspace; never taken from an agent's text."""

    fact: str
    how: str
    patterns: tuple[str, ...] = ()


class CheckCommand(Part, frozen=True, kw_only=True):
    """One configured check. `argv` empty with `declared` True: the project declares it not applicable."""

    name: str
    argv: tuple[str, ...] = ()
    declared: bool = False


class ProjectSetup(Part, frozen=True, kw_only=True):
    """What a *trusted* repository configuration says about workspaces and checks (untrusted: all empty)."""

    trusted: bool = False
    checks: tuple[CheckCommand, ...] = ()
    include: tuple[str, ...] = ()
    setup: tuple[tuple[str, ...], ...] = ()
    requires: tuple[str, ...] = ()
    """Labels that a worker needs; the scheduler's business, not the worker's."""


class Prompt(Part, frozen=True, kw_only=True):
    """The template of one agent: sandboxed Jinja2, rendered at the worker; `digest` stands in the ledger."""

    digest: str
    system: str
    user: str


class Repair(Part, frozen=True, kw_only=True):
    """A repair attempt: the output that could not be read, and the error, are shown to the model once."""

    output: str
    error: str


class Bound(Part, frozen=True, kw_only=True):
    """Limits of one attempt. cost None: no cap was granted."""

    wall_ms: int
    cost_microusd: int | None = None
    tokens: int | None = None
    """Input and output together."""


class Statement(Part, frozen=True, kw_only=True):
    """Evidence about the subject, measured by the worker: kind ("check.test"), outcome ("passed", "failed", "skipped",
    "not_applicable"), a one-line summary, and the full output by text id."""

    kind: str
    outcome: str
    summary: str = ""
    output: str = ""
    command: tuple[str, ...] = ()


class ChangedPath(Part, frozen=True, kw_only=True):
    """One path of base..result. status: A, M, D, T; `digest` SHA-256 of the new content ("" for deleted)."""

    path: str
    status: str
    added: int = 0
    removed: int = 0
    digest: str = ""


class Change(Part, frozen=True, kw_only=True):
    """An editing attempt's result: the commit, its tree (the subject), and the canonical diff base..commit by text id."""

    commit: str
    tree: str
    base: str
    digest: str
    """Hex SHA-256 of the canonical diff."""
    diff: str
    """Text id of the canonical diff."""
    paths: tuple[ChangedPath, ...] = ()
    newly_ignored: tuple[str, ...] = ()


class Result(Part, frozen=True, kw_only=True):
    """What a reported attempt brings. All long texts are in the Report's `texts`, referred to by id."""

    output: str = ""
    """The agent's validated output, one JSON object as text ("" for capability checks)."""
    repaired: bool = False
    """The JSON was found tolerantly or mended; recorded, never silent."""
    measured: dict[str, str] = {}
    statements: tuple[Statement, ...] = ()
    tree: str = ""
    """The tree that was checked, as the hands saw it ("" for other capabilities)."""
    change: Change | None = None


class SandboxUsed(Part, frozen=True, kw_only=True):
    """What really contained the attempt: kind, whether the network was shared, mounted credentials, a sentence."""

    kind: str
    network: str = "shared"
    credentials: str = ""
    note: str = ""
