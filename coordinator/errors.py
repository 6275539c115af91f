"""Every error of the coordinator's package, as one tree with stable codes. `docs/errors.md` is made from this file.

    LoomError
    ├── HomeError                the directory that holds everything
    │   ├── HomeMissing     L001
    │   ├── HomeUnwritable  L002
    │   ├── HomeLocked      L003
    │   ├── HomeExposed     L004
    │   └── KeyDamaged      L005
    ├── StoreError               the database
    │   ├── StoreMissing    L010
    │   ├── StoreExists     L011
    │   ├── StoreForeign    L012
    │   ├── StoreNewer      L013
    │   ├── StoreCorrupt    L014
    │   ├── StoreFull       L015
    │   ├── StoreUnavailable L016
    │   ├── StoreBusy       L017
    │   ├── StoreRefused    L018
    │   └── StoreConflict   L019
    ├── CodecError          L030 what cannot be written, or read back, as the ledger's JSON
    └── BlobError                texts that are stored beside the ledger
        ├── BlobMissing     L040
        ├── BlobMismatch    L041
        └── BlobTooLarge    L042

A class's docstring says what happened, its `mend` what to do; `what` of an instance names the thing it happened to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class LoomError(Exception):
    """Anything that loom reports to a person with a code."""

    code: ClassVar[str] = ""
    mend: ClassVar[str] = ""

    def __init__(self, what: str, mend: str = "") -> None:
        """what: one sentence that names the thing; mend: what to do, when this case knows better than the class."""
        super().__init__(what)
        self.what = what
        self.remedy = mend or self.mend

    def __str__(self) -> str:
        return f"{self.code}: {self.what} {self.remedy}".strip()


# ---------------------------------------------------------------------------------------------------------- the home


class HomeError(LoomError):
    """Something is wrong with the home directory."""


class HomeMissing(HomeError):
    """There is no home where one was looked for."""

    code = "L001"
    mend = "Start a task with `loom run`, which makes one, or name another home in LOOM_HOME."


class HomeUnwritable(HomeError):
    """The home, or a file in it, cannot be written by this user."""

    code = "L002"
    mend = "Make the directory writable for you, or name another home in LOOM_HOME."


class HomeLocked(HomeError):
    """Another coordinator runs on this home. One home has one coordinator."""

    code = "L003"
    mend = "Use the one that runs, or stop it with `loom daemon stop`."

    def __init__(self, what: str, pid: int = 0) -> None:
        super().__init__(what)
        self.pid = pid


class HomeExposed(HomeError):
    """A file of the home that must be private can be read or changed by other users."""

    code = "L004"
    mend = "Take the rights of others away: chmod -R go= on the home."


class KeyDamaged(HomeError):
    """A key file of the home cannot be read as a key."""

    code = "L005"
    mend = "Put the file back from a backup; a new key would make a new log."


# --------------------------------------------------------------------------------------------------------- the store


class StoreError(LoomError):
    """Something is wrong with the database."""


class StoreMissing(StoreError):
    """The home has no database."""

    code = "L010"
    mend = "Start a task with `loom run`, or restore a backup."


class StoreExists(StoreError):
    """A database is to be created where one stands already."""

    code = "L011"
    mend = "Open the one that is there, or choose another home."


class StoreForeign(StoreError):
    """The file is an SQLite database, but not one of loom's."""

    code = "L012"
    mend = "Move it away, or name another home in LOOM_HOME."


class StoreNewer(StoreError):
    """The database was written by a newer version of loom."""

    code = "L013"
    mend = "Use that version or a later one; nothing was changed."


class StoreCorrupt(StoreError):
    """The file is damaged, or no database at all."""

    code = "L014"
    mend = "Nothing was changed. Restore a backup, or try `sqlite3 state.db .recover`."


class StoreFull(StoreError):
    """There is no space left for the database. The whole transaction was taken back; nothing of it was acknowledged."""

    code = "L015"
    mend = "Free space on that disk; loom goes on by itself."


class StoreUnavailable(StoreError):
    """Reading or writing the database failed (input/output, memory, rights). The whole transaction was taken back."""

    code = "L016"
    mend = "Look at the disk and at the rights of the home; loom tries again every second."


class StoreBusy(StoreError):
    """Another program holds a write lock on the database."""

    code = "L017"
    mend = "Close the program that has state.db open for writing."


class StoreRefused(StoreError):
    """A trigger of the database refused a row: a rule of the process would be broken."""

    code = "L018"
    mend = "This is a defect of loom, or somebody wrote into the database: run `loom doctor`."


class StoreConflict(StoreError):
    """A row is not as it was when the step was decided: a number, a key or a name is taken."""

    code = "L019"
    mend = "Run `loom doctor --rebuild`; if it comes back, report it."


# --------------------------------------------------------------------------------------------------- codec and blobs


class CodecError(LoomError):
    """A value does not fit the ledger's JSON: unknown kind, wrong field, number beyond 2^53 - 1, text that is not UTF-8."""

    code = "L030"
    mend = "The sender and the coordinator are of different versions, or the message is malformed."


class BlobError(LoomError):
    """Something is wrong with a stored text."""


class BlobMissing(BlobError):
    """A text is named that is not stored (or was deleted by retention)."""

    code = "L040"
    mend = "Send the text again before the command that names it, or restore a backup."


class BlobMismatch(BlobError):
    """The bytes do not have the digest by which they are named."""

    code = "L041"
    mend = "Send the text again; if it is a stored file, restore it from a backup."


class BlobTooLarge(BlobError):
    """A text is longer than loom keeps."""

    code = "L042"
    mend = "Shorten it, or keep it in the workspace and name the place."


def all_errors(root: type[LoomError] = LoomError) -> Iterator[type[LoomError]]:
    """Every class of the tree that has a code, in order of codes."""
    found: list[type[LoomError]] = []
    stack = [root]
    while stack:
        here = stack.pop()
        stack.extend(here.__subclasses__())
        if here.code:
            found.append(here)
    return iter(sorted(found, key=lambda error: error.code))
