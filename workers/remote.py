"""`python -m loom.workers.remote`: a worker of a coordinator on another host. `loom worker` starts it.

    python -m loom.workers.remote --state DIR [--slots N] [--name NAME] [--shared-files] [--join | --only-join]

With --join the token is read from standard input, one line. Exit codes: 0 in order, 1 refused, 2 asked wrongly, 3 another
process works in DIR.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

from loom.workers.joining import JoinError, Membership, join, membership
from loom.workers.post import UNUSABLE, Post, work
from loom.workers.protocol import MAX_SLOTS, read_invitation

REFUSED = 1


def main(argv: list[str] | None = None) -> int:
    """Runs until told to leave; returns the exit code."""
    options = _parser().parse_args(argv)
    state = Path(options.state).absolute()
    try:
        if options.join or options.only_join:
            member: Membership | None = _join(state, options.name)
        else:
            member = membership(state)
    except ValueError as error:
        return _say(str(error), UNUSABLE)
    except JoinError as error:
        return _say(str(error), REFUSED)
    if member is None or not member.control:
        return _say(f"{state} is enrolled nowhere: loom worker join TOKEN", UNUSABLE)
    if options.only_join:
        return 0
    return work(
        Post(
            endpoint=member.control,
            name=member.worker,
            slots=options.slots,
            state=state,
            secrets_file=state / "secrets.json",
            link=member.link,
            shared_files=options.shared_files,
        )
    )


def _join(state: Path, name: str) -> Membership:
    host = socket.gethostname()
    member = join(state, read_invitation(sys.stdin.readline()), name or host, host)
    labels = f" with the labels {', '.join(member.labels)}" if member.labels else ""
    sys.stderr.write(f"enrolled as {member.worker} at {member.host}{labels}\n")
    return member


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"error: {sentence}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loom.workers.remote", description="A worker of another host's home."
    )
    parser.add_argument("--state", required=True, help="directory of this worker: enrolment, lock, spool, scratch")
    parser.add_argument("--slots", type=int, choices=range(1, MAX_SLOTS + 1), default=4, metavar="N")
    parser.add_argument("--name", default="", help="the name to join under (default: the host's)")
    parser.add_argument(
        "--shared-files", action="store_true", help="paths mean the same here and where tasks are submitted"
    )
    parser.add_argument("--join", action="store_true", help="join first, with the token on standard input")
    parser.add_argument("--only-join", action="store_true", help="join, and leave")
    return parser


if __name__ == "__main__":
    sys.exit(main())
