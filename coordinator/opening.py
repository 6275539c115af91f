"""Opening a home for its one coordinator: the database, entry 0, the owner, the next epoch."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from loom.coordinator import database
from loom.coordinator.core import Core
from loom.coordinator.desk import ADMIN, Principals
from loom.coordinator.errors import StoreConflict, StoreUnavailable
from loom.coordinator.home import Home
from loom.coordinator.inbox import Outcome, Request
from loom.coordinator.keys import LogKey, client_token, token_digest
from loom.coordinator.leases import COORDINATOR
from loom.coordinator.library import Library
from loom.coordinator.proof.notary import Notary
from loom.coordinator.proof.rotation import settle
from loom.coordinator.store import Store
from loom.kernel.commands import CreateHome, EnrolPrincipal, HomeCommand, Restore
from loom.kernel.values import Principal, PrincipalKind

NONCE_BYTES = 16


@dataclass(slots=True)
class Opened:
    """A home that this process holds."""

    core: Core
    library: Library
    principals: Principals
    epoch: int
    boot: str
    key: LogKey
    notary: Notary


def open_home(
    home: Home,
    *,
    version: str,
    now_ms: int,
    entropy: Callable[[int], bytes] = os.urandom,
    log: Callable[..., None] = lambda action, **fields: None,
    restoring: Restore | None = None,
) -> Opened:
    """Make what is missing, and take the home over under the next epoch. The caller holds its lock. restoring: the home was
    a copy until now, and says so first.

    Raises errors of HomeError's and StoreError's trees.
    """
    home.make()
    home.check_private()
    token = client_token(home.keys)
    store = Store.open(home.database, home.blobs) if home.exists else Store.create(home.database, home.blobs)
    library = Library(store, lambda: entropy(NONCE_BYTES))
    core = Core(store, rules=library.rules, draw=lambda: entropy(NONCE_BYTES).hex())
    if restoring is not None:
        found(core, restoring, now_ms)
    key = settle(home.keys, core.head.home.log_key)
    if not core.head.home.origin:
        found(core, CreateHome(origin=key.origin, log_key=key.public, schema=len(database.migrations())), now_ms)
    digest = token_digest(token)
    if digest not in dict(core.head.home.principals):
        owner = Principal(id=_user(), kind=PrincipalKind.PERSON, via="cli")
        found(core, EnrolPrincipal(principal=owner, token_digest=digest, labels=(ADMIN,)), now_ms)
    boot = entropy(8).hex()
    epoch = core.start(version=version, boot=boot, now_ms=now_ms)
    events = (event for happened in store.home_events() for event in happened.events)
    notary = Notary(key, store, log)
    return Opened(core, library, Principals(events), epoch, boot, key, notary)


def found(core: Core, command: HomeCommand, now_ms: int) -> None:
    """One entry that nobody asked for. Raises StoreUnavailable."""
    turned = core.turn((Request(key="", principal=COORDINATOR, task="", command=command),), (), now_ms)
    if turned.read_only:
        raise StoreUnavailable(turned.read_only)
    if turned.replies[0].outcome is not Outcome.APPLIED:
        raise StoreConflict(f"{type(command).__name__} was refused: {turned.replies[0].sentence}.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"{os.getuid()}@{socket.gethostname()}"
