"""Which worker a ready attempt may go to, and which it would rather have: the predicates and the score of the scheduler.

    serves(kind, demand) → may it?        asked once for each kind of worker and demand in a turn, never for each attempt
    Near(offered) → names, best first     asked for each attempt; a named worker with room is taken before any other

A demand is all that decides where an attempt may run; attempts of the same demand stand in the same market (lines.py) and
are placed, or passed over, together. What else decides it belongs into `Demand`, `Kind` and `serves`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from loom.coordinator.inbox import Slot


class Demand(NamedTuple):
    """What attempts ask for. family "" : no provider; provider: the family, with its address when it is not the family's own.

    spare: another binding of the chain follows, so a provider that is limited for long need not be waited for.
    """

    family: str = ""
    provider: str = ""
    requires: frozenset[str] = frozenset()
    spare: bool = False


class Offered(NamedTuple):
    """A ready attempt in its line. order: grows with each; since_ms: when it became ready."""

    order: int
    task: str
    spawn: str
    attempt: int
    project: str
    priority: int
    weight: int
    since_ms: int
    demand: Demand


class Kind(NamedTuple):
    """What workers are alike in, as far as `serves` looks at it. local: they run on the coordinator's machine."""

    families: tuple[str, ...]
    labels: tuple[str, ...]
    local: bool


def kind_of(slot: Slot) -> Kind:
    return Kind(slot.families, slot.labels, slot.local)


def serves(kind: Kind, demand: Demand) -> bool:
    """Whether workers of this kind may run attempts of this demand. A worker that names no family serves all of them."""
    if demand.family and kind.families and demand.family not in kind.families:
        return False
    return demand.requires.issubset(kind.labels)


class Room:
    """Free capacity of one worker in the making of one turn."""

    __slots__ = ("free", "group", "slot")

    def __init__(self, slot: Slot, group: Group) -> None:
        self.slot, self.free, self.group = slot, slot.free, group


class Group:
    """The rooms of one kind by how much they have free, so that the widest is found without looking at the others."""

    __slots__ = ("kind", "levels")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.levels: list[list[Room]] = []
        """Rooms by their free slots; a place is looked at again only when it comes to the top."""

    def put(self, room: Room) -> None:
        while len(self.levels) <= room.free:
            self.levels.append([])
        self.levels[room.free].append(room)

    def widest(self) -> Room | None:
        """The room with most free slots."""
        levels = self.levels
        while levels:
            top = levels[-1]
            if not top:
                levels.pop()
                continue
            room = top[-1]
            free = room.free
            if free == len(levels) - 1:
                return room if free else None
            levels[free].append(top.pop())
        return None


Near = Callable[[str, str], Sequence[str]]
"""(project, task) → names of the workers that have something of it warm, best first."""


class Shared(Protocol):
    """What the workers of this machine share with those of other homes (machine.py)."""

    def room(self) -> bool: ...
    def took(self) -> None: ...


class Rooms:
    """Where there is room in this turn. shared: what else the workers of this machine need (None: nothing)."""

    def __init__(self, slots: Iterable[Slot], shared: Shared | None = None) -> None:
        self._groups: dict[Kind, Group] = {}
        self._by_worker: dict[str, Room] = {}
        self._shared = shared
        for slot in slots:
            if slot.free <= 0:
                continue
            kind = kind_of(slot)
            group = self._groups.get(kind)
            if group is None:
                group = self._groups[kind] = Group(kind)
            room = self._by_worker[slot.worker] = Room(slot, group)
            group.put(room)

    def serving(self, demand: Demand) -> list[Group]:
        """The groups whose workers may run it."""
        return [group for kind, group in self._groups.items() if serves(kind, demand)]

    def find(self, groups: Sequence[Group], near: Sequence[str] = ()) -> Room | None:
        """A worker of these groups that has room: one that is named in `near`, else the one with most free slots."""
        for worker in near:
            room = self._by_worker.get(worker)
            if room is None or not room.free or room.group not in groups:
                continue
            if not room.slot.local or self._machine_allows():
                return room
        if self._shared is None and len(groups) == 1:
            return groups[0].widest()
        best: Room | None = None
        for group in groups:
            if group.kind.local and not self._machine_allows():
                continue
            room = group.widest()
            if room is not None and (best is None or room.free > best.free):
                best = room
        return best

    def filling(
        self, groups: Sequence[Group], near: Sequence[str], grant: Callable[[Offered, Slot], bool | None]
    ) -> Callable[[Offered], bool]:
        """Finds a room for an attempt, grants it there and takes the room; False: it was not granted."""
        if near or self._shared is not None or len(groups) != 1:
            return lambda offered: self._fill(groups, near, offered, grant)
        widest = groups[0].widest

        def fill(offered: Offered) -> bool:
            room = widest()
            if room is None or not grant(offered, room.slot):
                return False
            room.free -= 1
            return True

        return fill

    def _fill(
        self,
        groups: Sequence[Group],
        near: Sequence[str],
        offered: Offered,
        grant: Callable[[Offered, Slot], bool | None],
    ) -> bool:
        room = self.find(groups, near)
        if room is None or not grant(offered, room.slot):
            return False
        self.take(room)
        return True

    def take(self, room: Room) -> None:
        room.free -= 1
        if self._shared is not None and room.slot.local:
            self._shared.took()

    def _machine_allows(self) -> bool:
        return self._shared is None or self._shared.room()
