"""One attempt from assignment to report: the only door of the hands that the worker's loop knows.

    fetch inputs → prepare the workspace → render the prompt → provider, harness or checks → parse the output
    → snapshot and publish an edit → measure → report

Whatever fails inside becomes a Report with the class that the kernel acts on; only cancellation passes through, after
everything that the attempt started has ended. Nothing here is durable: the loop spools the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from msgspec import structs

from loom.workers import attempts
from loom.workers.harnesses.registry import Harnesses
from loom.workers.protocol import Assign, End, ErrorClass, Report, Result, Text
from loom.workers.providers.registry import Providers
from loom.workers.sandboxes import choose
from loom.workers.seams import HandsError, Sandbox
from loom.workers.texts import Redactor, Texts, fitted
from loom.workers.workspaces import Pool

SECRETS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "OLLAMA_API_KEY",
)
"""Names of the keys that the built-in hands use; their values are cut out of everything that is reported."""
MAX_MESSAGE = 4_000
"""Characters of an error's sentence."""
MAX_NOTES = 20
MAX_NOTE = 500
PROGRESS_S = 0.25
"""Seconds between two progress notes of streamed text."""
MAX_PROGRESS = 160
"""Characters of one progress note."""


class Hooks(Protocol):
    """What an attempt needs of the worker's loop."""

    async def fetch_text(self, text_id: str, /) -> bytes:
        """The bytes of an input text, from the coordinator. Raises HandsError (transient) when they cannot be had."""
        ...

    async def store_text(self, text: Text, /) -> None:
        """Takes a text that is too large for the report's frame: spools it durably and brings it over the blob socket."""
        ...

    def progress(self, kind: str, note: str, /) -> None:
        """A note for whoever watches; lossy."""
        ...


@dataclass(slots=True)
class Executor:
    """The hands of one worker.

    scratch: a directory of the worker's own; each attempt gets one below it, and it is gone afterwards.
    sandbox: the sandbox for an assignment's wish ("auto", "bubblewrap", …); and a sentence when it is less
        than was hoped for; raises HandsError when it cannot be had.
    secret: a secret by name; secret_names: names beyond `SECRETS` whose values must not be reported.
    mirrors: where repositories of other hosts are mirrored. pool: used working trees, to be renewed.
    """

    scratch: Path
    providers: Providers
    secret: Callable[[str], str | None]
    sandbox: Callable[[str], tuple[Sandbox, str]] = choose
    harnesses: Harnesses = field(default_factory=Harnesses)
    secret_names: Sequence[str] = ()
    mirrors: Path | None = None
    pool: Pool | None = None
    boot: str = ""
    host: str = ""

    async def execute(self, assign: Assign, hooks: Hooks) -> Report:
        """Executes one attempt and reports how it ended. Raises only CancelledError, and what `hooks.store_text` raises."""
        started = time.monotonic()
        redactor = Redactor(self._secrets(assign))
        texts = Texts(redactor)
        progress = _Progress(hooks, redactor)
        attempt = attempts.Attempt(
            means=self,
            assign=assign,
            fetch=hooks.fetch_text,
            texts=texts,
            redact=redactor,
            progress=progress.note,
            folder=self.scratch / _folder(assign),
        )
        failure: HandsError | None = None
        result: Result | None = None
        try:
            async with asyncio.timeout(assign.bound.wall_ms / 1000 + attempts.GRACE_S):
                result = await attempt.run()
        except HandsError as error:
            failure = error
        except TimeoutError:
            failure = HandsError(ErrorClass.LIMIT, f"not done within {assign.bound.wall_ms / 1000:g} s")
        except Exception as error:
            failure = unexpected(error)
        finally:
            await asyncio.shield(attempt.clean())
        wall_ms = int((time.monotonic() - started) * 1000)
        if failure is None:
            report = self._report(attempt, result, redactor, wall_ms)
        else:
            report = self._failed(attempt, failure, redactor, wall_ms)
        report = structs.replace(report, transcript=texts.add(attempt.transcript))
        return await fitted(report, texts.all(), hooks.store_text)

    async def aclose(self) -> None:
        """Closes what providers hold open."""
        await self.providers.aclose()

    def _secrets(self, assign: Assign) -> dict[str, str | None]:
        known = {name: self.secret(name) for name in (*SECRETS, *self.secret_names)}
        if assign.workspace is not None:
            known["workspace token"] = assign.workspace.token
        return known

    def _failed(self, attempt: attempts.Attempt, failure: HandsError, redact: Redactor, wall_ms: int) -> Report:
        attempt.transcript = attempt.transcript or failure.transcript
        return structs.replace(
            self._report(attempt, attempt.unfinished, redact, wall_ms),
            end=End.FAILED,
            error_class=failure.error_class,
            message=redact(failure.message)[:MAX_MESSAGE],
            not_before_ms=failure.not_before_ms,
        )

    def _report(self, attempt: attempts.Attempt, result: Result | None, redact: Redactor, wall_ms: int) -> Report:
        assign = attempt.assign
        return Report(
            attempt=assign.attempt,
            fence=assign.fence,
            end=End.REPORTED,
            result=None if result is None else _redacted(result, redact),
            usage=attempt.usage,
            sandbox=attempt.sandbox_used,
            binding=assign.binding.index,
            model=redact(attempt.model),
            boot=self.boot,
            host=self.host,
            wall_ms=wall_ms,
            prompt=attempt.prompt,
            notes=tuple(redact(note)[:MAX_NOTE] for note in attempt.notes[:MAX_NOTES]),
        )


def _folder(assign: Assign) -> str:
    """A directory name for an attempt: its own name has signs that are not for paths."""
    return f"{hashlib.sha256(assign.attempt.encode()).hexdigest()[:16]}-{assign.fence}"


def unexpected(error: Exception) -> HandsError:
    """A fault of ours: transient (another attempt may go another way), its traceback in the transcript."""
    shown = "".join(traceback.format_exception(error))
    return HandsError(ErrorClass.TRANSIENT, f"the worker failed: {type(error).__name__}: {error}", transcript=shown)


def _redacted(result: Result, redact: Redactor) -> Result:
    return structs.replace(
        result,
        output=redact(result.output),
        measured={fact: redact(value) for fact, value in result.measured.items()},
        statements=tuple(structs.replace(each, summary=redact(each.summary)) for each in result.statements),
    )


class _Progress:
    """Passes notes on: streamed text at most every `PROGRESS_S`, without secrets, short. A watcher's fault is not ours."""

    def __init__(self, hooks: Hooks, redact: Redactor) -> None:
        self._hooks = hooks
        self._redact = redact
        self._line = ""
        self._last = 0.0

    def note(self, kind: str, note: str) -> None:
        if kind == "text":
            self._line = (self._line + note)[-4 * MAX_PROGRESS :]
            if time.monotonic() - self._last < PROGRESS_S:
                return
            self._last = time.monotonic()
            note = self._line
        shown = " ".join(self._redact(note).split())
        with contextlib.suppress(Exception):
            self._hooks.progress(kind, shown[-MAX_PROGRESS:] if kind == "text" else shown[:MAX_PROGRESS])
