"""Traces as files: commands that lead a task of a bundle somewhere, and playing them through the kernel, without a home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loom.bundles.checking.traces import Given
from loom.coordinator.codec import decode_command, encode_command
from loom.coordinator.errors import CodecError
from loom.kernel.flow import Bundle
from loom.kernel.machine import Rejection, Tick, tick
from loom.kernel.replay import HOME_COMMANDS
from loom.kernel.state import TaskState
from loom.kernel.values import Principal
from loom.kernel.work import ask_directly, recorded_silence, rules_for
from loom.transports.errors import UsageProblem

FORMAT = 1
MAX_TRACE_BYTES = 16 * 1024 * 1024


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One command: when, by whom, and which functions of the bundle did not answer."""

    now_ms: int
    principal: Principal
    command: msgspec.Raw
    unanswered: tuple[str, ...] = ()


class TraceFile(msgspec.Struct, forbid_unknown_fields=True):
    """The file. bundle: the reference that it was made with; digest: of that bundle."""

    loom_trace: int
    bundle: str
    digest: str
    property: str
    sentence: str
    commands: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """One command and what the kernel made of it."""

    number: int
    given: Given
    taken: Tick | Rejection


def write(path: Path, bundle: str, digest: str, about: tuple[str, str], commands: tuple[Given, ...]) -> None:
    """Keep a trace. about: the property and the sentence. Raises UsageProblem when it cannot be written."""
    lines = tuple(
        Line(one.now_ms, one.principal, msgspec.Raw(encode_command(one.command)), one.unanswered) for one in commands
    )
    whole = msgspec.json.encode(TraceFile(FORMAT, bundle, digest, *about, lines))
    try:
        path.write_bytes(msgspec.json.format(whole, indent=1) + b"\n")
    except OSError as error:
        raise UsageProblem(f"{path} cannot be written: {error.strerror}.") from error


def read(path: Path) -> tuple[TraceFile, tuple[Given, ...]]:
    """A trace that was kept. Raises UsageProblem when there is none, or when it cannot be read."""
    try:
        if path.stat().st_size > MAX_TRACE_BYTES:
            raise UsageProblem(f"{path} is longer than {MAX_TRACE_BYTES} bytes; that is no trace.")
        whole = msgspec.json.decode(path.read_bytes(), type=TraceFile)
        found = tuple(_given(line) for line in whole.commands)
    except OSError as error:
        raise UsageProblem(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.MsgspecError, CodecError, RecursionError) as error:
        raise UsageProblem(f"{path} is no trace: {error}", "loom bundle check NAME --trace FILE") from error
    if whole.loom_trace != FORMAT:
        raise UsageProblem(f"{path} is a trace of format {whole.loom_trace}; this loom reads {FORMAT}.")
    return whole, found


def _given(line: Line) -> Given:
    command = decode_command(line.command)
    if isinstance(command, HOME_COMMANDS):
        raise CodecError(f"{type(command).__name__} is about a home; a trace is about one task.")
    return Given(line.now_ms, line.principal, command, line.unanswered)


class _NoHome:
    """A trace hangs on nothing in a home."""

    def read(self, name: str) -> str:
        return ""


def played(bundle: Bundle, commands: tuple[Given, ...]) -> Iterator[Played]:
    """Take the commands in order. What is rejected changes nothing, and the next is taken all the same."""
    rules = rules_for(bundle)
    task: TaskState | None = None
    for number, one in enumerate(commands, 1):
        taken = tick(rules, task, _NoHome(), one.principal, one.command, one.now_ms, _asking(one))
        if isinstance(taken, Tick):
            task = taken.task
        yield Played(number, one, taken)


def _asking(given: Given) -> Callable[..., Any]:
    def ask(name: str, function: Any, *arguments: Any) -> Any:
        if silence := recorded_silence(name, given.unanswered):
            raise silence
        return ask_directly(name, function, *arguments)

    return ask
