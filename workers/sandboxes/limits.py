"""Resource limits as a prefix of a command line: prlimit(1) of util-linux."""

from __future__ import annotations

import shutil

from loom.workers.seams import Command

MAX_FILE_BYTES = 4 * 1024 * 1024 * 1024
"""Size of one file that a contained command may write."""
MAX_OPEN_FILES = 4096


def limited(command: Command, *, processes: bool) -> tuple[str, ...]:
    """The command line under prlimit, as it is where prlimit is missing.

    `processes`: also limit their number. The kernel counts them per user, so that outside of a user namespace the limit
    would count everything else that the user runs.
    """
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        return command.argv
    options = [f"--fsize={MAX_FILE_BYTES}", f"--nofile={MAX_OPEN_FILES}", "--core=0"]
    if command.memory_bytes:
        options.append(f"--as={command.memory_bytes}")
    if command.processes and processes:
        options.append(f"--nproc={command.processes}")
    return (prlimit, *options, "--", *command.argv)
