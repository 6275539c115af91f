"""What proof costs: `python -m harness.bench_proof [ROUNDS]`, from tests/.

Two homes with real coordinators and workers stand side by side in one run. One is a loom as everybody has it, its heads signed
each second, its workers' reports signed, and a witness that signs each new head (in this process, its time counted). The
other has the Merkle log and nothing else (`unproved/sitecustomize.py`). They take turns with the same work; what is told is the
median over the rounds of steps/s and of CPU seconds for 1,000 steps, and the share that proof costs of each.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from loom.coordinator.home import Home
from loom.coordinator.keys import read_log_key
from loom.coordinator.proof import notes
from loom.coordinator.proof.witness import NothingSigned, Witness, request
from loom.transports.cli.bench.rig import Rig
from loom.transports.stubbed import CALLS

UNPROVED = Path(__file__).parent / "unproved"
TASKS, IN_FLIGHT, ROUNDS = 400, 128, 8
WITNESS_S = 1.0


class Witnessing(threading.Thread):
    """A witness that asks for the head once a second while it is let."""

    def __init__(self, home: Home, folder: Path) -> None:
        super().__init__(daemon=True)
        key = read_log_key(home.keys / "log.key")
        self._home, self._origin = home, key.origin
        self._witness = Witness.make(folder / "witness", "audit.example", bytes(32))
        self._witness.trust(notes.verifier_key(key.public))
        self.at_work, self.over = threading.Event(), threading.Event()
        self.cpu_s, self.signed = 0.0, 0

    def run(self) -> None:
        while not self.over.wait(WITNESS_S):
            if self.at_work.is_set():
                began = time.thread_time()
                held = self._witness.held(self._origin)
                try:
                    self._witness.cosign(request(self._home, held.size if held else 0), int(time.time()))
                    self.signed += 1
                except NothingSigned:
                    pass
                self.cpu_s += time.thread_time() - began


def measured(rig: Rig, witness: Witnessing | None) -> tuple[float, float]:
    """(steps/s, CPU seconds for 1,000 steps) of one round."""
    cpu = rig.cpu_s() + (witness.cpu_s if witness else 0.0)
    if witness:
        witness.at_work.set()
    elapsed = rig.run(TASKS, IN_FLIGHT)
    if witness:
        witness.at_work.clear()
    spent = rig.cpu_s() + (witness.cpu_s if witness else 0.0) - cpu
    return CALLS * TASKS / elapsed, spent / (CALLS * TASKS) * 1_000


def proofs(rig: Rig) -> tuple[int, int]:
    """(signed heads, signed reports) of a home."""
    with closing(sqlite3.connect(f"file:{rig.home.database}?mode=ro", uri=True)) as db:
        (heads,) = db.execute("SELECT count(*) FROM checkpoint").fetchone()
        (reports,) = db.execute("""SELECT count(*) FROM entry WHERE body LIKE '%"signature":"%'""").fetchone()
    return heads, reports


def started(rig: Rig, path: str) -> Rig:
    """The rig, with processes that begin with this PYTHONPATH."""
    rig.environment["PYTHONPATH"] = path
    return rig.__enter__()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    plain, proved = Rig(), Rig()
    opened: list[Rig] = []
    try:
        opened += [started(plain, str(UNPROVED)), started(proved, "")]
        witness = Witnessing(proved.home, proved.folder)
        witness.start()
        for rig in opened:
            rig.run(64, 64)  # warm
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for number in range(rounds):
            for full in (False, True) if number % 2 else (True, False):
                found[full].append(measured(proved if full else plain, witness if full else None))
        witness.over.set()
        if proofs(plain) != (0, 0) or not all(proofs(proved)) or not witness.signed:
            raise SystemExit(f"not what was to be measured: {proofs(plain)}, {proofs(proved)}, {witness.signed}")
        heads, reports = proofs(proved)
    finally:
        for rig in opened:
            rig.__exit__(None, None, None)
    _say(found, f"{heads} signed heads, {reports} signed reports, {witness.signed} times witnessed")


def _say(found: dict[bool, list[tuple[float, float]]], proved: str) -> None:
    print(f"load of the machine {os.getloadavg()[0]:.2f}, {os.cpu_count()} processors; {proved}")
    for place, name in enumerate(("steps/s", "CPU s for 1,000 steps")):
        without, full = (statistics.median(each[place] for each in found[which]) for which in (False, True))
        pairs = [a[place] / b[place] for a, b in zip(found[True], found[False], strict=True)]
        cost = (1 - statistics.median(pairs)) if not place else (statistics.median(pairs) - 1)
        each = " ".join(f"{pair:.3f}" for pair in pairs)
        print(f"{name:22} log alone {without:9.3f}  with proof {full:9.3f}  cost {cost:+.1%}  (round by round: {each})")


if __name__ == "__main__":
    main()
