"""Which sandbox an attempt gets: by name, or the best that really runs here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from loom.workers.protocol import ErrorClass
from loom.workers.sandboxes.bubblewrap import Bubblewrap
from loom.workers.sandboxes.none import NoSandbox
from loom.workers.seams import HandsError, Probe, Sandbox

AUTO = "auto"
GROUP = "loom.sandboxes"
"""Entry points of other distributions: name → a class without arguments."""
ENDING = frozenset({Bubblewrap.kind})
"""Kinds that have ended every process of a command when the command has ended (a process namespace of its own): nobody
writes any more where it could write, so that what it left may be looked at and used again."""


@cache
def _kinds() -> dict[str, Sandbox]:
    """Every known kind, best first; `none` is last."""
    kinds: dict[str, Sandbox] = {Bubblewrap.kind: Bubblewrap()}
    for point in entry_points(group=GROUP):
        kinds.setdefault(point.name, point.load()())
    kinds[NoSandbox.kind] = NoSandbox()
    return kinds


def kinds() -> tuple[str, ...]:
    """The names of every known kind, best first, whether it runs here or not."""
    return tuple(_kinds())


@cache
def probe(kind: str) -> Probe:
    """Whether the kind runs here; asked once a process, because it is really run."""
    known = _kinds().get(kind)
    if known is None:
        return Probe(works=False, reason=f"there is no sandbox {kind!r} here; known are {', '.join(_kinds())}")
    return known.probe()


def available() -> tuple[str, ...]:
    """The kinds that run here, best first."""
    return tuple(kind for kind in _kinds() if probe(kind).works)


def choose(wanted: str = AUTO) -> tuple[Sandbox, str]:
    """(sandbox, sentence). The sentence says why it is less than bubblewrap ("" : it is not).

    Raises HandsError (PERMANENT) when a kind is asked for by name and does not run here: never less than was asked for.
    """
    if wanted not in (AUTO, ""):
        found = probe(wanted)
        if not found.works:
            raise HandsError(ErrorClass.PERMANENT, f"sandbox {wanted} cannot be used: {found.reason}")
        return _kinds()[wanted], ""
    first = probe(Bubblewrap.kind)
    best = available()[0]
    if best == Bubblewrap.kind:
        return _kinds()[best], ""
    return _kinds()[best], f"sandbox {best} is used: {first.reason}"
