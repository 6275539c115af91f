"""`python -m loom.workers`: one worker process. It connects outward, and is started (again) by the coordinator or a person.

    python -m loom.workers --endpoint ipc://…/control --name local-1 --slots 4 --state DIR --token-file FILE

DIR holds the slot lock, the spool and the scratch directories of this worker name; two processes cannot share it. Exit
codes: 0 in order, 1 refused by the coordinator, 3 another process is this worker.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loom.workers.post import Post, work
from loom.workers.protocol import MAX_SLOTS


def main(argv: list[str] | None = None) -> int:
    """Runs until told to leave; returns the exit code."""
    options = _parser().parse_args(argv)
    return work(
        Post(
            endpoint=options.endpoint,
            name=options.name,
            slots=options.slots,
            state=Path(options.state),
            labels=tuple(options.label),
            token=Path(options.token_file).read_text().strip() if options.token_file else "",
            secrets_file=Path(options.secrets_file) if options.secrets_file else None,
        )
    )


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


if __name__ == "__main__":
    sys.exit(main())
