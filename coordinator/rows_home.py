"""Events about the home → rows: its origin and epochs, projects and trust, settings, bundles, who may speak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loom.coordinator.columns import list_column, principal_column, text_column
from loom.coordinator.gather import Put
from loom.kernel import home_events as e


def _created(put: Put, v: e.HomeCreated, now_ms: int) -> None:
    put("insert_home", (v.origin, v.log_key, v.schema))


def _started(put: Put, v: e.Started, now_ms: int) -> None:
    put("start_home", (v.epoch, v.version, v.boot, now_ms))


def _project_added(put: Put, v: e.ProjectAdded, now_ms: int) -> None:
    put("set_project", (v.project, v.name, v.place, v.kind, now_ms))


def _project_removed(put: Put, v: e.ProjectRemoved, now_ms: int) -> None:
    put("remove_project", (v.project,))


def _project_trusted(put: Put, v: e.ProjectTrusted, now_ms: int) -> None:
    put("trust_project", (v.digest, principal_column(v.by), text_column(v.content), now_ms, v.project))


def _setting_changed(put: Put, v: e.SettingChanged, now_ms: int) -> None:
    if v.value:
        put("set_setting", (v.name, v.value, principal_column(v.by), now_ms))
    else:
        put("unset_setting", (v.name,))


def _bundle_kept(put: Put, v: e.BundleKept, now_ms: int) -> None:
    put("insert_bundle", (v.digest, v.name, text_column(v.archive), now_ms))


def _enrolled(put: Put, v: e.PrincipalEnrolled, now_ms: int) -> None:
    it = v.principal
    labels = list_column(v.labels)
    put("set_principal", (it.id, it.kind._value_, it.via, it.acting_for, it.assurance, labels, now_ms))
    if v.token_digest:
        put("set_token", (v.token_digest, it.id, now_ms))


def _key_enrolled(put: Put, v: e.KeyEnrolled, now_ms: int) -> None:
    put("set_key", (v.key, v.principal, v.kind._value_, principal_column(v.by), now_ms))


def _key_revoked(put: Put, v: e.KeyRevoked, now_ms: int) -> None:
    put("revoke_key", (now_ms, v.key))


def _log_key_rotated(put: Put, v: e.LogKeyRotated, now_ms: int) -> None:
    put("set_log_key", (v.log_key,))


def _restored(put: Put, v: e.HomeRestored, now_ms: int) -> None:
    put("set_origin", (v.origin, v.log_key))


def _invited(put: Put, v: e.WorkerInvited, now_ms: int) -> None:
    put("insert_invitation", (v.invitation, list_column(v.labels), v.expires_ms, principal_column(v.by), now_ms))


def _worker_enrolled(put: Put, v: e.WorkerEnrolled, now_ms: int) -> None:
    put("insert_worker", (v.worker, v.key, list_column(v.labels), v.host, v.invitation, now_ms))
    put("use_invitation", (v.worker, v.invitation))


def _worker_revoked(put: Put, v: e.WorkerRevoked, now_ms: int) -> None:
    put("revoke_worker", (now_ms, principal_column(v.by), v.worker))


def _no_row(put: Put, v: e.SharedBudgetReached, now_ms: int) -> None:
    """It stands in its entry only."""


HOME_ROWS: dict[type, Callable[[Put, Any, int], None]] = {
    e.HomeCreated: _created,
    e.Started: _started,
    e.ProjectAdded: _project_added,
    e.ProjectRemoved: _project_removed,
    e.ProjectTrusted: _project_trusted,
    e.SettingChanged: _setting_changed,
    e.BundleKept: _bundle_kept,
    e.PrincipalEnrolled: _enrolled,
    e.KeyEnrolled: _key_enrolled,
    e.KeyRevoked: _key_revoked,
    e.LogKeyRotated: _log_key_rotated,
    e.HomeRestored: _restored,
    e.WorkerInvited: _invited,
    e.WorkerEnrolled: _worker_enrolled,
    e.WorkerRevoked: _worker_revoked,
    e.SharedBudgetReached: _no_row,
}
