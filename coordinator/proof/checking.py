"""Workers' signatures, looked at after COMMIT, when the coordinator has nothing else to do.

A step never waits for it: what finds no idle moment before `KEPT` others came is left to `loom verify`, which checks all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from loom.coordinator.inbox import Reply, Request
from loom.coordinator.proof.batches import signed_by_one_of
from loom.kernel.commands import AttemptEnded
from loom.kernel.state import HomeState

KEPT = 1_000
AT_ONCE = 32
"""Signatures looked at in one idle moment: some milliseconds."""


class ReportCheck:
    """Remembers what was committed, and logs `signature_wrong` for what its worker's enrolled keys did not sign."""

    def __init__(self, log: Callable[..., None]) -> None:
        self._log = log
        self._waiting: deque[tuple[str, AttemptEnded]] = deque(maxlen=KEPT)
        self._batches: dict[bytes, bool] = {}

    def take(self, group: Sequence[Request], replies: Sequence[Reply]) -> None:
        """The requests of a turn; unsigned reports, and what made no entry, are nothing to look at."""
        signed = [each for each in group if type(each.command) is AttemptEnded and each.command.execution.signature]
        if not signed:
            return
        committed = {reply.key for reply in replies if reply.seq >= 0}
        for request in signed:
            if request.key in committed and isinstance(request.command, AttemptEnded):
                self._waiting.append((request.principal.id, request.command))

    def look(self, home: HomeState) -> int:
        """Some of what waits; how many were wrong."""
        wrong = 0
        for _ in range(min(AT_ONCE, len(self._waiting))):
            worker, command = self._waiting.popleft()
            keys = [key for key, name in home.hands if name == worker]
            if not signed_by_one_of(command, worker, keys, self._batches):
                wrong += 1
                self._log("signature_wrong", worker=worker, attempt=f"{command.spawn}#{command.attempt}")
        return wrong
