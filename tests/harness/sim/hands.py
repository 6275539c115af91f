"""What agents do in the simulator: nothing, after a while; and now and then something odd. A die decides what they bring."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from msgspec import structs

from harness.sim.world import World
from loom.workers.protocol import Assign, End, ErrorClass, Report, Text, salted_id
from loom.workers.spool import MemorySpool
from loom.workers.stub import Stub

TOOK_MS = (5, 50, 300, 2_000, 9_000)
"""How long an attempt takes in the bad time: from at once to longer than a lease."""
CALM_TOOK_MS = (20, 20, 20, 1_500)
LARGE_BYTES = 300
"""Of a text that goes over the blob socket; its size makes no difference here."""


@dataclass
class Hands:
    """The agents of all workers."""

    world: World
    sloppy: float
    """How often an attempt in the bad time fails or says something odd."""
    calm: bool = False

    def __post_init__(self) -> None:
        self.draw: random.Random = self.world.stream("hands")

    def takes_ms(self) -> int:
        return self.draw.choice(CALM_TOOK_MS if self.calm else TOOK_MS)

    def report(self, stub: Stub, assign: Assign, spool: MemorySpool) -> Report:
        """How the attempt ended, by the die. A large text of it is in the spool."""
        report = stub.report(assign)
        if self.calm:
            return report
        report = self._with_cost(report, assign)
        if self.draw.random() < 0.1:
            report = self._with_text(report, spool)
        return self._odd(report, assign) if self.draw.random() < self.sloppy else report

    def _with_cost(self, report: Report, assign: Assign) -> Report:
        bound = assign.bound.cost_microusd
        if bound is None:
            return report
        usage = structs.replace(report.usage, cost_microusd=self.draw.randint(0, bound))
        return structs.replace(report, usage=usage)

    def _with_text(self, report: Report, spool: MemorySpool) -> Report:
        data, salt = self.draw.randbytes(LARGE_BYTES), self.draw.randbytes(16)
        text = Text(id=salted_id(salt, data), salt=salt, size=len(data), data=data)
        spool.keep_text(text)
        return structs.replace(report, transcript=text.id, texts=(structs.replace(text, data=None),))

    def _odd(self, report: Report, assign: Assign) -> Report:
        match self.draw.randint(0, 5):
            case 0:
                return self._failed(report, ErrorClass.TRANSIENT, "overloaded")
            case 1:
                again_ms = self.world.wall_ms + self.draw.randint(100, 5_000)
                return structs.replace(self._failed(report, ErrorClass.RATE_LIMIT, "429"), not_before_ms=again_ms)
            case 2:
                return self._failed(report, ErrorClass.PERMANENT, "no such model")
            case 3 if report.result is not None:
                return structs.replace(report, result=structs.replace(report.result, output="not json"))
            case _ if assign.agent.startswith("reviewer"):
                return self._blocks(report)
            case _:
                return self._stuck(report, assign)

    def _failed(self, report: Report, error_class: ErrorClass, message: str) -> Report:
        return structs.replace(report, end=End.FAILED, error_class=error_class, message=message, result=None)

    def _blocks(self, report: Report) -> Report:
        blocker = {"severity": "blocking", "category": "logic", "message": f"no {self.draw.randint(0, 9)}"}
        return self._says(report, {"outcome": "block", "summary": "", "findings": [blocker]})

    def _stuck(self, report: Report, assign: Assign) -> Report:
        if assign.agent != "worker":
            return report
        return self._says(report, {"outcome": "stuck", "summary": "no way"})

    def _says(self, report: Report, said: dict[str, object]) -> Report:
        if report.result is None:
            return report
        return structs.replace(report, result=structs.replace(report.result, output=json.dumps(said)))
