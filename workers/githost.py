"""`python -m loom.workers.githost`: the home's private repositories for workers on other hosts, by git's smart HTTP over TLS.

    GET  /<project>.git/info/refs?service=git-upload-pack | git-receive-pack
    POST /<project>.git/git-upload-pack | git-receive-pack        Authorization: Bearer <an attempt's token>

Each request is held against the coordinator first: what the token opens now. With it an attempt may fetch from its project's
repository and create its own ref there, nothing else: the commands of a push are read before git sees them. git runs as
everywhere (loom.workers.git), so no hook, filter or configuration of anybody's has a say. The process ends with its standard
input, that is, with the coordinator.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec
import zmq

from loom.workers.git import environment
from loom.workers.protocol import Ticket

TICKET_MS = 5_000
"""How long the coordinator may take to say what a token opens."""
IDLE_S = 60
"""How long a connection may say nothing."""
GIT_S = 30 * 60
MAX_BODY = 1024 * 1024 * 1024
"""Bytes of one request: a push of more than that is no change for a review."""
MAX_COMMANDS = 4_096
CONNECTIONS = 64
CHUNK = 256 * 1024

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"
PATH = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]{0,99}\.git)/(info/refs|git-upload-pack|git-receive-pack)\Z")
COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0\n]+)(?:\0[^\n]*)?\n?\Z")
ZERO = b"0" * 40
OPTIONS = (
    *("-c", "http.receivepack=true", "-c", "http.uploadpack=true", "-c", "http.getanyfile=false"),
    *("-c", "receive.fsckObjects=true", "-c", f"receive.maxInputSize={MAX_BODY}", "-c", "receive.autogc=false"),
)

_ticket = msgspec.json.Decoder(Ticket)


class Denied(Exception):
    """Not to be done; status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Server(ThreadingHTTPServer):
    """One thread a connection, CONNECTIONS at once; the TLS handshake is in the thread."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext, repositories: Path, tickets: str) -> None:
        super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.tls, self.repositories, self.tickets = tls, repositories, tickets
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._room = threading.BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(IDLE_S)
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:
                Handler(secured, client_address, self)
                secured.unwrap()  # says goodbye: without it the client takes the answer for cut off
        except OSError:  # no TLS, or gone
            return

    def handle_error(self, request: Any, client_address: Any) -> None:
        sys.stderr.write(f"{client_address[0]}: {sys.exc_info()[1]}\n")


class Handler(BaseHTTPRequestHandler):
    """One request a connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "loom"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.close_connection = True
        try:
            repository, what, service = self._asked()
            ticket = self._ticket()
            if ticket.repository != repository:
                raise Denied(HTTPStatus.FORBIDDEN, "this token opens another repository, or none any more")
            if service == RECEIVE and not ticket.publish:
                raise Denied(HTTPStatus.FORBIDDEN, "this token writes nothing")
            with tempfile.TemporaryFile() as body:
                self._read_body(body)
                if what == RECEIVE:
                    if self.headers.get("Content-Encoding"):
                        raise Denied(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a push is not sent compressed")
                    check_push(body, ticket.publish)
                self._run(body)
        except Denied as denied:
            self._deny(denied)

    def _asked(self) -> tuple[str, str, str]:
        """(repository, last part of the path, service)."""
        parts = urlsplit(self.path)
        found = PATH.match(parts.path)
        if found is None or ".." in found[1]:
            raise Denied(HTTPStatus.NOT_FOUND, "there is nothing here")
        what = found[2]
        if what == "info/refs":
            service = parts.query.removeprefix("service=")
            if self.command != "GET" or service not in (UPLOAD, RECEIVE):
                raise Denied(HTTPStatus.FORBIDDEN, "only git's smart protocol is spoken here")
            return found[1], what, service
        if self.command != "POST" or parts.query:
            raise Denied(HTTPStatus.METHOD_NOT_ALLOWED, "this is asked by POST")
        return found[1], what, what

    def _ticket(self) -> Ticket:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not token.isascii():
            raise Denied(HTTPStatus.FORBIDDEN, "a request needs the token of an attempt")
        socket = self.server.context.socket(zmq.DEALER)
        socket.linger = 0
        try:
            socket.connect(self.server.tickets)
            socket.send(token.encode())
            if not socket.poll(TICKET_MS):
                raise Denied(HTTPStatus.SERVICE_UNAVAILABLE, "the coordinator does not answer just now")
            return _ticket.decode(socket.recv())
        finally:
            socket.close()

    def _read_body(self, body: IO[bytes]) -> None:
        """The request's body into a file, rewound: git may answer before it has read all, and must not be waited for."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(64).split(b";")[0] or b"0", 16):
                self._copy(body, size)
                self.rfile.readline(8)
            self.rfile.readline(8)
        else:
            self._copy(body, int(self.headers.get("Content-Length") or 0))
        body.flush()
        body.seek(0)

    def _copy(self, body: IO[bytes], size: int) -> None:
        if size < 0 or body.tell() + size > MAX_BODY:
            raise Denied(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has {MAX_BODY} bytes at most")
        while size:
            data = self.rfile.read(min(size, CHUNK))
            if not data:
                raise Denied(HTTPStatus.BAD_REQUEST, "the request ended early")
            body.write(data)
            size -= len(data)

    def _run(self, body: IO[bytes]) -> None:
        parts = urlsplit(self.path)
        extra = {
            "GIT_PROJECT_ROOT": str(self.server.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(_size(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "worker",
            "REMOTE_ADDR": self.client_address[0],
        }
        os.lseek(body.fileno(), 0, os.SEEK_SET)
        process = subprocess.Popen(
            ["git", *OPTIONS, "http-backend"],
            stdin=body,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            env=environment(extra=extra),
            cwd="/",
            start_new_session=True,
        )
        limit = threading.Timer(GIT_S, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            self._answer(process.stdout)
        finally:
            limit.cancel()
            process.kill()
            process.wait()

    def _answer(self, said: IO[bytes]) -> None:
        """A CGI response (RFC 3875, section 6) as HTTP, in chunks: one that is cut off is seen to be."""
        status, headers = "200 OK", []
        while line := said.readline(8_192).strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "status":
                status = value.strip()
            else:
                headers.append((name, value.strip()))
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        while data := said.read1(CHUNK):  # type: ignore[attr-defined]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def _deny(self, denied: Denied) -> None:
        sys.stderr.write(f"{self.client_address[0]}: {self.command} {denied.status.value}: {denied.sentence}\n")
        text = f"{denied.sentence}\n".encode()
        self.send_response(denied.status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Requests that are served are not logged: an attempt's record says what it did."""


def _size(body: IO[bytes]) -> int:
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    return size


def check_push(body: IO[bytes], publish: str) -> None:
    """That the commands of a push (gitprotocol-pack(5), "Reference Update Request") are one: create this ref. Raises Denied."""
    commands = []
    while True:
        head = body.read(4)
        try:
            size = int(head, 16)
        except ValueError:
            raise Denied(HTTPStatus.BAD_REQUEST, "this is no push") from None
        if size == 0:
            break
        if size < 4 or body.tell() > MAX_COMMANDS:
            raise Denied(HTTPStatus.FORBIDDEN, "an attempt pushes one ref, its own")
        commands.append(body.read(size - 4))
    body.seek(0)
    if not commands:
        return  # a probe: git asks whether it may push at all
    found = COMMAND.match(commands[0])
    if len(commands) != 1 or found is None:
        raise Denied(HTTPStatus.FORBIDDEN, "an attempt pushes one ref, its own")
    old, new, ref = found.groups()
    if ref != publish.encode() or old != ZERO or new == ZERO:
        raise Denied(HTTPStatus.FORBIDDEN, f"this attempt may create {publish}, and nothing else")


def main(argv: list[str] | None = None) -> int:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m loom.workers.githost")
    for name in ("repositories", "tickets", "key", "certificate"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the listening socket")
    options = parser.parse_args(argv)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(options.certificate, options.key)
    server = Server(socket.socket(fileno=options.socket), tls, Path(options.repositories), options.tickets)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)  # threads of requests are cut off, as their coordinator is


if __name__ == "__main__":
    sys.exit(main())
