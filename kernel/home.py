"""The other fold: what concerns many tasks. Commands about the home, and how events change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from loom.kernel import commands as c
from loom.kernel import home_events as e
from loom.kernel.authority import authority_event, evolve_authority, must_be_person
from loom.kernel.events import Event
from loom.kernel.guests import GuestCommand, evolve_guests, tick_guests
from loom.kernel.state import HomeState, ProjectState
from loom.kernel.values import Principal, PrincipalKind, drop, put
from loom.kernel.work import Refused


def tick_home(home: HomeState, principal: Principal, command: c.HomeCommand, now_ms: int) -> tuple[e.HomeEvent, ...]:
    """The events of one command about the home. Raises Refused."""
    if principal.kind in (PrincipalKind.WORKER, PrincipalKind.POLICY):
        raise Refused("not_allowed", f"{principal.id} is a {principal.kind}; only people and loom itself change a home")
    if isinstance(command, GuestCommand):
        return (tick_guests(home, principal, command, now_ms),)
    if isinstance(command, c.ReachBudget):
        return (_reached(principal, command),)
    match command:
        case c.CreateHome(origin, log_key, schema):
            if home.origin:
                raise Refused("home_exists", f"this home exists; its origin is {home.origin}")
            return (e.HomeCreated(origin=origin, log_key=log_key, schema=schema),)
        case c.Start(epoch, version, boot):
            if epoch != home.epoch + 1:
                raise Refused("stale_epoch", f"epoch {epoch} does not follow {home.epoch}")
            return (e.Started(epoch=epoch, version=version, boot=boot),)
        case c.AddProject(project, name, place, kind):
            if any(known.id == project for known in home.projects):
                raise Refused("project_exists", f"project {project} exists")
            return (e.ProjectAdded(project=project, name=name, place=place, kind=kind),)
        case c.RemoveProject(project):
            _project(home, project)
            return (e.ProjectRemoved(project=project),)
        case c.TrustProject(project, digest, content):
            _project(home, project)
            must_be_person(principal, "trust a project")
            return (e.ProjectTrusted(project=project, digest=digest, content=content, by=principal),)
        case c.KeepBundle(name, digest, archive):
            if any(known == digest for known, _ in home.bundles):
                raise Refused("bundle_kept", f"bundle {name} {digest} is kept already")
            return (e.BundleKept(name=name, digest=digest, archive=archive),)
        case _:
            return (authority_event(home, principal, command),)


def _reached(principal: Principal, command: c.ReachBudget) -> e.SharedBudgetReached:
    if principal.kind is not PrincipalKind.SYSTEM:
        raise Refused("not_allowed", f"{principal.id} cannot say what is spent")
    return e.SharedBudgetReached(project=command.project, budget=command.budget, percent=command.percent)


def evolve_home(home: HomeState, events: Iterable[Event]) -> HomeState:
    """The home after one entry. Events about tasks change nothing here."""
    for event in events:
        match event:
            case e.HomeCreated(origin, log_key, schema):
                home = replace(home, origin=origin, log_key=log_key, schema=schema)
            case e.Started(epoch, _, _):
                home = replace(home, epoch=epoch)
            case e.ProjectAdded(project, name, place, kind):
                home = replace(home, projects=(*home.projects, ProjectState(project, name, place, kind)))
            case e.ProjectRemoved(project):
                home = replace(home, projects=tuple(p for p in home.projects if p.id != project))
            case e.ProjectTrusted(project, digest, content, _):
                projects = tuple(
                    replace(p, trusted=digest, setup=content) if p.id == project else p for p in home.projects
                )
                home = replace(home, projects=projects)
            case e.SettingChanged(name, value, _):
                home = replace(home, settings=put(home.settings, name, value) if value else drop(home.settings, name))
            case e.BundleKept(name, digest, _):
                home = replace(home, bundles=put(home.bundles, digest, name))
            case e.PrincipalEnrolled(principal, token_digest, _):
                home = replace(home, principals=put(home.principals, token_digest, principal.id))
            case e.KeyEnrolled() | e.KeyRevoked() | e.LogKeyRotated() | e.HomeRestored():
                home = evolve_authority(home, event)
            case e.WorkerInvited() | e.WorkerEnrolled() | e.WorkerRevoked():
                home = evolve_guests(home, event)
            case _:
                continue
    return home


def _project(home: HomeState, project: str) -> ProjectState:
    for known in home.projects:
        if known.id == project:
            return known
    raise Refused("no_such_project", f"there is no project {project} in this home")
