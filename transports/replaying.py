"""Replay for surfaces: the record read entry by entry, and every decision derived again by the bundles that were kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loom.bundles import registry
from loom.bundles.archives import BundleError
from loom.coordinator.codec import encode_events
from loom.coordinator.entry import decode_entry
from loom.coordinator.home import Home
from loom.coordinator.queries import Queries
from loom.kernel.replay import Difference, Record, replay
from loom.kernel.work import Rules, rules_for
from loom.transports.errors import UnavailableProblem


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found. difference None: identical."""

    ticks: int
    seconds: float
    difference: Difference | None


def replayed(home: Home, task: str | None) -> Replayed:
    """Takes the commands of one task (None: of everything) again. Raises UnavailableProblem, LoomError."""
    loop = asyncio.new_event_loop()
    opened = Queries.opened(home.database, home.blobs)
    queries = loop.run_until_complete(opened.__aenter__())
    begun = time.perf_counter()
    try:
        found = replay(_records(loop, queries, task), _rules(loop, queries), encode_events)
    finally:
        loop.run_until_complete(opened.__aexit__(None, None, None))
        loop.close()
    return Replayed(found.ticks, time.perf_counter() - begun, found.difference)


def _records(loop: asyncio.AbstractEventLoop, queries: Queries, task: str | None) -> Iterator[Record]:
    """The entries, one at a time: a history may be longer than memory."""
    entries = queries.entries(task)
    while True:
        try:
            seq, body = loop.run_until_complete(anext(entries))
        except StopAsyncIteration:
            return
        yield record_of(seq, body)


def record_of(seq: int, body: bytes | str) -> Record:
    """An entry's body as replay reads it. Raises CodecError."""
    entry = decode_entry(body)
    return Record(
        seq=seq,
        task=entry.task,
        n=entry.n,
        now_ms=entry.now_ms,
        principal=entry.principal,
        command=entry.command,
        events=entry.events,
        outcome=entry.outcome.value,
        unanswered=entry.unanswered,
        home_reads=entry.home_reads,
        rules_digest=entry.rules.digest,
    )


def _rules(loop: asyncio.AbstractEventLoop, queries: Queries) -> Callable[[str], Rules]:
    """digest → rules, from the archives that this home keeps; never from what is installed now."""
    archives = {row["digest"]: row["archive"] for row in loop.run_until_complete(queries.bundles())}
    loaded: dict[str, Rules] = {}

    def find(digest: str) -> Rules:
        if digest not in loaded:
            if digest not in archives:
                raise UnavailableProblem(
                    f"The bundle {digest[:12]} of this task is not kept in the home.", "loom doctor"
                )
            data = loop.run_until_complete(queries.text(archives[digest]["blob"]))
            try:
                loaded[digest] = rules_for(registry.load_archive(data, digest))
            except BundleError as error:
                raise UnavailableProblem(
                    f"The bundle {digest[:12]} cannot be loaded: {'; '.join(error.faults)}."
                ) from error
        return loaded[digest]

    return find
