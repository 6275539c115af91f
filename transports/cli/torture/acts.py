"""The acts of a torture: the ground, the storm, the checks; first on the user's disk, then on a small one that gets full."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from loom.coordinator.errors import LoomError
from loom.coordinator.home import Home
from loom.transports.cli.torture import isle
from loom.transports.cli.torture.faults import CUT, FULL, KINDS, ON_SMALL_DISK, Strike
from loom.transports.cli.torture.ground import Ground, Lost
from loom.transports.cli.torture.relay import Relays
from loom.transports.cli.torture.storm import Storm
from loom.transports.cli.torture.verdicts import Check, checked
from loom.transports.stubbed import CALLS

DISK_BYTES = 128 * 1024 * 1024
"""The small disk."""
DISK_SHARE, DISK_MAX_S = 0.25, 60.0
"""How much of the time belongs to the second act."""
SETTLE_S = 120.0
"""How long what is in flight may take when the faults are over; and some leases more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for. on_isle: whether hosts have networks of their own and there is a small disk."""

    seconds: float
    seed: int
    lease_ms: int
    agent_ms: int
    in_flight: int
    folder: Path
    on_isle: bool
    left_out: tuple[str, ...]
    """Faults that cannot be had here, each with the reason."""
    keep: bool


@dataclass(frozen=True, slots=True)
class Act:
    """What one act came to."""

    name: str
    faults: dict[str, int]
    seconds: float
    tasks: int
    steps: int
    entries: int
    checks: tuple[Check, ...]
    home: Path

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)


Tell = Callable[[str], None]


def acts(plan: Plan, tell: Tell) -> list[Act]:
    """Plays them all. Whatever happens, nothing of it is left running; a home is left only of what went wrong."""
    if plan.on_isle:
        isle.raise_loopback()
    share_s = min(DISK_MAX_S, plan.seconds * DISK_SHARE) if plan.on_isle else 0.0
    kinds = {name: strike for name, strike in KINDS.items() if plan.on_isle or name != CUT}
    played = [_play(plan, "this disk", plan.folder, plan.seconds - share_s, kinds, tell)]
    if share_s:
        small = plan.folder / "small"
        isle.small_disk(small, DISK_BYTES)
        try:
            played.append(_play(plan, "a small disk", small, share_s, ON_SMALL_DISK, tell))
            if plan.keep or not played[-1].good:  # what was in memory would be gone
                home = plan.folder / "small-home"
                shutil.copytree(small / "home", home, ignore=shutil.ignore_patterns("run", "filler"))
                played[-1] = replace(played[-1], home=home)
        finally:
            isle.free_disk(small)
    return played


def _play(plan: Plan, name: str, folder: Path, seconds: float, kinds: dict[str, Strike], tell: Tell) -> Act:
    """One act. The dice of each are the seed's and its name's: the second does not depend on the first."""
    own = Path(tempfile.mkdtemp(prefix="loom-torture-"))
    relays = Relays()
    ground = Ground(Home(folder / "home"), own, plan.lease_ms, plan.agent_ms, plan.on_isle, FULL in kinds, relays)
    began = time.monotonic()
    storm = Storm(ground, random.Random(f"{plan.seed} {name}"), plan.in_flight, tell)
    checks: list[Check] = []
    try:
        ground.come_up()
        storm.rage(seconds, kinds, SETTLE_S + 4 * plan.lease_ms / 1000)
        checks.extend(checked(ground, storm))
    except Lost as lost:
        checks.append(Check("everything in time", "it was not", (str(lost), *_stuck(ground))))
    except LoomError as error:
        checks.append(Check("everything in time", "it was not", (f"{type(error).__name__}: {error}",)))
    finally:
        ground.kill_all()
        ground.close()
        relays.close()
        shutil.rmtree(own, ignore_errors=True)
    steps = storm.submitted * CALLS
    return Act(
        name,
        dict(sorted(storm.struck.items())),
        round(time.monotonic() - began, 1),
        storm.submitted,
        steps,
        storm.entries,
        tuple(checks),
        ground.home.path,
    )


def _stuck(ground: Ground) -> list[str]:
    """The tasks that are not done, and how they stand."""
    try:
        rows = ground.rows(
            "SELECT task || ' is ' || status || ' in ' || stage FROM task WHERE status != 'done' LIMIT 5"
        )
    except Exception as error:
        return [f"the record cannot be read: {error}"]
    return [str(row[0]) for row in rows]
