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
    """The `now_ms` of turns: UTC milliseconds, never smaller than the one before.

    When the wall clock is set back, `now_ms` goes on at half speed until the wall has caught up: nothing that waits for a
    time waits for hours, and nothing is earlier than what is recorded.
    """

    def __init__(self, last_ms: int, wall_ms: int, boot_ms: int) -> None:
        """last_ms: the last `now_ms` of the ledger."""
        self._last_ms, self._boot_ms = last_ms, boot_ms
        self._offset_ms = wall_ms - boot_ms
        self._jumped_ms = 0

    def at(self, wall_ms: int, boot_ms: int) -> int:
        """The time token now, by both clocks."""
        if abs(wall_ms - boot_ms - self._offset_ms) > JUMP_MS:
            self._jumped_ms += wall_ms - boot_ms - self._offset_ms
            self._offset_ms = wall_ms - boot_ms
        slow_ms = self._last_ms + (boot_ms - self._boot_ms) // 2
        if wall_ms >= slow_ms:
            self._last_ms, self._boot_ms = wall_ms, boot_ms
        return max(wall_ms, slow_ms)

    def now_ms(self) -> int:
        """The time token now, by the machine's clocks."""
        return self.at(time.time_ns() // 1_000_000, boot_ms())

    def take_jump(self) -> int:
        """By how much the clock was set since the last call (0: not)."""
        jumped, self._jumped_ms = self._jumped_ms, 0
        return jumped
