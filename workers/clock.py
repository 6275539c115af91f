"""The worker's clock: milliseconds that go on while the machine sleeps, so that a lease is over after a suspend."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ms() -> int:
    """Milliseconds of boot time (of monotonic time where the system has no such clock)."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000
