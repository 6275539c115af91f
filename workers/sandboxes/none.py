"""No containment: the command runs with the rights of the user who runs the worker, and the record says so."""

from __future__ import annotations

from dataclasses import replace

from loom.workers.protocol import SandboxUsed
from loom.workers.sandboxes.limits import limited
from loom.workers.seams import Command, Probe

NOTE = "nothing was contained: the command had the rights of the user who runs the worker"


class NoSandbox:
    """Kind `none`. It promises the shim's end of all descendants (best effort), the exact environment, and size limits."""

    kind = "none"

    def probe(self) -> Probe:
        return Probe(works=True, reason="")

    def wrap(self, command: Command) -> Command:
        return replace(command, argv=limited(command, processes=False), memory_bytes=0, processes=0, network="shared")

    def used(self, command: Command, credentials: str = "") -> SandboxUsed:
        return SandboxUsed(kind=self.kind, network="shared", credentials=credentials, note=NOTE)
