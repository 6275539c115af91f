"""The storm: work goes in all the time, somebody follows it, and fault after fault strikes until the time is over.

What was read as committed is remembered, and looked for again after every fault.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from loom.coordinator.api import Poke
from loom.coordinator.client import CallDenied, Client, NoAnswer
from loom.coordinator.errors import LoomError
from loom.coordinator.starting import CoordinatorFailed
from loom.transports.cli.torture.faults import Strike, Wound, deck
from loom.transports.cli.torture.ground import LOOK_S, Ground, Lost
from loom.transports.stubbed import order

PAUSE_S = (0.0, 1.5)
"""Between two faults; a lasting one goes on meanwhile."""
KILLED = re.compile(r"ended with code (-9|0):")
"""How a client says that the coordinators it started were killed. 0: somebody else has asked the system for the code."""
AGAIN_S, ANSWER_MS = 0.2, 10_000
LATER = ("busy", "read_only")
"""Denials that mean: ask again."""
ENTRIES = "SELECT seq, leaf FROM entry WHERE seq >= ? ORDER BY seq"
WINDOW = 2_000
"""Entries before the last one seen that are looked at again after each fault; all of them are at the end."""
JOIN_S = 60.0


@dataclass(slots=True)
class Storm:
    """One act. tell: hears of each fault as it strikes."""

    ground: Ground
    dice: random.Random
    in_flight: int
    tell: Callable[[str], None]
    struck: Counter[str] = field(default_factory=Counter)
    submitted: int = 0
    complaints: list[str] = field(default_factory=list)
    """What must not have happened while it stormed."""
    pokes: int = 0
    began_s: float = field(default_factory=time.monotonic)
    _leaves: dict[int, bytes] = field(default_factory=dict)
    _wounds: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _enough: threading.Event = field(default_factory=threading.Event)

    def rage(self, seconds: float, kinds: dict[str, Strike], settle_s: float) -> None:
        """Faults for so long, then no more of them and no more work; returns when all is done. Raises Lost."""
        threads = [threading.Thread(target=self._submit), threading.Thread(target=self._follow)]
        for thread in threads:
            thread.start()
        try:
            self._strike(seconds, kinds)
            self._enough.set()
            while self._wounds:
                self._wait(self._wounds[0][0])
            threads[0].join(JOIN_S)
            if threads[0].is_alive():
                raise Lost(f"not within {JOIN_S:g} s after the last fault: the last submission is answered")
            self.ground.until(lambda: self.ground.done() >= self.submitted, "all tasks are done", settle_s)
        finally:
            for _, heal in self._wounds:
                heal()
            self._enough.set()
            self._over.set()
            for thread in threads:
                thread.join(JOIN_S)
        self.look(everything=True)

    def _strike(self, seconds: float, kinds: dict[str, Strike]) -> None:
        """Deck after deck; the first one to its end, however short the time."""
        end, cards = time.monotonic() + seconds, deck(kinds, self.dice)
        while time.monotonic() < end or not self._all_struck(kinds):
            self._wait(time.monotonic() + self.dice.uniform(*PAUSE_S))
            card = next(cards, None)
            if card is None:
                cards = deck(kinds, self.dice)
                continue
            name, strike = card
            self.ground.until(lambda: bool(self.ground.home.running()), "a coordinator runs")
            self.look()
            if wound := strike(self.ground, self.dice):
                self.struck[name] += 1
                self.tell(wound.said)
                self._remember(wound)

    def _all_struck(self, kinds: dict[str, Strike]) -> bool:
        return set(kinds) <= set(self.struck)

    def _remember(self, wound: Wound) -> None:
        if wound.heal:
            self._wounds.append((time.monotonic() + wound.lasts_s, wound.heal))
            self._wounds.sort(key=lambda each: each[0])

    def _wait(self, until_s: float) -> None:
        """Lets time pass: heals what is due, keeps everything up."""
        while True:
            now = time.monotonic()
            while self._wounds and self._wounds[0][0] <= now:
                self._wounds.pop(0)[1]()
            if now >= until_s:
                return
            self.ground.keep_up()
            time.sleep(LOOK_S)

    # ------------------------------------------------------------------------------------------- what must remain

    def look(self, *, everything: bool = False) -> None:
        """What was committed before must still be there, byte for byte; what is there now is remembered."""
        first = 0 if everything else max(0, len(self._leaves) - WINDOW)
        found = {int(str(seq)): leaf for seq, leaf in self.ground.rows(ENTRIES, first) if isinstance(leaf, bytes)}
        for seq in range(first, len(self._leaves)):
            if found.get(seq) != self._leaves[seq]:
                self.complaints.append(f"entry {seq} was committed and is not there any more")
                return
        self._leaves.update(found)

    @property
    def entries(self) -> int:
        """Committed entries that were seen."""
        return len(self._leaves)

    # ------------------------------------------------------------------------------------------ who works meanwhile

    def _submit(self) -> None:
        """Keeps so many tasks in flight until it is enough."""
        client = self.ground.client()
        while not (self._enough.is_set() or self._over.is_set()):
            if self.submitted - self.ground.done() >= self.in_flight:
                time.sleep(LOOK_S)
            elif self._taken(client, f"t{self.submitted:06}"):
                self.submitted += 1

    def _taken(self, client: Client, task: str) -> bool:
        """Asks with the same key until there is an answer, whoever dies meanwhile."""
        while not self._over.is_set():
            try:
                answered = client.call(order(task), task=task, key=f"torture-{task}", timeout_ms=ANSWER_MS)
            except (NoAnswer, CoordinatorFailed):
                time.sleep(LOOK_S)
            except CallDenied as denied:
                if denied.code_word not in LATER:
                    self.complaints.append(f"the submission of {task} was denied: {denied}")
                    return False
                time.sleep(AGAIN_S)
            else:
                if (answered.was or answered.outcome) != "applied":
                    self.complaints.append(f"the submission of {task} was {answered.outcome}: {answered.sentence}")
                return True
        return False

    def _follow(self) -> None:
        """As `loom run` does: waits for what is committed, and is not thrown out by a death."""
        watcher = self.ground.client()
        while not self._over.is_set():
            try:
                for said in watcher.watch(tick_ms=100):
                    self.pokes += isinstance(said, Poke)
                    if self._over.is_set():
                        return
            except LoomError as error:  # three in a row were killed before they said a word: then it may say so
                if not (KILLED.search(str(error)) or self.ground.disk_is_victim):
                    self.complaints.append(f"who follows the work was thrown out: {error}")
                time.sleep(AGAIN_S)
