"""The workload on DBOS with its SQLite system database: each step is checkpointed before the next one starts."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import psutil
from dbos import DBOS, DBOSConfig
from workload import AFTER, ANSWER, BEFORE, REVIEWERS, Meter, loads


@DBOS.step()
async def call(name: str) -> str:
    """A call."""
    return ANSWER


@DBOS.workflow()
async def task() -> int:
    """One task."""
    results = [await call(name) for name in BEFORE]
    results += await asyncio.gather(*(call(name) for name in REVIEWERS))
    results += [await call(name) for name in AFTER]
    return len(results)


async def many(in_flight: int, tasks: int) -> None:
    """So many tasks, so many at once."""
    room = asyncio.Semaphore(in_flight)

    async def one() -> None:
        async with room:
            handle = await DBOS.start_workflow_async(task)
            assert await handle.get_result() == 9

    await asyncio.gather(*(one() for _ in range(tasks)))


async def measured() -> Meter:
    """All loads."""
    meter = Meter([psutil.Process()])
    await many(1, 2)
    for in_flight, tasks in loads(sys.argv).items():
        await meter.take_async(in_flight, tasks, lambda load=in_flight, count=tasks: many(load, count))
    return meter


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory(prefix="loom-peer-") as folder:
        database = f"sqlite:///{Path(folder) / 'dbos.sqlite'}"
        config: DBOSConfig = {"name": "peer", "system_database_url": database, "run_admin_server": False}
        DBOS(config=config)
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS.launch()
        try:
            meter = asyncio.run(measured())
        finally:
            DBOS.destroy()
    meter.report(
        f"dbos {version('dbos')}, SQLite system database with its defaults (rollback journal, synchronous=FULL)"
    )


main()
