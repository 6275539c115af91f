"""Every limit of the process, in one place, with the relations between them asserted.

Units are in the names. A limit that a task may change is its default here; the others are fixed by the semantics number.
"""

from __future__ import annotations

SEMANTICS = 1
"""Number of the kernel's semantics. Pinned by every task; a change of behaviour is a new number with its own branch."""

MAX_INTEGER = 2**53 - 1
INLINE_TEXT_BYTES = 256
"""A longer text stands in commands and events as a salted blob only."""

ATTEMPTS_PER_TASK = 40
ROUNDS_PER_TASK = 4
"""Automatic reworks since a person last decided."""
TRANSIENT_TRIES = 3
"""Tries on one binding before the chain moves on."""
LOSSES_PER_SPAWN = 3
UNDELIVERED_PER_SPAWN = 20
RATE_WAITS_PER_SPAWN = 30
REPAIRS_PER_SPAWN = 1
STALL_REPEATS = 2
"""A blocker whose stall key comes back this often is a stall."""

BACKOFF_BASE_MS = 1_000
BACKOFF_MAX_MS = 60_000
RATE_WAIT_SWITCH_MS = 600_000
"""A rate limit that ends later than this moves on to the next binding, when there is one."""
RATE_WAIT_MAX_MS = 24 * 3_600_000
"""A rate limit that ends later than this is a failure of its binding: no wait without an end."""

TASK_WALL_MS = 7 * 24 * 3_600_000
ACT_WAIT_MS = 24 * 3_600_000
"""What a person asks for after the end is given this long; then the person is asked again."""
GATE_WAIT_MS = 7 * 24 * 3_600_000
ATTEMPT_WALL_MS = 30 * 60_000

MAX_FINDINGS_PER_ATTEMPT = 100
MAX_STATEMENTS_PER_ATTEMPT = 100
MAX_LIVE_FINDINGS = 500
"""Beyond it only blocking findings are recorded: a blocker is never lost for want of room."""
MAX_STALL_KEYS = 1_000
"""Kinds of trouble whose returns are counted in one task; beyond it the rarest old ones are forgotten."""
MAX_FANOUT = 256
MAX_MESSAGES = 20
MAX_EFFECT_BYTES = 4_096
"""What a person may say of what exactly an act is to do."""
MAX_DOUBTS = 20
"""Acts of one task that may be in doubt; beyond it those must be settled before others are asked for."""
MAX_MOVES_PER_TICK = 64
"""Stages entered in one tick; a flow that needs more is a loop without work in it."""

MAX_INVITATIONS = 64
"""Invitations of workers that may be open; beyond it the oldest are forgotten."""
INVITATION_MAX_MS = 7 * 24 * 3_600_000
MAX_ENROLLED = 1_000

assert BACKOFF_BASE_MS <= BACKOFF_MAX_MS <= RATE_WAIT_SWITCH_MS <= RATE_WAIT_MAX_MS <= GATE_WAIT_MS
assert ACT_WAIT_MS <= GATE_WAIT_MS
assert TRANSIENT_TRIES <= ATTEMPTS_PER_TASK
assert MAX_FINDINGS_PER_ATTEMPT <= MAX_LIVE_FINDINGS
