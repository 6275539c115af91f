"""How a worker reaches its coordinator: on the same machine as it is; over the network with CURVE, both keys pinned.

Endpoints that a coordinator names for other hosts have the host `*`: the one by which this worker reached it, whatever
addresses, names or forwarded ports lie between. ZeroMQ connects again for ever; what it keeps silent about (a wrong key
shows as a connection that never greets) is put into words here.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import zmq
from msgspec import structs

from loom.workers.protocol import Assign

Context = zmq.Context[zmq.Socket[bytes]]

RECONNECT_MS, RECONNECT_MAX_MS = 20, 500
FAR_RECONNECT_MS, FAR_RECONNECT_MAX_MS = 1_000, 10_000
"""Between two tries to connect over the network: doubled each time, up to the bound, for ever."""
HANDSHAKE_MS = 8_000
"""How long a connection may take to greet; then it is given up, said so, and tried again."""
KEEPALIVE_S = 30


@dataclass(frozen=True, slots=True)
class Link:
    """Keys are Z85 text; server "": the same machine, no keys. host: by which the coordinator was reached."""

    server: str = ""
    public: str = ""
    secret: str = ""
    host: str = ""

    @property
    def far(self) -> bool:
        """Whether it goes over the network."""
        return bool(self.server)

    def dealer(self, context: Context) -> zmq.Socket[bytes]:
        """A DEALER that has its keys and is not connected yet."""
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.setsockopt(zmq.RECONNECT_IVL, FAR_RECONNECT_MS if self.far else RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, FAR_RECONNECT_MAX_MS if self.far else RECONNECT_MAX_MS)
        if self.far:
            socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
            socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S)
            socket.setsockopt(zmq.IPV6, 1)
            socket.curve_serverkey = self.server.encode()
            socket.curve_publickey = self.public.encode()
            socket.curve_secretkey = self.secret.encode()
        return socket

    def resolve(self, endpoint: str) -> str:
        """The endpoint with our own name for the coordinator's host. Raises ValueError for one that would leave it: a
        worker on another host takes `tcp://*:PORT` only."""
        if not self.far:
            return endpoint
        if not endpoint.startswith("tcp://*:"):
            raise ValueError(f"{endpoint!r} is no endpoint for another host")
        return f"tcp://{bracketed(self.host)}:{endpoint.rpartition(':')[2]}"

    def reached(self, assign: Assign) -> Assign:
        """The assignment with our own name for the coordinator's host in its repository's address."""
        ref = assign.workspace
        if not self.far or ref is None:
            return assign
        source = ref.source.replace("://*:", f"://{bracketed(self.host)}:", 1)
        return structs.replace(assign, workspace=structs.replace(ref, source=source))


def host_of(endpoint: str) -> str:
    """The host of tcp://HOST:PORT, without brackets."""
    return urlsplit(endpoint).hostname or ""


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class Doorstep:
    """What a socket's monitor says of a connection that is not let in, as sentences. No socket, no clock."""

    EVENTS = (
        zmq.EVENT_CONNECTED
        | zmq.EVENT_HANDSHAKE_SUCCEEDED
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_DISCONNECTED
    )

    def __init__(self, where: str) -> None:
        self._where = where
        self._greeted = True
        self.said = ""
        """Why there is no connection now ("" : there is, or nothing is known)."""
        self.refused = False
        """The key is not, or no more, one that is let in: trying again is of no use."""

    def hear(self, event: int) -> bool:
        """One event; whether the connection is a new one that greets."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._greeted, self.said = True, ""
            return True
        if event == zmq.EVENT_CONNECTED:
            self._greeted = False
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refused = self._greeted = True
            self.said = (
                f"the coordinator at {self._where} does not know this worker's key: it was revoked, or never enrolled"
            )
        elif not self._greeted:  # a connection that ended before it greeted
            self._greeted = True
            self.said = (
                f"what answers at {self._where} does not have the key that this worker was given for its coordinator, "
                "or something between the two closes connections"
            )
        return False
