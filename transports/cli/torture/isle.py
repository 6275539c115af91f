"""An isle: namespaces of our own for mounts and networks, in which hosts can be made, cut off, and disks filled.

    island()  starts this process again inside an isle, as root or, where the system lets users do so, as anybody
    Wire      one host's network namespace, joined to the isle's by a veth pair; `cut` takes the carrier away

Everything of an isle is gone with its last process: nothing on the machine is touched, and nothing has to be cleaned up.
Python 3.11 has no setns: it is called through the C library (setns(2), unshare(2)).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
TOOLS = ("unshare", "nsenter", "ip", "mount")
"""What an isle is made with: util-linux and iproute2."""
OUTSIDE = "_LOOM_TORTURE_OUTSIDE"
"""Names the network that was left; a process that is in another one now is on an isle."""
TOOL_S = 10
PROBE = "ip link add name lp0 type veth peer name lp1 && mount -t tmpfs -o size=64k none /mnt"


def inside() -> bool:
    """Whether this process was started again by `island`."""
    left = os.environ.get(OUTSIDE, "")
    return bool(left) and left != _network()


def refusal() -> str:
    """Why there can be no isle here ("": there can be)."""
    if not sys.platform.startswith("linux"):
        return f"network and mount namespaces are Linux's; this is {sys.platform}"
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        return f"missing on this machine: {', '.join(missing)}"
    done = subprocess.run([*_unshare(), "sh", "-c", PROBE], capture_output=True, text=True, timeout=TOOL_S, check=False)
    if done.returncode:
        who = "root" if os.getuid() == 0 else "this user"
        return f"{who} may make no namespaces here: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return ""


def island(arguments: Sequence[str]) -> None:
    """Starts `loom ARGUMENTS` inside an isle, in the place of this process. Returns only by OSError."""
    os.environ[OUTSIDE] = _network()
    command = [*_unshare(), sys.executable, "-m", "loom.transports.cli.main", *arguments]
    os.execvp(command[0], command)


def _unshare() -> list[str]:
    """With the rights of root over the new namespaces, and over nothing else."""
    rights = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *rights, "--mount", "--net", "--"]


def _network() -> str:
    return os.readlink("/proc/self/ns/net") if Path("/proc/self/ns/net").exists() else ""


def _setns(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True, slots=True)
class Wire:
    """A host's network: a namespace (an open descriptor keeps it), and the isle's end of the veth pair."""

    namespace: int
    link: str
    hub: str
    """The isle's address on this wire."""

    @classmethod
    def lay(cls, number: int) -> Wire:
        """The wire of host 1, 2 …: 10.77.NUMBER.1 is the isle's end, .2 the host's. Raises OSError, CalledProcessError."""
        namespace = _new_namespace()
        link, far = f"lt{number}", f"lt{number}h"
        wire = cls(namespace, link, f"10.77.{number}.1")
        _tool("ip", "link", "add", "name", link, "type", "veth", "peer", "name", far)
        _tool("ip", "link", "set", far, "netns", wire.path)
        _tool("ip", "addr", "add", f"{wire.hub}/24", "dev", link)
        _tool("ip", "link", "set", link, "up")
        for arguments in (("addr", "add", f"10.77.{number}.2/24", "dev", far), ("link", "set", far, "up")):
            _tool(*wire.command("ip", *arguments))
        _tool(*wire.command("ip", "link", "set", "lo", "up"))
        return wire

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def command(self, *words: str) -> tuple[str, ...]:
        """A command line that runs on this host."""
        return ("nsenter", f"--net={self.path}", "--", *words)

    def cut(self) -> None:
        """No packet passes, and nobody is told."""
        _tool("ip", "link", "set", self.link, "down")

    def join(self) -> None:
        _tool("ip", "link", "set", self.link, "up")

    def clear(self) -> None:
        """Takes the wire away; the namespace goes with its last process."""
        _tool("ip", "link", "delete", self.link)
        os.close(self.namespace)


def _new_namespace() -> int:
    """A network namespace that lives as long as the descriptor."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _setns(here)
        return made
    finally:
        os.close(here)


def raise_loopback() -> None:
    """The isle's own: a new network's is down. Raises CalledProcessError."""
    _tool("ip", "link", "set", "lo", "up")


def small_disk(folder: Path, size_bytes: int) -> None:
    """A file system of this size at a folder. Raises CalledProcessError."""
    folder.mkdir(mode=0o700, parents=True)
    _tool("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "none", str(folder))


def free_disk(folder: Path) -> None:
    """Takes it away again."""
    _tool("umount", "--lazy", str(folder))


def _tool(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=TOOL_S)
