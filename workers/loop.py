"""The worker's process: a plain ZeroMQ poll loop around `Actor`, hands in a thread, heartbeats and blobs in two others.

    drain the socket → the actor hears → carry out its actions → one fsync for all reports of the round → send

The connection is kept for ever: when it comes back, or falls silent, the worker says Hello again and names what it runs.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import signal
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import assert_never

import zmq
from zmq.utils.monitor import recv_monitor_message

from loom.workers.actions import Forget, Keep, Kill, Leave, Start, Upload, Welcomed
from loom.workers.actor import Actor
from loom.workers.blobs import BlobClient, BlobError
from loom.workers.clock import boot_ms
from loom.workers.hands import Ended, Executes, Hands, Vanished
from loom.workers.heartbeat import Heartbeat
from loom.workers.link import Doorstep, Link
from loom.workers.protocol import (
    MAX_FRAME,
    Assign,
    Hello,
    Malformed,
    Progress,
    Report,
    Welcome,
    decode_to_worker,
    frames,
)
from loom.workers.signer import Signer
from loom.workers.spool import FileSpool
from loom.workers.stub import FAMILY, Stub

DRAINED = 256
"""Frames that are read in one round at most."""
SEND_HWM = 10_000
KEEP_AGAIN_MS = 500
"""A disk that was full is tried again after this time."""
LEAVE_MS = 2_000
"""How long what is still to be sent may take when the worker leaves."""

Log = Callable[..., None]


class Loop:
    """One worker process. `run` returns its exit code."""

    def __init__(
        self,
        hello: Hello,
        endpoint: str,
        spool: FileSpool,
        make: Callable[[], Executes],
        stub: Stub,
        log: Log,
        *,
        link: Link | None = None,
        signer: Signer | None = None,
    ) -> None:
        """hello: how it presents itself; endpoint: the coordinator's control socket; make: the executor; link: how the
        coordinator is reached (None: on this machine); signer: of its reports (None: they are not signed)."""
        self._log = log
        self._link = link or Link()
        self._doorstep = Doorstep(endpoint)
        self.reason = ""
        """Why it left."""
        self._spool, self._stub, self._signer = spool, stub, signer
        self._actor = Actor(hello, spool.reports(), boot_ms(), stays=self._link.far)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        self._control = self._connect(endpoint)
        self._monitor = self._control.get_monitor_socket(Doorstep.EVENTS)
        self._heartbeat = Heartbeat(self._context, self._lost, self._link)
        self._blobs = BlobClient(self._context, self._link)
        self._blob_thread = ThreadPoolExecutor(1, thread_name_prefix="blobs")
        self._hands = Hands(make=make, fetch=self._fetch, keep=spool.keep_text, wake=self._wake)
        self._session_lost = False
        self._uploads: deque[tuple[Report, bool]] = deque()
        self._sleeping: list[tuple[int, int, Assign]] = []
        self._slept = 0
        self._unkept: list[Report] = []
        self._keep_again_ms = 0
        self._stopped = ""
        self._code: int | None = None

    def _connect(self, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._link.dealer(self._context)
        socket.setsockopt(zmq.SNDHWM, SEND_HWM)
        socket.setsockopt(zmq.SNDTIMEO, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits in a queue for a coordinator that is not there
        socket.setsockopt(zmq.MAXMSGSIZE, 4 * MAX_FRAME)
        socket.connect(endpoint)
        return socket

    # ----------------------------------------------------------------------------------------------- the loop

    def run(self) -> int:
        """Until told to leave, or idle and unanswered for long."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        poller = zmq.Poller()
        poller.register(self._control, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._pipe[0], zmq.POLLIN)
        try:
            while self._code is None:
                ready = dict(poller.poll(self._timeout_ms()))
                now_ms = boot_ms()
                if self._monitor in ready:
                    self._watch_connection(now_ms)
                if self._control in ready:
                    self._drain(now_ms)
                if self._pipe[0] in ready:
                    os.read(self._pipe[0], 4096)
                self._collect(now_ms)
                self._actor.tick(now_ms)
                self._carry_out(now_ms)
                self._send()
            return self._code
        finally:
            self._close()

    def _timeout_ms(self) -> int:
        pace_ms = self._actor.pace_ms
        if self._sleeping:
            return max(0, min(pace_ms, self._sleeping[0][0] - boot_ms()))
        return pace_ms

    def _drain(self, now_ms: int) -> None:
        for _ in range(DRAINED):
            try:
                frame = self._control.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                messages = decode_to_worker(frame)
            except Malformed as error:
                self._log("frame_refused", error=str(error), size=len(frame))
            else:
                self._actor.hear(messages, now_ms)

    def _watch_connection(self, now_ms: int) -> None:
        while self._monitor.poll(0):
            before = self._doorstep.said
            if self._doorstep.hear(recv_monitor_message(self._monitor)["event"]):
                self._actor.reconnected(now_ms)
            if self._doorstep.said != before:
                self._log("not_let_in" if self._doorstep.said else "let_in", why=self._doorstep.said)
            if self._doorstep.refused:
                self.reason, self._code = self._doorstep.said, 1

    def _collect(self, now_ms: int) -> None:
        """What other threads, the stub's clock and signals brought."""
        if self._heartbeat.heard_ms:
            self._actor.heard(max(self._heartbeat.heard_ms, 0))
            self._heartbeat.heard_ms = 0
        if self._session_lost:
            self._session_lost = False
            self._actor.reconnected(now_ms)
        for happened in self._hands.take():
            match happened:
                case Ended(report):
                    self._actor.ended(report)
                case Vanished(key, guaranteed):
                    self._actor.vanished(key, guaranteed=guaranteed)
                case Progress():
                    self._actor.progress(happened)
        while self._uploads:
            report, done = self._uploads.popleft()
            self._actor.uploaded(report, now_ms, done=done)
        while self._sleeping and self._sleeping[0][0] <= now_ms:
            self._actor.ended(self._stub.report(heapq.heappop(self._sleeping)[2]))
        if self._stopped:
            self._code = 0

    def _carry_out(self, now_ms: int) -> None:
        """The actor's actions, and one fsync for all reports of this round."""
        answered: list[Report] = []
        self._keep(now_ms)  # what could not be kept before
        while actions := self._actor.take_actions():
            for action in actions:
                match action:
                    case Start(assign):
                        self._start(self._link.reached(assign), now_ms)
                    case Keep(report):
                        self._unkept.append(report)
                    case Forget(report):
                        answered.append(report)
                    case Kill(key, _):
                        self._kill(key)
                    case Upload(report):
                        self._blob_thread.submit(self._upload, report)
                    case Welcomed(welcome):
                        self._welcomed(welcome)
                    case Leave(reason, code):
                        self.reason = reason
                        self._log("leaving", reason=reason, code=code)
                        self._code = 1 if code else 0
                    case _:
                        assert_never(action)
            self._keep(now_ms)
        if answered:
            self._spool.forget(answered)

    def _welcomed(self, welcome: Welcome) -> None:
        try:
            ping, blob = self._link.resolve(welcome.ping_endpoint), self._link.resolve(welcome.blob_endpoint)
        except ValueError as error:
            self.reason, self._code = f"the coordinator's Welcome cannot be used: {error}", 1
            return
        self._heartbeat.aim(ping, welcome.session, welcome.ping_ms)
        self._blob_thread.submit(self._blobs.connect, blob, welcome.session)
        self._log("welcomed", session=welcome.session, epoch=welcome.epoch)

    def _keep(self, now_ms: int) -> None:
        if not self._unkept or now_ms < self._keep_again_ms:
            return
        try:
            if self._signer is not None:
                self._unkept = self._signer.sign(self._unkept)
            self._spool.keep(self._unkept)
        except OSError as error:
            self._log("spool_failed", error=str(error), reports=len(self._unkept))
            self._keep_again_ms = now_ms + KEEP_AGAIN_MS  # nothing is reported before it is durable
            return
        kept, self._unkept = self._unkept, []
        for report in kept:
            self._actor.kept(report, now_ms)

    def _send(self) -> None:
        messages = self._actor.take_outbox()
        if not messages:
            return
        try:
            for frame in frames(messages):
                self._control.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            self._log("not_sent", messages=len(messages))  # said again: by resend, or after the next Hello
        except ValueError as error:
            self._log("frame_too_long", error=str(error))

    # ---------------------------------------------------------------------------------------------- attempts

    def _start(self, assign: Assign, now_ms: int) -> None:
        if assign.binding.family != FAMILY:
            self._hands.start(assign)
            return
        self._stub.begin(assign)
        if self._stub.delay_ms:
            self._slept += 1
            heapq.heappush(self._sleeping, (now_ms + self._stub.delay_ms, self._slept, assign))
        else:
            self._actor.ended(self._stub.report(assign))

    def _kill(self, key: tuple[str, int]) -> None:
        left = [one for one in self._sleeping if (one[2].attempt, one[2].fence) != key]
        if len(left) < len(self._sleeping):
            heapq.heapify(left)
            self._sleeping = left
            self._actor.vanished(key, guaranteed=True)
        else:
            self._hands.kill(key)

    def _fetch(self, text_id: str) -> Future[bytes]:
        return self._blob_thread.submit(self._blobs.get, text_id)

    def _upload(self, report: Report) -> None:
        """In the blob thread."""
        done = True
        try:
            for text in report.texts:
                if text.data is None:
                    self._blobs.put(text, self._spool.text(text.id))
        except (BlobError, KeyError, OSError, zmq.ZMQError) as error:
            self._log("upload_failed", attempt=report.attempt, error=str(error))
            done = False
        self._uploads.append((report, done))
        self._wake()

    # ---------------------------------------------------------------------------------------- threads, signals

    def _lost(self) -> None:
        self._session_lost = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._pipe[1], b"!")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopped = signal.Signals(number).name
        self._log("signal", name=self._stopped)
        self._wake()

    def _close(self) -> None:
        self._hands.close()
        self._heartbeat.close()
        self._blob_thread.submit(self._blobs.close)
        self._blob_thread.shutdown(wait=True, cancel_futures=False)
        self._control.disable_monitor()
        self._monitor.close(linger=0)
        self._control.close(linger=LEAVE_MS)
        self._context.term()
        self._spool.close()
        for end in self._pipe:
            os.close(end)
