"""A virtual world: one clock, one seed, one network that loses, doubles, delays, cuts and clogs. Nothing here knows loom.

Events happen in the order of their time, then of their making; so one seed is one history. Each concern draws from a stream
of its own (`stream("network")`, `stream("hands")` …), so that one message more does not turn everybody's dice.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.sim.story import Story

WALL_MS = 1_800_000_000_000
"""Where the wall clock of every world begins."""
LOOK_MS = 500
"""How often it is looked whether all is done."""
SLOW_QUEUE = 24
"""Frames that wait for a slow reader; what comes on top cannot be sent."""

Event = Callable[[], None]


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
    """The clock and the events to come."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ms = 1_000
        self.wall_offset_ms = WALL_MS
        self.weather = CALM
        self.story = Story()
        self.cut: set[str] = set()
        """Nodes that nothing reaches and from which nothing comes."""
        self.deaf: set[str] = set()
        """Nodes that nothing reaches; what they send arrives (half of a connection is gone)."""
        self.mute: set[str] = set()
        """Nodes from which nothing comes; what is sent to them arrives."""
        self.slow: dict[str, int] = {}
        """Nodes that read no more than one frame in so many milliseconds."""
        self.frozen: dict[str, int] = {}
        """Nodes that do nothing until then: suspended, with everything that runs on them."""
        self._streams: dict[str, random.Random] = {}
        self._network = self.stream("network")
        self._events: list[tuple[int, int, str, Event]] = []
        self._made = 0
        self._last: dict[tuple[str, str], int] = {}
        self._read_ms: dict[str, int] = {}
        self._queued: dict[str, int] = {}

    @property
    def wall_ms(self) -> int:
        return self.now_ms + self.wall_offset_ms

    def stream(self, name: str) -> random.Random:
        """The randomness of one concern."""
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = random.Random(f"{self.seed}/{name}")
        return found

    # ------------------------------------------------------------------------------------------------- events

    def after(self, delay_ms: int, event: Event, owner: str = "") -> None:
        """Let it happen in so many milliseconds; at `owner`, not while that one is frozen."""
        self._made += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._made, owner, event))

    def run_until(self, end_ms: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, to `end_ms` at the latest; whether `done` came true."""
        events, looked_ms = self._events, self.now_ms
        while events and events[0][0] <= end_ms:
            due_ms, made, owner, event = heapq.heappop(events)
            thaw_ms = self.frozen.get(owner, 0) if owner else 0
            if thaw_ms > due_ms:
                heapq.heappush(events, (thaw_ms, made, owner, event))
                continue
            self.now_ms = due_ms
            event()
            if due_ms - looked_ms > LOOK_MS:
                looked_ms = due_ms
                if done():
                    return True
        self.now_ms = max(self.now_ms, end_ms)
        return done()

    def freeze(self, name: str, length_ms: int) -> None:
        """Nothing of it moves for so long, or for as long as it was frozen already."""
        self.frozen[name] = max(self.frozen.get(name, 0), self.now_ms + length_ms)

    def note(self, who: str, *words: object) -> None:
        """A line of the story."""
        self.story.add(self.now_ms, who, words)

    # ------------------------------------------------------------------------------------------------ network

    def takes(self, target: str) -> bool:
        """Whether a frame to this node finds room; a reader that is too slow takes none."""
        return self._queued.get(target, 0) < SLOW_QUEUE

    def send(self, source: str, target: str, frame: bytes, deliver: Event) -> None:
        """A frame on its way. In calm weather frames of one pair arrive in order."""
        draw, weather = self._network, self.weather
        if weather is CALM:
            due_ms = max(self.now_ms + draw.randint(1, weather.delay_ms), self._last.get((source, target), 0))
            self._last[source, target] = due_ms
            self._on_the_way(source, target, frame, deliver, due_ms - self.now_ms)
            return
        for _ in range(1 + (draw.random() < weather.double)):
            if draw.random() < weather.drop:
                self.story.frame(self.now_ms, source, target, frame, "lost")
                continue
            bound_ms = weather.far_ms if draw.random() < weather.far else max(1, weather.delay_ms)
            self._on_the_way(source, target, frame, deliver, draw.randint(1, bound_ms))

    def _on_the_way(self, source: str, target: str, frame: bytes, deliver: Event, delay_ms: int) -> None:
        if target in self.slow:
            at_ms = max(self.now_ms + delay_ms, self._read_ms.get(target, 0) + self.slow[target])
            self._read_ms[target] = at_ms
            delay_ms = at_ms - self.now_ms
        self._queued[target] = self._queued.get(target, 0) + 1
        self.after(delay_ms, lambda: self._arrive(source, target, frame, deliver), target)

    def _arrive(self, source: str, target: str, frame: bytes, deliver: Event) -> None:
        self._queued[target] -= 1
        if source in self.cut or target in self.cut or target in self.deaf or source in self.mute:
            self.story.frame(self.now_ms, source, target, frame, "cut")
        else:
            self.story.frame(self.now_ms, source, target, frame, "")
            deliver()

    def calm(self) -> None:
        """The bad time is over: everybody reaches everybody."""
        self.weather = CALM
        for names in (self.cut, self.deaf, self.mute):
            names.clear()
        self.slow.clear()
        self.frozen.clear()
