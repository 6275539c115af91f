"""The one module that runs git on content, with everything neutralised that a repository or an agent could have written
(what a person asks for by name, at that person's own remotes, is done by own_git.py).

A git process of loom reads no system or user configuration and runs no hook, file system monitor, filter, textconv,
external diff, pager, editor, credential helper or remote protocol but `file` (others only where a caller names them):

- the environment is built from nothing; `workers/git.config` is the only user-level file, and the values that matter
  stand in `GIT_CONFIG_COUNT`, which no repository's configuration overrides (git-config(1), "ENVIRONMENT");
- filters and drivers that an in-tree `.gitattributes` names are only run when a *configuration* defines them. Agents'
  trees are therefore always read through a git directory of our own, outside the tree, whose configuration is ours.

`quote_path` and `unquote_path` are the text form of paths everywhere outside git.

Errors:
    GitError            git ended with an unexpected exit code; `message` is one sentence
      ├── GitMissing    git is not installed, or too old
      └── GitTimeout    the time limit of the call was reached; the process group was killed
"""

# ruff: noqa: PLC0414  an alias says that the name is this module's own, too
from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loom.workers.protocol.places import quote_path as quote_path
from loom.workers.protocol.places import unquote_path as unquote_path

TIMEOUT_MS = 120_000
"""Time limit of one git process."""
MAX_OUTPUT = 256 * 1024 * 1024
"""Bytes of one git process's standard output; more is an error."""
MAX_ERROR = 64 * 1024
"""Bytes kept of its standard error."""
CHUNK = 256 * 1024

CONFIG_FILE = Path(__file__).with_name("git.config")

FORCED = (
    ("safe.directory", "*"),
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.attributesFile", os.devnull),
    ("core.excludesFile", os.devnull),
    ("core.pager", "cat"),
    ("core.quotePath", "true"),
    ("core.autocrlf", "false"),
    ("core.longpaths", "true"),
    ("core.precomposeUnicode", "false"),
    ("core.commitGraph", "false"),
    ("core.logAllRefUpdates", "false"),
    ("color.ui", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("credential.helper", ""),
    ("diff.external", ""),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.prune", "false"),
    ("submodule.recurse", "false"),
    ("push.recurseSubmodules", "no"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("index.version", "2"),
    ("index.threads", "1"),
    ("advice.detachedHead", "false"),
    ("uploadpack.allowAnySHA1InWant", "true"),
)
"""Configuration that holds in every call, whatever a repository says."""


class GitError(Exception):
    """git did not do what was asked. `message` is one sentence, `code` its exit code, `stderr` the tail of its words."""

    def __init__(self, message: str, *, code: int = -1, stderr: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.stderr = stderr


class GitMissing(GitError):
    """git cannot be started. Install git (2.30 or newer) and put it on PATH."""


class GitTimeout(GitError):
    """A git process reached its time limit and was killed."""


def environment(
    *,
    protocols: str = "file",
    extra: Mapping[str, str] | None = None,
    config: Sequence[tuple[str, str]] = (),
) -> dict[str, str]:
    """The whole environment of a git process. `protocols`: what it may fetch from and push to, as in GIT_ALLOW_PROTOCOL;
    `config`: more configuration, which no list of processes shows."""
    values = (*FORCED, *config)
    result = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(CONFIG_FILE),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "GIT_EDITOR": "false",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_CONFIG_COUNT": str(len(values)),
    }
    for number, (key, value) in enumerate(values):
        result[f"GIT_CONFIG_KEY_{number}"] = key
        result[f"GIT_CONFIG_VALUE_{number}"] = value
    result.update(extra or {})
    return result


@dataclass(frozen=True, slots=True)
class Git:
    """A place to run git in. Each field that is set becomes one variable of git's environment.

    `directory`: the git directory; `tree`: the work tree; `index`: the index file; `objects`: another object directory
    to read and write; `cwd`: where the process starts (default: the work tree, else the git directory, else "/").
    """

    directory: Path | None = None
    tree: Path | None = None
    index: Path | None = None
    objects: Path | None = None
    cwd: Path | None = None
    protocols: str = "file"
    extra: Mapping[str, str] = field(default_factory=dict)
    config: Sequence[tuple[str, str]] = ()

    async def run(
        self,
        *arguments: str | bytes | Path,
        stdin: bytes = b"",
        ok: Sequence[int] = (0,),
        timeout_ms: int = TIMEOUT_MS,
        max_output: int = MAX_OUTPUT,
    ) -> bytes:
        """Standard output of `git <arguments>`. Raises GitError unless it ends with a code of `ok`."""
        code, output, error = await self.call(*arguments, stdin=stdin, timeout_ms=timeout_ms, max_output=max_output)
        if code not in ok:
            raise GitError(_sentence(arguments, code, error), code=code, stderr=error)
        return output

    async def call(
        self,
        *arguments: str | bytes | Path,
        stdin: bytes = b"",
        timeout_ms: int = TIMEOUT_MS,
        max_output: int = MAX_OUTPUT,
    ) -> tuple[int, bytes, str]:
        """(exit code, standard output, tail of standard error) of `git <arguments>`, whatever the code."""
        process = await self._start(arguments)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                _, output, error = await asyncio.gather(
                    _feed(process, stdin), _read(process.stdout, max_output, arguments), _tail(process.stderr)
                )
                code = await process.wait()
        except TimeoutError:
            raise GitTimeout(f"git {_name(arguments)} did not end within {timeout_ms} ms and was killed") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())
        return code, output, error.decode("utf-8", "replace").strip()

    async def text(self, *arguments: str | bytes | Path) -> str:
        """Standard output as text without the last newline, for ids and names."""
        return (await self.run(*arguments)).decode("utf-8", "surrogateescape").rstrip("\n")

    async def _start(self, arguments: Sequence[str | bytes | Path]) -> asyncio.subprocess.Process:
        extra = dict(self.extra)
        for name, value in (
            ("GIT_DIR", self.directory),
            ("GIT_WORK_TREE", self.tree),
            ("GIT_INDEX_FILE", self.index),
            ("GIT_OBJECT_DIRECTORY", self.objects),
        ):
            if value is not None:
                extra[name] = str(value)
        cwd = self.cwd or self.tree or self.directory or Path("/")
        try:
            return await asyncio.create_subprocess_exec(
                "git",
                *arguments,
                cwd=cwd,
                env=environment(protocols=self.protocols, extra=extra, config=self.config),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=CHUNK,
            )
        except FileNotFoundError:
            if cwd.is_dir():
                raise GitMissing("git is not installed; install git 2.30 or newer") from None
            raise GitError(f"directory {quote_path(os.fsencode(cwd))} does not exist") from None
        except (NotADirectoryError, PermissionError) as error:
            raise GitError(f"git cannot work in {quote_path(os.fsencode(cwd))}: {error.strerror}") from None


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    writer = process.stdin
    if writer is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        writer.close()


async def _read(stream: asyncio.StreamReader | None, limit: int, arguments: Sequence[str | bytes | Path]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while stream is not None and (chunk := await stream.read(CHUNK)):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise GitError(f"git {_name(arguments)} wrote more than {limit} bytes")
    return b"".join(parts)


async def _tail(stream: asyncio.StreamReader | None) -> bytes:
    kept = b""
    while stream is not None and (chunk := await stream.read(CHUNK)):
        kept = (kept + chunk)[-MAX_ERROR:]
    return kept


def _name(arguments: Sequence[str | bytes | Path]) -> str:
    return next((str(each) for each in arguments if isinstance(each, str) and not each.startswith("-")), "")


def _sentence(arguments: Sequence[str | bytes | Path], code: int, error: str) -> str:
    lines = [line for line in error.splitlines() if line.startswith(("fatal:", "error:"))] or error.splitlines()
    said = re.sub(r"^(fatal|error): ", "", lines[0]) if lines else "it said nothing"
    return f"git {_name(arguments)} ended with {code}: {said}"
