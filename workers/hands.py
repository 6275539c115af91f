"""The thread in which attempts run: an asyncio loop with one task an attempt, started with the first that needs it.

The worker's loop calls in from its own thread; what happened comes back through `take`, after `wake` was called.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from loom.workers.actions import Key
from loom.workers.blobs import BlobError
from loom.workers.protocol import Assign, Capability, End, ErrorClass, Progress, Report, Text
from loom.workers.seams import HandsError

CLOSE_S = 20.0
"""How long the attempts may take to end when the worker leaves."""
PROGRESS_KEPT = 256


class Hooks(Protocol):
    """See loom.workers.executor.Hooks."""

    async def fetch_text(self, text_id: str, /) -> bytes: ...
    async def store_text(self, text: Text, /) -> None: ...
    def progress(self, kind: str, note: str, /) -> None: ...


class Executes(Protocol):
    """What carries out an attempt: loom.workers.executor.Executor, or a fake."""

    async def execute(self, assign: Assign, hooks: Hooks) -> Report: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    report: Report


@dataclass(frozen=True, slots=True)
class Vanished:
    """Killed, no report. guaranteed: nothing of it can be left (it was a call, not a process)."""

    key: Key
    guaranteed: bool


Happened = Ended | Vanished | Progress


class Hands:
    """Runs attempts. `make`: the executor, made in the thread; fetch, keep: texts from the coordinator, into the spool."""

    def __init__(
        self,
        *,
        make: Callable[[], Executes],
        fetch: Callable[[str], Future[bytes]],
        keep: Callable[[Text], None],
        wake: Callable[[], None],
    ) -> None:
        self._make, self._fetch, self._keep, self._wake = make, fetch, keep, wake
        self._happened: deque[Happened] = deque()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._executor: Executes | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    # ------------------------------------------------------------------------------------ from the worker's loop

    def start(self, assign: Assign) -> None:
        self._in_loop(self._begin, assign)

    def kill(self, key: Key) -> None:
        self._in_loop(self._cancel, key)

    def take(self) -> list[Happened]:
        """What happened since the last call, in order."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._happened.popleft())
        return found

    def close(self) -> None:
        """Ends every attempt and the thread."""
        if self._thread is not None and self._loop is not None:
            self._in_loop(self._stop)
            self._thread.join(CLOSE_S)

    def _in_loop(self, call: Callable[..., None], *arguments: object) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hands", daemon=True)
            self._thread.start()
            self._ready.wait()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call, *arguments)

    # --------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._ready.set()
        await self._over.wait()
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._executor is not None:
            await self._executor.aclose()

    def _stop(self) -> None:
        self._over.set()

    def _begin(self, assign: Assign) -> None:
        key = (assign.attempt, assign.fence)
        task = asyncio.get_running_loop().create_task(self._execute(assign))
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._done(key, assign, done))

    def _cancel(self, key: Key) -> None:
        if task := self._tasks.get(key):
            task.cancel()

    async def _execute(self, assign: Assign) -> None:
        try:
            if self._executor is None:
                self._executor = await asyncio.to_thread(self._make)
            report = await self._executor.execute(assign, _AttemptHooks(self, assign))
        except Exception as error:
            sentence = f"the worker could not carry the attempt to its report: {type(error).__name__}: {error}"
            report = Report(
                attempt=assign.attempt,
                fence=assign.fence,
                end=End.FAILED,
                error_class=ErrorClass.TRANSIENT,
                message=sentence,
                binding=assign.binding.index,
            )
        self._tell(Ended(report))

    def _done(self, key: Key, assign: Assign, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if task.cancelled():
            self._tell(Vanished(key, guaranteed=assign.capability is Capability.ANSWER))

    def _tell(self, happened: Happened) -> None:
        self._happened.append(happened)
        self._wake()

    async def fetch(self, text_id: str) -> bytes:
        try:
            return await asyncio.wrap_future(self._fetch(text_id))
        except BlobError as error:
            raise HandsError(ErrorClass.TRANSIENT, f"an input could not be fetched: {error}") from error

    async def keep(self, text: Text) -> None:
        await asyncio.to_thread(self._keep, text)

    def note(self, progress: Progress) -> None:
        if len(self._happened) < PROGRESS_KEPT:
            self._tell(progress)


class _AttemptHooks:
    """What one attempt may ask of the worker."""

    def __init__(self, hands: Hands, assign: Assign) -> None:
        self._hands, self._assign = hands, assign

    async def fetch_text(self, text_id: str, /) -> bytes:
        return await self._hands.fetch(text_id)

    async def store_text(self, text: Text, /) -> None:
        await self._hands.keep(text)

    def progress(self, kind: str, note: str, /) -> None:
        self._hands.note(Progress(attempt=self._assign.attempt, fence=self._assign.fence, kind=kind, note=note))
