"""The family `recorded`: replies from a file, scripted or recorded, and the recorder that writes one.

It is named as what it is on every surface: the model of a reply is `recorded/<kind>:<file name>`. Nothing is paid. A prompt
that differs from the one a reply was recorded for is reported in a note, never hidden.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from loom.workers.protocol import ErrorClass, Usage
from loom.workers.providers import common, replies
from loom.workers.seams import HandsError, ModelReply, ModelRequest, Provider, ToolCall


class RecordedProvider:
    """Serves `binding.model`, the path of a file of replies. A file that changes is read again."""

    family = "recorded"

    def __init__(self) -> None:
        self._read: dict[str, tuple[tuple[int, int], replies.Replies]] = {}

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """See `seams.Provider`. A missing reply is a permanent error that names position and file."""
        found = self._replies(request.binding.model)
        entry = found.find(request.position)
        notes: tuple[str, ...] = ()
        if entry.prompt_digest and entry.prompt_digest != common.digest(request):
            at = request.position
            notes = (
                f"the prompt of {at.agent} (stage {at.stage}, iteration {at.iteration}, call {at.ordinal}) is not the one "
                f"that the reply in {found.path.name} was recorded for",
            )
        text = entry.reply.words()
        if text:
            on_text(text)
        await asyncio.sleep(0)  # a reply from a file must not keep the worker's other attempts from their turn
        calls = tuple(
            ToolCall(f"call_{request.position.ordinal}_{number}", call.name, dict(call.arguments))
            for number, call in enumerate(entry.reply.calls)
        )
        counted = entry.reply.usage
        usage = Usage(
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
            cached_tokens=counted.cached_tokens,
            calls=1,
            cost_microusd=0,
            price="recorded",
        )
        model = f"recorded/{found.header.kind}:{found.path.name}"
        return ModelReply(text, calls, usage, model, "tool" if calls else "end", notes)

    async def aclose(self) -> None:
        """Nothing is open."""
        self._read.clear()

    def _replies(self, model: str) -> replies.Replies:
        path = Path(model)
        try:
            facts = path.stat()
        except OSError as error:
            raise HandsError(ErrorClass.PERMANENT, f"{path}: cannot be read ({error.strerror})") from error
        version = (facts.st_mtime_ns, facts.st_size)
        known = self._read.get(model)
        if known is None or known[0] != version:
            known = self._read[model] = (version, replies.load(path))
        return known[1]


class Recorder:
    """A provider whose every reply is written to a file of replies as well; failures are not replies and are not written."""

    def __init__(self, inner: Provider, path: Path) -> None:
        self.family = inner.family
        self._inner = inner
        self._path = path

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """See `seams.Provider`; raises HandsError (permanent) too when the file cannot be written."""
        reply = await self._inner.complete(request, on_text)
        at = request.position
        usage = reply.usage
        entry = replies.Entry(
            agent=at.agent,
            stage=at.stage,
            iteration=at.iteration,
            ordinal=at.ordinal,
            reply=replies.Reply(
                text=reply.text,
                calls=tuple(replies.Call(call.name, call.arguments) for call in reply.calls),
                usage=replies.Tokens(usage.input_tokens, usage.output_tokens, usage.cached_tokens),
            ),
            prompt_digest=common.digest(request),
        )
        append(self._path, entry, note=f"recorded from {request.binding.ref}")
        return reply

    async def aclose(self) -> None:
        """Closes the provider within."""
        await self._inner.aclose()


def append(path: Path, entry: replies.Entry, *, note: str = "") -> None:
    """Adds one line, with the header first in an empty file; several workers may write to one file at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            lines = b""
            if os.fstat(handle).st_size == 0:
                lines = msgspec.json.encode(replies.Header(replies.FORMAT, "recorded", note)) + b"\n"
            os.write(handle, lines + msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        raise HandsError(
            ErrorClass.PERMANENT, f"{path}: replies cannot be recorded there ({error.strerror})"
        ) from error
