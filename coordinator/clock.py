"""The coordinator's clocks: one for leases that goes on while the machine sleeps, one for the ledger that never runs back."""

from __future__ import annotations

import time

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
JUMP_MS = 5_000
"""A wall clock that moved by more against the boot clock than this was set."""


def boot_ms() -> int:
    """Milliseconds of boot time (of monotonic time where the system has no such clock)."""
    return time.clock_gettime_ns(_BOOT) // 1_000_000


class Wall:
    """The `now_ms` of turns: UTC, never smaller than the one before. `jumped`: the clock was set since the last look."""

    def __init__(self, last_ms: int) -> None:
        """last_ms: the last `now_ms` of the ledger."""
        self._last_ms = last_ms
        self._offset_ms = time.time_ns() // 1_000_000 - boot_ms()
        self.jumped_ms = 0

    def now_ms(self) -> int:
        wall_ms = time.time_ns() // 1_000_000
        offset_ms = wall_ms - boot_ms()
        if abs(offset_ms - self._offset_ms) > JUMP_MS:
            self.jumped_ms = offset_ms - self._offset_ms
        self._offset_ms = offset_ms
        self._last_ms = max(self._last_ms, wall_ms)
        return self._last_ms

    def take_jump(self) -> int:
        """By how much the clock was set since the last call (0: not)."""
        jumped, self.jumped_ms = self.jumped_ms, 0
        return jumped
