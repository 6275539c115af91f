"""Ways to contain a command line, behind one seam (`loom.workers.seams.Sandbox`).

    bubblewrap   user, mount, pid, ipc, uts, network namespaces: only the named paths, only these writable
    none         the shim and a minimal environment: the command has the rights of the user who runs the worker
    fake         none's promises without any program, and a list of what it was asked; for tests

    choose(wanted: str) -> tuple[Sandbox, str]      the sandbox, and a sentence when it is less than was hoped for
    available() -> tuple[str, ...]                  kinds that really run here, best first

`Sandbox.wrap(command)` gives the command line to start with `loom.workers.processes.run`.
"""

from __future__ import annotations

from loom.workers.sandboxes.bubblewrap import Bubblewrap
from loom.workers.sandboxes.choose import ENDING, available, choose
from loom.workers.sandboxes.fake import FakeSandbox
from loom.workers.sandboxes.none import NoSandbox

__all__ = ["ENDING", "Bubblewrap", "FakeSandbox", "NoSandbox", "available", "choose"]
