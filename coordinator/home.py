"""The home: one directory that holds everything of one coordinator. Where it is, what is in it, who may hold it.

    state.db  blobs/  repos/  keys/  run/  spool/  transports/  logs/  lock  .gitignore

`$LOOM_HOME`, else the nearest `.loom/` upwards, else the user's data directory. It belongs to its owner alone (0700) and
is never content: it ignores itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loom.coordinator.errors import HomeExposed, HomeLocked, HomeMissing, HomeUnwritable

FOLDERS = ("blobs", "repos", "keys", "run", "spool", "transports", "logs")
MAX_SOCKET_PATH_BYTES = 100
"""A Unix socket's path has room for 107; the rest is for the names of sockets to come."""
LOCK_TRIES, LOCK_WAIT_S = 10, 0.02
"""Somebody who only looks whether a coordinator runs holds the lock for an instant."""
PID_BYTES = 16
"""Room for a process's number in the lock, whatever number stood there before."""
PRIVATE = 0o077
"""The rights that a private file gives to nobody."""


@dataclass(frozen=True, slots=True)
class Home:
    """A home by its path; nothing is read or made before it is asked for."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "state.db"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def repos(self) -> Path:
        return self.path / "repos"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def transports(self) -> Path:
        """Each transport keeps its own state here, in `<name>.db`."""
        return self.path / "transports"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def exists(self) -> bool:
        """Whether there is a home with a database."""
        return self.database.exists()

    @property
    def digest(self) -> str:
        """A short name of this path, for directories outside the home."""
        return hashlib.sha256(os.fsencode(self.path.absolute())).hexdigest()[:16]

    def require(self) -> Home:
        """This home, if it has a database. Raises HomeMissing."""
        if not self.exists:
            raise HomeMissing(f"There is no home of loom at {self.path}.")
        return self

    def make(self) -> Home:
        """Make the directory and its folders, as far as they are missing. Raises HomeUnwritable."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.path / ".gitignore").exists():
                self.path.chmod(0o700)
                (self.path / ".gitignore").write_text("*\n", encoding="utf-8")
            for name in FOLDERS:
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeUnwritable(f"{self.path} cannot be made or written: {error.strerror}.") from error
        return self

    def check_private(self) -> None:
        """Raises HomeExposed when a key or token can be read by others."""
        for path in (
            self.keys,
            self.keys / "log.key",
            self.keys / "client.token",
            self.keys / "server.key",
            self.keys / "git.secret",
        ):
            if path.exists() and path.stat().st_mode & PRIVATE:
                raise HomeExposed(f"{path} is open to other users.")

    def endpoint(self, name: str) -> str:
        """The ipc address of one of the coordinator's sockets; its directory exists and is private."""
        path = self.run / f"{name}.sock"
        if len(os.fsencode(path.absolute())) > MAX_SOCKET_PATH_BYTES:
            path = self._runtime() / f"{name}.sock"
        return f"ipc://{path.absolute()}"

    def _runtime(self) -> Path:
        """A short directory of the user, named by this home's digest."""
        return runtime_folder(self.digest)

    # ------------------------------------------------------------------------------------------------ one coordinator

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home as its one coordinator. Raises HomeLocked with the other's pid; the system frees it at death."""
        descriptor = self._open_lock()
        try:
            self._acquire(descriptor)
            self._sign(descriptor)
            yield
        finally:
            os.close(descriptor)

    def running(self) -> int:
        """The pid of the coordinator that holds this home (0: none does)."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid(descriptor)
        finally:
            os.close(descriptor)
        return 0

    def _open_lock(self) -> int:
        try:
            return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeUnwritable(f"{self.path} cannot be written: {error.strerror}.") from error

    def _sign(self, descriptor: int) -> None:
        """Says who holds it; written over what stands there, so that a full disk needs no new room for it."""
        mine = f"{os.getpid()}\n".encode()
        try:
            os.pwrite(descriptor, mine.ljust(PID_BYTES), 0)
        except OSError as error:
            raise HomeUnwritable(f"{self.path} cannot be written: {error.strerror}.") from error

    def _acquire(self, descriptor: int) -> None:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(LOCK_WAIT_S)
        pid = _pid(descriptor)
        raise HomeLocked(f"A coordinator (process {pid or 'unknown'}) runs on {self.path} already.", pid)


def _pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else 0


def runtime_folder(name: str) -> Path:
    """A private directory of this name in the user's runtime directory, made if it is missing. Raises HomeExposed, OSError."""
    user = os.getuid()
    base = Path(f"/run/user/{user}")  # not $XDG_RUNTIME_DIR: the processes of one user must agree without it
    parent = base / "loom" if base.is_dir() and os.access(base, os.W_OK) else Path(f"/tmp/loom-{user}")
    folder = parent / name
    for here in (parent, folder):
        here.mkdir(mode=0o700, exist_ok=True)
        state = here.lstat()
        if state.st_uid != user or state.st_mode & PRIVATE:
            raise HomeExposed(f"{here} belongs to another user, or is open to others.")
    return folder


def find_home(start: Path, environment: Mapping[str, str]) -> Home:
    """The home for work in `start`: it may not exist yet."""
    named = environment.get("LOOM_HOME", "")
    if named:
        return Home(Path(named).expanduser().absolute())
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / ".loom").is_dir():
            return Home(folder / ".loom")
    import platformdirs

    return Home(platformdirs.user_data_path("loom", appauthor=False))
