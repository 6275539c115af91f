"""The worker's side of the fabric: messages and time in, actions and messages out. No socket, no clock, no thread.

    Hello ─▶ Welcome ─▶ Assign ─▶ Accepted, Start … ended ─▶ Keep (fsync) ─▶ [Upload] ─▶ Report ─▶ Committed ─▶ Forget
                          Renew every third of the lease; past lease − grace, or Fenced ─▶ Kill, the spool is kept

A coordinator may go and come back: the actor says Hello until it is welcomed, naming what it runs and what it spools.
Every message may be lost, doubled, late or out of order. The loop (or the simulator) carries out the actions and says
when they are done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec import structs

from loom.workers.actions import (
    Action,
    Forget,
    Keep,
    Key,
    Kill,
    Latest,
    Leave,
    Run,
    Start,
    Upload,
    Waiting,
    Welcomed,
    large,
)
from loom.workers.protocol import (
    LEASE_MS,
    MAX_SLOTS,
    PING_MS,
    PINGS_MISSED,
    Accepted,
    Assign,
    Committed,
    Credit,
    Declined,
    Drain,
    Duplicate,
    Fenced,
    FromWorker,
    Goodbye,
    Hello,
    Nack,
    Pong,
    Progress,
    Refused,
    Renew,
    Renewed,
    Report,
    Stale,
    Stop,
    Stopped,
    ToWorker,
    Welcome,
    grace_ms,
    renew_every_ms,
)

HELLO_MS = 1_000
"""Between two Hellos that nobody answered."""
HELLO_LEAST_MS = 50
"""A Hello that is asked for comes no sooner than this after the last."""
REPORT_RESEND_MS = 10_000
"""An unanswered report is sent again after this time (or a sixth of the lease, if that is shorter)."""
IDLE_EXIT_MS = 600_000
GOODBYE_MS, GOODBYES = 1_000, 5
RENEWS_KEPT, MAX_PACE_MS, FINISHED_KEPT = 8, 250, 4_096
"""FINISHED: attempts that were answered or stopped; an Assign of one of them that comes late is not begun again."""
SCAN_MS = 20
"""Running attempts and waiting reports are looked through no more often."""


class Actor:
    """What a worker knows of itself and of its coordinator."""

    def __init__(self, hello: Hello, spooled: Iterable[Report], mono_ms: int, *, stays: bool = False) -> None:
        """hello: how it presents itself (`running` and `as_of` are filled in); spooled: reports left by earlier processes;
        stays: it never leaves for want of an answer: nobody would start it again."""
        self._me, self._stays = hello, stays
        self._running: dict[Key, Run] = {}
        self._waiting: dict[Key, Waiting] = {}
        self._finished = Latest[Key, None](FINISHED_KEPT)
        self._accepts: dict[Key, None] = {}
        self._out: list[FromWorker] = []
        self._actions: list[Action] = []
        self._counter, self._credit = 0, -1
        self._welcome: Welcome | None = None
        self._epoch = 0
        self._awake_ms = self._heard_ms = self._hello_ms = self._renew_ms = mono_ms
        self._hello_sent_ms, self._scan_ms = mono_ms - HELLO_LEAST_MS, 0
        self._asked_ms: int | None = None
        self._renews = Latest[int, int](RENEWS_KEPT)
        self._goodbye_ms: int | None = None
        self._goodbyes, self._draining, self._left = 0, False, False
        for report in spooled:
            self._wait_for(report, kept=True)

    # --------------------------------------------------------------------------------------------------- state

    @property
    def session(self) -> str:
        """The session's id, "" without one."""
        return self._welcome.session if self._welcome else ""

    @property
    def free(self) -> int:
        """Slots that could take work now; a full spool takes none."""
        if self._draining or len(self._waiting) >= MAX_SLOTS:
            return 0
        return max(0, self._me.slots - len(self._running))

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting)

    @property
    def _lease_ms(self) -> int:
        return self._welcome.lease_ms if self._welcome else LEASE_MS

    @property
    def _ping_ms(self) -> int:
        return self._welcome.ping_ms if self._welcome else PING_MS

    def _deadline(self, since_ms: int) -> int:
        return since_ms + self._lease_ms - grace_ms(self._lease_ms)

    # ------------------------------------------------------------------------------------------- what comes in

    def hear(self, messages: Iterable[ToWorker], mono_ms: int) -> None:
        """The messages of one frame of the coordinator, in order."""
        self._wake(mono_ms)
        self._heard_ms = mono_ms
        for message in messages:
            self._take(message, mono_ms)

    def heard(self, mono_ms: int) -> None:
        """A heartbeat came back."""
        self._heard_ms = mono_ms

    def reconnected(self, mono_ms: int) -> None:
        """The connection is a new one: the coordinator may be, too. Say Hello now."""
        self._welcome = None
        self._hello_ms = max(mono_ms, self._hello_sent_ms + HELLO_LEAST_MS)

    def _wake(self, mono_ms: int) -> None:
        """After a sleep (a suspended process) what waited for it may be older than the lease that it speaks of: ask anew."""
        if mono_ms - self._awake_ms > grace_ms(self._lease_ms):
            self.reconnected(mono_ms)
            self._asked_ms = None
        self._awake_ms = mono_ms

    def _take(self, message: ToWorker, mono_ms: int) -> None:  # noqa: C901 - a closed match
        match message:
            case Assign():
                self._assigned(message, mono_ms)
            case Committed() | Duplicate() | Stale():
                self._answered((message.attempt, message.fence))
            case Renewed():
                self._renewed(message)
            case Welcome():
                self._welcomed(message, mono_ms)
            case Fenced(attempt=attempt, fence=fence):
                self._kill((attempt, fence), hard=True)
            case Stop():
                self._stop(message)
            case Drain():
                self._draining = True
            case Refused(code=code, sentence=sentence):
                self._kill_all()
                self._leave(sentence, code)
            case Nack(code="hello_first"):
                self.reconnected(mono_ms)
            case Nack(code="blob_missing"):
                for waiting in self._waiting.values():
                    waiting.uploaded = not large(waiting.report)
                    waiting.again_ms = mono_ms
            case Goodbye():
                if self._goodbye_ms is not None:
                    self._leave("done")
            case Pong() | Nack():
                pass
            case _:
                assert_never(message)

    def _welcomed(self, welcome: Welcome, mono_ms: int) -> None:
        if welcome.epoch < self._epoch or (self._welcome is None and self._asked_ms is None):
            return  # of a coordinator that is no more, or to a question of long ago
        self._epoch, self._welcome = welcome.epoch, welcome
        if self._asked_ms is not None:
            for run in self._running.values():
                run.deadline_ms = self._deadline(self._asked_ms)
            self._asked_ms = None
        self._renew_ms = mono_ms + renew_every_ms(welcome.lease_ms)
        self._scan_ms = mono_ms
        for waiting in self._waiting.values():
            waiting.again_ms = mono_ms
        self._actions.append(Welcomed(welcome))

    def _assigned(self, assign: Assign, mono_ms: int) -> None:
        key = (assign.attempt, assign.fence)
        if self._welcome is None:
            pass  # how old is it? It comes again after Welcome, if it still counts
        elif key in self._running:
            self._accepts[key] = None
        elif waiting := self._waiting.get(key):
            waiting.again_ms = mono_ms
        elif key in self._finished:
            pass  # answered or stopped before; a late copy
        elif self.free <= 0:
            self._out.append(
                Declined(attempt=key[0], fence=key[1], reason="draining" if self._draining else "no free slot")
            )
        else:
            self._running[key] = Run(self._deadline(mono_ms))
            self._accepts[key] = None
            self._actions.append(Start(assign))

    def _answered(self, key: Key) -> None:
        if waiting := self._waiting.pop(key, None):
            self._finished.put(key, None)
            self._actions.append(Forget(waiting.report))

    def _renewed(self, renewed: Renewed) -> None:
        asked_ms = self._renews.get(renewed.as_of)
        if asked_ms is None:
            return
        for attempt, fence in renewed.attempts:
            if run := self._running.get((attempt, fence)):
                run.deadline_ms = max(run.deadline_ms, self._deadline(asked_ms))

    def _stop(self, stop: Stop) -> None:
        key = (stop.attempt, stop.fence)
        if run := self._running.get(key):
            run.stopping = True
            self._kill(key, hard=stop.hard)
        else:
            self._finished.put(key, None)
            self._out.append(Stopped(attempt=key[0], fence=key[1], guaranteed=True))

    def _kill(self, key: Key, *, hard: bool) -> None:
        run = self._running.get(key)
        if run is not None and (hard or not run.killed):
            run.killed = True
            self._actions.append(Kill(key, hard))

    def _kill_all(self) -> None:
        for key in tuple(self._running):
            self._kill(key, hard=True)

    # ---------------------------------------------------------------------------------- what the hands say

    def ended(self, report: Report) -> None:
        """An attempt ended with a report. Even one that was to be killed: what it brings was paid for."""
        key = (report.attempt, report.fence)
        run = self._running.pop(key, None)
        self._accepts.pop(key, None)
        if run is not None and run.stopping:
            self._out.append(Stopped(attempt=key[0], fence=key[1], guaranteed=False))
        self._wait_for(report, kept=False)
        self._actions.append(Keep(report))

    def vanished(self, key: Key, *, guaranteed: bool) -> None:
        """An attempt was killed and left no report."""
        run = self._running.pop(key, None)
        self._accepts.pop(key, None)
        self._finished.put(key, None)
        if run is not None and run.stopping:
            self._out.append(Stopped(attempt=key[0], fence=key[1], guaranteed=guaranteed))

    def kept(self, report: Report, mono_ms: int) -> None:
        """The spool holds it durably: it may be sent."""
        if waiting := self._waiting.get((report.attempt, report.fence)):
            waiting.report, waiting.kept = report, True  # as it was kept: signed
            self._send_report(waiting, mono_ms)

    def uploaded(self, report: Report, mono_ms: int, *, done: bool) -> None:
        """Its large texts are (or could not be brought) there."""
        if waiting := self._waiting.get((report.attempt, report.fence)):
            waiting.uploading, waiting.uploaded = False, done
            if done:
                self._send_report(waiting, mono_ms)

    def progress(self, progress: Progress) -> None:
        """Lossy: only with a session, and only of what runs."""
        if self._welcome is not None and (progress.attempt, progress.fence) in self._running:
            self._out.append(progress)

    def drain(self) -> None:
        """Take no more work, and leave when all is done and answered."""
        self._draining = True

    def _wait_for(self, report: Report, *, kept: bool) -> None:
        waiting = Waiting(report, kept=kept, uploaded=not large(report))
        self._waiting[(report.attempt, report.fence)] = waiting

    def _send_report(self, waiting: Waiting, mono_ms: int) -> None:
        if not waiting.kept or self._welcome is None:
            return
        waiting.again_ms = mono_ms + min(REPORT_RESEND_MS, max(1, self._lease_ms // 6))
        if waiting.uploaded:
            self._out.append(waiting.report)
        elif not waiting.uploading:
            waiting.uploading = True
            self._actions.append(Upload(waiting.report))

    # ------------------------------------------------------------------------------------------------ the time

    def tick(self, mono_ms: int) -> None:
        """Kill what outlived its lease, renew, send again, say Hello, leave. Cheap to call often."""
        self._wake(mono_ms)
        if mono_ms < self._scan_ms and self._welcome is not None:
            return
        self._scan_ms = mono_ms + SCAN_MS
        for key, run in tuple(self._running.items()):
            if mono_ms >= run.deadline_ms and not run.killed:
                self._kill(key, hard=True)
        silent_ms = mono_ms - self._heard_ms
        if self._welcome is not None and silent_ms > PINGS_MISSED * self._ping_ms:
            self.reconnected(mono_ms)
        if self._welcome is None:
            if mono_ms >= self._hello_ms:
                self._say_hello(mono_ms)
        else:
            self._renew(mono_ms)
            for waiting in tuple(self._waiting.values()):
                if mono_ms >= waiting.again_ms:
                    self._send_report(waiting, mono_ms)
        self._maybe_leave(mono_ms, silent_ms)

    def _say_hello(self, mono_ms: int) -> None:
        self._counter += 1
        self._out.append(structs.replace(self._me, running=(*self._running, *self._waiting), as_of=self._counter))
        self._hello_sent_ms = mono_ms
        self._hello_ms = mono_ms + HELLO_MS
        if self._asked_ms is None:
            self._asked_ms = mono_ms

    def _renew(self, mono_ms: int) -> None:
        if mono_ms < self._renew_ms:
            return
        self._renew_ms = mono_ms + renew_every_ms(self._lease_ms)
        self._credit = -1  # say it again: of a worker that is idle, the last word may have been lost
        living = tuple(key for key, run in self._running.items() if not run.killed)
        living += tuple(key for key, waiting in self._waiting.items() if waiting.held(mono_ms, self._lease_ms))
        if living:
            self._counter += 1
            self._renews.put(self._counter, mono_ms)
            self._out.append(Renew(attempts=living, as_of=self._counter))

    def _maybe_leave(self, mono_ms: int, silent_ms: int) -> None:
        idle_exit_ms = self._welcome.idle_exit_ms if self._welcome else IDLE_EXIT_MS
        if not (self._stays or self._running) and silent_ms > idle_exit_ms:
            self._leave("idle, and unanswered for a long time")
        elif self._draining and not self.busy:
            if self._goodbyes >= GOODBYES or self._welcome is None:
                self._leave("drained")
            elif self._goodbye_ms is None or mono_ms >= self._goodbye_ms:
                self._goodbye_ms = mono_ms + GOODBYE_MS
                self._goodbyes += 1
                self._out.append(Goodbye(reason="drained"))

    def _leave(self, reason: str, code: str = "") -> None:
        if not self._left:
            self._left = True
            self._actions.append(Leave(reason, code))

    @property
    def pace_ms(self) -> int:
        """How long a loop may wait at most before it calls `tick` again."""
        return max(1, min(MAX_PACE_MS, self._lease_ms // 24))

    # -------------------------------------------------------------------------------------------- what goes out

    def take_actions(self) -> list[Action]:
        """To be carried out in this order."""
        taken, self._actions = self._actions, []
        return taken

    def take_outbox(self) -> list[FromWorker]:
        """To be sent, as one frame or more. Without a session only a Hello goes out: the rest is said again after it."""
        out, self._out = self._out, []
        if self._welcome is None:
            self._accepts.clear()
            return [message for message in out if isinstance(message, Hello)]
        if self._accepts:
            out[:0] = [Accepted(attempt=attempt, fence=fence) for attempt, fence in self._accepts]
            self._accepts.clear()
        if (out or self.free != self._credit) and self._goodbye_ms is None:
            # Also when nothing else is to be said: answers that empty a full spool free slots in silence.
            self._counter += 1
            self._credit = self.free
            out.append(Credit(free=self._credit, as_of=self._counter))
        return out
