"""A bill as text, for the group chat."""

from collections.abc import Mapping

from .split import split


def receipt(total: int, weights: Mapping[str, int]) -> str:
    """One line a person, and the total below."""
    shares = split(total, weights)
    width = max(len(person) for person in [*shares, "total"])
    lines = [f"{person:<{width}} {_euros(cents):>9}" for person, cents in shares.items()]
    return "\n".join([*lines, f"{'total':<{width}} {_euros(sum(shares.values())):>9}"])


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
