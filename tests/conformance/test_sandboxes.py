"""What every sandbox promises, run on each kind; and what only some of them promise, run on these."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from loom.workers.processes import run
from loom.workers.sandboxes import Bubblewrap, FakeSandbox, NoSandbox
from loom.workers.seams import Command, Finished, Sandbox

BUBBLEWRAP = pytest.param(Bubblewrap(), id="bubblewrap", marks=pytest.mark.needs("bubblewrap"))
EVERY = [BUBBLEWRAP, pytest.param(NoSandbox(), id="none"), pytest.param(FakeSandbox(), id="fake")]
REAL = EVERY[:2]
CONTAINING = EVERY[:1]

every = pytest.mark.parametrize("sandbox", EVERY)
real = pytest.mark.parametrize("sandbox", REAL)
containing = pytest.mark.parametrize("sandbox", CONTAINING)


class Place:
    """A workspace to work in, and a way to run something there."""

    def __init__(self, root: Path) -> None:
        self.work = root / "work"
        self.work.mkdir()
        self.secret = root / "home/secret"
        self.secret.parent.mkdir()
        self.secret.write_text("s3cret")

    def command(self, *argv: str, network: str = "none", memory: int = 0, readable: tuple[Path, ...] = ()) -> Command:
        env = {"PATH": f"{os.path.dirname(sys.executable)}:/usr/bin:/bin", "GIVEN": "given value"}
        return Command(
            argv=argv,
            cwd=self.work,
            env=env,
            writable=(self.work,),
            readable=readable,
            network=network,
            memory_bytes=memory,
        )

    def run(self, sandbox: Sandbox, command: Command, stdin: bytes = b"") -> Finished:
        return asyncio.run(run(sandbox.wrap(command), stdin=stdin, timeout_ms=30_000))

    def shell(self, sandbox: Sandbox, script: str, **options: str) -> Finished:
        return self.run(sandbox, self.command("sh", "-c", script, **options))  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ------------------------------------------------------------------------------------------------ every kind


@every
def test_probe_works_here(sandbox: Sandbox) -> None:
    """The probe says that it works, and why not is empty."""
    found = sandbox.probe()
    assert (True, "") == (found.works, found.reason)


@every
def test_a_command_runs_in_its_directory(sandbox: Sandbox, place: Place) -> None:
    """Exit code, both streams, standard input and the working directory go through."""
    done = place.shell(sandbox, "pwd; echo trouble >&2; exit 7")
    assert (7, f"{place.work}\n".encode(), b"trouble\n") == (done.code, done.stdout, done.stderr)
    assert b"through" == place.run(sandbox, place.command("cat"), b"through").stdout


@every
def test_the_environment_is_exact(sandbox: Sandbox, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sees the variables that it was given, and none of the worker's."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "s3cret")
    seen = dict(line.split("=", 1) for line in place.run(sandbox, place.command("env")).stdout.decode().splitlines())
    assert "given value" == seen["GIVEN"]
    assert {"GIVEN", "PATH", "PWD"} >= set(seen)


@every
def test_a_value_of_the_environment_is_no_argument(sandbox: Sandbox, place: Place) -> None:
    """What stands in the environment never stands in the command line, which other users could read."""
    assert not any("given value" in word for word in sandbox.wrap(place.command("true")).argv)


@every
def test_the_workspace_is_writable(sandbox: Sandbox, place: Place) -> None:
    """What is written in a writable path is there afterwards, as the worker's own file."""
    assert 0 == place.shell(sandbox, "mkdir d && echo made > d/file").code
    assert "made\n" == (place.work / "d/file").read_text()
    assert os.getuid() == (place.work / "d/file").stat().st_uid


@every
def test_the_python_of_loom_runs(sandbox: Sandbox, place: Place) -> None:
    """Checks run with the interpreter that runs loom: it and its packages are there."""
    done = place.run(sandbox, place.command(sys.executable, "-c", "import pytest, ssl, sqlite3; print('ok')"))
    assert b"ok\n" == done.stdout, done.stderr


@every
def test_a_missing_program_is_an_exit_code(sandbox: Sandbox, place: Place) -> None:
    """A program that is not there ends with 127 or 1 and a line that names it, not with an exception here."""
    done = place.run(sandbox, place.command("no-such-program"))
    assert done.code in (1, 126, 127)
    assert b"no-such-program" in done.stderr


@every
def test_the_record_names_the_kind(sandbox: Sandbox, place: Place) -> None:
    """The record says the kind, the network as it really was, and the credentials that the agent could read."""
    used = sandbox.used(place.command("true", network="shared"), credentials="~/.claude")
    assert (sandbox.kind, "shared", "~/.claude") == (used.kind, used.network, used.credentials)


@every
def test_nothing_is_left_running(sandbox: Sandbox, place: Place) -> None:
    """A process that the command left in a session of its own is gone when the command has ended."""
    done = place.shell(sandbox, "setsid sh -c 'echo $$ > pid; exec sleep 300' & while [ ! -s pid ]; do :; done")
    assert 0 == done.code
    assert not _running(b"sleep\x00300", place.work)


def _running(line: bytes, cwd: Path) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if line in Path(f"/proc/{pid}/cmdline").read_bytes() and str(cwd) == os.readlink(f"/proc/{pid}/cwd"):
                found.append(pid)
        except OSError:
            continue
    return found


# ------------------------------------------------------------------------------------------------- real kinds


@real
def test_memory_is_limited(sandbox: Sandbox, place: Place) -> None:
    """A command that takes more memory than it was granted fails; the same within the bound does not."""
    take = "b = bytearray(800_000_000); print(len(b))"
    assert 0 == place.run(sandbox, place.command(sys.executable, "-c", take, memory=2_000_000_000)).code
    assert 0 != place.run(sandbox, place.command(sys.executable, "-c", take, memory=400_000_000)).code


# ----------------------------------------------------------------------------------------------- containing kinds


@containing
def test_other_files_are_not_there(sandbox: Sandbox, place: Place) -> None:
    """The home, and a secret beside the workspace, cannot be read; a path that is named readable can, and only that."""
    done = place.shell(sandbox, f"cat {place.secret}; ls -A {Path.home()} {place.secret.parent.parent}")
    assert b"s3cret" not in done.stdout
    listed = {each.decode() for each in done.stdout.split()}
    assert not {"home", ".bashrc", ".profile", ".ssh"} & listed
    command = place.command("cat", str(place.secret), readable=(place.secret.parent,))
    assert b"s3cret" == place.run(sandbox, command).stdout


@containing
def test_nothing_else_is_writable(sandbox: Sandbox, place: Place) -> None:
    """Neither the system, nor a readable path, nor the directories that lead to the workspace take a new file."""
    for target in ("/usr/x", "/etc/x", "/x", f"{sys.prefix}/lib/x"):
        assert 0 != place.shell(sandbox, f"echo x > {target}").code, target
    place.shell(sandbox, f"echo x > {place.work.parent}/x")  # below /tmp this succeeds, in the sandbox's own /tmp
    assert not (place.work.parent / "x").exists()
    command = place.command("sh", "-c", f"echo x >> {place.secret}", readable=(place.secret.parent,))
    assert 0 != place.run(sandbox, command).code
    assert "s3cret" == place.secret.read_text()


@containing
def test_tmp_is_private(sandbox: Sandbox, place: Place) -> None:
    """/tmp is writable and its own: nothing of it is seen outside or by the next command."""
    name = f"/tmp/loom-{place.work.parent.name}"
    assert 0 == place.shell(sandbox, f"echo x > {name}").code
    assert not Path(name).exists()
    assert 0 != place.shell(sandbox, f"cat {name}").code


@containing
def test_other_processes_are_not_seen(sandbox: Sandbox, place: Place) -> None:
    """The worker is not in /proc, and cannot be signalled."""
    done = place.shell(sandbox, "ls /proc | grep -c '^[0-9]'; kill -0 " + str(os.getpid()))
    assert int(done.stdout.split()[0]) < 10
    assert done.code != 0


@containing
def test_no_privilege_is_left(sandbox: Sandbox, place: Place) -> None:
    """The command is not root inside and holds no capability, whoever runs the worker."""
    done = place.shell(sandbox, "id -u; id -un; grep CapEff /proc/self/status")
    assert ["1000", "agent", "CapEff:", "0000000000000000"] == done.stdout.decode().split()


@containing
def test_network_is_none_unless_shared(sandbox: Sandbox, place: Place) -> None:
    """Without network, a server on the host's loopback cannot be reached, and a loopback of its own works; shared, it can."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5); print('in')"
        apart = place.run(sandbox, place.command(sys.executable, "-c", connect))
        shared = place.run(sandbox, place.command(sys.executable, "-c", connect, network="shared"))
    assert (b"", b"in\n") == (apart.stdout, shared.stdout)
    own = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('own')"
    assert b"own\n" == place.run(sandbox, place.command(sys.executable, "-c", own)).stdout


@containing
def test_a_symlink_leads_nowhere(sandbox: Sandbox, place: Place) -> None:
    """A symlink in the workspace that points out of it does not open what it points to."""
    (place.work / "link").symlink_to(place.secret)
    assert 0 != place.shell(sandbox, "cat link").code


# ------------------------------------------------------------------------------------------------------ the fake


def test_the_fake_remembers_and_can_be_broken(place: Place) -> None:
    """A test can see what was asked, and play a host where the sandbox does not run."""
    fake = FakeSandbox()
    place.run(fake, place.command("true"))
    assert [("true",)] == [each.argv for each in fake.asked]
    assert not FakeSandbox(broken="user namespaces are forbidden").probe().works
