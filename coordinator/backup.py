"""Backup of a running home, and restore under a new name of its log.

A backup is a ZIP without compression: `manifest.json` (what stands in it, by digest), `state.db` (SQLite's online backup: one
committed moment), `blobs/…`, `repos/…`, `config.toml`, `log.pub`. The database is copied first: everything that it names was
there by then, and blobs and git objects are only ever added. It holds no private key, no token and no secret; so who has a
backup cannot speak for the log. A restored home draws its own, and its log goes on under a new origin: two logs that were
one can never be taken for each other.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loom.coordinator.blobs import sync
from loom.coordinator.database import classify
from loom.coordinator.errors import LoomError
from loom.coordinator.health import read_ledger
from loom.coordinator.home import Home
from loom.coordinator.keys import log_key
from loom.coordinator.proof import notes
from loom.coordinator.proof.reading import LogReader, open_to_read
from loom.kernel.commands import Restore

FORMAT = "loom-backup/1"
MANIFEST, DATABASE = "manifest.json", "state.db"
FILES, FOLDERS = ("config.toml", "log.pub"), ("blobs", "repos")
PUBLIC = {"log.pub": "keys/log.pub"}
"""Where a file of the backup stands in the home, when it is not its name."""
LEFT = ("blobs/part/",)
"""What is on its way into the home, and named by nothing yet."""
_CHUNK = 1 << 20


class BackupBroken(LoomError):
    """A file is no backup, or was changed since it was made."""

    code = "L080"
    mend = "Take another backup; nothing was restored."


class NotEmpty(LoomError):
    """Something stands where a backup is to be restored."""

    code = "L081"
    mend = "Restore into a directory that does not exist yet."


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    entries: int
    files: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A home made from a backup. was: the log it is a copy of, up to `entries`; lost: entries of it that are known missing."""

    origin: str
    was: str
    entries: int
    lost: int


def backup(home: Home, target: Path) -> Backup:
    """Writes the file, whole or not at all, and reads back what it wrote. The home may be at work. Raises LoomError, OSError."""
    made = target.with_name(f".{target.name}.part")
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".loom-backup-") as folder:
        copy = Home(Path(folder))
        _copy_database(home, copy.database)
        entries = _checked(copy)
        digests: dict[str, str] = {}
        try:
            with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
                for name, path in (*_rest(home, copy.database),):
                    digests[name] = _add(archive, name, path)
                manifest = {"entries": entries, "files": digests, "format": FORMAT}
                archive.writestr(MANIFEST, json.dumps(manifest, sort_keys=True, separators=(",", ":")))
            sync(made)
            _verified(made)
            made.replace(target)
        finally:
            made.unlink(missing_ok=True)
    sync(target.absolute().parent)
    return Backup(entries, len(digests), target.stat().st_size)


def restore(source: Path, home: Home, *, version: str, last_head: str = "") -> Restored:
    """Makes a home from a backup. last_head: the last signed head of the old log that somebody kept (a witness), so that
    what the backup does not have is on record. Raises BackupBroken, NotEmpty, LoomError, OSError."""
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise NotEmpty(f"{home.path} is not empty.")
    entries = _verified(source)
    with _opened(source) as archive:
        home.make()
        for name in archive.namelist():
            if name not in (MANIFEST, *PUBLIC):
                _extract(archive, name, home.path)
    if _checked(home) != entries:
        raise BackupBroken(f"{source} says {entries} entries and has others.")
    return _renamed(home, version, last_head)


# ------------------------------------------------------------------------------------------------------------ backup


def _copy_database(home: Home, target: Path) -> None:
    try:
        with closing(open_to_read(home)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise classify(error, str(home.database)) from error


def _checked(home: Home) -> int:
    """How many entries; each is what was hashed, and the tree is theirs. Raises BackupBroken."""
    found = read_ledger(home)
    if found.complaint or found.broken >= 0 or not found.root_agrees:
        raise BackupBroken(f"{home.database} is damaged: run loom verify on the home.")
    return found.entries


def _rest(home: Home, database: Path) -> Iterator[tuple[str, Path]]:
    """(name in the backup, file): the database first, refs of a repository before its objects."""
    yield DATABASE, database
    for name in FILES:
        path = home.path / PUBLIC.get(name, name)
        if path.is_file():
            yield name, path
    for folder in FOLDERS:
        found = [path for path in (home.path / folder).rglob("*") if path.is_file() and not path.is_symlink()]
        for path in sorted(found, key=lambda each: ("objects" in each.parts, each)):
            name = path.relative_to(home.path).as_posix()
            if not name.startswith(LEFT) and not name.endswith(".lock"):
                yield name, path


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    digest = hashlib.sha256()
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o600 << 16
    with path.open("rb") as file, archive.open(info, "w", force_zip64=True) as part:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            part.write(chunk)
    return digest.hexdigest()


# ----------------------------------------------------------------------------------------------------------- restore


def _opened(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BackupBroken(f"{source} is no backup: {error}.") from error


def _verified(source: Path) -> int:
    """How many entries the manifest says; every file has the digest it names. Raises BackupBroken."""
    with _opened(source) as archive:
        try:
            manifest = json.loads(archive.read(MANIFEST))
            files: dict[str, str] = manifest["files"]
            if manifest["format"] != FORMAT or sorted([*files, MANIFEST]) != sorted(archive.namelist()):
                raise ValueError("it has other files than it names")
            for name, digest in files.items():
                _check_name(name)
                found = hashlib.sha256()
                with archive.open(name) as part:
                    while chunk := part.read(_CHUNK):
                        found.update(chunk)
                if found.hexdigest() != digest:
                    raise ValueError(f"{name} was changed")
            return int(manifest["entries"])
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise BackupBroken(f"{source} cannot be restored: {error}.") from error


def _check_name(name: str) -> None:
    """A name in a backup is a file of ours: none leads out of the home. Raises ValueError."""
    parts = PurePosixPath(name).parts
    ours = name in (DATABASE, *FILES) or (len(parts) > 1 and parts[0] in FOLDERS)
    if not ours or ".." in parts or name.startswith("/") or "\\" in name or "\0" in name:
        raise ValueError(f"{name[:80]!r} is no file of a home")


def _extract(archive: zipfile.ZipFile, name: str, folder: Path) -> None:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with archive.open(name) as part, path.open("xb") as file:
        path.chmod(0o600)
        while chunk := part.read(_CHUNK):
            file.write(chunk)
    sync(path)


def _renamed(home: Home, version: str, last_head: str) -> Restored:
    """The copy goes on as a log of its own: its first entry says whose copy it is."""
    from loom.coordinator.opening import open_home

    with LogReader(home) as log:
        entries, heads = log.size, log.checkpoints()
        was = log.origin()
    note = last_head or (heads[-1][2] if heads else "")
    key = log_key(home.keys)
    with home.lock():
        lost = _lost(note, was, entries)
        now_ms = time.time_ns() // 1_000_000
        command = Restore(origin=key.origin, log_key=key.public, was=was, size=entries, checkpoint=note, lost=lost)
        opened = open_home(home, version=version, now_ms=now_ms, restoring=command)
        opened.notary.sign(opened.core.head.edge, now_ms)
        opened.core.store.close()
    return Restored(key.origin, was, entries, lost)


def _lost(note: str, was: str, entries: int) -> int:
    """How many entries of the old log are known to be missing here. Raises BackupBroken for a head of another log."""
    if not note:
        return 0
    head = notes.checkpoint(notes.parse(note).text)
    if head.origin != was:
        raise BackupBroken(f"The head that was named is of {head.origin}; this is a backup of {was}.")
    return max(0, head.size - entries)
