"""Lending repositories to workers on other hosts: an address and a token go with an assignment, and whoever shows the token
is told what it opens, as long as the attempt is leased. The git server itself is a process of its own, which knows nothing.

A token is `<attempt and fence>.<HMAC>` under a key that the home keeps, so a new coordinator knows those of the attempts that
it adopts. It is worth something only while the lease stands: that is looked up each time, never stored.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import structs

from loom.coordinator.doors import Address, BindRefused
from loom.coordinator.home import Home
from loom.coordinator.keys import write_private
from loom.coordinator.leases import Lease
from loom.coordinator.side_sockets import Context, Log, Side
from loom.workers.protocol import Assign, Ticket, split_attempt

GIT_SECRET, TLS_KEY, TLS_CERTIFICATE = "git.secret", "git.key", "git.crt"
LIFE_DAYS = 100 * 365
"""Of the certificate, whose key is what counts: workers hold it against the pin that their assignment brings."""
MAX_TOKEN = 1_024
RESTART_MS = 1_000
BACKLOG = 64

FindLease = Callable[[tuple[str, int]], Lease | None]


class Served(Protocol):
    """Where repositories are served, and with which key."""

    port: int
    pin: str


class Lending:
    """Makes tokens and takes them."""

    def __init__(self, secret: bytes, lease: FindLease, server: Served) -> None:
        self._secret, self._lease, self._port, self._pin = secret, lease, server.port, server.pin

    def lend(self, assign: Assign) -> Assign:
        """The assignment with its repository by address and token."""
        ref = assign.workspace
        if ref is None:
            return assign
        source = f"https://*:{self._port}/{Path(ref.source).name}"
        token = self._token(assign.attempt, assign.fence)
        return structs.replace(assign, workspace=structs.replace(ref, source=source, token=token, pin=self._pin))

    def open(self, token: str) -> Ticket:
        """What the token opens now; an empty ticket: nothing."""
        named, _, _ = token.partition(".")
        try:
            attempt, _, number = base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode().rpartition(" ")
            fence = int(number)
            _, spawn, n = split_attempt(attempt)
        except ValueError:
            return Ticket()
        if len(token) > MAX_TOKEN or not hmac.compare_digest(token.encode(), self._token(attempt, fence).encode()):
            return Ticket()
        lease = self._lease((attempt, fence))
        if lease is None or lease.stopping:
            return Ticket()
        return Ticket(repository=f"{lease.granted.task.spec.project}.git", publish=f"refs/loom/{spawn}/{n}")

    def _token(self, attempt: str, fence: int) -> str:
        named = base64.urlsafe_b64encode(f"{attempt} {fence}".encode()).decode().rstrip("=")
        return f"{named}.{hmac.new(self._secret, named.encode(), hashlib.sha256).hexdigest()}"


class Tickets(Side):
    """Answers the git server, on a socket of this machine: a token, what it opens."""

    def __init__(self, context: Context, endpoint: str, opened: Callable[[str], Ticket], log: Log) -> None:
        super().__init__(context, endpoint, max_bytes=MAX_TOKEN, name="tickets", log=log)
        self._opened = opened
        self.start()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        return [msgspec.json.encode(self._opened(frames[0].decode("ascii")))]


class GitServer:
    """The process. Its socket is bound here and handed down, so it comes back on the same port when it dies."""

    def __init__(self, address: Address, home: Home, log: Log) -> None:
        """Raises BindRefused, HomeUnwritable."""
        self._socket = _listen(address)
        self.port = int(self._socket.getsockname()[1])
        self.pin = tls_pin(home.keys)
        self._log, self._logs = log, home.logs
        self._command = [
            *(sys.executable, "-m", "loom.workers.githost", "--repositories", str(home.repos)),
            *("--socket", str(self._socket.fileno()), "--tickets", home.endpoint("tickets")),
            *("--key", str(home.keys / TLS_KEY), "--certificate", str(home.keys / TLS_CERTIFICATE)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._next_ms = 0

    def look(self, mono_ms: int) -> None:
        """Start it if it is not there. Cheap to call often."""
        if mono_ms < self._next_ms:
            return
        self._next_ms = mono_ms + RESTART_MS
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            self._log("git_server_ended", code=self._process.returncode)
            self._close_pipe(self._process)
        with (self._logs / "git.log").open("ab") as out:
            # It ends when this pipe does: with the coordinator, however that ends.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                pass_fds=(self._socket.fileno(),),
                start_new_session=True,
            )

    def close(self) -> None:
        if self._process is not None:
            self._close_pipe(self._process)
            self._process.kill()
            self._process.wait()
        self._socket.close()

    @staticmethod
    def _close_pipe(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.host, address.port + 4 if address.port else 0))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise BindRefused(f"{address.host}:{address.port + 4} cannot be listened on: {error}.") from error
    return made


def git_secret(keys: Path) -> bytes:
    """What tokens are made with; drawn at the first call."""
    path = keys / GIT_SECRET
    if not path.exists():
        write_private(path, secrets.token_hex(32) + "\n")
    return bytes.fromhex(path.read_text(encoding="ascii").strip())


def tls_pin(keys: Path) -> str:
    """The pin of the git server's key, which is drawn with its certificate at the first call: as curl has it,
    `sha256//` and the base64 of SHA-256 of the SubjectPublicKeyInfo (RFC 7469)."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not (keys / TLS_CERTIFICATE).exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loom")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=LIFE_DAYS))
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_private(keys / TLS_KEY, private.decode())
        write_private(keys / TLS_CERTIFICATE, made.public_bytes(pem).decode())
    certificate = x509.load_pem_x509_certificate((keys / TLS_CERTIFICATE).read_bytes())
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"sha256//{base64.b64encode(hashlib.sha256(spki).digest()).decode()}"
