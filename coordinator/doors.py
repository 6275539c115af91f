"""The doors for workers on other hosts: TCP, always with CURVE (who listens has the key that was promised) and ZAP (who
comes has a key that was let in). Nothing of loom listens on TCP without both.

    control  PORT      enrolled keys      ping   PORT + 1  enrolled keys      blob  PORT + 2  enrolled keys
    enrol    PORT + 3  any key: one message kind, an invitation's secret      git   PORT + 4  TLS, a token an attempt

Port 0 gives each a free one. What ZeroMQ drops without a word is read from the sockets' monitors and logged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from loom.coordinator.endings import Peer
from loom.coordinator.errors import KeyDamaged, LoomError
from loom.coordinator.keys import write_private, write_public
from loom.coordinator.roster import Enrolled
from loom.coordinator.side_sockets import Context, Log, router
from loom.workers.protocol import BLOB_CHUNK, MAX_FRAME

SERVER_KEY, SERVER_PUB = "server.key", "server.pub"
WORKERS, ANYBODY = "workers", "enrol"
"""ZAP domains: keys that are enrolled; any key."""
HANDSHAKE_MS = 10_000
"""A connection that has not greeted by then is closed."""
MAX_ENROL = 4 * 1024
ENROL_HWM = 64
BACKLOG = 256
DEFAULT_PORT = 4750
PORTS = 5
FAR = b"@"
"""How peers of the network begin among all peers; the routing ids of sockets begin with a zero byte."""
LOGGED = 32
"""Refused handshakes that are logged in one look; the others are counted."""


class BindRefused(LoomError):
    """An address that loom cannot listen on for workers of other hosts."""

    code = "L050"
    mend = f"Name one of this machine's addresses and a port: --listen 0.0.0.0:{DEFAULT_PORT}."


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. port: the first of five (0: free ones)."""

    host: str
    port: int

    def endpoint(self, place: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port + place if self.port else '*'}"


def read_address(text: str) -> Address:
    """HOST:PORT, HOST, or tcp://HOST:PORT; an IPv6 host in brackets. Raises BindRefused."""
    try:
        parts = urlsplit(text if "://" in text else f"tcp://{text}")
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise BindRefused(f"{text!r} is no address to listen on: {error}.") from error
    if parts.scheme != "tcp" or not parts.hostname or parts.path or not 0 <= port <= 65_536 - PORTS:
        raise BindRefused(f"{text!r} is no address to listen on.")
    if not zmq.has("curve"):
        raise BindRefused(
            f"{text} would be open to everybody: this machine's ZeroMQ has no CURVE, so nobody could be told apart.",
            "Install pyzmq from its wheels, which have it; or leave --listen out.",
        )
    return Address("0.0.0.0" if parts.hostname == "*" else parts.hostname, port)


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The coordinator's CURVE key pair, as Z85 text. Its public half stands in every invitation."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"ServerKey({self.public})"


def server_key(folder: Path) -> ServerKey:
    """The pair in `keys/`; drawn at the first call, then always the same. Raises KeyDamaged, HomeUnwritable."""
    path = folder / SERVER_KEY
    if not path.exists():
        public, secret = zmq.curve_keypair()
        write_private(path, secret.decode() + "\n")
        write_public(folder / SERVER_PUB, public.decode() + "\n")
    try:
        secret_text = path.read_text(encoding="ascii").strip()
        public_text = zmq.curve_public(secret_text.encode()).decode()
    except (OSError, ValueError, zmq.ZMQError) as error:
        raise KeyDamaged(f"{path} cannot be read as a key: {error}.") from error
    return ServerKey(public_text, secret_text)


class Gatekeeper:
    """Answers ZAP: whom does a key stand for. `admit` may be called while it answers, in another thread."""

    def __init__(self, context: Context, log: Log) -> None:
        self._log = log
        self._known: Mapping[str, Enrolled] = {}
        self._zap = ThreadAuthenticator(context)
        self._zap.start()
        self._zap.configure_curve_callback(WORKERS, _Asked(self._is_enrolled))
        self._zap.configure_curve_callback(ANYBODY, _Asked(lambda key: True))

    def admit(self, known: Mapping[str, Enrolled]) -> None:
        """From now on exactly these: key → whom it stands for."""
        self._known = known

    def of(self, key: str) -> Enrolled | None:
        return self._known.get(key)

    def close(self) -> None:
        self._zap.stop()

    def _is_enrolled(self, key: str) -> bool:
        known = key in self._known
        if not known:
            self._log("key_refused", key=key)
        return known


class _Asked:
    """What pyzmq's authenticator wants: `callback(domain, key)`. It must not raise: its thread would end."""

    def __init__(self, answer: Callable[[str], bool]) -> None:
        self._answer = answer

    def callback(self, domain: str, key: bytes) -> bool:
        try:
            return self._answer(key.decode("ascii"))
        except Exception:
            return False


class Doors:
    """The sockets, bound. Those of ping and blob go to their threads, which close them."""

    def __init__(self, context: Context, address: Address, key: ServerKey, log: Log) -> None:
        """Raises BindRefused when an address cannot be had."""
        self._context, self._key, self._log = context, key, log
        self.gatekeeper = Gatekeeper(context, log)
        self._monitors: list[tuple[str, zmq.Socket[bytes], zmq.Socket[bytes]]] = []
        try:
            self.control = self._open("control", address.endpoint(0), WORKERS, MAX_FRAME)
            self.ping = self._open("ping", address.endpoint(1), WORKERS, MAX_FRAME)
            self.blob = self._open("blob", address.endpoint(2), WORKERS, BLOB_CHUNK + MAX_FRAME)
            self.enrol = self._open("enrol", address.endpoint(3), ANYBODY, MAX_ENROL)
        except zmq.ZMQError as error:
            self.gatekeeper.close()
            raise BindRefused(f"{address.host}:{address.port} cannot be listened on: {error}.") from error
        self.address = address
        self.public = key.public

    def _open(self, name: str, endpoint: str, domain: str, max_bytes: int) -> zmq.Socket[bytes]:
        def secure(socket: zmq.Socket[bytes]) -> None:
            socket.curve_server = True
            socket.curve_secretkey = self._key.secret.encode()
            socket.zap_domain = domain.encode()
            socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            socket.setsockopt(zmq.BACKLOG, BACKLOG)
            socket.setsockopt(zmq.IPV6, 1)
            if domain == ANYBODY:
                socket.setsockopt(zmq.RCVHWM, ENROL_HWM)
            if name in ("control", "enrol"):  # the others' monitors belong to their threads, and say the same
                events = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
                self._monitors.append((name, socket, socket.get_monitor_socket(events)))

        return router(self._context, endpoint, max_bytes=max_bytes, secure=secure)

    def endpoint(self, name: str) -> str:
        """What a worker elsewhere is told: its own word for our host, and the port."""
        return f"tcp://*:{self.port(name)}"

    def port(self, name: str) -> int:
        socket: zmq.Socket[bytes] = getattr(self, name)
        return int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def describe(self, git: int) -> dict[str, object]:
        """Where workers on other hosts come in. git: the port of the git server."""
        ports = {name: self.port(name) for name in ("control", "ping", "blob", "enrol")} | {"git": git}
        return {"host": self.address.host, "key": self.public, "ports": ports}

    def hear(self, socket: zmq.Socket[bytes], limit: int) -> Iterator[tuple[Peer, str, bytes]]:
        """(peer, key, frame) of what has come."""
        for _ in range(limit):
            try:
                peer, frame = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            except ValueError:
                continue  # not two frames: nobody of ours
            try:
                key = str(frame.get("User-Id"))
            except zmq.ZMQError:
                continue
            yield FAR + peer.bytes, key, frame.bytes

    def look(self) -> None:
        """Log the handshakes that failed: a connection with another server's key, or of no peer of ours at all."""
        for name, _, monitor in self._monitors:
            failed = 0
            while failed < LOGGED and monitor.poll(0):
                recv_monitor_message(monitor)
                failed += 1
            if failed:
                self._log("handshake_failed", socket=name, times=failed, why="not our server key, or no CURVE")

    def close(self) -> None:
        for _, socket, monitor in self._monitors:
            socket.disable_monitor()
            monitor.close(linger=0)
        self.control.close(linger=500)
        self.enrol.close(linger=500)
        self.gatekeeper.close()


def is_far(peer: Peer) -> bool:
    return peer[:1] == FAR


def own_host() -> str:
    """A name that other hosts may know this machine by, for an invitation that names no other."""
    import socket

    return os.environ.get("LOOM_HOST", "") or socket.getfqdn()
