"""A relay between workers and the coordinator that can be slow, silent, or break: TCP, byte for byte.

Every connection of a host passes its `Link`. A slow link holds each piece back; a silent one holds everything and tells
nobody (what a dead switch does); `drop` breaks the connections where they stand, perhaps in the middle of a message.
All relays share one thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import TypeVar

PIECE_BYTES = 16 * 1024
DIAL_S = 10.0
CLOSE_S = 5.0

Address = tuple[str, int]
"""(host, port)."""
T = TypeVar("T")


class Link:
    """How a host's connections are now. All of it may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = asyncio.Event()
        self._open.set()
        self.delay_s = 0.0
        self.writers: set[asyncio.StreamWriter] = set()

    def silence(self) -> None:
        """From now on nothing passes."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self) -> None:
        """Everything passes again, what was held first."""
        self.delay_s = 0.0
        self._loop.call_soon_threadsafe(self._open.set)

    def drop(self) -> None:
        """Breaks every connection with a reset."""
        self._loop.call_soon_threadsafe(self._break)

    def _break(self) -> None:
        for writer in tuple(self.writers):
            writer.transport.abort()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until either end is gone."""
        self.writers.add(writer)
        try:
            while piece := await reader.read(PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._open.wait()
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass  # reset by one of the two: both learn it
        finally:
            self.writers.discard(writer)
            writer.transport.abort()


class Relays:
    """The thread that all relays run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()

    def link(self) -> Link:
        return Link(self._loop)

    def open(self, link: Link, near: Address, target: Address) -> None:
        """Listens at an address and passes on to the target. Raises OSError."""

        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._passed(link, reader, writer, target)

        async def serve() -> None:
            self._servers.append(await asyncio.start_server(taken, *near))

        self._run(serve())

    async def _passed(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Address
    ) -> None:
        try:
            far_reader, far_writer = await asyncio.wait_for(asyncio.open_connection(*target), DIAL_S)
        except (OSError, TimeoutError):
            writer.transport.abort()  # who is not there does not answer
            return
        await asyncio.gather(link.pump(reader, far_writer), link.pump(far_reader, writer))

    def close(self) -> None:
        """Ends every connection, and the thread."""

        async def end() -> None:
            for server in self._servers:
                server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        with contextlib.suppress(TimeoutError):
            self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CLOSE_S)
