"""Workers from elsewhere: a person invites, who shows the invitation's secret comes in with a key, a person revokes.

    InviteWorker ─▶ WorkerInvited      by its digest; one use, until its time
    EnrolWorker  ─▶ WorkerEnrolled     a name and a key, with the labels of the invitation, which is used up
    RevokeWorker ─▶ WorkerRevoked      the key opens nothing any more

The secret itself is in no command: who may know it is the business of those who carry it.
"""

from __future__ import annotations

from dataclasses import replace

from loom.kernel import commands as c
from loom.kernel import home_events as e
from loom.kernel.authority import must_be_person
from loom.kernel.duties import person_of
from loom.kernel.limits import INVITATION_MAX_MS, MAX_ENROLLED, MAX_INVITATIONS
from loom.kernel.state import HomeState, Invitation, WorkerState
from loom.kernel.values import Principal, PrincipalKind
from loom.kernel.work import Refused

GuestCommand = c.InviteWorker | c.EnrolWorker | c.RevokeWorker
GuestEvent = e.WorkerInvited | e.WorkerEnrolled | e.WorkerRevoked


def tick_guests(home: HomeState, by: Principal, command: GuestCommand, now_ms: int) -> GuestEvent:
    """The event of one command. Raises Refused."""
    match command:
        case c.InviteWorker():
            return _invite(home, by, command, now_ms)
        case c.EnrolWorker():
            return _enrol(home, by, command, now_ms)
        case c.RevokeWorker():
            return _revoke(home, by, command)


def _invite(home: HomeState, by: Principal, command: c.InviteWorker, now_ms: int) -> e.WorkerInvited:
    must_be_person(by, "let a worker in")
    if not now_ms < command.expires_ms <= now_ms + INVITATION_MAX_MS:
        raise Refused("bad_expiry", f"an invitation ends within {INVITATION_MAX_MS // 3_600_000} hours from now")
    if not command.invitation or any(known.digest == command.invitation for known in home.invitations):
        raise Refused("invitation_exists", "an invitation needs a secret of its own")
    return e.WorkerInvited(command.invitation, command.expires_ms, command.labels, by)


def _enrol(home: HomeState, by: Principal, command: c.EnrolWorker, now_ms: int) -> e.WorkerEnrolled:
    if by.kind is not PrincipalKind.SYSTEM:
        raise Refused("not_allowed", f"{by.id} cannot enrol a worker; it comes in by an invitation")
    found = next((known for known in home.invitations if known.digest == command.invitation), None)
    if found is None:
        raise Refused("invitation_unknown", "this invitation was used already, or it is not one of this home's")
    if found.expires_ms <= now_ms:
        raise Refused("invitation_expired", "this invitation has expired; ask for a new one")
    if not command.worker or not command.key:
        raise Refused("malformed", "a worker needs a name and a key")
    for known in home.workers:
        if known.worker == command.worker:
            raise Refused("worker_exists", f"there is a worker {known.worker} already; take another name, or revoke it")
        if known.key == command.key:
            raise Refused("key_exists", f"this key is the one of worker {known.worker}")
    if len(home.workers) >= MAX_ENROLLED:
        raise Refused("too_many", f"{MAX_ENROLLED} workers are enrolled; revoke those that are gone")
    return e.WorkerEnrolled(command.worker, command.key, found.labels, found.digest, command.host)


def _revoke(home: HomeState, by: Principal, command: c.RevokeWorker) -> e.WorkerRevoked:
    must_be_person(by, "revoke a worker")
    if not any(known.worker == command.worker for known in home.workers):
        raise Refused("no_such_worker", f"there is no worker {command.worker} enrolled in this home")
    return e.WorkerRevoked(command.worker, by)


def evolve_guests(home: HomeState, event: GuestEvent) -> HomeState:
    """The home after it. Of open invitations only the newest are kept: an older one is unknown from then on."""
    match event:
        case e.WorkerInvited(invitation, expires_ms, labels, by):
            kept = (*home.invitations, Invitation(invitation, expires_ms, labels, person_of(by)))
            return replace(home, invitations=kept[-MAX_INVITATIONS:])
        case e.WorkerEnrolled(worker, key, labels, invitation, host):
            owner = next((known.by for known in home.invitations if known.digest == invitation), "")
            return replace(
                home,
                invitations=tuple(known for known in home.invitations if known.digest != invitation),
                workers=(*home.workers, WorkerState(worker, key, labels, host, owner)),
            )
        case e.WorkerRevoked(worker, _):
            return replace(home, workers=tuple(known for known in home.workers if known.worker != worker))
