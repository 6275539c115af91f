"""What one seed is about: the shape of the work, and which kinds of trouble come how often.

Not every seed has everything: a history in which one thing goes wrong many times finds what a history with a little of
everything hides. So each kind of trouble is drawn to be there or not, and the worlds are small.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness import toy
from harness.sim.world import Weather
from loom.kernel.flow import Bundle
from loom.kernel.work import Rules, rules_for

SHAPES: dict[str, tuple[Bundle, ...]] = {
    "serial": (toy.serial(8),),
    "fan-out": (toy.FANOUT, toy.CHECKED),
    "rework": (toy.REVIEW, toy.FANOUT, toy.STEPPED),
    "gates": (toy.TOY, toy.CHOOSING, toy.REVIEW),
    "acts": (toy.DELIVERED, toy.TOY),
    "mixed": (*toy.ALL, toy.serial(8)),
}
RULES: dict[str, Rules] = {bundle.digest: rules_for(bundle) for shape in SHAPES.values() for bundle in shape}

TROUBLES = (
    "coordinator dies",
    "worker dies",
    "worker dies at its spool",
    "cut",
    "deaf",
    "mute",
    "slow",
    "coordinator suspended",
    "worker suspended",
    "clock set",
    "disk full",
    "commit fails",
    "spool full",
    "texts get lost",
    "twin",
    "drain",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed's world."""

    shape: str
    workers: int
    slots: int
    tasks: int
    people: int
    bad_ms: int
    """How long things go wrong."""
    weather: Weather
    troubles: tuple[str, ...]
    """Each as often as it comes."""
    cost_cap: int
    """Micro-units that a task may cost (0: no cap)."""
    watched: bool
    """The coordinator sees a local worker's death at once, and starts the next."""
    sloppy: float
    """How often an agent fails or says something odd."""
    moody: float
    """How often a person pauses, cancels, revises."""

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        return SHAPES[self.shape]

    def __str__(self) -> str:
        counts = {name: self.troubles.count(name) for name in dict.fromkeys(self.troubles)}
        told = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in counts.items())
        return (
            f"{self.shape}: {self.tasks} tasks, {self.workers} workers × {self.slots}, {self.people} people, "
            f"{self.bad_ms // 1000} s of: {told or 'fair weather'}"
        )


def draw(random_: random.Random) -> Plan:
    """The plan of a seed."""
    pick = random_
    storm = Weather()
    if pick.random() < 0.8:
        storm = Weather(
            drop=pick.choice((0.0, 0.02, 0.1)),
            double=pick.choice((0.0, 0.03, 0.15)),
            delay_ms=pick.choice((5, 60)),
            far=pick.choice((0.0, 0.05, 0.15)),
            far_ms=1_200,
        )
    kinds = [name for name in TROUBLES if pick.random() < 0.35]
    return Plan(
        shape=pick.choice(tuple(SHAPES)),
        workers=pick.choice((1, 2, 2, 3)),
        slots=pick.randint(1, 3),
        tasks=pick.randint(1, 5),
        people=pick.choice((1, 1, 2)),
        bad_ms=pick.choice((8_000, 15_000, 25_000)),
        weather=storm,
        troubles=tuple(name for name in kinds for _ in range(pick.randint(1, 3))),
        cost_cap=pick.choice((0, 2_500_000, 6_000_000)),
        watched=pick.random() < 0.5,
        sloppy=pick.choice((0.0, 0.1, 0.3)),
        moody=pick.choice((0.0, 0.15, 0.4)),
    )
