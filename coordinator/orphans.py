"""Late results: what was kept of a report that nobody waited for any more, so that a person can take it.

A client names a kept result by its number and never brings one: what is taken is what the worker said, word by word, and only
if the record says that the attempt had been given to that worker.
"""

from __future__ import annotations

from loom.coordinator.codec import decode_own_command
from loom.coordinator.errors import CodecError
from loom.coordinator.store import Store
from loom.kernel.commands import AttemptEnded, Take
from loom.kernel.work import Refused


def completed(store: Store, take: Take) -> Take:
    """The command with the report that was kept. Raises Refused, StoreError."""
    if take.report is not None:
        raise Refused("malformed", "a late result is taken as it was kept: name its number, and leave the report out")
    row = store.orphan_row(take.orphan)
    if row is None:
        raise Refused("no_such_orphan", f"no late result is kept under number {take.orphan}")
    attempt = f"{row.spawn}#{row.attempt}"
    if row.given_to != row.worker:
        whom = f"to {row.given_to}" if row.given_to else "to nobody"
        raise Refused(
            "foreign", f"{attempt} was given {whom}, not to {row.worker}; what that one says of it is not taken"
        )
    try:
        report = decode_own_command(row.command.encode())
    except CodecError as error:
        raise Refused(
            "unreadable", f"the report of {attempt} cannot be read, so it cannot be taken: {error}"
        ) from error
    if not isinstance(report, AttemptEnded):
        raise Refused("unreadable", f"what was kept of {attempt} is no report")
    return Take(orphan=take.orphan, report=report, reason=take.reason)
