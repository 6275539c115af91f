"""The rules that tasks are decided under: bundles by digest, from the archives that the home keeps.

A task pins a digest. Its archive is kept in the ledger's home from the first task on, so that what was decided can be
decided again when another version is installed. A bundle that is installed here is kept without being sent.
"""

from __future__ import annotations

from collections.abc import Callable

from loom.bundles import registry
from loom.bundles.archives import BundleError, digest_of
from loom.coordinator.errors import StoreError
from loom.coordinator.inbox import Request, SaltedText
from loom.coordinator.leases import COORDINATOR
from loom.coordinator.store import Store
from loom.kernel.commands import KeepBundle, Submit
from loom.kernel.events import BundleKept
from loom.kernel.values import Text
from loom.kernel.work import Rules, rules_for
from loom.workers.protocol import salted_id

WARMED = 4
"""Kept bundles that are loaded while nothing else is to be done: the latest."""


class Library:
    """Bundles of one home."""

    def __init__(self, store: Store, draw: Callable[[], bytes]) -> None:
        """draw: 16 bytes of entropy for a text's salt."""
        self._store, self._draw = store, draw
        self._archives: dict[str, Text] = {}
        self._rules: dict[str, Rules] = {}
        self._offered: dict[str, str] = {}
        for happened in store.home_events():
            for event in happened.events:
                if isinstance(event, BundleKept):
                    self._archives[event.digest] = event.archive
        kept = [("", digest) for digest in tuple(self._archives)[-WARMED:]]
        self._to_warm = [*kept, *((name, "") for name in registry.names())]

    def rules(self, digest: str) -> Rules:
        """The rules of a digest. Raises LookupError with a sentence when no bundle of it is kept or installed."""
        found = self._rules.get(digest)
        if found is None:
            try:
                found = rules_for(registry.load_archive(self._archive(digest), digest))
            except BundleError as error:
                raise LookupError(str(error)) from error
            self._rules[digest] = found
        return found

    def _archive(self, digest: str) -> bytes:
        archive = self._archives.get(digest)
        if archive is not None:
            return self._store.text(archive.blob)
        name = self._offered.get(digest)
        if name is None:
            raise LookupError(f"no bundle with the digest {digest} is kept in this home; submit with one that is")
        return registry.archive(name)

    def warm(self) -> bool:
        """Load one bundle that will probably be asked for, so that the first task need not wait; False: all are loaded."""
        if not self._to_warm:
            return False
        name, digest = self._to_warm.pop()
        try:
            if digest:
                self.rules(digest)
            else:
                registry.load(name)
        except (BundleError, LookupError, StoreError):
            pass  # whoever asks for it will be told
        return True

    def keep(self, submit: Submit) -> Request | None:
        """The request that keeps the bundle of a task, when it is not kept yet and is installed here."""
        digest = submit.rules_digest
        if digest in self._archives or digest in self._offered:
            return None  # it is kept, or the request that keeps it goes before this one
        try:
            data = registry.archive(submit.bundle)
        except BundleError:
            return None  # the submit is refused: no such bundle
        if digest_of(data) != digest:
            return None
        salt = self._draw()
        text = SaltedText(id=salted_id(salt, data), salt=salt, size=len(data), data=data)
        self._offered[digest] = submit.bundle
        command = KeepBundle(name=submit.bundle, digest=digest, archive=Text(blob=text.id, size=text.size))
        return Request(key=f"bundle:{digest}", principal=COORDINATOR, task="", command=command, texts=(text,))

    def kept(self, command: KeepBundle) -> None:
        """It was committed."""
        self._archives[command.digest] = command.archive
        self._offered.pop(command.digest, None)
