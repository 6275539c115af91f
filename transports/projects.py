"""What surfaces need of a project's content, by child processes: no surface runs git or reads a repository itself."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from loom.transports.errors import UnavailableProblem, UsageProblem, sentence

CHILD_S = 31 * 60
"""Seconds that a child may take: a first clone of a large repository is a matter of minutes."""


class Check(msgspec.Struct, frozen=True):
    """A check that would run, or why it would not."""

    name: str
    command: tuple[str, ...] = ()
    reason: str = ""


class NamedCheck(msgspec.Struct, frozen=True):
    """A check that the project's own configuration names."""

    name: str
    argv: tuple[str, ...] = ()
    declared: bool = False


class Setup(msgspec.Struct, frozen=True):
    """What the project's own configuration says, to be used only under trust."""

    checks: tuple[NamedCheck, ...] = ()
    include: tuple[str, ...] = ()
    setup: tuple[tuple[str, ...], ...] = ()
    requires: tuple[str, ...] = ()


class Probed(msgspec.Struct, frozen=True):
    """What a directory is, as far as surfaces care; see `loom.workers.probing` for all of it."""

    path: str
    is_git: bool
    top: str
    head: str = ""
    branch: str = ""
    dirty: bool | None = None
    languages: dict[str, int] = {}
    config_digest: str = ""
    setup: Setup = Setup()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


class Fetched(msgspec.Struct, frozen=True):
    """The base that a task starts from, kept in the home."""

    repository: str
    commit: str
    tree: str


class ChangedPath(msgspec.Struct, frozen=True):
    path: str
    status: str
    added: int = 0
    removed: int = 0


class Diff(msgspec.Struct, frozen=True):
    """The canonical diff between two commits of a project's private repository."""

    base: str
    commit: str
    digest: str
    diff: str
    paths: tuple[ChangedPath, ...] = ()


def probe(directory: Path) -> Probed:
    """Looks at a directory, running nothing of it. Raises UsageProblem or UnavailableProblem."""
    return msgspec.json.decode(_child("probe", "--path", directory), type=Probed)


def fetch(home: Path, project: str, directory: Path, revision: str = "HEAD") -> Fetched:
    """Brings the commit of a revision into the home."""
    words = ("fetch", "--home", home, "--project", project, "--path", directory, f"--rev={revision}")
    return msgspec.json.decode(_child(*words), type=Fetched)


def fetch_with_changes(home: Path, project: str, directory: Path) -> Fetched:
    """Brings HEAD and the uncommitted changes into the home, as one commit more."""
    words = ("fetch", "--home", home, "--project", project, "--path", directory, "--with-changes")
    return msgspec.json.decode(_child(*words), type=Fetched)


def import_directory(home: Path, project: str, directory: Path) -> Fetched:
    """Brings a directory without git into the home."""
    return msgspec.json.decode(
        _child("import", "--home", home, "--project", project, "--path", directory), type=Fetched
    )


def diff(home: Path, project: str, base: str, commit: str) -> Diff:
    """What changed between two commits that the home keeps."""
    words = ("diff", "--home", home, "--project", project, "--base", base, "--commit", commit)
    return msgspec.json.decode(_child(*words), type=Diff)


def project_id(place: Path) -> str:
    """The id of the project at a place: readable, safe in paths, the same on every call."""
    slug = re.sub(r"[^a-z0-9]+", "-", place.name.lower()).strip("-")[:40] or "project"
    return f"{slug}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"


def path_of(place: str) -> Path:
    """The path of a project's place in the record; one that is not UTF-8 stands there C-quoted, as git writes it."""
    if not place.startswith('"'):
        return Path(place)
    return Path(os.fsdecode(place[1:-1].encode().decode("unicode_escape").encode("latin-1")))


def _child(*words: str | Path) -> bytes:
    """Standard output of `python -m loom.workers.project …`. Its complaints become ours."""
    # -P: the present directory is somebody's project, and no place to import from
    command = [sys.executable, "-P", "-m", "loom.workers.project", *(str(word) for word in words)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHILD_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnavailableProblem(
            f"Looking at the project ({words[0]}) took more than {CHILD_S // 60} minutes."
        ) from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    complaint = sentence(said[-1]) if said else f"The side command {words[0]} ended with {done.returncode}."
    raise (UsageProblem if done.returncode == UsageProblem.exit_code else UnavailableProblem)(complaint)
