"""The workload as a Restate service; served by Hypercorn on the port of the command line."""

from __future__ import annotations

import asyncio
import sys

import hypercorn
import hypercorn.asyncio
import restate
from workload import AFTER, ANSWER, BEFORE, REVIEWERS

service = restate.Service("peer")


async def call() -> str:
    """A call."""
    return ANSWER


@service.handler()
async def task(ctx: restate.Context, name: str) -> int:
    """One task: each call is a journaled `run`."""
    results = [await ctx.run_typed(each, call) for each in BEFORE]
    reviews = [ctx.run_typed(each, call) for each in REVIEWERS]
    await restate.gather(*reviews)
    results += [await review for review in reviews]
    results += [await ctx.run_typed(each, call) for each in AFTER]
    return len(results)


def main() -> None:
    """Serves until it is ended."""
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.h2_max_concurrent_streams = 2**31 - 1  # as Restate's documentation sets it for production
    config.keep_alive_max_requests = 2**31 - 1
    config.keep_alive_timeout = 2**31 - 1
    asyncio.run(hypercorn.asyncio.serve(restate.app(services=[service]), config))


main()
