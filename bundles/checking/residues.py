"""What is left of a guard once a part of what it asks is known: the one tool of the abstraction.

Two valuations of an agent's words are the same to a bundle when every guard that can still be asked is left the same by both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import assert_never

from loom.kernel.evidence import SATISFYING
from loom.kernel.facts import All, Any, AtLeast, Blocked, Fact, Guard, Not, Said, Shown

Atom = Fact | Said | Shown | Blocked
Known = Callable[[Atom], bool | None]
"""Whether an atom holds; None: not known."""
Residue = Guard | bool


def residue(guard: Residue, known: Known) -> Residue:
    """The guard with what is known put in and worked out; True or False when nothing is left to ask."""
    match guard:
        case bool():
            return guard
        case All(parts):
            return _all(parts, known)
        case Any(parts):
            return _any(parts, known)
        case Not(part):
            rest = residue(part, known)
            return not rest if isinstance(rest, bool) else Not(rest)
        case AtLeast(count, parts):
            rests = [residue(part, known) for part in parts]
            left = tuple(rest for rest in rests if not isinstance(rest, bool))
            wanted = count - sum(rest is True for rest in rests)
            if wanted <= 0:
                return True
            return AtLeast(wanted, left) if wanted <= len(left) else False
        case Fact() | Said() | Shown() | Blocked():
            value = known(guard)
            return guard if value is None else value
        case _:
            assert_never(guard)


def _all(parts: tuple[Guard, ...], known: Known) -> Residue:
    left: list[Guard] = []
    for part in parts:
        rest = residue(part, known)
        if rest is False:
            return False
        if not isinstance(rest, bool):
            left.append(rest)
    return All(tuple(dict.fromkeys(left))) if left else True


def _any(parts: tuple[Guard, ...], known: Known) -> Residue:
    left: list[Guard] = []
    for part in parts:
        rest = residue(part, known)
        if rest is True:
            return True
        if not isinstance(rest, bool):
            left.append(rest)
    return Any(tuple(dict.fromkeys(left))) if left else False


def atoms(guard: Residue | None) -> Iterator[Atom]:
    """What a guard asks, in the order written."""
    match guard:
        case All(parts) | Any(parts) | AtLeast(_, parts):
            for part in parts:
                yield from atoms(part)
        case Not(part):
            yield from atoms(part)
        case Fact() | Said() | Shown() | Blocked():
            yield guard
        case _:
            return


def brought(needs: Iterable[str]) -> Guard:
    """What a floor, or Finalize, asks of the evidence, as a guard."""
    outcomes = sorted(SATISFYING)
    return All(tuple(Any(tuple(Shown(kind, outcome) for outcome in outcomes)) for kind in needs))
