"""The shim: a small parent between the actor and a command, so that nothing of the command outlives the actor.

    python -S -I shim.py CONTROL_FD LC_CTYPE -- ARGV…      # LC_CTYPE: the command's, "" when it has none

It becomes the reaper of all descendants of the command (PR_SET_CHILD_SUBREAPER, prctl(2)), also of those that called
setsid or forked twice, which a process group would miss. It kills every one of them

- when the command itself has ended (what it left behind must not go on);
- when the control socket is closed: by the actor, to stop; by the kernel, because the actor died, even by SIGKILL;
- when its parent's death signal arrives (PR_SET_PDEATHSIG), or somebody sends it SIGTERM, SIGINT or SIGHUP.

How the command ended goes to the control socket as "exit N" or "signal N". Where /proc and prctl are missing (macOS) it
kills the command's process group, which is the best that can be had there.

Only the fast-loading modules of the standard library are imported: this file runs before each command, in about 20 ms.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_LIMIT_S = 5.0
"""Longest time spent on killing a tree that forks faster than it is killed."""
NOT_FOUND = 127
NOT_EXECUTABLE = 126

LINUX = sys.platform == "linux"


def prctl(option: int, argument: int) -> None:
    if not LINUX:
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)


def start(argv: list[str], control: int) -> int:
    """Forks the command in a session of its own; it dies with the shim."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(control)
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], argv, os.environ)
    except FileNotFoundError:
        code, word = NOT_FOUND, "not found"
    except OSError as error:
        code, word = NOT_EXECUTABLE, str(error.strerror)
    os.write(2, os.fsencode(f"{argv[0]}: cannot be started: {word}\n"))
    os._exit(code)


def parents() -> dict[int, int]:
    """pid → parent's pid of every process, from /proc/PID/stat (proc(5): the parent is the second field after the name)."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
    return found


def descendants() -> list[int]:
    table = parents()
    children: dict[int, list[int]] = {}
    for pid, parent in table.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    front = [os.getpid()]
    while front:
        front = [child for pid in front for child in children.get(pid, ())]
        found.extend(front)
    return found


def kill_all(child: int) -> None:
    """Ends every descendant. Killing one hands its children to us, so it goes on until there is no child left."""
    limit = time.monotonic() + KILL_LIMIT_S
    while time.monotonic() < limit:
        for pid in descendants() if LINUX else [-child]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def reap(child: int) -> int | None:
    """Collects whoever ended; the command's wait status, or None while it runs."""
    ended = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                ended = status
            if not pid:
                return ended
    except ChildProcessError:
        return ended


def watch(child: int, control: int, wake: int) -> int | None:
    """Waits until the command has ended (its status) or it has to be stopped (None)."""
    status = reap(child)
    while status is None:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready and any(number != signal.SIGCHLD for number in os.read(wake, 4096)):
            return None
        status = reap(child)
        if status is None and control in ready and not os.read(control, 1):
            return None
    return status


def main() -> None:
    control = int(sys.argv[1])
    os.set_inheritable(control, False)
    argv = sys.argv[4:]
    # Where the locale is C, Python sets LC_CTYPE (PEP 538); the command's environment is exact.
    os.environ.pop("LC_CTYPE", None)
    if sys.argv[2]:
        os.environ["LC_CTYPE"] = sys.argv[2]
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    child = start(argv, control)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the command's own streams are the only ones: they end when its last process ends
        os.dup2(null, stream)
    status = watch(child, control, wake)
    kill_all(child)
    if status is None:
        word = f"signal {signal.SIGKILL.value}"
    elif os.WIFSIGNALED(status):
        word = f"signal {os.WTERMSIG(status)}"
    else:
        word = f"exit {os.WEXITSTATUS(status)}"
    try:
        os.write(control, word.encode())
    except OSError:
        sys.exit(1)  # the actor is gone; nobody listens


if __name__ == "__main__":
    main()
