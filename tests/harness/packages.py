"""Real packages to work on: source archives from PyPI, unpacked and committed as somebody's repository.

They are fetched once and kept outside of the checkout ($LOOM_CI_CACHE, else the user's cache directory); each is known by its hash.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli import commit_all

FETCH_S = 110


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package, by the SHA-256 of its source archive."""

    name: str
    version: str
    sha256: str

    @property
    def archive(self) -> Path:
        cache = os.environ.get("LOOM_CI_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "loom-tests" / f"{self.name}-{self.version}.tar.gz"


INICONFIG = Package("iniconfig", "2.3.1", "67f4b9c50da0dedf52af349e7749a80a9057a5031199791b906c3bb3ae878960")
INFLECTION = Package("inflection", "0.5.1", "1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417")
CACHETOOLS = Package("cachetools", "8.0.1", "deb1d376d4d28c2f33f3e3058043b005e0af75c35c094bd54053e27d2906ad95")


def unpacked(package: Package, where: Path, **files: str) -> Path:
    """The package's source as a git repository with one commit; `files` are put beside it before ("name_ext" → name.ext)."""
    archive = fetched(package)
    with tarfile.open(archive) as tar:
        tar.extractall(where.parent, filter="data")
    (where.parent / f"{package.name}-{package.version}").rename(where)
    for name, content in files.items():
        (where / name.replace("_", ".")).write_text(content)
    return commit_all(where)


def fetched(package: Package) -> Path:
    """The archive. Skips the test where the package index cannot be reached; under LOOM_CI that is a failure."""
    if not package.archive.exists() and (reason := _fetch(package)):
        if os.environ.get("LOOM_CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    assert package.sha256 == hashlib.sha256(package.archive.read_bytes()).hexdigest(), package.archive
    return package.archive


@functools.cache
def _fetch(package: Package) -> str:
    """Fetches an archive; the reason when that fails. pip asks the package's build backend, which it installs as wheels."""
    package.archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=package.archive.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", package.name, "--dest", folder, f"{package.name}=={package.version}"]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
        except subprocess.TimeoutExpired:
            return f"{package.name} could not be fetched within {FETCH_S} s"
        if done.returncode:
            return f"{package.name} could not be fetched: {done.stderr.strip()[-300:]}"
        Path(folder, package.archive.name).replace(package.archive)
    return ""
