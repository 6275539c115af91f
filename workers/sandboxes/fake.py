"""A sandbox for tests: it changes nothing, keeps what it was asked, and can be told not to work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from loom.workers.protocol import SandboxUsed
from loom.workers.seams import Command, Probe


@dataclass(slots=True)
class FakeSandbox:
    """Kind `fake`. `asked`: every command that was wrapped, in order. `broken`: why the probe says no ("" : it works)."""

    asked: list[Command] = field(default_factory=list)
    broken: str = ""
    kind: str = "fake"

    def probe(self) -> Probe:
        return Probe(works=not self.broken, reason=self.broken, version="1")

    def wrap(self, command: Command) -> Command:
        self.asked.append(command)
        return replace(command, memory_bytes=0, processes=0)

    def used(self, command: Command, credentials: str = "") -> SandboxUsed:
        return SandboxUsed(
            kind=self.kind, network=command.network, credentials=credentials, note="a fake: nothing was contained"
        )
