"""Workers on other hosts, between the doors and the sessions: whom the home lets in, what they say, and what becomes of one
that it lets in no more. No socket, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loom.coordinator.endings import Peer
from loom.coordinator.enrolment import Enrolment, Log
from loom.coordinator.inbox import Request, Turned
from loom.coordinator.roster import Enrolled
from loom.coordinator.sessions import Sessions
from loom.kernel.state import HomeState, WorkerState
from loom.workers.protocol import Refused

REVOKED = Refused(code="revoked", sentence="this worker was revoked; what it holds is nobody's any more")


class Guests:
    """Follows the home's entries: `admit` is called with every key that is let in, whenever that has changed."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        enrolment: Enrolment,
        home: Callable[[], HomeState],
        admit: Callable[[Mapping[str, Enrolled]], None],
        log: Log,
    ) -> None:
        self._sessions, self.enrolment, self._home, self._admit, self._log = sessions, enrolment, home, admit, log
        self._workers: tuple[WorkerState, ...] = ()
        self._known: dict[str, Enrolled] = {}
        self._look()

    def who(self, peer: Peer, key: str) -> Enrolled | None:
        """Whom the key of a frame stands for now; None: nobody any more, and the peer is told. A connection outlives the
        enrolment of its key, so each frame is asked for."""
        enrolled = self._known.get(key)
        if enrolled is None:
            self._sessions.refuse(peer, REVOKED)
        return enrolled

    def ask(self, peer: Peer, key: str, frame: bytes, mono_ms: int) -> Request | None:
        """One frame of the enrol door; a request of the next turn."""
        return self.enrolment.hear(peer, key, frame, mono_ms)

    def settle(self, turned: Turned) -> None:
        """A turn was committed."""
        self._look()
        self.enrolment.settle(turned)

    def _look(self) -> None:
        workers = self._home().workers
        if workers is self._workers:
            return
        known = {each.key: Enrolled(each.worker, each.labels) for each in workers}
        gone = [each.worker for key, each in self._known.items() if key not in known]
        self._workers, self._known = workers, known
        self._admit(known)
        for worker in gone:
            self._log("worker_revoked", worker=worker)
            self._sessions.expel(worker, REVOKED)
