"""`python -m loom.workers`: one worker process. It connects outward, and is started (again) by the coordinator or a person.

    python -m loom.workers --endpoint ipc://…/control --name local-1 --slots 4 --state DIR --token-file FILE

DIR holds the slot lock, the spool and the scratch directories of this worker name; two processes cannot share it. Exit
codes: 0 in order, 1 refused by the coordinator, 3 another process is this worker.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loom.workers.logs import open_log
from loom.workers.loop import Loop
from loom.workers.protocol import MAX_SLOTS, PROTOCOL_HIGH, PROTOCOL_LOW, Hello
from loom.workers.secrets import secret_reader
from loom.workers.spool import FileSpool
from loom.workers.stub import FAMILY, Stub

if TYPE_CHECKING:
    from loom.workers.hands import Executes

LOCK_S = 2.0
"""How long to wait for the slot lock: the coordinator looks at it for a moment now and then."""
TAKEN = 3


def main(argv: list[str] | None = None) -> int:
    """Runs until told to leave; returns the exit code."""
    options = _parser().parse_args(argv)
    boot = os.urandom(8).hex()
    log = open_log(worker=options.name, boot=boot)
    state = Path(options.state)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(state / "lock")
    if lock is None:
        log("slot_taken", state=str(state))
        return TAKEN
    host = socket.gethostname()
    try:
        stub = Stub(os.environ, boot=boot, host=host)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    sandboxes, harnesses, families = _abilities()
    hello = Hello(
        worker=options.name,
        boot=boot,
        low=PROTOCOL_LOW,
        high=PROTOCOL_HIGH,
        host=host,
        slots=options.slots,
        pid=os.getpid(),
        labels=tuple(options.label),
        token=Path(options.token_file).read_text().strip() if options.token_file else "",
        sandboxes=sandboxes,
        harnesses=harnesses,
        families=families,
    )
    log("started", slots=options.slots, endpoint=options.endpoint)
    secret = secret_reader(os.environ, Path(options.secrets_file) if options.secrets_file else None)
    make = _executor_maker(state / "scratch", secret, boot, host)
    code = Loop(hello, options.endpoint, FileSpool(state / "spool"), make, stub, log).run()
    os.close(lock)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loom.workers", description="One worker of a loom home.")
    parser.add_argument("--endpoint", required=True, help="the coordinator's control socket, e.g. ipc:///path/control")
    parser.add_argument("--name", required=True, help="the worker's name; it stays the same over restarts")
    parser.add_argument("--slots", type=_slots, default=4, help="attempts at once")
    parser.add_argument("--state", required=True, help="directory of this worker: lock, spool, scratch")
    parser.add_argument("--token-file", default="", help="file with the home's worker token")
    parser.add_argument("--secrets-file", default="", help="the home's store of secrets")
    parser.add_argument("--label", action="append", default=[], help="what an agent may require of a worker")
    return parser


def _slots(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_SLOTS:
        raise argparse.ArgumentTypeError(f"{number} is out of range: 1 to {MAX_SLOTS}")
    return number


def _lock(path: Path) -> int | None:
    """The slot lock, held as long as this process lives; None when another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                return None
            time.sleep(0.01)
        else:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor


Names = tuple[str, ...]


def _abilities() -> tuple[Names, Names, Names]:
    """Sandboxes, harnesses and families that work here, by having been tried; a benchmark's worker has only the stub."""
    if "LOOM_BENCH_EXECUTOR" in os.environ:
        return (), (), (FAMILY,)
    from loom.workers.harnesses.registry import Harnesses
    from loom.workers.providers.registry import families
    from loom.workers.sandboxes import available

    harnesses = Harnesses().working()
    served = {*families(), "local", FAMILY} | ({"claude"} if "claude" in harnesses else set())
    return available(), harnesses, tuple(sorted(served))


def _executor_maker(scratch: Path, secret: Callable[[str], str | None], boot: str, host: str) -> Callable[[], Executes]:
    def make() -> Executes:
        from loom.workers.executor import Executor
        from loom.workers.providers.registry import Providers

        return Executor(scratch=scratch, providers=Providers(secret), secret=secret, boot=boot, host=host)

    return make


if __name__ == "__main__":
    sys.exit(main())
