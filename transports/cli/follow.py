"""Following a task: its chain as it grows, a question where a person has to decide, and Ctrl-C that never loses work."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from loom.coordinator.errors import BlobMissing
from loom.coordinator.home import Home
from loom.transports.chain import Chain, Text
from loom.transports.cli import output, picture
from loom.transports.errors import UnavailableProblem

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from loom.coordinator.queries import Queries

POLL_S = 0.15
"""Seconds between two looks at the record, when nobody says that there is something new."""
GIVE_UP_S = 60.0
"""Seconds without a coordinator, which is started again and again meanwhile, until following ends."""
AGAIN_S = 3.0
"""Seconds in which a second Ctrl-C cancels the task."""

Stop = Literal["over", "gate", "detached", "cancelled"]


class Watcher(Protocol):
    """What is heard of running attempts between two entries; lossy."""

    def take(self) -> dict[str, str]:
        """attempt → the last note, of everything heard so far."""
        ...

    def trouble(self) -> tuple[float, str]:
        """(for how many seconds no coordinator could be had, why)."""
        ...

    def close(self) -> None: ...


@dataclass
class Follower:
    """One task that is followed. quiet: nothing is printed (`--json`)."""

    home: Home
    task: str
    watcher: Watcher
    quiet: bool = False
    chain: Chain = field(default_factory=Chain)
    _since: int = 0
    _printed: set[int] = field(default_factory=set)
    _headed: bool = False
    _texts: dict[str, str] = field(default_factory=dict)

    def follow(self, cancel: Callable[[], None]) -> Stop:
        """Until the task is over, a gate opens, or a person leaves. cancel: what a second Ctrl-C does."""
        stop = asyncio.run(self._follow())
        if stop != "detached":
            return stop
        try:
            output.note(f"\nDetached. {self.task} goes on without you. Ctrl-C again within {AGAIN_S:.0f} s cancels it.")
            time.sleep(AGAIN_S)
        except KeyboardInterrupt:
            cancel()
            output.note(f"{self.task} is cancelled.")
            return "cancelled"
        output.note(f"  loom log -f {self.task} · loom show {self.task} · loom cancel {self.task}")
        return "detached"

    async def _follow(self) -> Stop:
        from loom.coordinator.queries import Queries

        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGINT, interrupted.set)
        try:
            async with Queries.opened(self.home.database, self.home.blobs) as queries:
                with self._screen() as screen:
                    return await self._watch(queries, screen, interrupted)
        finally:
            with suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(signal.SIGINT)

    async def _watch(self, queries: Queries, screen: _Screen, interrupted: asyncio.Event) -> Stop:
        while True:
            await self.read(queries)
            self._show(screen)
            if self.chain.over:
                return "over"
            if self.chain.gate is not None:
                return "gate"
            silent_s, why = self.watcher.trouble()
            if silent_s > GIVE_UP_S:
                raise UnavailableProblem(f"No coordinator could be had for {silent_s:.0f} s: {why}", "loom doctor")
            with suppress(TimeoutError):
                await asyncio.wait_for(interrupted.wait(), POLL_S)
                return "detached"

    async def read(self, queries: Queries) -> None:
        """Takes what is new in the record, and the texts that the new lines show."""
        found = await queries.log(self.task, since=self._since)
        group: list[tuple[str, dict[str, Any]]] = []
        at: tuple[int, int] | None = None
        for event in found["events"]:
            if at is not None and at[0] != event["seq"]:
                self.chain.apply(at[1], group)
                group = []
            at = (event["seq"], event["now_ms"])
            group.append((event["kind"], event["fields"]))
        if at is not None:
            self.chain.apply(at[1], group)
        self._since = found["next_seq"]
        for text in self._shown_texts():
            if text.blob and text.blob not in self._texts:
                self._texts[text.blob] = await _text(queries, text.blob)

    def _shown_texts(self) -> Iterator[Text]:
        yield self.chain.text
        for link in self.chain.links:
            yield link.note
            for found in link.findings[: picture.MAX_FINDINGS]:
                yield from (found.message, found.evidence)

    def text(self, text: Text) -> str:
        """The whole of a text that was read."""
        return self._texts.get(text.blob, "") if text.blob else text.value

    # ------------------------------------------------------------------------------------------------------- showing

    def _show(self, screen: _Screen) -> None:
        if self.quiet:
            return
        if not self._headed and self.chain.task:
            self._headed = True
            for line in picture.heading(self.chain, screen.width, self.text):
                screen.put(line)
        for number, link in enumerate(self.chain.links):
            if number not in self._printed and link.state not in ("ready", "running", "waiting"):
                self._printed.add(number)
                for line in picture.finished(link, screen.width, self.text):
                    screen.put(line)
        now_ms = time.time_ns() // 1_000_000
        screen.move(list(picture.moving(self.chain, screen.width, now_ms, self.watcher.take())))

    @contextmanager
    def _screen(self) -> Iterator[_Screen]:
        if self.quiet or not output.terminal():
            yield _Screen(None, None)
            return
        from rich.live import Live

        console = output.console()
        with Live(
            console=console, transient=True, refresh_per_second=8, redirect_stdout=False, redirect_stderr=False
        ) as live:
            yield _Screen(console, live)


async def _text(queries: Queries, identifier: str) -> str:
    try:
        return (await queries.text(identifier)).decode(errors="replace")
    except BlobMissing:
        return ""


@dataclass
class _Screen:
    """Where lines go: above the moving part of a terminal, or plainly into a pipe."""

    console: Console | None
    live: Live | None

    @property
    def width(self) -> int:
        return self.console.width if self.console is not None else picture.PIPE_WIDTH

    def put(self, line: Any) -> None:
        if self.live is not None:
            self.live.console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        else:
            print(line.plain.rstrip(), flush=True)

    def move(self, lines: list[Any]) -> None:
        if self.live is not None:
            from rich.console import Group

            for line in lines:
                line.no_wrap, line.overflow = True, "ellipsis"
            self.live.update(Group(*lines))
