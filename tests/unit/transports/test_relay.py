"""The torture's relay: bytes pass unchanged; silence holds them, a reset ends the connection, a target that is gone too."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from loom.transports.cli.torture.ground import free_ports
from loom.transports.cli.torture.relay import Address, Link, Relays

BODY = bytes(range(256)) * 1_000


@pytest.fixture
def relays() -> Iterator[Relays]:
    """Closed at the end."""
    made = Relays()
    yield made
    made.close()


@pytest.fixture
def echo() -> Iterator[Address]:
    """Sends back what it gets, one connection after the other."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                taken, _ = listening.accept()
                with taken:
                    while data := taken.recv(4096):
                        taken.sendall(data)
            except ConnectionError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[:2]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def through(relays: Relays, link: Link, target: Address) -> socket.socket:
    """Connected to the target over a relay of its own; a call that waits for five seconds has failed."""
    near = ("127.0.0.1", free_ports(1))
    relays.open(link, near, target)
    return socket.create_connection(near, timeout=5)


def read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def test_bytes_pass_unchanged(relays: Relays, echo: Address) -> None:
    """There and back, also while each piece is delayed."""
    link = relays.link()
    with through(relays, link, echo) as connection:
        for link.delay_s in (0.0, 0.001):
            threading.Thread(target=connection.sendall, args=(BODY,)).start()
            assert BODY == read(connection, len(BODY))


def test_silence_holds_and_healing_lets_go(relays: Relays, echo: Address) -> None:
    """While it is silent nothing comes and nothing breaks; what was held arrives when it is healed."""
    link = relays.link()
    with through(relays, link, echo) as connection:
        connection.sendall(b"a")
        assert b"a" == read(connection, 1)
        link.silence()
        connection.sendall(b"b")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(5)
        link.heal()
        assert b"b" == read(connection, 1)


def test_a_broken_link_breaks_connections_and_takes_new_ones(relays: Relays, echo: Address) -> None:
    """The old connection is reset or ended; another one works."""
    link = relays.link()
    with through(relays, link, echo) as connection:
        connection.sendall(b"a")
        assert b"a" == read(connection, 1)
        link.drop()
        with contextlib.suppress(ConnectionError):
            assert b"" == connection.recv(1)
    with through(relays, link, echo) as again:
        again.sendall(b"c")
        assert b"c" == read(again, 1)


def test_nobody_there_is_told_by_the_end(relays: Relays) -> None:
    """A target that does not listen ends the connection instead of holding it."""
    nobody = ("127.0.0.1", free_ports(1))
    with through(relays, relays.link(), nobody) as connection, contextlib.suppress(ConnectionError):
        assert b"" == connection.recv(1)
