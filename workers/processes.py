"""Commands as child processes: bounded output, time limits, and nothing left behind.

`run` is the one way in which the hands start a command. Each command stands under `workers/shim.py`: when the attempt's
asyncio task is cancelled, a limit is reached, or this process dies (even by SIGKILL), every descendant of the command
dies. Output is read as it comes and kept within a bound (the head and the tail), so that a command that writes without
end neither fills the memory nor blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from loom.workers.seams import Command, Finished

SHIM = Path(__file__).with_name("shim.py")

MAX_OUTPUT = 4 * 1024 * 1024
"""Bytes kept of each stream."""
MAX_LINE = 8 * 1024 * 1024
"""Bytes of one line that `on_line` gets; a longer one arrives cut."""
CHUNK = 64 * 1024
KILL_GRACE_S = 10.0
"""How long the shim may take to end a tree before the shim itself is killed."""

OnLine = Callable[[bytes], None]
"""Called with each line of standard output, without its newline, as it comes."""


class Capture:
    """The head and the tail of a stream, at most `limit` bytes; what lies between is counted and left out."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self.left_out = 0

    def add(self, data: bytes) -> None:
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        over = len(self._tail) - self._tail_limit
        if over > 0:
            del self._tail[:over]
            self.left_out += over

    def value(self) -> bytes:
        gap = f"\n… {self.left_out} bytes left out …\n".encode() if self.left_out else b""
        return bytes(self._head) + gap + bytes(self._tail)


class _Lines:
    """Cuts a stream into lines for a callback."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._rest = bytearray()
        self.cut = False

    def add(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._keep(line)
            self._on_line(bytes(self._rest))
            self._rest.clear()
        self._keep(rest)

    def _keep(self, data: bytes) -> None:
        room = MAX_LINE - len(self._rest)
        self.cut = self.cut or len(data) > room
        self._rest += data[:room]

    def end(self) -> None:
        if self._rest:
            self._on_line(bytes(self._rest))
            self._rest.clear()


async def run(
    command: Command,
    *,
    stdin: bytes = b"",
    timeout_ms: int,
    idle_ms: int = 0,
    on_line: OnLine | None = None,
    max_output: int = MAX_OUTPUT,
) -> Finished:
    """Runs a (wrapped) command until it and all its descendants have ended.

    `timeout_ms` bounds the whole, `idle_ms` the silence on both streams (0: no bound); either ends it with `timed_out`.
    A command that cannot be started ends with 127 (not found) or 126 and a line on stderr, as in a shell. `truncated`:
    the middle of a stream, or of a line, was left out. Cancelling kills the tree before CancelledError goes on. An
    exception of `on_line` kills the tree, too, and comes out.
    """
    ours, theirs = socket.socketpair()
    try:
        process = await _start(command, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    running = _Running(process, ours, max_output, on_line)
    try:
        return await running.finish(stdin, timeout_ms, idle_ms)
    finally:
        await asyncio.shield(running.end())


async def _start(command: Command, control: socket.socket) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-S",
            "-I",
            str(SHIM),
            str(control.fileno()),
            command.env.get("LC_CTYPE", ""),
            "--",
            *command.argv,
            cwd=command.cwd,
            env=dict(command.env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(control.fileno(),),
            start_new_session=True,
            limit=CHUNK,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"directory {os.fsdecode(command.cwd)!r} of {command.argv[0]} does not exist") from None


class _Running:
    """One command under its shim."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, max_output: int, on_line: OnLine | None
    ) -> None:
        self._process = process
        self._control = control
        self._out = Capture(max_output)
        self._err = Capture(max_output)
        self._lines = _Lines(on_line) if on_line else None
        self._heard = asyncio.get_running_loop().time()

    async def finish(self, stdin: bytes, timeout_ms: int, idle_ms: int) -> Finished:
        streams = asyncio.gather(self._write(stdin), self._read_out(), self._read_err(), self._process.wait())
        try:
            timed_out = await self._wait(streams, timeout_ms, idle_ms)
            if timed_out:
                self._control.close()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(streams), KILL_GRACE_S)
        finally:
            streams.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.gather(streams, return_exceptions=True))
        if self._lines:
            self._lines.end()
        cut = bool(self._out.left_out or self._err.left_out or (self._lines and self._lines.cut))
        code = -9 if timed_out else self._code()
        return Finished(code, self._out.value(), self._err.value(), timed_out=timed_out, truncated=cut)

    async def _wait(self, streams: asyncio.Future[tuple[None, None, None, int]], timeout_ms: int, idle_ms: int) -> bool:
        """True when a limit was reached before the command ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            until = min(deadline, self._heard + idle_ms / 1000) if idle_ms else deadline
            if until <= loop.time():
                return True
            await asyncio.wait({streams}, timeout=until - loop.time())
            if streams.done():
                streams.result()
                return False

    async def end(self) -> None:
        """Nothing of the command is left when this returns (unless it forks faster than it can be killed)."""
        self._control.close()
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), KILL_GRACE_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        _close(self._process)

    def _code(self) -> int:
        self._control.setblocking(False)
        try:
            word, _, number = self._control.recv(64).decode().partition(" ")
        except OSError:
            word = ""
        if word not in ("exit", "signal"):  # the shim itself was killed
            return self._process.returncode or -9
        return int(number) if word == "exit" else -int(number)

    async def _write(self, data: bytes) -> None:
        writer = self._process.stdin
        if writer is None:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if data:
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _read_out(self) -> None:
        async for data in self._chunks(self._process.stdout):
            self._out.add(data)
            if self._lines:
                self._lines.add(data)

    async def _read_err(self) -> None:
        async for data in self._chunks(self._process.stderr):
            self._err.add(data)

    async def _chunks(self, stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
        while stream is not None and (data := await stream.read(CHUNK)):
            self._heard = asyncio.get_running_loop().time()
            yield data


def _close(process: asyncio.subprocess.Process) -> None:
    # asyncio keeps the pipes of a process open while somebody outside our reach still holds their other end.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
