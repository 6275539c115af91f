"""The seams of the hands: what a provider, a harness and a sandbox is, as data and protocols.

Each seam ships its fake beside it, and every implementation passes the seam's conformance suite
(`tests/conformance`). All of it runs in the worker's asyncio thread; cancelling the task of an attempt must end
everything that it started. Errors of the outside world are `HandsError` with a class that the kernel understands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loom.workers.protocol import Binding, Bound, ErrorClass, SandboxUsed, Usage


class HandsError(Exception):
    """An attempt failed for a reason that the kernel can act on.

    error_class: what to do next; message: one sentence for people, without secrets; not_before_ms: Unix time named by the
    provider (0: none); status: HTTP status or exit code if there was one.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        *,
        not_before_ms: int = 0,
        status: int = 0,
        usage: Usage | None = None,
        transcript: str = "",
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.not_before_ms = not_before_ms
        self.status = status
        self.usage = usage or Usage()
        self.transcript = transcript
        self.sandbox: SandboxUsed | None = None
        """What contained the work until it failed; a harness sets it."""


# -------------------------------------------------------------------------------------------------------- providers


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call: JSON schema of its arguments as a dict."""

    name: str
    description: str
    parameters: dict[str, object]


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. role: user, assistant, tool (then `call_id` names the call that it answers)."""

    role: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the process a model call stands; `recorded` matches replies by it."""

    agent: str
    stage: str
    iteration: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call. `system` is the stable, cacheable prefix. `schema`: ask for structured output of this JSON schema."""

    binding: Binding
    system: str
    messages: tuple[Message, ...]
    position: Position
    schema: dict[str, object] | None = None
    tools: tuple[Tool, ...] = ()
    max_output_tokens: int = 16_000
    timeout_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class ModelReply:
    """The model's answer. `stop`: end, tool, length."""

    text: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    model: str
    stop: str = "end"
    notes: tuple[str, ...] = ()


class Provider(Protocol):
    """One family of model APIs."""

    family: str

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """One call, streamed: `on_text` gets text as it comes. Raises HandsError with the right class."""
        ...

    async def aclose(self) -> None: ...


# -------------------------------------------------------------------------------------------------------- sandboxes


@dataclass(frozen=True, slots=True)
class Command:
    """A command line to be contained. Paths are host paths; `writable` and `readable` appear inside at the same path.

    env is the whole environment (an allow-list was applied before). network: "none" or "shared".
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    network: str = "none"
    memory_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a part works here, by having been run; `reason` is a sentence with the mend when it does not."""

    works: bool
    reason: str
    version: str = ""


class Sandbox(Protocol):
    """One way to contain a command line."""

    kind: str

    def probe(self) -> Probe:
        """Really runs a trivial command in it (cached by the caller)."""
        ...

    def wrap(self, command: Command) -> Command:
        """The command line to start on the host instead, with the environment that it needs."""
        ...

    def used(self, command: Command, credentials: str = "") -> SandboxUsed:
        """What the record says about the containment that `wrap` gives."""
        ...


# ------------------------------------------------------------------------------------------------- processes, harnesses


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended: exit code (negative: signal), captured tail of both streams, and whether a limit killed it."""

    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    truncated: bool = False


RunCommand = Callable[..., Awaitable[Finished]]
"""`run(command, stdin=b"", timeout_ms=…, idle_ms=…, on_line=None, max_output=…)`: see workers/processes.py."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an agent with hands is asked to do. `workspace` is None for capability answer."""

    binding: Binding
    capability: str
    system: str
    prompt: str
    position: Position
    bound: Bound
    workspace: Path | None
    scratch: Path
    """Private directory of this attempt (HOME of the tool, its logs); never part of the result."""
    schema: dict[str, object] | None = None
    checks: Callable[[], Awaitable[str]] | None = None
    """Runs the project's checks on the present tree and returns their output (for harnesses that offer it as a tool)."""


@dataclass(frozen=True, slots=True)
class HandsReply:
    """What came back: the final text (or JSON text), usage, model, transcript (one text for people), what contained it."""

    text: str
    usage: Usage
    model: str
    transcript: str
    sandbox: SandboxUsed
    session: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hands:
    """What a harness may use: the sandbox, the process runner, the providers, secrets by name, and progress."""

    sandbox: Sandbox
    run: RunCommand
    provider: Callable[[str], Provider]
    """Provider of a family."""
    secret: Callable[[str], str | None]
    """A secret by name (environment, then the home's secret store)."""
    progress: Callable[[str, str], None] = field(default=lambda kind, note: None)


class Harness(Protocol):
    """One way to let a model work: an agent CLI, or our own tool loop."""

    name: str

    def probe(self) -> Probe: ...

    async def run(self, job: Job, hands: Hands) -> HandsReply:
        """Works until done. Raises HandsError. Success of an edit is judged by the caller, by the diff."""
        ...


# ---------------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found. done: the sentence that says so ("" : it is not done); obstacle: what stands in the way ("" : nothing)."""

    done: str = ""
    obstacle: str = ""


class Effect(Protocol):
    """One thing to do outside. Both raise HandsError: PERMANENT when nothing was done, and only then."""

    async def look(self) -> Seen:
        """Whether it is done, or can be; changes nothing."""
        ...

    async def do(self) -> str:
        """Does it; one sentence about what was done."""
        ...
