"""The demo's project: made new in a directory, as a git repository with one commit, and its own tests run on it."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from loom.transports.errors import UnavailableProblem, UsageProblem

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "sample"
REPLIES = HERE / "replies.jsonl"
RENAMED = {"gitignore": ".gitignore"}
"""Files that would act on loom's own repository under their real name."""
GIT_S = 60
TESTS_S = 60

IDENTITY = {
    "GIT_AUTHOR_NAME": "loom demo",
    "GIT_AUTHOR_EMAIL": "demo@loom.invalid",
    "GIT_COMMITTER_NAME": "loom demo",
    "GIT_COMMITTER_EMAIL": "demo@loom.invalid",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass(frozen=True, slots=True)
class Tested:
    """What the project's tests came to."""

    ran: int
    failed: int

    def __str__(self) -> str:
        return f"{self.ran} tests, {self.failed} fail" if self.failed else f"{self.ran} tests, all pass"


def make(directory: Path) -> Path:
    """The project, in a new or empty directory. Raises UsageProblem when something is there already."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageProblem(f"{directory} is not empty.", "name a new directory: loom demo --dir DIR")
    shutil.copytree(SOURCE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name, real in RENAMED.items():
        (directory / name).rename(directory / real)
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=A bill that loses cents")
    return directory


def tested(directory: Path, revision: str) -> Tested:
    """Runs the project's own tests on a clean copy of a revision."""
    with tempfile.TemporaryDirectory(prefix="loom-demo-") as name:
        with zipfile.ZipFile(io.BytesIO(git(directory, "archive", "--format=zip", revision))) as archive:
            archive.extractall(name)
        done = subprocess.run(
            [sys.executable, "-B", "-m", "unittest", "discover", "-s", "tests", "-t", "."],
            cwd=name,
            capture_output=True,
            timeout=TESTS_S,
            check=False,
        )
    said = done.stderr.decode(errors="replace")
    ran = re.search(r"^Ran (\d+) test", said, re.MULTILINE)
    failed = sum(int(number) for number in re.findall(r"(?:failures|errors)=(\d+)", said))
    return Tested(int(ran.group(1)) if ran else 0, failed if done.returncode else 0)


def git(directory: Path, *words: str) -> bytes:
    """git's standard output, with nobody's configuration. Raises UnavailableProblem."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=directory,
            env={**os.environ, **IDENTITY},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise UnavailableProblem("loom needs git, and there is none on PATH.", "apt install git") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise UnavailableProblem(f"git {words[0]} failed in {directory}: {said}.")
    return done.stdout
