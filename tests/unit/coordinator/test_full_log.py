"""A disk that takes no line of a log ends nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loom.coordinator.logs import LossyFile

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a disk that is always full")


def test_lines_that_are_lost_are_counted(tmp_path: Path) -> None:
    """Lines are lost while nothing can be written, and the first one after it says how many."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    file = LossyFile(descriptor)
    file.write("first\n")
    full = os.open(FULL, os.O_WRONLY)
    room = os.dup(descriptor)
    os.dup2(full, descriptor)
    file.write("second\n")
    file.write("third\n")
    os.dup2(room, descriptor)
    file.write("fourth\n")
    for each in (full, room, descriptor):
        os.close(each)
    assert 'first\n{"event": "log_lines_lost", "lines": 2}\nfourth\n' == path.read_text()


def test_a_home_that_cannot_be_used_is_said_by_the_exit_code(tmp_path: Path) -> None:
    """Even when the sentence cannot be written."""
    (tmp_path / "home").write_text("a file, where the home should be")
    command = [sys.executable, "-m", "loom.coordinator", "--home", str(tmp_path / "home")]
    with FULL.open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=full, timeout=60, check=False)
    assert 4 == done.returncode


def test_a_worker_lives_without_its_log(tmp_path: Path) -> None:
    """A log line that cannot be written raises nothing in a worker."""
    script = "from loom.workers.logs import open_log; log = open_log(worker='w'); log('one'); log('two')"
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert b"Traceback" not in done.stderr, done.stderr
