"""The ground of the torture: a home of its own with a real coordinator, workers here and on hosts, and agents that count.

One coordinator, local workers that it starts itself, and three hosts with one worker each, which the ground starts again
when they die, as a service manager would. Hosts come in by invitation, over TCP with CURVE, and every connection of theirs
(enrolment, control, heartbeats, texts) passes relays; on an isle, each host has a network of its own besides.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from loom.coordinator.client import Client
from loom.coordinator.enrolment import secret_digest
from loom.coordinator.home import Home
from loom.coordinator.starting import CoordinatorFailed, Starter
from loom.kernel.commands import InviteWorker
from loom.transports.cli.torture.isle import Wire
from loom.transports.cli.torture.relay import Link, Relays
from loom.workers.protocol import Invitation, write_invitation

HOSTS, LOCAL, SLOTS = 3, 2, 4
"""Hosts with one worker each, workers that the coordinator starts beside itself, attempts at once in each."""
UNUSABLE = re.compile(r"ended with code 4:")
DOORS, PORTS = 4, 5
"""Ports in a row that a coordinator listens on: those that workers use (the last is for git, which the stub's do not)."""
JOIN_S, TOKEN_MS = 30.0, 600_000
LEAVE_S = 20.0
"""How long everything may take to go when it is asked to."""
LOOK_S = 0.02
READ_S = 20.0
"""How long a query may be disturbed."""
STEADY_S = 1.0
"""A host's worker is started no more often than this."""


class Lost(Exception):
    """Something did not happen in time, and what it was."""


@dataclass(slots=True)
class Host:
    """One host: its link, its wire (None: this machine's loopback), and its worker."""

    name: str
    link: Link
    wire: Wire | None
    process: subprocess.Popen[bytes] | None = None
    started_s: float = -STEADY_S


@dataclass(slots=True)
class Ground:
    """A home that lives as long as one act. folder: on which disk; own: the scratch place of sockets and counts."""

    home: Home
    own: Path
    lease_ms: int
    agent_ms: int
    on_isle: bool
    disk_is_victim: bool
    relays: Relays
    hosts: list[Host] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    port: int = field(default_factory=lambda: free_ports(PORTS))
    """The first of those that the coordinator listens on."""
    _starter: Starter | None = None

    @property
    def starts(self) -> Path:
        """What the agents write when they begin."""
        return self.own / "starts"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the coordinator."""
        counts = ("--workers", str(LOCAL), "--slots", str(SLOTS), "--listen", f"127.0.0.1:{self.port}")
        return (*counts, "--machine-slots", "-1", "--lease-ms", str(self.lease_ms), "--idle-exit-ms", "60000")

    # ------------------------------------------------------------------------------------------------ coming up

    def come_up(self) -> None:
        """Starts everything. Raises Lost, LoomError, OSError."""
        self.starts.touch()
        os.environ["LOOM_BENCH_EXECUTOR"] = f"sleep:{self.agent_ms}"
        os.environ["LOOM_BENCH_STARTS"] = str(self.starts)
        self.client().describe()
        self._starter = Starter(self.home, self.arguments)
        for number in range(1, HOSTS + 1):
            self.hosts.append(self._host(number))
        workers = LOCAL + HOSTS
        watcher = self.client()
        self.until(lambda: len(list(watcher.describe()["workers"])) >= workers, f"{workers} workers said Hello")

    def _host(self, number: int) -> Host:
        """A host whose worker was let in. Where it is, the coordinator's ports have an address of this host's own."""
        wire = Wire.lay(number) if self.on_isle else None
        near = wire.hub if wire else f"127.0.0.{number + 1}"
        link = self.relays.link()
        for port in range(self.port, self.port + DOORS):
            self.relays.open(link, (near, port), ("127.0.0.1", port))
        host = Host(f"host{number}", link, wire)
        with (self.own / f"{host.name}.log").open("ab") as log:
            command = self._command(host, "--only-join", "--name", host.name)
            subprocess.run(command, input=self._token(near), stdout=log, stderr=log, timeout=JOIN_S, check=True)
        return host

    def _token(self, near: str) -> bytes:
        """An invitation that works once, for a host that knows the coordinator by this address."""
        secret, until_ms = secrets.token_urlsafe(16), time.time_ns() // 1_000_000 + TOKEN_MS
        client = self.clients[0]
        client.call(InviteWorker(secret_digest(secret), until_ms, ()))
        listen = client.describe()["listen"]
        enrol = f"tcp://{near}:{listen['ports']['enrol']}"
        return write_invitation(
            Invitation(server=listen["key"], enrol=enrol, secret=secret, until_ms=until_ms)
        ).encode()

    def _command(self, host: Host, *options: str) -> list[str]:
        state = self.home.spool / host.name
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "loom.workers.remote", "--state", str(state), "--slots", str(SLOTS), *options]
        return list(host.wire.command(*command)) if host.wire else command

    def client(self) -> Client:
        """A client that starts the coordinator when none runs."""
        client = Client.connect(self.home, arguments=self.arguments, via="torture")
        self.clients.append(client)
        return client

    def _start(self, host: Host) -> None:
        with (self.own / f"{host.name}.log").open("ab") as log:
            host.process = subprocess.Popen(
                self._command(host),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.own,
                start_new_session=True,
            )
        host.started_s = time.monotonic()

    def keep_up(self) -> None:
        """What a waiting client and a service manager do: the coordinator and the hosts' workers are started again."""
        for host in self.hosts:
            dead = host.process is None or host.process.poll() is not None
            if dead and time.monotonic() - host.started_s > STEADY_S:
                self._start(host)
        if self._starter is None:
            return
        self._starter.answered()  # it was killed on purpose: no number of deaths is too many
        try:
            self._starter.ensure()
        except CoordinatorFailed as error:  # on a full disk it may say that it cannot use the home, and nothing else
            if not (self.disk_is_victim and UNUSABLE.search(str(error))):
                raise

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Keeps everything up until the condition holds. Raises Lost at the deadline."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise Lost(f"not within {seconds:g} s: {what}")
            self.keep_up()
            time.sleep(LOOK_S)

    # -------------------------------------------------------------------------------------------------- reading

    def rows(self, sql: str, *arguments: object) -> list[tuple[object, ...]]:
        """A query over a read-only connection; one that a dying writer or a full disk disturbs is asked again."""
        uri = f"{self.home.database.as_uri()}?mode=ro"
        end = time.monotonic() + READ_S
        while True:
            try:
                with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=READ_S)) as connection:
                    return connection.execute(sql, arguments).fetchall()
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(LOOK_S)

    def count(self, sql: str) -> int:
        """A query for one number."""
        return int(str(self.rows(sql)[0][0]))

    def done(self) -> int:
        """Tasks that are done."""
        return self.count("SELECT count(*) FROM task WHERE status = 'done'")

    def start_times(self) -> list[tuple[str, str, int]]:
        """(attempt, fence, ms UTC) of each start, as the agents wrote them."""
        lines = (line.split() for line in self.starts.read_text().splitlines())
        return [(attempt, fence, int(at_ms)) for attempt, fence, _, at_ms in lines]

    def started(self) -> Counter[tuple[str, str]]:
        """(attempt, fence) → how often the agent itself counted a start."""
        return Counter((attempt, fence) for attempt, fence, _ in self.start_times())

    def worker_pids(self) -> list[int]:
        """Workers that hold a slot lock now."""
        from loom.coordinator.local_workers import held

        locks = sorted(self.home.spool.glob("*/lock"))
        return [int(text) for lock in locks if held(lock) and (text := lock.read_text().strip()).isdigit()]

    # -------------------------------------------------------------------------------------------------- leaving

    def leave(self) -> list[str]:
        """Asks everything to go, and waits. Returns what is left running: nothing, if all is well."""
        if self._starter is not None:
            self._starter.disown()
            self._starter = None
        for host in self.hosts:
            if host.process is not None:
                host.process.terminate()
        with contextlib.suppress(Exception), Client.connect(self.home, start=False) as client:
            client.leave(workers=True)
        for client in self.clients:
            client.close()
        self.clients.clear()
        end = time.monotonic() + LEAVE_S
        while (left := self._processes()) and time.monotonic() < end:
            time.sleep(LOOK_S)
        return [f"{process.pid} {' '.join(_words(process))}" for process in left]

    def kill_all(self) -> None:
        """Whatever is left of this home is killed."""
        end = time.monotonic() + LEAVE_S
        while (left := self._processes()) and time.monotonic() < end:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(LOOK_S)

    def close(self) -> None:
        """Takes the hosts' wires away."""
        for host in self.hosts:
            if host.wire is not None:
                host.wire.clear()
        self.hosts.clear()

    def _processes(self) -> list[psutil.Process]:
        """Everything that was started on this home and lives."""
        for host in self.hosts:
            if host.process is not None:
                host.process.poll()
        here, me = str(self.home.path), os.getpid()
        return [one for one in psutil.process_iter() if one.pid != me and any(here in word for word in _words(one))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on. Raises OSError."""
    for first in range(20_000 + secrets.randbelow(20_000), 60_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise OSError(f"no {count} ports in a row are free")


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """A signal to a process that may be gone (0: there is none)."""
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)
