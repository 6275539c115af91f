"""Where bundles are found: by entry point (group `loom.bundles`), or by the path of a folder.

    archive(ref) -> bytes             the canonical archive of what `ref` names
    load(ref) -> Bundle               found, archived, checked, run from the archive
    load_archive(data, digest)        the bundle that a task was started with, whatever is installed now
    names() -> tuple[str, ...]        the bundles that entry points offer

A reference is a name (`code`), or a path with a separator in it or a leading dot (`./mine`, `/srv/bundles/mine`). Entry points
name a package; it is found without running its code. Everything raises `BundleError`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from functools import lru_cache
from pathlib import Path

from loom.bundles import archives
from loom.bundles.alphabets import nearest
from loom.bundles.archives import BundleError
from loom.bundles.loader import TABLE, build
from loom.kernel.flow import Bundle

GROUP = "loom.bundles"
INTERNAL = ("bench",)
"""Shipped beside the others for loom's own use: found by name, offered to nobody."""
KEPT_BUNDLES = 64
"""Bundles that one process keeps loaded; older ones are checked and built anew when they are asked for."""


def names() -> tuple[str, ...]:
    """The bundles on offer, sorted."""
    return tuple(sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)}))


def folder_of(ref: str) -> Path:
    """The folder that a reference names."""
    if _is_path(ref):
        folder = Path(ref).expanduser()
        if not (folder / TABLE).is_file():
            raise BundleError(ref, [f"{folder} is not a bundle: there is no {TABLE} in it"])
        return folder
    for point in importlib.metadata.entry_points(group=GROUP, name=ref):
        return _folder_of_package(ref, point.value)
    if ref in INTERNAL:
        return _folder_of_package(ref, f"{GROUP}.{ref}")
    hint = nearest(ref, names())
    raise BundleError(ref, [f"there is no bundle of this name; {hint}. A folder is named by its path, as in ./{ref}"])


def archive(ref: str) -> bytes:
    """The canonical archive of a bundle's files; its SHA-256 is the bundle's digest."""
    return archives.pack(archives.read_folder(folder_of(ref)))


def load(ref: str) -> Bundle:
    """The bundle that a reference names, as its files are now."""
    data = archive(ref)
    return _load(data, archives.digest_of(data), ref)


def load_archive(data: bytes, digest: str) -> Bundle:
    """The bundle of an archive that was kept. Raises BundleError when the bytes are not those of the digest."""
    found = archives.digest_of(data)
    if found != digest:
        raise BundleError(digest[:12], [f"the archive is of another digest: {found}"])
    return _load(data, digest, digest[:12], kept=True)


@lru_cache(maxsize=KEPT_BUNDLES)
def _load(data: bytes, digest: str, name: str, *, kept: bool = False) -> Bundle:
    return build(archives.unpack(data), name, digest, kept=kept)


def _is_path(ref: str) -> bool:
    return os.sep in ref or "/" in ref or ref.startswith((".", "~"))


def _folder_of_package(ref: str, package: str) -> Path:
    """The folder of an importable package; only its parents are imported to find it."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise BundleError(ref, [f"its entry point names {package}, which is not an installed package"])
    return Path(next(iter(spec.submodule_search_locations)))
