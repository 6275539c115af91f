"""The notary: signs the log's head after COMMIT, at most once a second, outside of every step.

    fabric: rounds.round(…) → notary.look(head, mono_ms) → a row of `checkpoint`, in a transaction of its own

Whatever was committed is under a signed head about a second later, also when the coordinator leaves in order. A head is only
signed here when it is the one that the last COMMIT published, so no two heads of one size can differ.
"""

from __future__ import annotations

from collections.abc import Callable

from loom.coordinator.errors import StoreError
from loom.coordinator.keys import LogKey
from loom.coordinator.merkle import Edge, root
from loom.coordinator.proof import notes
from loom.coordinator.store import Store

EVERY_MS = 1_000
"""Between two checkpoints."""


class Notary:
    """Keeps checkpoints of one home's log."""

    def __init__(self, key: LogKey, store: Store, log: Callable[..., None] = lambda action, **fields: None) -> None:
        self._key, self._store, self._log = key, store, log
        self._public = notes.verifier_key(key.public)
        self._size = store.checkpointed()
        self._next_ms = 0

    def look(self, edge: Edge, mono_ms: int, now_ms: int) -> None:
        """Sign the committed head, if there is something new and the last time was long enough ago."""
        if edge.size > self._size and mono_ms >= self._next_ms:
            self._next_ms = mono_ms + EVERY_MS
            self.sign(edge, now_ms)

    def sign(self, edge: Edge, now_ms: int) -> None:
        """Sign this committed head and keep it. A disk that does not take it is tried again with the next one."""
        if edge.size <= self._size:
            return
        note = signed_head(self._key, self._public, edge)
        try:
            self._store.begin()
            self._store.keep_checkpoint(edge.size, now_ms, note)
            self._store.commit()
        except StoreError as error:
            self._store.rollback()
            self._log("checkpoint_not_kept", size=edge.size, error=str(error))
        else:
            self._size = edge.size


def signed_head(key: LogKey, public: notes.VerifierKey, edge: Edge) -> str:
    """The signed note about this head."""
    head = notes.Checkpoint(key.origin, edge.size, root(edge))
    return notes.sign(head.text, public, key.sign)
