"""Limits that a person sets for a home: settings of the ledger, in force from the entry that changes them.

    limits.providers.FAMILY.concurrency    attempts of one provider at once          (0: none but what it answers)
    limits.providers.FAMILY.per_minute     attempts of one provider begun a minute   (0: none)
    limits.projects.ID.concurrency         attempts of one project at once           (0: none)
    limits.projects.ID.weight              its share beside other projects           (1)

`*` instead of a name stands for every one that has no word of its own. A family with an address of its own (`openai:m@http://…`) is
a provider beside the family's; each has the family's limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from loom.coordinator.lines import MAX_WEIGHT, NO_CAP
from loom.kernel.values import Pairs

PREFIX = "limits."
EVERY = "*"
MAX_LIMIT = 1_000_000
KEYS = {
    "providers": {"concurrency": MAX_LIMIT, "per_minute": MAX_LIMIT},
    "projects": {"concurrency": MAX_LIMIT, "weight": MAX_WEIGHT},
}
"""Kind → key → the largest value."""
NAME = re.compile(r"limits\.(providers|projects)\.([A-Za-z0-9_*-]+)\.([a-z_]+)")


def fault(name: str, value: str) -> str:
    """What is wrong with a limit ("" : nothing). value "" : none any more."""
    found = NAME.fullmatch(name)
    if found is None or found[3] not in KEYS[found[1]]:
        every = ", ".join(f"limits.{kind}.NAME.{key}" for kind, keys in KEYS.items() for key in keys)
        return f"there is no limit {name}; there are {every}"
    largest = KEYS[found[1]][found[3]]
    if value and not (value.isdecimal() and int(value) <= largest):
        return f"{name} is a whole number from 0 to {largest}, not {value!r}"
    return ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in force. What a setting says that is none is passed over: a ledger may be older or newer."""

    values: dict[tuple[str, str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Pairs) -> Limits:
        found = {}
        for name, value in settings:
            if name.startswith(PREFIX) and value and not fault(name, value):
                kind, who, key = name.removeprefix(PREFIX).split(".")
                found[kind, who, key] = int(value)
        return cls(found)

    def _get(self, kind: str, who: str, key: str) -> int:
        return self.values.get((kind, who, key)) or self.values.get((kind, EVERY, key), 0)

    def provider(self, name: str) -> tuple[int, int]:
        """(attempts at once, attempts a minute; 0: no limit) of a provider."""
        family = name.partition("@")[0]
        return self._get("providers", family, "concurrency") or NO_CAP, self._get("providers", family, "per_minute")

    def project(self, name: str) -> tuple[int, int]:
        """(attempts at once, weight) of a project."""
        return self._get("projects", name, "concurrency") or NO_CAP, self._get("projects", name, "weight") or 1
