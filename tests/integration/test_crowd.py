"""Many workers at once: more connections than a process may have open files by default, and work that reaches them all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fabrics import fabric, until

WORKERS, WIDTH, FEW_FILES = 200, 256, 128
LEASE_MS = 3_000
"""A heartbeat is due in each sixth of it; four silent ones would make a worker suspect."""


@pytest.fixture
def few_files() -> Iterator[None]:
    """What is started may open so many files, unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
def test_two_hundred_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are welcomed; a wide fan-out reaches each of them, and begins each attempt once; heartbeats keep them all."""
    with fabric(tmp_path, monkeypatch, arguments=("--workers", "0", "--lease-ms", str(LEASE_MS))) as running:
        client = running.client()
        command = [sys.executable, "-m", "loom.workers.crowd", "--endpoint", running.home.endpoint("control")]
        command += ["--count", str(WORKERS), "--slots", "1", "--token-file", str(running.home.keys / "worker.token")]
        with subprocess.Popen(command, env=dict(os.environ)) as crowd:
            try:
                until(lambda: WORKERS == len(client.describe()["workers"]), "all said Hello")
                assert "applied" == running.submit(client, "wide", flow="fanout256").outcome
                until(lambda: running.done(1), "the task is done")
                assert {1} == set(running.starts().values())
                assert WIDTH == len(running.starts())
                assert [(WORKERS,)] == running.rows("SELECT count(DISTINCT worker) FROM attempt")
                beats = client.describe()["up_ms"] + LEASE_MS
                until(lambda: client.describe()["up_ms"] > beats, "several heartbeats were due")
                workers = client.describe()["workers"]
                assert WORKERS == len(workers)
                assert [] == [worker["worker"] for worker in workers if worker["suspect"]]
            finally:
                crowd.terminate()
                crowd.wait(20)
