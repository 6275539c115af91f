"""`loom.toml`, a repository's own configuration: untrusted until its content hash is trusted by a person.

    requires = ["docker"]       # labels that a worker needs to have for this project

    [checks]                    # what to run instead of the checks that are found by files
    test = "make test"          # a command line, split as a shell would (no shell runs), …
    lint = ["ruff", "check"]    # … or its words, …
    typecheck = "not applicable"    # … or the declaration that there is none

    [workspace]
    include = [".env.test"]     # ignored files of the user's directory to copy into workspaces: paths or globs
    setup = ["make deps"]       # commands that make a fresh checkout usable, in order

Unknown keys are errors, so that a misspelt check is not silently none.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loom.workers.protocol import CheckCommand, ProjectSetup

NAME = "loom.toml"
MAX_BYTES = 64 * 1024
NOT_APPLICABLE = "not applicable"

LABEL = re.compile(r"[a-z][a-z0-9_-]{0,39}")

CommandLine = str | list[str]


class ProjectFileError(Exception):
    """loom.toml cannot be used; the message is one sentence that names the key."""


class _Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    test: CommandLine | None = None
    lint: CommandLine | None = None
    typecheck: CommandLine | None = None


class _Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include: tuple[str, ...] = ()
    setup: tuple[CommandLine, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checks: _Checks = _Checks()
    workspace: _Workspace = _Workspace()
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A parsed loom.toml. `digest`: hex SHA-256 of the file's bytes, which is what a person trusts."""

    digest: str
    checks: tuple[CheckCommand, ...]
    include: tuple[str, ...]
    setup: tuple[tuple[str, ...], ...]
    requires: tuple[str, ...] = ()

    def trusted(self) -> ProjectSetup:
        """What workers may do once a person has trusted this content."""
        return ProjectSetup(
            trusted=True, checks=self.checks, include=self.include, setup=self.setup, requires=self.requires
        )


def read(top: Path) -> ProjectFile | None:
    """The loom.toml of a directory, None when there is none. Raises ProjectFileError. Symlinks are not followed."""
    path = top / NAME
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise ProjectFileError(f"{NAME} is not a regular file; make it one")
    if status.st_size > MAX_BYTES:
        raise ProjectFileError(f"{NAME} is larger than {MAX_BYTES} bytes")
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ProjectFileError(f"{NAME} cannot be read: {error.strerror}") from error


def parse(data: bytes) -> ProjectFile:
    """Raises ProjectFileError for anything that is not as this module's docstring shows."""
    try:
        file = msgspec.toml.decode(data, type=_File)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProjectFileError(f"{NAME}: {error}") from error
    checks = []
    for name in _Checks.__struct_fields__:
        line: CommandLine | None = getattr(file.checks, name)
        if line is not None:
            declared = line == NOT_APPLICABLE
            checks.append(
                CheckCommand(name=name, declared=declared, argv=() if declared else _words(line, f"checks.{name}"))
            )
    for pattern in file.workspace.include:
        if pattern.startswith("/") or ".." in pattern.split("/") or "\0" in pattern:
            raise ProjectFileError(f"{NAME}: workspace.include: {pattern!r} must stay inside the project")
    for label in file.requires:
        if not LABEL.fullmatch(label):
            raise ProjectFileError(f"{NAME}: requires: {label!r} is no label: lower case letters, digits, _ and -")
    return ProjectFile(
        digest=hashlib.sha256(data).hexdigest(),
        checks=tuple(checks),
        include=file.workspace.include,
        setup=tuple(_words(line, "workspace.setup") for line in file.workspace.setup),
        requires=file.requires,
    )


def _words(line: CommandLine, key: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(line) if isinstance(line, str) else line)
    except ValueError as error:
        raise ProjectFileError(f"{NAME}: {key}: {error}") from error
    if not words or not words[0] or any("\0" in word for word in words):
        raise ProjectFileError(f'{NAME}: {key}: a command line is needed, or "{NOT_APPLICABLE}" for a check')
    return words
