"""The fake harness beside the seam: what it does is a function over the workspace, in process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from loom.workers.protocol import Capability, ErrorClass, SandboxUsed, Usage
from loom.workers.seams import Hands, HandsError, HandsReply, Job, Probe

Work = Callable[[Job], str]


class FakeHarness:
    """`work` gets the job, may change files below `job.workspace` if the job may edit, and gives the final text.

    It may raise HandsError. `delay_s` passes before it, so that an attempt can be cancelled meanwhile.
    """

    def __init__(self, work: Work, name: str = "fake", delay_s: float = 0.0) -> None:
        self.name = name
        self.jobs: list[Job] = []
        self.cancelled = 0
        self._work = work
        self._delay_s = delay_s

    def probe(self) -> Probe:
        """Always there."""
        return Probe(works=True, reason="a fake")

    async def run(self, job: Job, hands: Hands) -> HandsReply:
        """See `seams.Harness`. A job that may not edit and changes a file is a broken test, and says so."""
        self.jobs.append(job)
        try:
            async with asyncio.timeout(job.bound.wall_ms / 1000):
                await asyncio.sleep(self._delay_s)
        except TimeoutError as error:
            raise HandsError(ErrorClass.LIMIT, f"{job.binding.ref}: not done in time") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        before = _state(job.workspace)
        text = self._work(job)
        if job.capability != Capability.EDIT and before != _state(job.workspace):
            raise HandsError(ErrorClass.PERMANENT, f"{self.name}: changed a file with the capability {job.capability}")
        hands.progress("text", text)
        usage = Usage(input_tokens=len(job.prompt) // 4 + 1, output_tokens=len(text) // 4 + 1, calls=1)
        used = SandboxUsed(kind="none", network="none", note="a fake in the worker's own process")
        return HandsReply(text, usage, f"fake/{job.binding.model}", text, used)


def _state(root: Path | None) -> dict[str, bytes]:
    if root is None:
        return {}
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
