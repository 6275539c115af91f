"""Events about the home → rows: its origin and epochs, projects and trust, settings, bundles, who may speak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from loom.coordinator.columns import list_column, principal_column, text_column
from loom.coordinator.statements import load
from loom.kernel import events as e
from loom.kernel.values import PrincipalKind

SQL = load("write")
Execute: TypeAlias = Callable[..., Any]


def _created(execute: Execute, v: e.HomeCreated, now_ms: int) -> None:
    execute(SQL["insert_home"], (v.origin, v.log_key, v.schema))


def _started(execute: Execute, v: e.Started, now_ms: int) -> None:
    execute(SQL["start_home"], (v.epoch, v.version, v.boot, now_ms))


def _project_added(execute: Execute, v: e.ProjectAdded, now_ms: int) -> None:
    execute(SQL["set_project"], (v.project, v.name, v.place, v.kind, now_ms))


def _project_removed(execute: Execute, v: e.ProjectRemoved, now_ms: int) -> None:
    execute(SQL["remove_project"], (v.project,))


def _project_trusted(execute: Execute, v: e.ProjectTrusted, now_ms: int) -> None:
    execute(SQL["trust_project"], (v.digest, principal_column(v.by), text_column(v.content), now_ms, v.project))


def _setting_changed(execute: Execute, v: e.SettingChanged, now_ms: int) -> None:
    if v.value:
        execute(SQL["set_setting"], (v.name, v.value, principal_column(v.by), now_ms))
    else:
        execute(SQL["unset_setting"], (v.name,))


def _bundle_kept(execute: Execute, v: e.BundleKept, now_ms: int) -> None:
    execute(SQL["insert_bundle"], (v.digest, v.name, text_column(v.archive), now_ms))


def _enrolled(execute: Execute, v: e.PrincipalEnrolled, now_ms: int) -> None:
    it = v.principal
    labels = list_column(v.labels)
    execute(SQL["set_principal"], (it.id, it.kind._value_, it.via, it.acting_for, it.assurance, labels, now_ms))
    if it.kind is PrincipalKind.WORKER:
        execute(SQL["set_worker"], (it.id, it.acting_for, v.token_digest, labels, now_ms))
    if v.token_digest:
        execute(SQL["set_token"], (v.token_digest, it.id, now_ms))


HOME_ROWS: dict[type, Callable[[Execute, Any, int], None]] = {
    e.HomeCreated: _created,
    e.Started: _started,
    e.ProjectAdded: _project_added,
    e.ProjectRemoved: _project_removed,
    e.ProjectTrusted: _project_trusted,
    e.SettingChanged: _setting_changed,
    e.BundleKept: _bundle_kept,
    e.PrincipalEnrolled: _enrolled,
}
