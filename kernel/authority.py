"""Who signs: keys of people and workers, the log's own key, and the name of the log. A part of the home's fold.

The kernel knows keys as text. That a signature is right is established where a command enters (its principal is then of
assurance A2); what a signature is needed for is said here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from loom.kernel import commands as c
from loom.kernel import home_events as e
from loom.kernel.duties import DUTIES, SEPARATE_DUTIES, listed
from loom.kernel.state import HomeState
from loom.kernel.values import SIGNED, SIGNED_ROLES, Principal, PrincipalKind, drop, find, put
from loom.kernel.work import Refused

AuthorityCommand = c.ChangeSetting | c.EnrolPrincipal | c.EnrolKey | c.RevokeKey | c.RotateLogKey | c.Restore
KeyEvent = e.KeyEnrolled | e.KeyRevoked | e.LogKeyRotated | e.HomeRestored


def authority_event(home: HomeState, principal: Principal, command: AuthorityCommand) -> e.HomeEvent:
    """The event of one command about who acts here, who signs, and what. Raises Refused."""
    match command:
        case c.ChangeSetting(name, value):
            if name == SIGNED_ROLES:
                must_sign(home, principal, "change which decisions are signed")
            if name == SEPARATE_DUTIES:
                must_be_person(principal, "change which duties are separate")
                must_sign(home, principal, "change which duties are separate")
                if unknown := set(listed(value)).difference(DUTIES):
                    known = ", ".join(DUTIES)
                    raise Refused("no_such_duty", f"{', '.join(sorted(unknown))}: no such duty; there are {known}")
            return e.SettingChanged(name=name, value=value, by=principal)
        case c.EnrolPrincipal(enrolled, token_digest, labels):
            if enrolled.assurance == SIGNED:
                raise Refused("not_allowed", f"{enrolled.id}: {SIGNED} is earned by each signature, never enrolled")
            return e.PrincipalEnrolled(principal=enrolled, token_digest=token_digest, labels=labels)
        case c.EnrolKey():
            return _enrol(home, principal, command)
        case c.RevokeKey(key):
            known = find(home.signers, key, "") or find(home.hands, key, "")
            if not known:
                raise Refused("no_such_key", "nobody signs with this key")
            must_be_person(principal, "revoke a key")
            must_sign(home, principal, "revoke a key")
            return e.KeyRevoked(principal=known, key=key, by=principal)
        case c.RotateLogKey(log_key, note):
            if log_key == home.log_key:
                raise Refused("same_key", "the log has this key already")
            return e.LogKeyRotated(log_key=log_key, was=home.log_key, note=note)
        case c.Restore(origin, log_key, was, size, checkpoint, lost):
            if was != home.origin or origin in ("", was):
                raise Refused("wrong_origin", f"this log is {home.origin}; a copy of it needs a name of its own")
            return e.HomeRestored(origin, log_key, was, size, checkpoint, lost)
        case _:
            assert_never(command)


def _enrol(home: HomeState, principal: Principal, command: c.EnrolKey) -> e.KeyEnrolled:
    """A worker's key is loom's own to enrol; a person's is a person's, and once there is one, whoever changes who signs
    signs it: a stolen token makes no signer."""
    known = find(home.signers, command.key, "") or find(home.hands, command.key, "")
    if known:
        raise Refused("key_enrolled", f"this key signs for {known} already")
    if command.key in home.revoked:
        raise Refused("key_revoked", "this key was revoked, and stays so: enrol another one")
    if command.kind is PrincipalKind.PERSON:
        must_be_person(principal, "enrol a person's key")
        must_sign(home, principal, "enrol a key")
    elif command.kind is not PrincipalKind.WORKER:
        raise Refused("not_allowed", f"a {command.kind} signs nothing")
    elif principal.kind is not PrincipalKind.SYSTEM:
        raise Refused("not_allowed", "a worker's key is enrolled by loom itself, when the worker says Hello")
    return e.KeyEnrolled(principal=command.principal, kind=command.kind, key=command.key, by=principal)


def evolve_authority(home: HomeState, event: KeyEvent) -> HomeState:
    """The home after one of these events."""
    match event:
        case e.KeyEnrolled(principal, PrincipalKind.WORKER, key, _):
            return replace(home, hands=put(home.hands, key, principal))
        case e.KeyEnrolled(principal, _, key, _):
            return replace(home, signers=put(home.signers, key, principal))
        case e.KeyRevoked(_, key, _):
            gone = (*home.revoked, key)
            return replace(home, signers=drop(home.signers, key), hands=drop(home.hands, key), revoked=gone)
        case e.LogKeyRotated(log_key, _, _):
            return replace(home, log_key=log_key)
        case e.HomeRestored(origin, log_key, _, _, _, _):
            return replace(home, origin=origin, log_key=log_key)
        case _:
            assert_never(event)


def must_be_person(principal: Principal, what: str) -> None:
    """Raises Refused."""
    if principal.kind is not PrincipalKind.PERSON:
        raise Refused("not_a_person", f"only a person can {what}; {principal.id} is not one")


def must_sign(home: HomeState, principal: Principal, what: str) -> None:
    """Raises Refused where people sign, and this one did not."""
    if home.signers and principal.assurance != SIGNED:
        raise Refused("signature_needed", f"people sign here; to {what}, sign with an enrolled key")
