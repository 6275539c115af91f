"""The faults: what is done to whom, and how long it lasts. Who heals it is the storm.

A deck holds each kind that this machine allows, in an order of the seed's. One is always dealt to its end: so a short run
has each kind once, and a long one has them in every order.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from loom.transports.cli.torture.ground import Ground, kill

LONG, SHORT = (1.4, 2.2), (0.2, 0.8)
"""How long a fault lasts, in leases: long enough that attempts are taken back, or so short that nobody may notice."""
DELAY_S = (0.02, 0.4)
GONE_S = 10.0
CUT, FULL = "host cut off", "disk full"
"""Kinds that need an isle."""
FILL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Wound:
    """A fault that was struck. heal: ends it after `lasts_s` (None: nothing is left to be healed)."""

    said: str
    lasts_s: float = 0.0
    heal: Callable[[], None] | None = None


Strike = Callable[[Ground, random.Random], Wound | None]
"""Strikes; None when there was nobody to strike."""


def kill_coordinator(ground: Ground, dice: random.Random) -> Wound | None:
    pid = ground.home.running()
    if not pid:
        return None  # it died by itself: the storm looks for one before each fault
    kill(pid)
    ground.until(lambda: ground.home.running() != pid, "the killed coordinator is gone", GONE_S)
    return Wound("kill -9 of the coordinator")


def kill_worker(ground: Ground, dice: random.Random) -> Wound | None:
    kill(_worker(ground, dice))
    return Wound("kill -9 of a worker")


def _worker(ground: Ground, dice: random.Random) -> int:
    """One of the workers that run now."""
    ground.until(lambda: bool(ground.worker_pids()), "a worker runs")
    return dice.choice(ground.worker_pids() or [0])


def kill_both(ground: Ground, dice: random.Random) -> Wound | None:
    kill_worker(ground, dice)
    return kill_coordinator(ground, dice) and Wound("kill -9 of the coordinator and a worker at once")


def stop_worker(ground: Ground, dice: random.Random) -> Wound | None:
    return _stopped(_worker(ground, dice), "a worker", ground, dice)


def stop_coordinator(ground: Ground, dice: random.Random) -> Wound | None:
    pid = ground.home.running()
    return _stopped(pid, "the coordinator", ground, dice) if pid else None


def _stopped(pid: int, whom: str, ground: Ground, dice: random.Random) -> Wound | None:
    try:
        process = psutil.Process(pid)
        process.suspend()
    except psutil.Error:
        return None

    def go_on() -> None:
        with contextlib.suppress(
            psutil.Error
        ):  # it may have been killed meanwhile: resume looks whether it is the same
            process.resume()

    lasts_s = _long(ground, dice)
    return Wound(f"SIGSTOP of {whom} for {lasts_s:.1f} s (lease {ground.lease_ms / 1000:g} s)", lasts_s, go_on)


def cut_host(ground: Ground, dice: random.Random) -> Wound | None:
    host = dice.choice(ground.hosts)
    if host.wire is None:
        return None
    lasts_s = _long(ground, dice) if dice.random() < 2 / 3 else _short(ground, dice)
    host.wire.cut()
    return Wound(f"the network of {host.name} is cut for {lasts_s:.1f} s", lasts_s, host.wire.join)


def slow_link(ground: Ground, dice: random.Random) -> Wound | None:
    host = dice.choice(ground.hosts)
    host.link.delay_s = dice.uniform(*DELAY_S)
    said = f"each piece to and from {host.name} is delayed by {host.link.delay_s * 1000:.0f} ms"
    return Wound(said, _long(ground, dice), host.link.heal)


def silent_link(ground: Ground, dice: random.Random) -> Wound | None:
    host = dice.choice(ground.hosts)
    lasts_s = _long(ground, dice)
    host.link.silence()
    return Wound(
        f"nothing passes to and from {host.name} for {lasts_s:.1f} s, connections stay", lasts_s, host.link.heal
    )


def broken_link(ground: Ground, dice: random.Random) -> Wound | None:
    host = dice.choice(ground.hosts)
    host.link.drop()
    return Wound(f"all connections of {host.name} are reset")


def full_disk(ground: Ground, dice: random.Random) -> Wound | None:
    filler = ground.home.path / "filler"
    with contextlib.suppress(OSError):
        _fill(filler)
    lasts_s = dice.uniform(0.5, 3.0)
    return Wound(f"the disk is full for {lasts_s:.1f} s", lasts_s, lambda: filler.unlink(missing_ok=True))


def _fill(path: Path) -> None:
    """Writes until nothing fits. Raises OSError when it is full."""
    with path.open("ab", buffering=0) as file:
        size = FILL_BYTES
        while True:
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                if size == 1:
                    raise
                size //= 2


def _long(ground: Ground, dice: random.Random) -> float:
    return dice.uniform(*LONG) * ground.lease_ms / 1000


def _short(ground: Ground, dice: random.Random) -> float:
    return dice.uniform(*SHORT) * ground.lease_ms / 1000


KINDS: dict[str, Strike] = {
    "coordinator killed": kill_coordinator,
    "worker killed": kill_worker,
    "both killed": kill_both,
    "worker stopped": stop_worker,
    "coordinator stopped": stop_coordinator,
    CUT: cut_host,
    "link slow": slow_link,
    "link silent": silent_link,
    "link broken": broken_link,
}
"""Every kind of the first act."""
ON_SMALL_DISK: dict[str, Strike] = {
    FULL: full_disk,
    "both killed": kill_both,
    "coordinator killed": kill_coordinator,
    "worker killed": kill_worker,
}
"""Every kind of the second act, on a small disk: a full disk lasts while the others strike."""


def deck(kinds: dict[str, Strike], dice: random.Random) -> Iterator[tuple[str, Strike]]:
    """Each kind once, in an order of the dice."""
    names = sorted(kinds)
    dice.shuffle(names)
    return iter([(name, kinds[name]) for name in names])
