"""A bundle's files as one archive: its bytes are its identity, and its code is run from them.

The archive is a ZIP without compression: names sorted, one fixed time, one fixed mode. So the same files give the same
bytes on every machine, and their SHA-256 is the bundle's digest. Code is always run *from the archive*, under a module
name made of the digest: what runs is what was hashed, and two versions of one bundle live side by side in one process.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

MAX_FILES = 500
MAX_FILE_BYTES = 1024 * 1024
MAX_ARCHIVE_BYTES = 8 * 1024 * 1024
SUFFIXES = (".py", ".md", ".json", ".toml", ".txt")
"""What belongs to a bundle. Anything else in its folder (caches, recordings, pictures) is not part of it."""
PREFIX = "loom_bundle_"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP can say."""

Files = Mapping[str, bytes]
"""Name inside the bundle ("prompts/planner.md") → content."""


class BundleError(Exception):
    """A bundle cannot be used. `faults`: every reason at once, each a sentence in the author's words."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.name = name
        self.faults = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"bundle {name}: {len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}{lines}")


def digest_of(archive: bytes) -> str:
    """The digest of a bundle's archive: SHA-256, hex."""
    return hashlib.sha256(archive).hexdigest()


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a bundle's folder. Hidden files, caches and links are not part of it. Raises BundleError on a limit."""
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix not in SUFFIXES or path.is_symlink() or not path.is_file():
            continue
        if any(part.startswith(".") or part == "__pycache__" for part in parts):
            continue
        if len(files) == MAX_FILES:
            raise BundleError(str(folder), [f"has more than {MAX_FILES} files; is this the folder of one bundle?"])
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(str(folder), [f"{'/'.join(parts)} is larger than {MAX_FILE_BYTES} bytes"])
        files["/".join(parts)] = path.read_bytes()
    return files


def pack(files: Files) -> bytes:
    """The canonical archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """The files of an archive, in memory only: no name in it ever becomes a path of the machine."""
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise BundleError("archive", [f"is larger than {MAX_ARCHIVE_BYTES} bytes"])
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if len(entries) > MAX_FILES or any(entry.file_size > MAX_FILE_BYTES for entry in entries):
                raise BundleError("archive", [f"has more than {MAX_FILES} files, or one over {MAX_FILE_BYTES} bytes"])
            return {entry.filename: opened.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BundleError("archive", [f"cannot be read ({error})"]) from error


class _FromMemory(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the modules of one archive under its package name."""

    def __init__(self, package: str, files: Files, origin: str) -> None:
        self._package = package
        self._files = files
        self._origin = origin

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module of this archive, else None."""
        name = self._file(fullname)
        if name is None:
            return None
        spec = importlib.util.spec_from_loader(
            fullname, self, origin=f"{self._origin}/{name}", is_package=self.is_package(fullname)
        )
        return spec

    def is_package(self, fullname: str) -> bool:
        """Only the bundle's folder itself."""
        return fullname == self._package

    def get_source(self, fullname: str) -> str:
        """The text that runs."""
        name = self._file(fullname)
        if name is None:
            raise ImportError(f"{fullname} is not part of {self._origin}", name=fullname)
        return self._files[name].decode("utf-8")

    def get_code(self, fullname: str) -> object:  # type: ignore[override]  # typeshed: CodeType, which compile() returns
        """Compiled with the bundle's own file name, so that a traceback can be read."""
        name = self._file(fullname)
        return compile(self.get_source(fullname), f"{self._origin}/{name}", "exec", dont_inherit=True)

    def _file(self, fullname: str) -> str | None:
        if fullname == self._package:
            return "__init__.py"
        head, _, tail = fullname.rpartition(".")
        name = f"{tail}.py"
        return name if head == self._package and name in self._files else None


def import_from(files: Files, digest: str, origin: str) -> ModuleType:
    """The package of these files, under a name made of the digest; imported once a process.

    Submodules are imported by name from it: `importlib.import_module(f"{package.__name__}.bundle")`. Raises whatever the
    bundle's own code raises.
    """
    package = PREFIX + digest
    if package not in sys.modules:
        sys.meta_path.append(_FromMemory(package, {"__init__.py": b"", **files}, origin))
    return importlib.import_module(package)


def forget(digest: str) -> None:
    """Take the modules of a bundle out of the process again (one that turned out to be faulty)."""
    package = PREFIX + digest
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if not (isinstance(finder, _FromMemory) and finder._package == package)
    ]
