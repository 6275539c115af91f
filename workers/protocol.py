"""The wire between coordinator and workers: one closed, tagged union of msgspec Structs.

Every frame on the control socket is one msgspec-JSON array of messages ("one frame a worker and batch"), at most
`MAX_FRAME` bytes; texts that do not fit travel on the blob socket. `docs/wire.md` lists each message with its direction
and rule, and a test holds the page against this module. Nothing here is durable by itself: what matters is recorded by
the coordinator in a transaction before it is sent, and by the worker in its spool before it is reported.

Units: times in integer milliseconds, money in integer micro-USD, sizes in bytes. Places (paths) are text; a path that is
not UTF-8 stands in git's C-quoted form.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

import msgspec

PROTOCOL_LOW = 1
PROTOCOL_HIGH = 1

MAX_FRAME = 64 * 1024
"""Bytes of one control frame; a longer one is refused with Nack."""
MAX_INLINE = 32 * 1024
"""Bytes of one text that may travel inside a control frame (and live inside the database)."""
BLOB_CHUNK = 1024 * 1024
"""Bytes of one chunk on the blob socket."""
MAX_BLOB = 64 * 1024 * 1024
"""Bytes of one blob."""
MAX_SLOTS = 1024
"""Attempts that one worker may run at once."""

LEASE_MS = 90_000
"""The lease of an attempt, unless the home says otherwise. The worker renews every third of it."""
GRACE_MS = 15_000
"""The coordinator takes an attempt back this long after its lease, the worker kills it this long before."""
PING_MS = 5_000
PINGS_MISSED = 4
"""So many silent ping intervals make a worker suspect (no new work), and a worker say Hello again."""


def grace_ms(lease_ms: int) -> int:
    """The grace of a lease: 15 s, scaled down with leases under 90 s. Twice of it lie between kill and expiry."""
    return min(GRACE_MS, lease_ms // 6)


def renew_every_ms(lease_ms: int) -> int:
    """How often a worker renews: two renewals may be lost before it has to kill."""
    return max(1, lease_ms // 3)


assert 2 * renew_every_ms(LEASE_MS) < LEASE_MS - grace_ms(LEASE_MS)
assert PINGS_MISSED * PING_MS < LEASE_MS


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


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t"):
    """Base of every message: tagged with its own name, defaults left out, unknown fields ignored."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what messages are made of."""


# ---------------------------------------------------------------------------------------------------------- parts


class Text(Part):
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


def attempt_id(spawn: str, attempt: int) -> str:
    """The name of an attempt on the wire: `<task>/<stage>.<iteration>/<agent>#<n>`."""
    return f"{spawn}#{attempt}"


def split_attempt(attempt: str) -> tuple[str, str, int]:
    """(task, spawn, n) of an attempt's name. Raises ValueError on anything else."""
    spawn, hash_sign, number = attempt.rpartition("#")
    task, slash, _ = spawn.partition("/")
    if not (hash_sign and slash and task and number.isascii() and number.isdigit()):
        raise ValueError(f"{attempt!r} names no attempt; write <task>/<stage>.<iteration>/<agent>#<n>")
    return task, spawn, int(number)


class Usage(Part):
    """What an attempt consumed. `cost_microusd` None: the price is unknown (never zero for unknown)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cost_microusd: int | None = None
    price: str = ""
    """Where the cost comes from: "reported" (by the tool), "estimated:<price table version>", "" (unknown)."""


class Binding(Part):
    """Provider, model and harness for one attempt. `ref` is what the user wrote or the tier resolved to."""

    ref: str
    family: str
    model: str
    harness: str = ""
    base_url: str = ""
    index: int = 0


class WorkspaceRef(Part):
    """The commit an attempt works on, and where its result goes. `source`: a bare repository's path or URL."""

    source: str
    commit: str
    base: str
    """The task's base commit; the canonical diff is base..result."""
    publish: str = ""
    """The full ref under which an editing attempt's result commit is pushed (refs/loom/…)."""
    token: str = ""
    previous: str = ""
    """The commit that was judged in the round before ("" in the first): the interdiff is previous..commit."""


class Input(Part):
    """One named input of a prompt. Exactly one of `value` (JSON text or plain text) and `text` (by id) is meant."""

    name: str
    media: Literal["text", "json"] = "text"
    value: str = ""
    text: str = ""
    """Id of a text to be fetched from the coordinator ("" : `value` is the input)."""


class Measure(Part):
    """A fact that the worker's hands measure in the workspace; never taken from an agent's text."""

    fact: str
    how: str
    patterns: tuple[str, ...] = ()


class CheckCommand(Part):
    """One configured check. `argv` empty with `declared` True: the project declares it not applicable."""

    name: str
    argv: tuple[str, ...] = ()
    declared: bool = False


class ProjectSetup(Part):
    """What a *trusted* repository configuration says about workspaces and checks (untrusted: all empty)."""

    trusted: bool = False
    checks: tuple[CheckCommand, ...] = ()
    include: tuple[str, ...] = ()
    setup: tuple[tuple[str, ...], ...] = ()


class Prompt(Part):
    """The template of one agent: sandboxed Jinja2, rendered at the worker; `digest` stands in the ledger."""

    digest: str
    system: str
    user: str


class Repair(Part):
    """A repair attempt: the output that could not be read, and the error, are shown to the model once."""

    output: str
    error: str


class Bound(Part):
    """Limits of one attempt. cost None: no cap was granted."""

    wall_ms: int
    cost_microusd: int | None = None
    output_tokens: int | None = None


class Statement(Part):
    """Evidence about the subject, measured by the worker: kind ("check.test"), outcome ("passed", "failed", "skipped",
    "not_applicable"), a one-line summary, and the full output by text id."""

    kind: str
    outcome: str
    summary: str = ""
    output: str = ""
    command: tuple[str, ...] = ()


class ChangedPath(Part):
    """One path of base..result. status: A, M, D, T; `digest` SHA-256 of the new content ("" for deleted)."""

    path: str
    status: str
    added: int = 0
    removed: int = 0
    digest: str = ""


class Change(Part):
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


class Result(Part):
    """What a reported attempt brings. All long texts are in the Report's `texts`, referred to by id."""

    output: str = ""
    """The agent's validated output, one JSON object as text ("" for capability checks)."""
    repaired: bool = False
    """The JSON was found tolerantly or mended; recorded, never silent."""
    measured: dict[str, str] = {}
    statements: tuple[Statement, ...] = ()
    change: Change | None = None


class SandboxUsed(Part):
    """What really contained the attempt: kind, whether the network was shared, mounted credentials, a sentence."""

    kind: str
    network: str = "shared"
    credentials: str = ""
    note: str = ""


# ------------------------------------------------------------------------------------------- worker → coordinator


class Hello(Wire, tag="Hello"):
    """The first message of a session. `running` names attempts that this worker still executes or spools."""

    worker: str
    boot: str
    low: int
    high: int
    host: str
    slots: int
    pid: int = 0
    labels: tuple[str, ...] = ()
    sandboxes: tuple[str, ...] = ()
    harnesses: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    running: tuple[tuple[str, int], ...] = ()
    """(attempt, fence) pairs."""
    token: str = ""


class Ping(Wire, tag="Ping"):
    session: str
    sequence: int


class Credit(Wire, tag="Credit"):
    """Absolute number of free slots as of the worker's own message counter; a lower counter than the last is ignored."""

    free: int
    as_of: int


class Accepted(Wire, tag="Accepted"):
    attempt: str
    fence: int


class Declined(Wire, tag="Declined"):
    attempt: str
    fence: int
    reason: str


class Renew(Wire, tag="Renew"):
    attempts: tuple[tuple[str, int], ...]


class Progress(Wire, tag="Progress"):
    """Lossy and rate-limited; decides nothing. `kind`: phase, tokens, text, tool."""

    attempt: str
    fence: int
    kind: str
    note: str = ""
    usage: Usage | None = None


class Report(Wire, tag="Report"):
    """How an attempt ended. Kept in the worker's fsynced spool until answered Committed, Duplicate or Stale."""

    attempt: str
    fence: int
    end: End
    error_class: ErrorClass = ErrorClass.NONE
    message: str = ""
    not_before_ms: int = 0
    """Unix time before which the provider wants no further call (0: it named none)."""
    result: Result | None = None
    usage: Usage = Usage()
    sandbox: SandboxUsed | None = None
    binding: int = 0
    model: str = ""
    """The model that answered, by its own word."""
    executor: str = "worker"
    boot: str = ""
    host: str = ""
    wall_ms: int = 0
    prompt: str = ""
    """Text id of the rendered prompt."""
    transcript: str = ""
    """Text id of the transcript."""
    texts: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for people: what was degraded, repaired, retried."""
    signature: bytes = b""


class Stopped(Wire, tag="Stopped"):
    attempt: str
    fence: int
    guaranteed: bool
    """True when a pid namespace or container proves that nothing of it is left."""


class Goodbye(Wire, tag="Goodbye"):
    reason: str = ""


# ------------------------------------------------------------------------------------------- coordinator → worker


class Welcome(Wire, tag="Welcome"):
    session: str
    epoch: int
    lease_ms: int
    ping_ms: int
    idle_exit_ms: int
    blob_endpoint: str = ""
    ping_endpoint: str = ""


class Refused(Wire, tag="Refused"):
    code: str
    sentence: str


class Pong(Wire, tag="Pong"):
    sequence: int


class Assign(Wire, kw_only=True, tag="Assign"):
    """One attempt to execute. It was granted in the database before it was sent; re-sent until answered; idempotent by
    (attempt, fence)."""

    attempt: str
    fence: int
    task: str
    agent: str
    stage: str
    iteration: int
    capability: Capability
    binding: Binding
    prompt: Prompt
    inputs: tuple[Input, ...] = ()
    output_schema: str = ""
    """JSON schema of the agent's output, as text ("" : no output expected)."""
    workspace: WorkspaceRef | None = None
    sandbox: str = "auto"
    bound: Bound
    lease_ms: int
    measures: tuple[Measure, ...] = ()
    setup: ProjectSetup = ProjectSetup()
    repair: Repair | None = None
    record: str = ""
    """Path of a file that replies are recorded to (`--record`)."""


class Renewed(Wire, tag="Renewed"):
    attempts: tuple[tuple[str, int], ...]


class Fenced(Wire, tag="Fenced"):
    """The attempt is not this worker's any more: kill it, keep the spool."""

    attempt: str
    fence: int


class Committed(Wire, tag="Committed"):
    attempt: str
    fence: int


class Duplicate(Wire, tag="Duplicate"):
    attempt: str
    fence: int


class Stale(Wire, tag="Stale"):
    attempt: str
    fence: int


class Stop(Wire, tag="Stop"):
    attempt: str
    fence: int
    hard: bool = False


class Drain(Wire, tag="Drain"):
    reason: str = ""


class Nack(Wire, tag="Nack"):
    """A message that cannot be taken: stable code and a sentence. Sent either way."""

    code: str
    sentence: str


# ---------------------------------------------------------------------------------------------------- blob socket


class BlobPut(Wire, tag="BlobPut"):
    """One chunk; the bytes are the next frame of the same ZeroMQ message. `salt` belongs to the id.

    token: a worker's session or a client's token.
    """

    id: str
    salt: bytes
    size: int
    offset: int
    token: str = ""


class BlobGet(Wire, tag="BlobGet"):
    id: str
    offset: int = 0
    token: str = ""


class BlobAck(Wire, tag="BlobAck"):
    """To a put: `have` bytes are stored (== size: complete and verified). To a get: the chunk follows as next frame."""

    id: str
    size: int
    have: int
    salt: bytes = b""


FromWorker = Hello | Ping | Credit | Accepted | Declined | Renew | Progress | Report | Stopped | Goodbye | Nack
ToWorker = (
    Welcome | Refused | Pong | Assign | Renewed | Fenced | Committed | Duplicate | Stale | Stop | Drain | Goodbye | Nack
)
OnBlobSocket = BlobPut | BlobGet | BlobAck | Nack

_encoder = msgspec.json.Encoder()
_from_worker = msgspec.json.Decoder(list[FromWorker])
_to_worker = msgspec.json.Decoder(list[ToWorker])
_blob = msgspec.json.Decoder(OnBlobSocket)


def encode(messages: list[FromWorker] | list[ToWorker]) -> bytes:
    """One control frame."""
    return _encoder.encode(messages)


def encode_blob(message: OnBlobSocket) -> bytes:
    """The header frame of a blob message."""
    return _encoder.encode(message)


def decode_from_worker(frame: bytes) -> list[FromWorker]:
    """Messages of a worker's frame. Raises msgspec.ValidationError or DecodeError on anything outside the union."""
    return _from_worker.decode(frame)


def decode_to_worker(frame: bytes) -> list[ToWorker]:
    """Messages of a coordinator's frame. Raises as `decode_from_worker`."""
    return _to_worker.decode(frame)


def decode_blob(frame: bytes) -> OnBlobSocket:
    """The header of a blob message. Raises as `decode_from_worker`."""
    return _blob.decode(frame)
