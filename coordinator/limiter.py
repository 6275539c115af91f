"""Providers and how much they take: one limiter for all workers, so that one answer "too many requests" is heard by all.

    shut      until the time that the provider named (Retry-After), plus a jitter from a hash; what waits is granted nothing
    window    how many attempts may be at work at once: it begins small, doubles while all goes well, and is halved by the first
              refusal of a wave (Jacobson 1988: slow start, then slower)
    cap, pace what a person set: at once, and begun a minute

An attempt that is refused for its rate is no failure, and the kernel counts it as none; the window keeps a fan-out from finding
that out 256 times. Volatile: after a restart the window begins small, and shut times are read off the attempts that wait.
"""

from __future__ import annotations

import hashlib

from loom.coordinator.limits import Limits
from loom.coordinator.lines import NO_CAP
from loom.kernel.limits import BACKOFF_BASE_MS, BACKOFF_MAX_MS

WINDOW = 8
"""Attempts of one provider at once before anything is known of it."""
GROW_MS = 2_000
"""A window that was full for so long without a refusal grows, when the provider has answered since the last one."""
UNPROVEN_MS = 10_000
"""The same, when it has not: the first answers of agents that think for long are not waited for."""
SHUT_MAX_MS = 3_600_000
"""A provider is tried again after so long, by one attempt, whatever it named: a wrong word must not shut it for ever."""
JITTER = 10
"""Up to one part in so many of a wait is added to it."""
JITTER_MAX_MS = 2_000
UNLIMITED = frozenset({"", "stub", "recorded"})
"""Families that call nobody."""
ON_AN_END = 1 << 62
"""When a provider opens that waits for one of its attempts to end."""

MINUTE_US = 60_000_000


class Provider:
    """One provider. `cap` and `per_minute` are a person's; the rest is learnt."""

    __slots__ = (
        "cap", "name", "next_us", "per_minute", "proven", "refusals", "running", "shut_ms", "stepped_ms", "threshold", "window",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.cap, self.per_minute = NO_CAP, 0
        self.running = 0
        self.window, self.threshold = WINDOW, NO_CAP
        self.stepped_ms = 0
        """When the window grew last, or was found full after it had room."""
        self.shut_ms = 0
        """It takes nothing before this time."""
        self.proven = False
        """It answered since it refused."""
        self.refusals = 0
        """Waves of refusals since something went well."""
        self.next_us = 0
        """When the pace allows the next start."""

    def opens_ms(self, now_ms: int, *, spare_ms: int = NO_CAP) -> int:
        """0: it takes one more now; else when it may (ON_AN_END: when one ends). spare_ms: a longer shut time is not waited for
        by an attempt that can go on to another provider; its refusal moves it there."""
        if now_ms < self.shut_ms <= now_ms + spare_ms:
            return self.shut_ms
        if self.running >= self.cap:
            return ON_AN_END
        if self.running >= self.window and not self._grows(now_ms):
            return self.stepped_ms + self._patience_ms
        if self.per_minute and now_ms * 1_000 < self.next_us:
            return -(-self.next_us // 1_000)
        return 0

    @property
    def _patience_ms(self) -> int:
        return GROW_MS if self.proven else UNPROVEN_MS

    def _grows(self, now_ms: int) -> bool:
        """A full window: whether it is time for a larger one. An idle one does not grow."""
        if not self.stepped_ms or now_ms - self.stepped_ms < self._patience_ms:
            self.stepped_ms = self.stepped_ms or now_ms
            return False
        self.window = (
            min(self.window * 2, self.threshold) if self.window < self.threshold else self.window + 1 + self.window // 4
        )
        self.stepped_ms = now_ms
        return self.running < self.window

    def began(self, now_ms: int) -> None:
        """One of its attempts was granted."""
        self.running += 1
        if self.per_minute:
            self.next_us = max(self.next_us, now_ms * 1_000) + MINUTE_US // self.per_minute

    def ended(self) -> None:
        self.running -= 1
        if self.running < self.window:
            self.stepped_ms = 0

    def answered(self) -> None:
        """It served one: the window is larger by one until it is as large as was good before."""
        self.proven, self.refusals = True, 0
        if self.window < self.threshold:
            self.window += 1

    def refused(self, until_ms: int, now_ms: int, salt: str) -> None:
        """It refused one for its rate. until_ms: what it named (0: nothing)."""
        if now_ms >= self.shut_ms:  # the first of its wave
            self.threshold = max(1, min(self.window, self.running + 1) // 2)
            self.window = 1
            self.refusals += 1
            self.proven, self.stepped_ms = False, 0
        wait_ms = (
            until_ms - now_ms if until_ms > now_ms else min(BACKOFF_MAX_MS, BACKOFF_BASE_MS << min(self.refusals, 10))
        )
        wait_ms = min(wait_ms, SHUT_MAX_MS)
        if now_ms + wait_ms > self.shut_ms:
            self.shut_ms = now_ms + wait_ms + _jitter_ms(f"{salt}|{self.name}|{now_ms + wait_ms}", wait_ms)


class Limiter:
    """The providers of a home. salt: what tells this home from others, so that they do not all come back at once."""

    def __init__(self, salt: str = "") -> None:
        self._salt = salt
        self._limits = Limits()
        self.providers: dict[str, Provider] = {}

    def of(self, name: str) -> Provider | None:
        """The provider of this name; None: it is never limited."""
        if name in UNLIMITED:
            return None
        found = self.providers.get(name)
        if found is None:
            found = self.providers[name] = Provider(name)
            found.cap, found.per_minute = self._limits.provider(name)
        return found

    def limit(self, limits: Limits) -> None:
        """A person has set other limits."""
        self._limits = limits
        for name, provider in self.providers.items():
            provider.cap, provider.per_minute = limits.provider(name)

    def ended(self, name: str, *, served: bool, refused: bool, until_ms: int, now_ms: int) -> None:
        """An attempt of this provider is over. served: it answered; refused: it would not, for the rate."""
        provider = self.of(name)
        if provider is None:
            return
        if refused:
            provider.refused(until_ms, now_ms, self._salt)
        elif served:
            provider.answered()
        provider.ended()

    def found_shut(self, name: str, until_ms: int, now_ms: int) -> None:
        """At the start an attempt waits because this provider refused one before it, until this time."""
        provider = self.of(name)
        if provider is not None and until_ms > now_ms:
            provider.shut_ms = max(provider.shut_ms, min(until_ms, now_ms + SHUT_MAX_MS))
            provider.window = 1

    def restart(self) -> None:
        """What is at work is counted again, from the rows. What was learnt stays."""
        for provider in self.providers.values():
            provider.running = 0


def _jitter_ms(text: str, wait_ms: int) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") % (min(JITTER_MAX_MS, wait_ms // JITTER) + 1)
