"""`python -m loom.coordinator`: the one coordinator of a home. Started by clients, by a person, or as a service.

    python -m loom.coordinator --home DIR [--workers N] [--slots N] [--stay] [--lease-ms N] [--idle-exit-ms N]
        [--listen HOST:PORT] [--labels A,B]

Exit codes: 0 left in order, 4 the home cannot be used (another coordinator, unwritable, damaged, of a newer version).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import resource
import secrets
import sys
import time
from pathlib import Path

import loom
from loom.coordinator.doors import read_address
from loom.coordinator.enrolment import bad_label
from loom.coordinator.errors import LoomError
from loom.coordinator.fabric import IDLE_EXIT_MS, Fabric, Options
from loom.coordinator.home import Home
from loom.coordinator.logs import open_log
from loom.coordinator.machine import OFF
from loom.coordinator.opening import open_home
from loom.coordinator.roster import Timing
from loom.kernel.state import HomeState
from loom.kernel.values import get
from loom.workers.protocol import LEASE_MS, MAX_SLOTS, PING_MS

UNUSABLE = 4
GC_THRESHOLDS = (50_000, 20, 100)
"""New objects before the garbage collector looks at the youngest; rounds before it looks at the older ones."""
WORKERS, SLOTS = 2, 4
"""Local workers, and attempts at once in each, when neither option nor setting says otherwise."""
LEASE_MIN_MS = 600
MAX_FILES = 65_536
"""Open files, of which connections are the most."""


def main(argv: list[str] | None = None) -> int:
    """Runs until asked to leave, or idle for long; returns the exit code."""
    options = _parser().parse_args(argv)
    _allow_connections()
    home = Home(Path(options.home).absolute())
    try:
        home.make()
        with home.lock():
            return _run(home, options)
    except LoomError as error:
        _say(str(error))
    except OSError as error:  # a disk without room, too many open files: whoever needs a coordinator starts it again
        _say(f"The home {home.path} cannot be used now: {error}.")
    return UNUSABLE


def _say(sentence: str) -> None:
    """A last sentence. What cannot be said on a full disk is dropped, or the interpreter would end with a code of its own."""
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _run(home: Home, options: argparse.Namespace) -> int:
    log = open_log(home.logs / "coordinator.log", pid=os.getpid())
    # States and entries are trees of tuples without cycles: looking through all of them often only costs.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    opened = open_home(home, version=loom.__version__, now_ms=time.time_ns() // 1_000_000, log=log)
    state = opened.core.head.home
    lease_ms = options.lease_ms or _setting(state, "lease_ms", LEASE_MS)
    fabric = Fabric(
        home,
        opened,
        Options(
            workers=_setting(state, "workers", WORKERS) if options.workers is None else options.workers,
            slots=options.slots or _setting(state, "slots", SLOTS),
            machine_slots=_machine_slots(options.machine_slots),
            machine_folder=Path(options.machine_folder) if options.machine_folder else None,
            timing=Timing(lease_ms=max(LEASE_MIN_MS, lease_ms), ping_ms=min(PING_MS, max(100, lease_ms // 6))),
            idle_exit_ms=options.idle_exit_ms,
            stay=options.stay,
            listen=read_address(options.listen) if options.listen else None,
            labels=options.labels,
            worker_token=_worker_token(home.keys / "worker.token"),
            version=loom.__version__,
        ),
        log,
    )
    log("started", epoch=opened.epoch, version=loom.__version__, home=str(home.path), lease_ms=lease_ms)
    return fabric.run()


def _allow_connections() -> None:
    """As many open files as the system lets this user have: each worker holds three connections, and the usual soft limit
    of 1,024 is for programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loom.coordinator", description="The coordinator of a loom home.")
    parser.add_argument("--home", required=True, help="the home's directory")
    parser.add_argument(
        "--workers", type=int, default=None, help=f"local worker processes (setting workers, {WORKERS})"
    )
    parser.add_argument("--slots", type=_slots, default=0, help=f"attempts at once in each (setting slots, {SLOTS})")
    parser.add_argument(
        "--machine-slots", type=int, default=0, help="slots that all homes share (0: usual, -1: no sharing)"
    )
    parser.add_argument("--machine-folder", default="", help="where their locks are (the user's runtime directory)")
    parser.add_argument("--lease-ms", type=int, default=0, help=f"lease of an attempt (setting lease_ms, {LEASE_MS})")
    parser.add_argument("--idle-exit-ms", type=int, default=IDLE_EXIT_MS, help="leave after so long with nothing to do")
    parser.add_argument("--stay", action="store_true", help="never leave by itself")
    parser.add_argument("--listen", default="", metavar="HOST:PORT", help="let enrolled workers of other hosts in here")
    parser.add_argument("--labels", type=_labels, default=(), help="labels of the local workers, with commas between")
    return parser


def _machine_slots(option: int) -> int:
    """The environment's word before the option's: it is for machines that run many homes at once, as tests do."""
    said = os.environ.get("LOOM_MACHINE_SLOTS", "")
    try:
        return max(OFF, int(said) if said else option)
    except ValueError:
        return max(OFF, option)


def _slots(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_SLOTS:
        raise argparse.ArgumentTypeError(f"{number} is out of range: 1 to {MAX_SLOTS}")
    return number


def _setting(state: HomeState, name: str, default: int) -> int:
    value = get(state.settings, name, "")
    return int(value) if value.isdecimal() else default


def _labels(text: str) -> tuple[str, ...]:
    """Labels, with commas between them. Raises ArgumentTypeError."""
    labels = tuple(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    for label in labels:
        if sentence := bad_label(label):
            raise argparse.ArgumentTypeError(f"{label!r} cannot be a label: {sentence}")
    return labels


def _worker_token(path: Path) -> str:
    """What local workers show in their Hello: drawn once, so that workers are found again after a restart."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        return token


if __name__ == "__main__":
    sys.exit(main())
