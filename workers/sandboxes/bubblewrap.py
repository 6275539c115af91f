"""bubblewrap (bwrap(1)): namespaces without a daemon and without root.

Inside there are the system's programs and libraries read-only, a few files of /etc that name lookup and TLS need, the
Python that runs loom, an empty /tmp, and the command's own `readable` and `writable` paths. There is no home directory,
no other process, no host name, no capability; the network is a loopback of its own unless the command says "shared".
Environment variables reach the command through bwrap's own environment, never through its arguments, which every user of
the host could read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from loom.workers.protocol import SandboxUsed
from loom.workers.sandboxes.limits import limited
from loom.workers.seams import Command, Probe

PROBE_S = 10.0
AGENT_ID = "1000"
"""User and group id inside; outside they are the worker's own."""
OWN_ETC = Path(__file__).with_name("etc")
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Top-level directories that are links into /usr on most systems, and directories on the others."""
ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "gai.conf", "host.conf", "hosts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "nsswitch.conf", "os-release", "pki",
    "protocols", "resolv.conf", "services", "ssl", "timezone",
)  # fmt: skip
PREFIX_PARTS = ("bin", "lib", "lib64", "include", "pyvenv.cfg")
"""What of a Python's prefix is shown; the prefix itself may be a directory with much else (~/.local)."""
FLAGS = (
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--uid", AGENT_ID, "--gid", AGENT_ID,
    "--hostname", "loom",
)  # fmt: skip


class Bubblewrap:
    """Kind `bubblewrap`. `program`: bwrap's path (default: the one on PATH)."""

    kind = "bubblewrap"

    def __init__(self, program: str | None = None) -> None:
        self._program = program or shutil.which("bwrap")

    def probe(self) -> Probe:
        """Runs the Python that runs loom in it: many hosts have bwrap and forbid user namespaces."""
        if self._program is None:
            return Probe(works=False, reason="bubblewrap is not installed (apt-get install bubblewrap)")
        trial = self.wrap(Command((sys.executable, "-I", "-S", "-c", "print('inside')"), cwd=Path("/tmp"), env={}))
        try:
            done = subprocess.run(
                trial.argv, cwd="/", env=dict(trial.env), capture_output=True, timeout=PROBE_S, check=False
            )
            version = subprocess.run([self._program, "--version"], capture_output=True, timeout=PROBE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Probe(works=False, reason=f"bubblewrap does not run here: {error}")
        if done.returncode or done.stdout.strip() != b"inside":
            said = " ".join(done.stderr.decode(errors="replace").split()) or f"it ended with {done.returncode}"
            return Probe(
                works=False, reason=f"bubblewrap does not run here: {said}; allow unprivileged user namespaces"
            )
        return Probe(works=True, reason="", version=version.stdout.decode(errors="replace").strip())

    def wrap(self, command: Command) -> Command:
        network = ("--share-net",) if command.network == "shared" else ()
        argv = (
            self._program or "bwrap", *FLAGS, *network, *_system(), *_etc(),
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp",
            *_paths(command), "--remount-ro", "/", "--chdir", str(command.cwd), "--", *limited(command, processes=True),
        )  # fmt: skip
        return replace(command, argv=argv, cwd=Path("/"), memory_bytes=0, processes=0)

    def used(self, command: Command, credentials: str = "") -> SandboxUsed:
        note = "" if command.network == "none" else "the network of the host was shared, with its loopback servers"
        return SandboxUsed(kind=self.kind, network=command.network, credentials=credentials, note=note)


def _system() -> list[str]:
    found = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/nix/store", "/nix/store"]
    for name in SYSTEM:
        path = f"/{name}"
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            found += ["--ro-bind", path, path]
    return found


def _etc() -> list[str]:
    """Files of /etc, by their real places: /etc/resolv.conf is often a link into /run."""
    found = ["--dir", "/etc"]
    for name in ETC:
        path = f"/etc/{name}"
        if os.path.exists(path):
            found += ["--ro-bind", os.path.realpath(path), path]
    for name in ("passwd", "group"):
        found += ["--ro-bind", str(OWN_ETC / name), f"/etc/{name}"]
    return found


def _paths(command: Command) -> list[str]:
    """The bind mounts, outer paths first, so that one inside another is not covered by it."""
    binds: dict[str, str] = {}
    for prefix in python_prefixes():
        for part in PREFIX_PARTS:
            if (prefix / part).exists():
                binds[str(prefix / part)] = "--ro-bind"
    binds.update({os.path.abspath(path): "--ro-bind" for path in command.readable})
    binds.update({os.path.abspath(path): "--bind" for path in command.writable})
    found: list[str] = []
    for path in sorted(binds, key=lambda path: path.count("/")):
        found += [binds[path], path, path]
    return found


def python_prefixes() -> list[Path]:
    """Prefixes outside /usr that the running Python lives in: its environment, its base, and what its links go through."""
    names = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    link = sys.executable
    for _ in range(16):
        names.add(os.path.dirname(os.path.dirname(link)))
        if not os.path.islink(link):
            break
        link = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
    names |= {os.path.realpath(name) for name in names}
    return [Path(name) for name in sorted(names) if name not in ("/", "/usr") and not name.startswith("/usr/")]
