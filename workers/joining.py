"""Coming in from another host: a key pair of our own, a token's secret shown once, and what is kept of it.

    DIR/enrolment.json   0600: the coordinator's key and address, our name and keys

The key is written down before it is shown, so that an answer that is lost costs nothing: the next try shows the same key,
and the coordinator knows it already.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from loom.workers.link import Doorstep, Link, host_of
from loom.workers.protocol import (
    PROTOCOL_HIGH,
    PROTOCOL_LOW,
    Enrol,
    Enrolled,
    Invitation,
    Malformed,
    Refused,
    decode_enrol,
    encode_enrol,
)

FILE = "enrolment.json"
DEADLINE_S = 10.0
"""How long to be let in may take."""
ASK_S = 2.0
"""An unanswered question is asked again after so long."""


class JoinError(Exception):
    """Not let in; the message is one sentence that says why."""


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept. control "": not let in yet."""

    server: str
    public: str
    secret: str
    host: str
    worker: str = ""
    control: str = ""
    labels: tuple[str, ...] = ()

    @property
    def link(self) -> Link:
        return Link(self.server, self.public, self.secret, self.host)

    def __repr__(self) -> str:
        return f"Membership({self.worker} of {self.host})"


_decoder = msgspec.json.Decoder(Membership)


def membership(state: Path) -> Membership | None:
    """What is kept in this directory; None: nothing. Raises JoinError when it cannot be read."""
    path = state / FILE
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise JoinError(f"{path} cannot be read ({error}); remove it and join again with a new token") from error


def join(state: Path, invitation: Invitation, name: str, host: str) -> Membership:
    """Be let in under this name; what is kept is there when it returns. Raises JoinError within DEADLINE_S."""
    known = membership(state)
    if known is not None and known.control:
        raise JoinError(
            f"{state} is enrolled as worker {known.worker} at {known.host} already; start it with `loom worker`, "
            f"or remove {state / FILE} to join another home"
        )
    if known is None or known.server != invitation.server:
        public, secret = zmq.curve_keypair()
        known = Membership(
            server=invitation.server, public=public.decode(), secret=secret.decode(), host=host_of(invitation.enrol)
        )
        _keep(state, known)
    answer = _ask(known.link, invitation, name, host)
    member = msgspec.structs.replace(
        known, worker=answer.worker, control=known.link.resolve(answer.control), labels=answer.labels
    )
    _keep(state, member)
    return member


def _ask(link: Link, invitation: Invitation, name: str, host: str) -> Enrolled:
    question = encode_enrol(
        Enrol(secret=invitation.secret, worker=name, low=PROTOCOL_LOW, high=PROTOCOL_HIGH, host=host)
    )
    doorstep = Doorstep(invitation.enrol)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = link.dealer(context)
    socket.setsockopt(zmq.SNDTIMEO, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    monitor = socket.get_monitor_socket(Doorstep.EVENTS)
    try:
        socket.connect(invitation.enrol)
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and not doorstep.refused:
            _send(socket, question)
            again = min(end, time.monotonic() + ASK_S)
            while (left := again - time.monotonic()) > 0 and not doorstep.refused:
                if socket.poll(int(min(left, 0.1) * 1_000) + 1):
                    return _answer(socket.recv())
                while monitor.poll(0):
                    if doorstep.hear(recv_monitor_message(monitor)["event"]):
                        _send(socket, question)
        nobody = f"nobody answered at {invitation.enrol} within {DEADLINE_S:.0f} s: is the coordinator running there"
        raise JoinError(doorstep.said or f"{nobody}, with --listen, and is the port open?")
    except zmq.ZMQError as error:
        raise JoinError(f"{invitation.enrol} cannot be reached: {error}") from error
    finally:
        socket.disable_monitor()
        monitor.close(linger=0)
        socket.close(linger=0)
        context.term()


def _send(socket: zmq.Socket[bytes], question: bytes) -> None:
    try:
        socket.send(question)
    except zmq.Again:
        return  # there is no connection yet


def _answer(frame: bytes) -> Enrolled:
    try:
        message = decode_enrol(frame)
    except Malformed as error:
        raise JoinError(f"the coordinator's answer cannot be read: {error}") from error
    if isinstance(message, Enrolled):
        return message
    if isinstance(message, Refused):
        raise JoinError(message.sentence)
    raise JoinError("the coordinator's answer is none")


def _keep(state: Path, member: Membership) -> None:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = state / f".{FILE}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(member))
        file.flush()
        os.fsync(file.fileno())
    part.rename(state / FILE)
