"""`python -m loom.workers.crowd`: many workers in one process, to see what a coordinator carries.

    python -m loom.workers.crowd --endpoint ipc://…/control --count 500 --slots 4 --token-file FILE

Each is a real actor with a control and a heartbeat connection of its own, and speaks all of the protocol; agents are the
stub's. What is left out are the processes and the spool's fsync: a report is kept in memory, so a crowd is nobody's worker.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import os
import resource
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import zmq

from loom.workers.actions import Forget, Keep, Kill, Leave, Start, Upload, Welcomed
from loom.workers.actor import Actor
from loom.workers.clock import boot_ms
from loom.workers.protocol import (
    MAX_FRAME,
    PROTOCOL_HIGH,
    PROTOCOL_LOW,
    Assign,
    Hello,
    Ping,
    Pong,
    Welcome,
    decode_to_worker,
    encode,
    frames,
)
from loom.workers.stub import FAMILY, Stub

TICK_MS = 100
"""How often all actors are told the time."""
DRAINED = 64
MAX_SOCKETS = 16_384
HEARTBEAT_MS = 200
"""How often the heartbeats' thread looks for answers and for sessions to speak for."""

Context = zmq.Context[zmq.Socket[bytes]]


@dataclass(slots=True)
class Member:
    """One worker of the crowd. heard_ms: when its last heartbeat was answered (0: nothing new)."""

    actor: Actor
    control: zmq.Socket[bytes]
    pulse: zmq.Socket[bytes]
    welcome: Welcome | None = None
    heard_ms: int = 0
    sleeping: list[tuple[int, int, Assign]] = field(default_factory=list)


class Crowd:
    """`count` workers named crowd-1, crowd-2 …"""

    def __init__(self, endpoint: str, count: int, slots: int, token: str, stub: Stub) -> None:
        self._stub, self._numbers = stub, itertools.count()
        self._context: Context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        self._members = [self._member(endpoint, number, slots, token) for number in range(1, count + 1)]
        self._over = threading.Event()

    def _member(self, endpoint: str, number: int, slots: int, token: str) -> Member:
        hello = Hello(
            worker=f"crowd-{number}",
            boot=os.urandom(8).hex(),
            low=PROTOCOL_LOW,
            high=PROTOCOL_HIGH,
            host=socket.gethostname(),
            slots=slots,
            pid=os.getpid(),
            token=token,
            families=(FAMILY,),
        )
        control = _dealer(self._context)
        control.connect(endpoint)
        return Member(Actor(hello, (), boot_ms()), control, _dealer(self._context))

    def run(self) -> int:
        """Until told to leave, or until every worker was."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        pulses = threading.Thread(target=self._beat, name="heartbeats")
        pulses.start()
        poller = zmq.Poller()
        by_socket = {member.control: member for member in self._members}
        for member in self._members:
            poller.register(member.control, zmq.POLLIN)
        tick_ms = 0
        try:
            while self._members and not self._over.is_set():
                ready = [by_socket[found] for found, _ in poller.poll(self._wait_ms(tick_ms))]
                now_ms = boot_ms()
                for member in ready:
                    self._drain(member, now_ms)
                everybody = now_ms >= tick_ms
                tick_ms = now_ms + TICK_MS if everybody else tick_ms
                for member in self._members if everybody else ready:
                    self._go_on(member, now_ms)
        finally:
            self._over.set()
            pulses.join()
            self._context.destroy(linger=0)
        return 0

    def _wait_ms(self, tick_ms: int) -> int:
        return max(0, min(TICK_MS, tick_ms - boot_ms()))

    def _drain(self, member: Member, now_ms: int) -> None:
        for _ in range(DRAINED):
            try:
                frame = member.control.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            member.actor.hear(decode_to_worker(frame), now_ms)

    def _go_on(self, member: Member, now_ms: int) -> None:
        actor = member.actor
        if member.heard_ms:
            actor.heard(member.heard_ms)
            member.heard_ms = 0
        while member.sleeping and member.sleeping[0][0] <= now_ms:
            actor.ended(self._stub.report(heapq.heappop(member.sleeping)[2]))
        actor.tick(now_ms)
        while actions := actor.take_actions():
            for action in actions:
                match action:
                    case Start(assign):
                        self._start(member, assign, now_ms)
                    case Keep(report):
                        actor.kept(report, now_ms)
                    case Kill(key, _):
                        member.sleeping = [one for one in member.sleeping if (one[2].attempt, one[2].fence) != key]
                        heapq.heapify(member.sleeping)
                        actor.vanished(key, guaranteed=True)
                    case Welcomed(welcome):
                        member.welcome = welcome
                    case Leave():
                        self._over.set()
                    case Forget() | Upload():
                        pass  # nothing is kept, and the stub's answers are short
        if messages := actor.take_outbox():
            with contextlib.suppress(zmq.Again):  # said again
                for frame in frames(messages):
                    member.control.send(frame, zmq.NOBLOCK)

    def _start(self, member: Member, assign: Assign, now_ms: int) -> None:
        self._stub.begin(assign)
        if self._stub.delay_ms:
            heapq.heappush(member.sleeping, (now_ms + self._stub.delay_ms, next(self._numbers), assign))
        else:
            member.actor.ended(self._stub.report(assign))

    # -------------------------------------------------------------------------------------------- heartbeats

    def _beat(self) -> None:
        """In a thread of its own: each worker's Ping on its own connection, spread over the interval."""
        due_ms: dict[int, int] = {}
        connected: set[int] = set()
        sequence = itertools.count(1)
        while not self._over.wait(HEARTBEAT_MS / 1000):
            now_ms = boot_ms()
            for number, member in enumerate(self._members):
                welcome = member.welcome
                if welcome is None:
                    continue
                if number not in connected:
                    member.pulse.connect(welcome.ping_endpoint)
                    connected.add(number)
                    due_ms[number] = now_ms + welcome.ping_ms * number // len(self._members)
                if now_ms >= due_ms[number]:
                    due_ms[number] = now_ms + welcome.ping_ms
                    with contextlib.suppress(zmq.Again):
                        ping = Ping(session=welcome.session, sequence=next(sequence))
                        member.pulse.send(encode([ping]), zmq.NOBLOCK)
                with contextlib.suppress(zmq.Again):
                    if any(isinstance(said, Pong) for said in decode_to_worker(member.pulse.recv(zmq.NOBLOCK))):
                        member.heard_ms = now_ms

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._over.set()


def _dealer(context: Context) -> zmq.Socket[bytes]:
    made = context.socket(zmq.DEALER)
    made.linger = 0
    made.setsockopt(zmq.SNDTIMEO, 0)
    made.setsockopt(zmq.IMMEDIATE, 1)
    made.setsockopt(zmq.RECONNECT_IVL, 50)
    made.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    made.setsockopt(zmq.MAXMSGSIZE, 4 * MAX_FRAME)
    return made


def main() -> int:
    """Runs until told to leave; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loom.workers.crowd", description="Many workers in one process.")
    parser.add_argument("--endpoint", required=True, help="the coordinator's control socket")
    parser.add_argument("--count", type=int, default=500, help="workers")
    parser.add_argument("--slots", type=int, default=4, help="attempts at once in each")
    parser.add_argument("--token-file", required=True, help="file with the home's worker token")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stub = Stub(os.environ, boot="crowd", host=socket.gethostname())
    return Crowd(
        options.endpoint, options.count, options.slots, Path(options.token_file).read_text().strip(), stub
    ).run()


if __name__ == "__main__":
    sys.exit(main())
