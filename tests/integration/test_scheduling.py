"""The scheduler among real processes: a provider that says no, a machine that is shared, a queue that can be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.fabrics import RealFabric, fabric, until
from harness.standin import Fail, Request, Say, StandIn
from loom.coordinator.client import Client
from loom.coordinator.limiter import WINDOW
from loom.coordinator.machine import in_use
from loom.kernel.commands import ChangeSetting
from loom.kernel.values import AgentBinding

WIDTH = 64


def cli(running: RealFabric, *words: str) -> Any:
    """What a command prints as JSON about this home."""
    command = [sys.executable, "-m", "loom.transports.cli.main", "--home", str(running.home.path), *words, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def reasons(running: RealFabric) -> list[tuple[int, str]]:
    return [(group["count"], group["why"]) for group in cli(running, "status")["queue"]]


def test_what_waits_is_shown_with_its_place_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slot and three tasks: status and show say how many wait, at which place, and why; a limit that is set holds at once,
    and is taken back at once."""
    with fabric(tmp_path, monkeypatch, mode="sleep:60000", arguments=("--workers", "1", "--slots", "1")) as running:
        client = running.client()
        for task in ("one", "two", "three"):
            running.submit(client, task)
        until(lambda: running.started(1) and reasons(running) == [(2, "slot")], "two wait for a slot")
        (spawn,) = [each for each in cli(running, "show", "three")["spawns"] if each["status"] == "ready"]
        queued = spawn["queued"]
        assert (2, 2, "slot") == (queued["place"], queued["of"], queued["why"])
        client.call(ChangeSetting("limits.projects.*.concurrency", "1"))
        until(lambda: reasons(running) == [(2, "project")], "the project is at its cap")
        listed = {each["key"]: each["value"] for each in cli(running, "config", "list")["settings"]}
        assert 1 == listed["limits.projects.*.concurrency"]
        client.call(ChangeSetting("limits.projects.*.concurrency", ""))
        until(lambda: reasons(running) == [(2, "slot")], "the cap is gone")


@pytest.mark.slow
def test_two_homes_share_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two homes of eight slots each on a machine of five: each attempt at work has a slot, and both homes come to their end."""
    monkeypatch.delenv("LOOM_MACHINE_SLOTS")
    folder = tmp_path / "slots"
    arguments = ("--machine-slots", "5", "--machine-folder", str(folder))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        fabric(tmp_path / "a", monkeypatch, mode="sleep:100", arguments=arguments) as a,
        fabric(tmp_path / "b", monkeypatch, mode="sleep:100", arguments=arguments) as b,
    ):
        clients = [(home, home.client()) for home in (a, b)]
        for home, client in clients:
            for number in range(6):
                home.submit(client, f"task{number}")
        waited, most = set(), 0

        def finished() -> bool:
            nonlocal most
            most = max(most, in_use(folder)[0])
            for home, client in clients:
                found = client.describe()
                machine = found["queue"]["machine"]
                assert found["leases"] <= machine["held"] + 1, (
                    found
                )  # an end that is on its way has a lease, and no slot
                if machine["waits"]:
                    waited.add(home.home.path)
            return all(home.done(6) for home in (a, b))

        until(finished, "all tasks of both homes are done")
        assert (5, 2) == (most, len(waited))
    assert (0, 0) == in_use(folder)


def limited(running: RealFabric, client: Client, model: str) -> tuple[list[tuple[Any, ...]], int]:
    """(rows of attempts by end and class with how many were counted, attempts of the task's budget) after a fan-out."""
    order = replace(running.order("fan", flow=f"fanout{WIDTH}"), bindings=(AgentBinding("*", (model,)),))
    client.call(order, task="fan")
    until(lambda: running.done(1), "the fan-out is done", 110)
    rows = running.rows("SELECT end, error_class, count(*), sum(counted) FROM attempt GROUP BY 1, 2 ORDER BY 1 DESC")
    ((attempts,),) = running.rows("SELECT attempts FROM task")
    assert isinstance(attempts, int)
    return rows, attempts


@pytest.mark.slow
def test_a_rate_limit_is_not_found_out_by_each_of_a_fan_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 agents at once with 64 slots, against an API that answers 429 with Retry-After for the first seconds: no more than a
    window's worth is refused, none of it counts as an attempt, nothing comes before its time, and all 64 are served."""
    refused: list[float] = []
    allowed: list[float] = []
    opens = 0.0

    def step(request: Request) -> Say | Fail:
        nonlocal opens
        opens = opens or request.at + 3.0
        if request.at < opens:
            refused.append(request.at)
            return Fail(429, retry_after="3", kind="rate_limit_error")
        allowed.append(request.at)
        return Say('{"outcome": "done", "summary": "well"}')

    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-not-a-key-of-anybody")
    arguments = ("--workers", "2", "--slots", str(WIDTH // 2))
    with StandIn() as api, fabric(tmp_path, monkeypatch, arguments=arguments) as running:
        monkeypatch.delenv("LOOM_BENCH_EXECUTOR")
        api.script("m", step)
        client = running.client()
        rows, attempts = limited(running, client, f"anthropic:m@{api.url}")
    found = {(end, error): (count, counted) for end, error, count, counted in rows}
    assert (WIDTH, WIDTH) == found.pop(("reported", ""))
    assert (len(refused), 0) == found.pop(("failed", "rate_limit"))
    assert attempts - WIDTH == sum(
        count for count, _ in found.values()
    )  # a connection that this small server did not take
    assert 1 <= len(refused) <= WINDOW
    assert min(allowed) >= min(refused) + 3.0
