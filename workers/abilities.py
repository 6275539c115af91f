"""`python -m loom.workers.abilities`: what a worker of this user could use here, by having tried it. One JSON object:

    {"sandboxes": [{"name", "works", "reason", "version"}], "engine": one of them, "harnesses": [the same], "families": ["anthropic", …]}

Surfaces start it as a child process: they never import the hands.
"""

from __future__ import annotations

import sys

import msgspec

from loom.workers.harnesses.registry import Harnesses, names
from loom.workers.providers.registry import families
from loom.workers.sandboxes.choose import kinds, probe
from loom.workers.sandboxes.engine import probe_engine
from loom.workers.seams import Probe


class Ability(msgspec.Struct, frozen=True):
    """One part, and whether it works."""

    name: str
    works: bool
    reason: str
    version: str = ""


class Abilities(msgspec.Struct, frozen=True):
    """All parts."""

    sandboxes: tuple[Ability, ...]
    engine: Ability
    harnesses: tuple[Ability, ...]
    families: tuple[str, ...]


def look() -> Abilities:
    """Tries every part that is installed."""
    harnesses = Harnesses()
    return Abilities(
        sandboxes=tuple(_ability(kind, probe(kind)) for kind in kinds()),
        engine=_ability("engine", probe_engine()),
        harnesses=tuple(_ability(name, harnesses.of(name).probe()) for name in names()),
        families=families(),
    )


def _ability(name: str, found: Probe) -> Ability:
    return Ability(name, found.works, found.reason, found.version)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(look()) + b"\n")
