"""Reading the record from a command: one read-only connection, opened and closed inside one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from loom.coordinator.home import Home
from loom.transports.errors import UnavailableProblem, UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.queries import Queries

T = TypeVar("T")


def read(home: Home, question: Callable[[Queries], Awaitable[T]]) -> T:
    """What the question finds in the home's record."""
    return asyncio.run(_read(home, question))


async def _read(home: Home, question: Callable[[Queries], Awaitable[T]]) -> T:
    from loom.coordinator.queries import Queries

    async with Queries.opened(home.database, home.blobs) as queries:
        return await question(queries)


async def find_task(queries: Queries, beginning: str) -> str:
    """The id of the task that begins so. Raises UsageProblem when there is none, or more than one."""
    found = await queries.resolve(beginning) if beginning else []
    if beginning in found:
        return beginning
    if not found:
        raise UsageProblem(f"There is no task {beginning!r} in this home.", "loom tasks lists them")
    if len(found) > 1:
        raise UsageProblem(
            f"{beginning!r} is the beginning of {len(found)} tasks: {', '.join(found)}.", "type some more of it"
        )
    return found[0]


async def whole_task(queries: Queries, beginning: str) -> dict[str, Any]:
    """Everything about the task that begins so."""
    found = await queries.task(await find_task(queries, beginning))
    if found is None:
        raise UnavailableProblem(f"The task {beginning} is gone.")
    return found
