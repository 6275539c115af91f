"""Events about the home: what happened that concerns many tasks."""

from __future__ import annotations

from dataclasses import dataclass

from loom.kernel.values import Principal, PrincipalKind, Text


@dataclass(frozen=True, slots=True)
class HomeCreated:
    origin: str
    log_key: str
    schema: int


@dataclass(frozen=True, slots=True)
class Started:
    epoch: int
    version: str
    boot: str


@dataclass(frozen=True, slots=True)
class ProjectAdded:
    project: str
    name: str
    place: str
    kind: str


@dataclass(frozen=True, slots=True)
class ProjectRemoved:
    project: str


@dataclass(frozen=True, slots=True)
class ProjectTrusted:
    project: str
    digest: str
    content: Text
    by: Principal


@dataclass(frozen=True, slots=True)
class SettingChanged:
    name: str
    value: str
    by: Principal


@dataclass(frozen=True, slots=True)
class BundleKept:
    name: str
    digest: str
    archive: Text


@dataclass(frozen=True, slots=True)
class PrincipalEnrolled:
    principal: Principal
    token_digest: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyEnrolled:
    principal: str
    kind: PrincipalKind
    key: str
    by: Principal


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    principal: str
    key: str
    by: Principal


@dataclass(frozen=True, slots=True)
class LogKeyRotated:
    log_key: str
    was: str
    note: str


@dataclass(frozen=True, slots=True)
class HomeRestored:
    """The entries before this one are a copy of the log `was`, up to `size`."""

    origin: str
    log_key: str
    was: str
    size: int
    checkpoint: str
    lost: int = 0


@dataclass(frozen=True, slots=True)
class WorkerInvited:
    invitation: str
    expires_ms: int
    labels: tuple[str, ...]
    by: Principal


@dataclass(frozen=True, slots=True)
class WorkerEnrolled:
    worker: str
    key: str
    labels: tuple[str, ...]
    invitation: str
    host: str


@dataclass(frozen=True, slots=True)
class WorkerRevoked:
    worker: str
    by: Principal


@dataclass(frozen=True, slots=True)
class SharedBudgetReached:
    """A budget that tasks share passed 80 or 100 percent. project "": the budget of the whole home."""

    project: str
    budget: str
    percent: int


HomeEvent = (
    HomeCreated
    | Started
    | ProjectAdded
    | ProjectRemoved
    | ProjectTrusted
    | SettingChanged
    | BundleKept
    | PrincipalEnrolled
    | KeyEnrolled
    | KeyRevoked
    | LogKeyRotated
    | HomeRestored
    | WorkerInvited
    | WorkerEnrolled
    | WorkerRevoked
    | SharedBudgetReached
)
