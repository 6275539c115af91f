"""git as the person's own: for what a person asked for by name, at the remotes of that person's own repository.

It sees what a `git push` of the person's own would see (configuration, credential helpers, ssh agent) as far as this process
has it in its environment, and it runs as this process's user. Hooks, file system monitors and prompts are left out, and no
tree is ever read. The command stands under the shim: when the worker dies, nothing of it goes on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from loom.workers import processes
from loom.workers.git import GitError, GitTimeout
from loom.workers.protocol import ErrorClass
from loom.workers.seams import Command, Finished, HandsError

FORCED = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("color.ui", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("push.recurseSubmodules", "no"),
    ("protocol.ext.allow", "never"),
)
"""What holds for the person's own git, too."""
LEFT_OUT = ("GIT_", "LOOM_")
"""Variables of a process that ran git, and loom's own: they say nothing about the person's way to a remote."""
KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO")
"""But for these, with which a person says it."""
MAX_SAID = 600
"""Characters of what git or a remote said that stand in a sentence."""

_PASSWORD = re.compile(r"://[^/@\s]+@")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's own, without what would ask somebody: nobody is there."""
    result = {k: v for k, v in os.environ.items() if k in KEPT or not k.startswith(LEFT_OUT)}
    result.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", SSH_ASKPASS_REQUIRE="never", GIT_CONFIG_COUNT=str(len(FORCED)))
    for number, (key, value) in enumerate(FORCED):
        result[f"GIT_CONFIG_KEY_{number}"] = key
        result[f"GIT_CONFIG_VALUE_{number}"] = value
    return {**result, **extra}


async def call(place: Path, *arguments: str, timeout_ms: int, objects: Path | None = None) -> Finished:
    """`git <arguments>` in a person's repository. objects: where more objects may be read. Raises GitTimeout, HandsError."""
    command = Command(argv=("git", *arguments), cwd=place, env=environment(alternates(objects) if objects else {}))
    try:
        done = await processes.run(command, timeout_ms=timeout_ms)
    except FileNotFoundError as error:
        raise HandsError(ErrorClass.PERMANENT, f"{error}") from error
    if done.timed_out:
        raise GitTimeout(f"git {arguments[0]} did not end within {timeout_ms} ms and was killed")
    return done


async def text(place: Path, *arguments: str, timeout_ms: int) -> str:
    """Its standard output without the last newline. Raises GitError, HandsError."""
    done = await call(place, *arguments, timeout_ms=timeout_ms)
    if done.code:
        raise GitError(said(done), code=done.code)
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def said(done: Finished) -> str:
    """What git (and the other side) had to say, as one line without passwords."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
    words = " · ".join(re.sub(r"^(fatal|error): ", "", line) for line in lines if line and not line.startswith("hint:"))
    return shown(words)[:MAX_SAID] or f"git ended with {done.code}"


def shown(address: str) -> str:
    """The text as it may be shown: without what stands before the @ of an address."""
    return _PASSWORD.sub("://", address)


def alternates(objects: Path) -> dict[str, str]:
    """More objects to read, as git(1) reads GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted, since a colon parts two paths."""
    quoted = str(objects).replace("\\", "\\\\").replace('"', '\\"')
    return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"'}
