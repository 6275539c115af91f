"""Another key for the log, under the same name: said in a note that the old key signs and the new one, and in an entry.

    keys/log.key.next is written · the entry is committed · it takes the place of keys/log.key

A crash in between is mended when the home is opened: the entry decides which key is the log's. The old private key is gone
afterwards; what it signed verifies under its public half, which stands in the ledger.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from loom.coordinator.blobs import sync
from loom.coordinator.errors import KeyDamaged
from loom.coordinator.home import Home
from loom.coordinator.keys import (
    LOG_KEY,
    LOG_PUB,
    LogKey,
    log_key,
    make_log_key,
    read_log_key,
    write_private,
    write_public,
)
from loom.coordinator.proof import notes
from loom.coordinator.proof.notary import Notary
from loom.coordinator.proof.rotating import rotation_text

NEXT_KEY = "log.key.next"


def settle(folder: Path, log_key_line: str) -> LogKey:
    """The key that the ledger names ("" : the ledger is new), after what a crash may have left. Raises KeyDamaged."""
    key, waiting = log_key(folder), folder / NEXT_KEY
    if waiting.exists():
        following = read_log_key(waiting)
        if following.public == log_key_line:
            _take(folder, following)
            key = following
        else:
            waiting.unlink()
    if log_key_line and key.public != log_key_line:
        raise KeyDamaged(
            f"{folder / LOG_KEY} is not the key of this log, which is {log_key_line}.",
            "Put the right key back; or restore a backup, which makes a new log.",
        )
    return key


def rotate(home: Home, *, version: str) -> str:
    """A new key; returns its public line. The caller made sure that no coordinator runs. Raises HomeLocked, StoreError's
    and HomeError's trees."""
    from loom.coordinator.opening import found, open_home
    from loom.kernel.commands import RotateLogKey

    with home.lock():
        now_ms = time.time_ns() // 1_000_000
        opened = open_home(home, version=version, now_ms=now_ms)
        try:
            old = opened.key
            new = make_log_key(old.origin, secrets.token_bytes(32))
            text = rotation_text(old.origin, old.public, new.public)
            note = notes.sign(text, notes.verifier_key(old.public), old.sign)
            note += notes.signature_line(notes.verifier_key(new.public), new.sign(text.encode()))
            write_private(home.keys / NEXT_KEY, new.line + "\n")
            opened.notary.sign(opened.core.head.edge, now_ms)
            found(opened.core, RotateLogKey(log_key=new.public, note=note), now_ms)
            settle(home.keys, new.public)
            Notary(new, opened.core.store).sign(opened.core.head.edge, now_ms)
        finally:
            opened.core.store.close()
    return new.public


def _take(folder: Path, key: LogKey) -> None:
    write_public(folder / LOG_PUB, key.public + "\n")
    (folder / NEXT_KEY).replace(folder / LOG_KEY)
    sync(folder)
