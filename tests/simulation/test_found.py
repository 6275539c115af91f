"""What the simulator has found, as worlds of their own: small, in fair weather but for the one thing that goes wrong."""

from __future__ import annotations

from harness.sim.laws import faults
from harness.sim.plan import Plan
from harness.sim.simulation import Simulation
from harness.sim.world import Weather

FAIR = Plan(
    shape="serial",
    workers=1,
    slots=1,
    tasks=1,
    people=1,
    bad_ms=8_000,
    weather=Weather(),
    troubles=(),
    cost_cap=0,
    watched=False,
    sloppy=0.0,
    moody=0.0,
)


def test_what_a_failed_commit_left_unplaced_is_granted() -> None:
    """The group with the submit fails once: its parts come through one by one, and the attempt is not forgotten, though
    nothing else ever happens in this home."""
    simulation = Simulation(1, FAIR)
    simulation.world.after(10, lambda: setattr(simulation.disk, "failing", 1))
    assert [] == faults(simulation.run())
    assert simulation.world.now_ms < 30_000
    assert simulation.disk.failing == 0
