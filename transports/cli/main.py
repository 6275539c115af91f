"""The console script `loom`. What is asked most often it answers by itself; everything else is in `app`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from loom import __version__

QUICK = {("status",): False, ("status", "--json"): True}
"""Command lines that are answered without loading a command line (half of their time): arguments → as JSON?"""


def main() -> None:
    """Runs the command line of this process, and exits."""
    if sys.argv[1:] == ["--version"]:
        print(f"loom {__version__}")
        sys.exit(0)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name may hold what the terminal's encoding cannot
    if (found := _quick(tuple(sys.argv[1:]))) is not None:
        _print(found, QUICK[tuple(sys.argv[1:])])
        sys.exit(0)
    from loom.transports.cli.app import invoke

    sys.exit(invoke(sys.argv[1:]))


def _quick(arguments: tuple[str, ...]) -> dict[str, Any] | None:
    """What a quick command line is about. None: it is none, or it went wrong, and `app` has the words for that."""
    if arguments not in QUICK or "_LOOM_COMPLETE" in os.environ:
        return None
    with suppress(Exception):
        from loom.transports.cli import homes, standing

        return standing.look(homes.named(None))
    return None


def _print(found: dict[str, Any], as_json: bool) -> None:
    from loom.transports.cli import output, standing

    try:
        if as_json:
            output.print_json(found)
        else:
            standing.show(found)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
