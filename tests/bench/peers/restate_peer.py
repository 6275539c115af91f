"""The workload on Restate: its server (the program that RESTATE_SERVER names) and a service with its Python SDK."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
from workload import Meter, loads

HERE = Path(__file__).parent
START_S, CALL_S, STOP_S = 60.0, 120.0, 20.0


def free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])


def answered(url: str) -> None:
    """Waits until somebody answers there."""
    end = time.monotonic() + START_S
    while True:
        try:
            httpx.get(url, timeout=5).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


async def many(ingress: str, first: int, in_flight: int, tasks: int) -> None:
    """So many tasks, so many at once."""
    room = asyncio.Semaphore(in_flight)
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(timeout=CALL_S, limits=limits) as client:

        async def one(number: int) -> None:
            async with room:
                said = await client.post(f"{ingress}/peer/task", json=f"t{first + number}")
                assert said.json() == 9, said.text

        await asyncio.gather(*(one(number) for number in range(tasks)))


def measured(server: subprocess.Popen[bytes], service: subprocess.Popen[bytes], ports: dict[str, int]) -> Meter:
    """All loads; who drives is not counted, as with loom."""
    admin, ingress = (f"http://127.0.0.1:{ports[name]}" for name in ("admin", "ingress"))
    answered(f"{admin}/health")
    answered(f"{ingress}/restate/health")
    end = time.monotonic() + START_S
    while True:
        said = httpx.post(f"{admin}/deployments", json={"uri": f"http://127.0.0.1:{ports['service']}"}, timeout=START_S)
        if said.is_success:
            break
        if time.monotonic() > end:
            raise RuntimeError(f"Restate does not take the service: {said.text}")
        time.sleep(0.3)
    asyncio.run(many(ingress, 0, 4, 8))
    meter, first = Meter([psutil.Process(server.pid), psutil.Process(service.pid)]), 8
    for in_flight, tasks in loads(sys.argv).items():
        meter.take(
            in_flight,
            tasks,
            lambda first=first, load=in_flight, count=tasks: asyncio.run(many(ingress, first, load, count)),
        )
        first += tasks
    return meter


def end(*started: subprocess.Popen[bytes]) -> None:
    """Ends them and what they started: npm's program is a parent of the server's own."""
    every = [
        one
        for process in started
        if process.poll() is None
        for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True))
    ]
    for one in every:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(every, STOP_S)[1]:
        one.kill()


def main() -> None:
    """Prints the figures."""
    ports = {name: free_port() for name in ("admin", "ingress", "node", "service")}
    with tempfile.TemporaryDirectory(prefix="loom-peer-") as folder, open(Path(folder) / "log", "wb") as log:
        environment = {
            **os.environ,
            "RESTATE_BASE_DIR": f"{folder}/data",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{ports['admin']}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ports['ingress']}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{ports['node']}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{ports['node']}",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "error",
        }
        server = subprocess.Popen([os.environ["RESTATE_SERVER"]], env=environment, stdout=log, stderr=log, cwd=folder)
        service = subprocess.Popen(
            [sys.executable, str(HERE / "restate_service.py"), str(ports["service"])], stdout=log, stderr=log
        )
        try:
            meter = measured(server, service, ports)
        except BaseException:
            print(Path(folder, "log").read_text(errors="replace")[-2_000:], file=sys.stderr)
            raise
        finally:
            end(service, server)
    name = "restate-server with its defaults (one node, replicated log of one, WAL fsynced)"
    meter.report(f"{name}, restate_sdk {version('restate_sdk')} under Hypercorn, HTTP ingress")


main()
