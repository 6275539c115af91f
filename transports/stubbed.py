"""Orders for the bundle `bench`, played by the stub: what loom is measured and tortured with. No model is called."""

from __future__ import annotations

import functools

from loom.bundles import registry
from loom.kernel.commands import Submit
from loom.kernel.flow import Bundle
from loom.kernel.limits import SEMANTICS
from loom.kernel.values import AgentBinding, Caps, Text

CALLS, STAGES = 9, 6
"""Agent calls of one task of the main flow, and the serial stages that they stand in."""
BASE = "0" * 40


def order(task: str, *, flow: str = "main", text: Text | None = None, attempts: int = 0) -> Submit:
    """The command that submits such a task. attempts: its cap (0: none)."""
    bundle = _bench()
    return Submit(
        task=task,
        project="",
        bundle=bundle.name,
        rules_digest=bundle.digest,
        semantics=SEMANTICS,
        text=text or Text(value="measure", size=7),
        flow=flow,
        preset=bundle.default_preset,
        policies=(),
        base=BASE,
        subject=BASE,
        bindings=(AgentBinding("*", ("stub:2k",)),),
        caps=Caps(attempts=attempts),
    )


@functools.cache
def _bench() -> Bundle:
    return registry.load("bench")
