"""A virtual world for the simulator: one clock, one seed, one network that loses, doubles, delays and cuts.

Nothing here knows loom. Events happen in the order of their time, then of their making; so one seed is one history.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WALL_MS = 1_800_000_000_000
"""Where the wall clock of every world begins."""
TRACE = 400
LOOK_MS = 500
"""How often it is looked whether all is done."""


@dataclass(slots=True)
class Weather:
    """How bad the network is: probabilities a message, delays in milliseconds."""

    drop: float = 0.0
    double: float = 0.0
    delay_ms: int = 5
    far: float = 0.0
    far_ms: int = 0
    """With probability `far`, a message takes up to `far_ms`: it is overtaken by later ones."""


CALM = Weather()


class World:
    """The clock and the events to come. `random` is the only randomness."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now_ms = 1_000
        self.wall_offset_ms = WALL_MS
        self.weather = CALM
        self.cut: set[str] = set()
        """Names of nodes that nothing reaches and from which nothing comes."""
        self.deaf: set[str] = set()
        """Names of nodes that nothing reaches (what they send arrives: half of a connection is gone)."""
        self.trace: deque[str] = deque(maxlen=TRACE)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._made = 0
        self._last: dict[tuple[str, str], int] = {}

    @property
    def wall_ms(self) -> int:
        return self.now_ms + self.wall_offset_ms

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def after(self, delay_ms: int, event: Callable[[], None]) -> None:
        """Let it happen in so many milliseconds."""
        self._made += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._made, event))

    def run_until(self, end_ms: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, to `end_ms` at the latest; whether `done` came true."""
        looked_ms = self.now_ms
        while self._events and self._events[0][0] <= end_ms:
            self.now_ms, _, event = heapq.heappop(self._events)
            event()
            if self.now_ms - looked_ms > LOOK_MS:
                looked_ms = self.now_ms
                if done():
                    return True
        self.now_ms = max(self.now_ms, end_ms)
        return done()

    def note(self, *words: object) -> None:
        """A line of the history, for whoever reads a failure."""
        self.trace.append(f"{self.now_ms:>8} {' '.join(str(word) for word in words)}")

    def send(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        """A message on its way. In calm weather messages of one pair arrive in order."""
        weather = self.weather
        copies = 1 + self.chance(weather.double)
        for _ in range(copies):
            if self.chance(weather.drop):
                self.note("lost", source, "→", target)
                continue
            delay_ms = self.random.randint(1, max(1, weather.delay_ms))
            if self.chance(weather.far):
                delay_ms = self.random.randint(1, weather.far_ms)
            elif weather is CALM:
                due_ms = max(self.now_ms + delay_ms, self._last.get((source, target), 0))
                self._last[source, target] = due_ms
                delay_ms = due_ms - self.now_ms
            self.after(delay_ms, lambda: self._arrive(source, target, deliver))

    def _arrive(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        if self.cut & {source, target} or target in self.deaf:
            self.note("cut", source, "→", target)
        else:
            deliver()
