"""Commands under the shim, with real processes: bounds, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loom.workers.processes import MAX_LINE, Capture, run
from loom.workers.seams import Command, Finished

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="the shim finds all descendants through /proc")
GONE_S = 10.0


def command(*argv: str, cwd: Path = Path("/")) -> Command:
    return Command(argv=argv, cwd=cwd, env={"PATH": os.environ["PATH"]})


def shell(script: str, **options: object) -> Finished:
    return asyncio.run(run(command("sh", "-c", script), **{"timeout_ms": 30_000, **options}))  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """True once the process has ended (a zombie has); waits for it a little."""
    limit = time.monotonic() + GONE_S
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def pids(folder: Path, number: int) -> list[int]:
    """The process ids that a script has written into `folder`, one file each; waits for them a little."""
    limit = time.monotonic() + GONE_S
    while time.monotonic() < limit:
        found = [path.read_text().strip() for path in folder.glob("pid*")]
        if len(found) == number and all(found):
            return [int(each) for each in found]
        time.sleep(0.01)
    raise AssertionError(f"not {number} process ids in {folder}")


def parent(pid: int) -> int:
    """The process id of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


FAMILY = """
echo $$ > {0}/pid1
setsid sh -c 'echo $$ > {0}/pid2; (setsid sh -c "echo \\$\\$ > {0}/pid3; exec sleep 300" &) ; exec sleep 300' &
exec sleep 300
"""
"""A command, a child in a session of its own, and a grandchild that was forked twice into another session."""


def test_code_streams_and_input() -> None:
    """Exit code, both streams and standard input."""
    done = shell("cat; echo error >&2; exit 3", stdin=b"in")
    assert Finished(3, b"in", b"error\n") == done


def test_a_signal_is_a_negative_code() -> None:
    """A command that dies by a signal says which."""
    assert -signal.SIGSEGV == shell("kill -SEGV $$").code


def test_what_cannot_be_started() -> None:
    """127 for a program that is not there, 126 for one that is none, as a shell has it; a missing directory is named."""
    assert 127 == asyncio.run(run(command("no-such-program"), timeout_ms=9000)).code
    assert 126 == asyncio.run(run(command("/etc/passwd"), timeout_ms=9000)).code
    with pytest.raises(FileNotFoundError, match="'/no/such' of true does not exist"):
        asyncio.run(run(command("true", cwd=Path("/no/such")), timeout_ms=9000))


def test_lines_come_one_by_one() -> None:
    """Each line of standard output as it comes, without newline, the last one also without one."""
    lines: list[bytes] = []
    shell("echo one; echo; printf two; echo other >&2", on_line=lines.append)
    assert [b"one", b"", b"two"] == lines


def test_a_line_without_end_is_cut() -> None:
    """A line longer than the limit arrives cut, and it is said."""
    lines: list[bytes] = []
    done = shell(f"head -c {MAX_LINE + 9} /dev/zero; echo; echo end", on_line=lines.append)
    assert [MAX_LINE, 3] == [len(line) for line in lines]
    assert done.truncated


def test_output_is_bounded() -> None:
    """Endless output keeps head and tail and does not block; the gap is counted."""
    done = shell("echo first; yes | head -c 9000000; echo last", max_output=1000)
    assert done.truncated
    assert done.stdout.startswith(b"first\ny\n")
    assert done.stdout.endswith(b"y\nlast\n")
    assert len(done.stdout) < 1100
    assert f"{9_000_000 + 11 - 1000} bytes left out".encode() in done.stdout


@pytest.mark.parametrize("pieces", [[b"abcdefghij"], [b"a", b"bcdef", b"ghij"], [b"abc", b"", b"defghij"]])
def test_capture_keeps_head_and_tail(pieces: list[bytes]) -> None:
    """However the bytes come, the first and the last ones are kept."""
    capture = Capture(5)
    for piece in pieces:
        capture.add(piece)
    assert ("ab\n… 5 bytes left out …\nhij".encode(), 5) == (capture.value(), capture.left_out)


def test_input_that_nobody_reads_is_no_deadlock() -> None:
    """A command that ends without reading a large input is fine."""
    assert 0 == shell("exit 0", stdin=b"x" * 5_000_000).code


def test_both_pipes_full_is_no_deadlock() -> None:
    """Large input and large output on both streams at the same time."""
    done = shell("tee /dev/stderr", stdin=b"x" * 3_000_000)
    assert (3_000_000, 3_000_000) == (len(done.stdout), len(done.stderr))


def test_time_limit(tmp_path: Path) -> None:
    """The limit ends the whole family and says so; what was written before is kept."""
    done = shell(f"echo before; {FAMILY.format(tmp_path)}", timeout_ms=1500)
    assert (True, -9, b"before\n") == (done.timed_out, done.code, done.stdout)
    assert all(gone(pid) for pid in pids(tmp_path, 3))


def test_idle_limit() -> None:
    """Silence ends it; a command that goes on talking is not silent."""
    started = time.monotonic()
    assert shell("echo x; exec sleep 300", idle_ms=300).timed_out
    assert time.monotonic() - started < 20
    assert not shell("for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done", idle_ms=900).timed_out


def test_a_left_family_ends_with_the_command(tmp_path: Path) -> None:
    """When the command ends, the daemons that it left behind end; their open streams do not hold the result back."""
    script = FAMILY.format(tmp_path).replace(
        "exec sleep 300\n", f"while [ ! -s {tmp_path}/pid3 ]; do :; done; exit 5\n"
    )
    assert 5 == shell(script).code
    assert all(gone(pid) for pid in pids(tmp_path, 3))


def test_cancelling_kills_the_family(tmp_path: Path) -> None:
    """Cancelling the task ends everything before CancelledError goes on."""

    async def work() -> list[int]:
        task = asyncio.create_task(run(command("sh", "-c", FAMILY.format(tmp_path)), timeout_ms=60_000))
        found = await asyncio.to_thread(pids, tmp_path, 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [pid for pid in found if not await asyncio.to_thread(gone, pid)]

    assert [] == asyncio.run(work())


def test_an_error_in_the_callback_kills_and_comes_out(tmp_path: Path) -> None:
    """A parser that fails does not leave its command behind."""

    def broken(line: bytes) -> None:
        raise ValueError(line.decode())

    with pytest.raises(ValueError, match="boom"):
        shell(f"echo $$ > {tmp_path}/pid1; echo boom; exec sleep 300", on_line=broken)
    assert all(gone(pid) for pid in pids(tmp_path, 1))


ACTOR = """
import asyncio, os, sys
from pathlib import Path
from loom.workers.processes import run
from loom.workers.seams import Command
asyncio.run(run(Command(("sh", "-c", sys.argv[1]), Path("/"), {"PATH": os.environ["PATH"]}), timeout_ms=60_000))
"""


@LINUX_ONLY
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_actors_death_kills_the_family(tmp_path: Path, number: signal.Signals) -> None:
    """SIGKILL of the actor leaves nothing: neither the command nor those that called setsid and forked twice."""
    actor = subprocess.Popen([sys.executable, "-c", ACTOR, FAMILY.format(tmp_path)])
    try:
        family = pids(tmp_path, 3)
        assert not any(Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z" for pid in family)
    finally:
        actor.send_signal(number)
        actor.wait(10)
    assert all(gone(pid) for pid in family)


@LINUX_ONLY
def test_the_shims_death_ends_the_command(tmp_path: Path) -> None:
    """If the shim itself is killed, the command dies with it and the run ends instead of waiting for ever."""

    async def work() -> Finished:
        task = asyncio.create_task(
            run(command("sh", "-c", f"echo $$ > {tmp_path}/pid1; exec sleep 300"), timeout_ms=60_000)
        )
        (pid,) = await asyncio.to_thread(pids, tmp_path, 1)
        os.kill(parent(pid), signal.SIGKILL)
        return await task

    assert -signal.SIGKILL == asyncio.run(work()).code
    assert all(gone(pid) for pid in pids(tmp_path, 1))


@LINUX_ONLY
def test_no_descriptor_and_no_zombie_is_left() -> None:
    """Fifty commands later the process has as many open files and children as before."""

    async def work() -> tuple[int, int]:
        await run(command("true"), timeout_ms=9000)
        before = len(os.listdir("/proc/self/fd"))
        await asyncio.gather(*(run(command("sh", "-c", "sleep 0.01 &"), timeout_ms=30_000) for _ in range(50)))
        return before, len(os.listdir("/proc/self/fd"))

    before, after = asyncio.run(work())
    assert before == after
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [] == [pid for pid in children if "shim" in Path(f"/proc/{pid}/cmdline").read_text()]
