"""The split itself."""

from collections.abc import Mapping


def split(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Each person's share of `total` cents, in proportion to their weight.

    The shares are whole cents, add up to the total, and each is less than one cent away from the exact share.
    """
    if total < 0:
        raise ValueError(f"a bill cannot be negative: {total}")
    whole = sum(weights.values())
    if whole <= 0 or min(weights.values()) < 0:
        raise ValueError("the weights need a positive sum, and none of them may be negative")
    return {person: total * weight // whole for person, weight in weights.items()}
