"""Workers from elsewhere come in once by an invitation, in time, with its labels; and are let in no more when revoked."""

from __future__ import annotations

import pytest

from harness.player import ANNA, CORE, HANDS
from loom.kernel import commands as c
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.limits import INVITATION_MAX_MS, MAX_INVITATIONS
from loom.kernel.state import HomeState
from loom.kernel.values import Principal
from loom.kernel.work import Refused

NOW = 1_000_000
INVITE = c.InviteWorker("digest", NOW + 1_000, ("gpu",))
ENROL = c.EnrolWorker("far", "key", "digest", "host")


def taken(home: HomeState, by: Principal, command: c.HomeCommand, now_ms: int = NOW) -> HomeState:
    return evolve_home(home, tick_home(home, by, command, now_ms))


def refused(home: HomeState, by: Principal, command: c.HomeCommand, now_ms: int = NOW) -> str:
    with pytest.raises(Refused) as caught:
        tick_home(home, by, command, now_ms)
    return caught.value.code


def test_an_invitation_is_used_once() -> None:
    """Who shows it comes in under name and key, with its labels; the next one does not."""
    home = taken(taken(HomeState(), ANNA, INVITE), CORE, ENROL)
    assert [("far", "key", ("gpu",), "host")] == [(w.worker, w.key, w.labels, w.host) for w in home.workers]
    assert () == home.invitations
    assert "invitation_unknown" == refused(home, CORE, c.EnrolWorker("other", "key2", "digest"))


def test_an_invitation_has_an_end() -> None:
    """In the last millisecond it opens, then not; one without an end, or a far one, is not made."""
    home = taken(HomeState(), ANNA, INVITE)
    assert 1 == len(taken(home, CORE, ENROL, NOW + 999).workers)
    assert "invitation_expired" == refused(home, CORE, ENROL, NOW + 1_000)
    for until_ms in (0, NOW, NOW + INVITATION_MAX_MS + 1):
        assert "bad_expiry" == refused(HomeState(), ANNA, c.InviteWorker("d", until_ms))


def test_who_may_do_what() -> None:
    """A person invites and revokes; only the coordinator says that a secret was shown."""
    home = taken(HomeState(), ANNA, INVITE)
    assert "not_a_person" == refused(home, CORE, c.InviteWorker("d2", NOW + 1))
    assert "not_allowed" == refused(home, ANNA, ENROL)
    assert "not_allowed" == refused(home, HANDS, ENROL)
    assert "not_a_person" == refused(taken(home, CORE, ENROL), CORE, c.RevokeWorker("far"))


def test_names_and_keys_are_one_workers() -> None:
    """Neither a second worker of the name, nor a second name for the key; both are free again after a revocation."""
    home = taken(taken(taken(HomeState(), ANNA, INVITE), CORE, ENROL), ANNA, c.InviteWorker("d2", NOW + 1_000))
    assert "worker_exists" == refused(home, CORE, c.EnrolWorker("far", "key2", "d2"))
    assert "key_exists" == refused(home, CORE, c.EnrolWorker("other", "key", "d2"))
    assert "malformed" == refused(home, CORE, c.EnrolWorker("", "key", "d2"))
    assert "invitation_exists" == refused(home, ANNA, c.InviteWorker("d2", NOW + 5))
    home = taken(home, ANNA, c.RevokeWorker("far"))
    assert () == home.workers
    assert "no_such_worker" == refused(home, ANNA, c.RevokeWorker("far"))
    assert ["far"] == [worker.worker for worker in taken(home, CORE, c.EnrolWorker("far", "key", "d2")).workers]


def test_open_invitations_are_bounded() -> None:
    """The oldest is forgotten, and opens nothing."""
    home = HomeState()
    for number in range(MAX_INVITATIONS + 1):
        home = taken(home, ANNA, c.InviteWorker(f"d{number}", NOW + 1_000))
    assert MAX_INVITATIONS == len(home.invitations)
    assert "invitation_unknown" == refused(home, CORE, c.EnrolWorker("far", "key", "d0"))
