"""The messages: one closed, tagged union in each direction, and their frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from loom.workers.protocol.limits import MAX_FRAME
from loom.workers.protocol.parts import (
    Binding,
    Bound,
    Capability,
    End,
    ErrorClass,
    Input,
    Measure,
    ProjectSetup,
    Prompt,
    Repair,
    Result,
    SandboxUsed,
    Text,
    Usage,
    WorkspaceRef,
)


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t"):
    """Base of every message: tagged with its own name, defaults left out, unknown fields ignored."""


# ------------------------------------------------------------------------------------------- worker → coordinator


class Hello(Wire, frozen=True, kw_only=True, tag="Hello"):
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
    key: str = ""
    """Verifier key of the signatures on its reports ("" : it signs none)."""
    as_of: int = 0
    """The worker's message counter, as in Credit: a Hello that was overtaken by later words accounts for nothing."""


class Ping(Wire, frozen=True, kw_only=True, tag="Ping"):
    session: str
    sequence: int


class Credit(Wire, frozen=True, kw_only=True, tag="Credit"):
    """Absolute number of free slots as of the worker's own message counter; a lower counter than the last is ignored."""

    free: int
    as_of: int


class Accepted(Wire, frozen=True, kw_only=True, tag="Accepted"):
    attempt: str
    fence: int


class Declined(Wire, frozen=True, kw_only=True, tag="Declined"):
    attempt: str
    fence: int
    reason: str


class Renew(Wire, frozen=True, kw_only=True, tag="Renew"):
    """`as_of`: the worker's message counter; Renewed brings it back, so that the worker counts from when it asked."""

    attempts: tuple[tuple[str, int], ...]
    as_of: int = 0


class Progress(Wire, frozen=True, kw_only=True, tag="Progress"):
    """Lossy and rate-limited; decides nothing. `kind`: phase, tokens, text, tool."""

    attempt: str
    fence: int
    kind: str
    note: str = ""
    usage: Usage | None = None


class Report(Wire, frozen=True, kw_only=True, tag="Report"):
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


class Stopped(Wire, frozen=True, kw_only=True, tag="Stopped"):
    attempt: str
    fence: int
    guaranteed: bool
    """True when a pid namespace or container proves that nothing of it is left."""


class Goodbye(Wire, frozen=True, kw_only=True, tag="Goodbye"):
    reason: str = ""


# ------------------------------------------------------------------------------------------- coordinator → worker


class Welcome(Wire, frozen=True, kw_only=True, tag="Welcome"):
    session: str
    epoch: int
    lease_ms: int
    ping_ms: int
    idle_exit_ms: int
    blob_endpoint: str = ""
    ping_endpoint: str = ""


class Refused(Wire, frozen=True, kw_only=True, tag="Refused"):
    code: str
    sentence: str


class Pong(Wire, frozen=True, kw_only=True, tag="Pong"):
    sequence: int


class Assign(Wire, frozen=True, kw_only=True, tag="Assign"):
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
    reconciles: str = ""
    """Of an act: the attempt in doubt before it ("" : none). What that one did outside is looked for first."""


class Renewed(Wire, frozen=True, kw_only=True, tag="Renewed"):
    attempts: tuple[tuple[str, int], ...]
    as_of: int = 0


class Fenced(Wire, frozen=True, kw_only=True, tag="Fenced"):
    """The attempt is not this worker's any more: kill it, keep the spool."""

    attempt: str
    fence: int


class Committed(Wire, frozen=True, kw_only=True, tag="Committed"):
    attempt: str
    fence: int


class Duplicate(Wire, frozen=True, kw_only=True, tag="Duplicate"):
    attempt: str
    fence: int


class Stale(Wire, frozen=True, kw_only=True, tag="Stale"):
    attempt: str
    fence: int


class Stop(Wire, frozen=True, kw_only=True, tag="Stop"):
    attempt: str
    fence: int
    hard: bool = False


class Drain(Wire, frozen=True, kw_only=True, tag="Drain"):
    reason: str = ""


class Nack(Wire, frozen=True, kw_only=True, tag="Nack"):
    """A message that cannot be taken: stable code and a sentence. Sent either way."""

    code: str
    sentence: str


# ---------------------------------------------------------------------------------------------------- blob socket


class BlobPut(Wire, frozen=True, kw_only=True, tag="BlobPut"):
    """One chunk; the bytes are the next frame of the same ZeroMQ message. `salt` belongs to the id.

    token: a worker's session or a client's token.
    """

    id: str
    salt: bytes
    size: int
    offset: int
    token: str = ""


class BlobGet(Wire, frozen=True, kw_only=True, tag="BlobGet"):
    id: str
    offset: int = 0
    token: str = ""


class BlobAck(Wire, frozen=True, kw_only=True, tag="BlobAck"):
    """To a put: `have` bytes are stored (== size: complete and verified). To a get: the chunk follows as next frame."""

    id: str
    size: int
    have: int
    salt: bytes = b""


# --------------------------------------------------------------------------------------------------- enrol socket


class Enrol(Wire, frozen=True, kw_only=True, tag="Enrol"):
    """The one message of the enrol socket: let me in, by this secret. The key is the connection's own."""

    secret: str
    worker: str
    low: int
    high: int
    host: str = ""


class Enrolled(Wire, frozen=True, kw_only=True, tag="Enrolled"):
    """The key is enrolled under this name. `control`: where to say Hello; a host `*` is the one that was asked."""

    worker: str
    control: str
    labels: tuple[str, ...] = ()


FromWorker = Hello | Ping | Credit | Accepted | Declined | Renew | Progress | Report | Stopped | Goodbye | Nack
ToWorker = (
    Welcome | Refused | Pong | Assign | Renewed | Fenced | Committed | Duplicate | Stale | Stop | Drain | Goodbye | Nack
)
OnBlobSocket = BlobPut | BlobGet | BlobAck | Nack
OnEnrolSocket = Enrol | Enrolled | Refused

T = TypeVar("T")


class Malformed(ValueError):
    """A frame is none of its protocol: no JSON, no UTF-8, nested too deep, outside the union."""


def decoded(decoder: msgspec.json.Decoder[T], frame: bytes) -> T:
    """What the frame says. Raises Malformed, and nothing else, whatever the bytes are."""
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: bytes that are not UTF-8
        raise Malformed(str(error)) from error


_encoder = msgspec.json.Encoder()
_from_worker = msgspec.json.Decoder(list[FromWorker])
_to_worker = msgspec.json.Decoder(list[ToWorker])
_enrol: msgspec.json.Decoder[OnEnrolSocket] = msgspec.json.Decoder(OnEnrolSocket)
_blob: msgspec.json.Decoder[OnBlobSocket] = msgspec.json.Decoder(OnBlobSocket)


def encode(messages: Sequence[FromWorker] | Sequence[ToWorker]) -> bytes:
    """One control frame."""
    return _encoder.encode(messages)


def frames(messages: Sequence[FromWorker] | Sequence[ToWorker]) -> list[bytes]:
    """Control frames of at most MAX_FRAME bytes, in order. Raises ValueError for a single message that is longer."""
    frame = _encoder.encode(messages)
    if len(frame) <= MAX_FRAME:
        return [frame]
    if len(messages) == 1:
        kind = type(messages[0]).__name__
        raise ValueError(f"a {kind} of {len(frame)} bytes fits no control frame ({MAX_FRAME}): put its texts as blobs")
    half = len(messages) // 2
    return [*frames(messages[:half]), *frames(messages[half:])]


def encode_blob(message: OnBlobSocket) -> bytes:
    """The header frame of a blob message."""
    return _encoder.encode(message)


def decode_from_worker(frame: bytes) -> list[FromWorker]:
    """Messages of a worker's frame. Raises Malformed on anything outside the union."""
    return decoded(_from_worker, frame)


def decode_to_worker(frame: bytes) -> list[ToWorker]:
    """Messages of a coordinator's frame. Raises as `decode_from_worker`."""
    return decoded(_to_worker, frame)


def decode_blob(frame: bytes) -> OnBlobSocket:
    """The header of a blob message. Raises as `decode_from_worker`."""
    return decoded(_blob, frame)


def encode_enrol(message: OnEnrolSocket) -> bytes:
    """The one frame of the enrol socket."""
    return _encoder.encode(message)


def decode_enrol(frame: bytes) -> OnEnrolSocket:
    """A message of the enrol socket. Raises as `decode_from_worker`."""
    return decoded(_enrol, frame)
