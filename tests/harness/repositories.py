"""Users' repositories for tests, made with plain git, and a digest of everything in them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": os.devnull,
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}


def git(where: Path, *arguments: str | bytes, stdin: bytes = b"", check: bool = True) -> str:
    """Standard output of plain git, as a user would run it (without the user's configuration)."""
    done = subprocess.run(
        ["git", *arguments], cwd=where, env=ENVIRONMENT, input=stdin, capture_output=True, timeout=60, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"git {arguments} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="surrogateescape").strip()


def write(tree: Path, files: Mapping[str | bytes, str | bytes]) -> None:
    """Writes files below a tree, with their directories."""
    for name, content in files.items():
        path = os.path.join(os.fsencode(tree), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)


def make_repository(where: Path, files: Mapping[str | bytes, str | bytes]) -> str:
    """A repository with one commit of the files; the commit's id."""
    where.mkdir(parents=True, exist_ok=True)
    git(where, "init", "--quiet", "--initial-branch=main")
    write(where, files)
    return commit_all(where, "First")


def commit_all(where: Path, message: str) -> str:
    """Commits everything in the work tree; the commit's id."""
    git(where, "add", "--all", "--force")
    git(where, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(where, "rev-parse", "HEAD")


def tree_digest(root: Path, left_out: Callable[[str], bool] = lambda name: False) -> dict[str, str]:
    """Every path below root with its mode, time of change and content; `left_out` gets paths relative to root."""
    found: dict[str, str] = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if left_out(relative):
                continue
            status = os.lstat(path)
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isdir(path):
                content = ""
            else:
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest() + f" {status.st_mtime_ns}"
            found[relative] = f"{status.st_mode:o} {content}"
    return found
