"""Replay for surfaces: recorded runs read entry by entry, and every decision derived again by the bundles that were kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loom.bundles import registry
from loom.bundles.archives import BundleError
from loom.coordinator.codec import encode_events
from loom.coordinator.entry import Entry, decode_entry
from loom.coordinator.home import Home
from loom.kernel.limits import SEMANTICS
from loom.kernel.replay import Difference, Record, replay
from loom.kernel.work import Rules, rules_for
from loom.transports.errors import UnavailableProblem
from loom.transports.histories import HomeRuns, Runs


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found. difference None: identical."""

    ticks: int
    seconds: float
    difference: Difference | None


def replayed(home: Home, task: str | None) -> Replayed:
    """Takes the commands of one task (None: of everything) again. Raises UnavailableProblem, LoomError."""
    with HomeRuns(home, None if task is None else (task,)) as runs:
        return replayed_runs(runs)


def replayed_runs(runs: Runs) -> Replayed:
    """The same for runs from anywhere."""
    begun = time.perf_counter()
    found = replay(_records(runs), rules_of(runs), encode_events)
    return Replayed(found.ticks, time.perf_counter() - begun, found.difference)


def _records(runs: Runs) -> Iterator[Record]:
    """The entries, one at a time: a history may be longer than memory."""
    for seq, body in runs.entries():
        yield record_of(seq, body)


def record_of(seq: int, body: bytes | str) -> Record:
    """An entry's body as replay reads it. Raises CodecError, and UnavailableProblem for a kernel that this one is not."""
    entry = decode_entry(body)
    _check_semantics(seq, entry)
    return record(seq, entry)


def record(seq: int, entry: Entry) -> Record:
    """A decoded entry as replay reads it."""
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


def _check_semantics(seq: int, entry: Entry) -> None:
    if entry.rules.semantics != SEMANTICS:
        raise UnavailableProblem(
            f"Entry {seq} was decided by semantics {entry.rules.semantics} of the kernel; this loom has {SEMANTICS}.",
            "replay it with the version of loom that wrote it, or a later one that has both",
        )


def rules_of(runs: Runs) -> Callable[[str], Rules]:
    """digest → rules, from the archives that stand beside the entries; never from what is installed now."""
    loaded: dict[str, Rules] = {}

    def find(digest: str) -> Rules:
        if digest not in loaded:
            try:
                loaded[digest] = rules_for(registry.load_archive(runs.archive(digest), digest))
            except BundleError as error:
                raise UnavailableProblem(
                    f"The bundle {digest[:12]} cannot be loaded: {'; '.join(error.faults)}."
                ) from error
        return loaded[digest]

    return find
