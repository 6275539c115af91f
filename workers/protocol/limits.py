"""Limits and intervals of the wire, with the relations between them, and the names of attempts."""

from __future__ import annotations

PROTOCOL_LOW = 1
PROTOCOL_HIGH = 1

MAX_FRAME = 64 * 1024
"""Bytes of one control frame; a longer one is refused with Nack."""
MAX_INLINE = 32 * 1024
"""Bytes of one text that may travel inside a control frame (and live inside the database)."""
BLOB_CHUNK = 1024 * 1024
"""Bytes of one chunk on the blob socket."""
MAX_BLOB = 64 * 1024 * 1024
"""Bytes of one blob."""
MAX_SLOTS = 256
"""Attempts that one worker may run at once; as many reports may wait in its spool, and a Hello that names all fits a frame."""

LEASE_MS = 90_000
"""The lease of an attempt, unless the home says otherwise. The worker renews every third of it."""
GRACE_MS = 15_000
"""The coordinator takes an attempt back this long after its lease, the worker kills it this long before."""
PING_MS = 5_000
PINGS_MISSED = 4
"""So many silent ping intervals make a worker suspect (no new work), and a worker say Hello again."""


def grace_ms(lease_ms: int) -> int:
    """The grace of a lease: 15 s, scaled down with leases under 90 s. Twice of it lie between kill and expiry."""
    return min(GRACE_MS, lease_ms // 6)


def renew_every_ms(lease_ms: int) -> int:
    """How often a worker renews: two renewals may be lost before it has to kill."""
    return max(1, lease_ms // 3)


assert 2 * renew_every_ms(LEASE_MS) < LEASE_MS - grace_ms(LEASE_MS)
assert PINGS_MISSED * PING_MS < LEASE_MS


def attempt_id(spawn: str, attempt: int) -> str:
    """The name of an attempt on the wire: `<task>/<stage>.<iteration>/<agent>#<n>`."""
    return f"{spawn}#{attempt}"


def split_attempt(attempt: str) -> tuple[str, str, int]:
    """(task, spawn, n) of an attempt's name. Raises ValueError on anything else."""
    spawn, hash_sign, number = attempt.rpartition("#")
    task, slash, _ = spawn.partition("/")
    if not (hash_sign and slash and task and number.isascii() and number.isdigit()):
        raise ValueError(f"{attempt!r} names no attempt; write <task>/<stage>.<iteration>/<agent>#<n>")
    return task, spawn, int(number)
