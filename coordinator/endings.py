"""How attempts end: reports on their way into a turn, and the answers to them after COMMIT.

The first word about an attempt counts: a worker's report and the coordinator's own "lost" carry the same idempotency key.
A report is answered Committed, Duplicate or Stale only when the turn that holds its entry was committed; a stale one is
first kept as an orphan result. No socket, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loom.coordinator.errors import BlobError, CodecError
from loom.coordinator.inbox import Outcome, Reply, Request
from loom.coordinator.leases import Key, Lease, Leases, end_key, ended_by_coordinator
from loom.kernel.values import End, ErrorClass
from loom.workers.protocol import Committed, Duplicate, Nack, Report, Stale, ToWorker

Peer = bytes
"""Where a message came from: the routing id that the socket gave the connection."""


@dataclass(frozen=True, slots=True)
class StaleReport:
    """A report whose fence is not the attempt's any more. It is kept as an orphan result before it is answered."""

    peer: Peer
    worker: str
    report: Report
    code: str
    request: Request | None
    """What it would have asked for (None: it could not be read)."""


@dataclass(slots=True)
class _Ending:
    """An attempt's end on its way through a turn. `report` None: the coordinator's own word."""

    key: Key
    report: Report | None = None
    request: Request | None = None
    workers: set[str] = field(default_factory=set)


class Endings:
    """Requests that end attempts, from the word that asked for them to its answer."""

    def __init__(
        self,
        leases: Leases,
        *,
        admit: Callable[[Report, str], Request],
        has_blob: Callable[[str], bool],
        tell: Callable[[Peer, ToWorker], None],
        log: Callable[..., None],
    ) -> None:
        """admit: a request of what was reported by a worker; raises ValueError if it cannot be read."""
        self._leases = leases
        self._admit, self._has_blob, self._tell, self._log = admit, has_blob, tell, log
        self._ending: dict[str, _Ending] = {}
        self._requests: list[Request] = []
        self._stale: list[StaleReport] = []

    def on_the_way(self, key: Key) -> bool:
        return end_key(key) in self._ending

    def report(self, worker: str, peer: Peer, report: Report) -> None:
        """A worker's word. It may come often, and from the next process of the same worker."""
        key = (report.attempt, report.fence)
        lease = self._leases.get(key)
        foreign = lease is not None and lease.worker != worker
        if not foreign and (ending := self._ending.get(end_key(key))):
            if ending.report is not None:
                ending.workers.add(worker)
            return  # after the coordinator's own word it comes again, and is stale then
        missing = next((text.id for text in report.texts if text.data is None and not self._has_blob(text.id)), "")
        if missing:
            self._tell(peer, Nack(code="blob_missing", sentence=f"text {missing} was not put: put it again"))
            return
        try:
            request = self._admit(report, worker)
        except (ValueError, LookupError, RecursionError, BlobError, CodecError) as error:
            self._log("report_refused", worker=worker, attempt=report.attempt, error=str(error))
            self._stale.append(StaleReport(peer, worker, report, "malformed", None))
            if lease is not None and not foreign:
                self.end(lease, End.FAILED, ErrorClass.PERMANENT, f"the report could not be read: {error}")
            return
        if foreign:  # it neither ends the attempt nor stands in the way of the report of the worker that runs it
            self._log("report_foreign", worker=worker, attempt=report.attempt, fence=report.fence)
            self._stale.append(StaleReport(peer, worker, report, "foreign", request))
            return
        if lease is not None:
            self._leases.free_slot(lease)
        self._ending[request.key] = _Ending(key, report, request, {worker})
        self._requests.append(request)

    def end(self, lease: Lease, end: End, error_class: ErrorClass, sentence: str) -> None:
        """The coordinator ends it, once; a lease that is being stopped was ended by the kernel before."""
        if lease.stopping:
            self._leases.drop(lease.key)
            return
        request = ended_by_coordinator(lease, end, error_class, sentence)
        if request.key in self._ending:
            return
        self._leases.free_slot(lease)
        self._ending[request.key] = _Ending(lease.key)
        self._requests.append(request)
        self._log("attempt_ended", attempt=lease.key[0], fence=lease.key[1], end=end.value, why=sentence)

    def take_requests(self) -> list[Request]:
        """For the next turn; a request that was taken is offered until it was in a committed turn."""
        taken, self._requests = self._requests, []
        return taken

    def answer(self, reply: Reply, peer_of: Callable[[str], Peer | None]) -> None:
        """What became of a request, after COMMIT. A worker that is away just now reports again after its next Hello."""
        ending = self._ending.pop(reply.key, None)
        if ending is None:
            return
        lease = self._leases.drop(ending.key)
        if ending.report is None:
            return
        attempt, fence = ending.key
        for worker in sorted(ending.workers):
            peer = peer_of(worker)
            if peer is None:
                continue
            match reply.outcome:
                case Outcome.APPLIED | Outcome.OBJECTED:
                    self._tell(peer, Committed(attempt=attempt, fence=fence))
                case Outcome.DUPLICATE:
                    self._tell(peer, Duplicate(attempt=attempt, fence=fence))
                case Outcome.REJECTED:
                    self._log("report_stale", worker=worker, attempt=attempt, fence=fence, code=reply.code)
                    self._stale.append(StaleReport(peer, worker, ending.report, reply.code, ending.request))
        if reply.outcome is Outcome.REJECTED and lease is not None:
            # Refused, and yet the attempt was this worker's: it must not stay granted for ever.
            self.end(lease, End.FAILED, ErrorClass.PERMANENT, f"its report was refused: {reply.sentence or reply.code}")

    def take_stale(self) -> list[StaleReport]:
        """Reports to be kept as orphan results; they are answered by `stored`, or come again."""
        taken, self._stale = self._stale, []
        return taken

    def stored(self, stale: Iterable[StaleReport]) -> None:
        """These were kept durably."""
        for one in stale:
            self._tell(one.peer, Stale(attempt=one.report.attempt, fence=one.report.fence))
