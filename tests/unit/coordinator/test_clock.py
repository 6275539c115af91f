"""The ledger's time: never back, and never standing still."""

from __future__ import annotations

from loom.coordinator.clock import Wall


def test_it_is_the_wall_clock() -> None:
    """As long as that does not run back."""
    wall = Wall(0, 1_000_000, 500)
    assert [1_000_010, 1_000_020] == [wall.at(1_000_010, 510), wall.at(1_000_020, 520)]
    assert 0 == wall.take_jump()


def test_a_clock_set_back_goes_on_at_half_speed_until_it_has_caught_up() -> None:
    """Nothing is earlier than before, and what waits for a time does not wait for hours."""
    wall = Wall(0, 1_000_000, 0)
    assert 1_000_000 == wall.at(1_000_000, 0)
    back = [wall.at(900_000 + boot_ms, boot_ms) for boot_ms in (10, 20_010, 100_000, 200_000, 300_000)]
    assert [1_000_005, 1_010_005, 1_050_000, 1_100_000, 1_200_000] == back
    assert -100_000 == wall.take_jump()
    assert 0 == wall.take_jump()


def test_it_goes_on_from_the_ledger() -> None:
    """A machine whose clock is behind the last entry does not write an earlier one."""
    wall = Wall(2_000_000, 1_000_000, 0)
    assert 2_000_000 == wall.at(1_000_000, 0)
    assert 2_000_500 == wall.at(1_001_000, 1_000)
