"""The other fold: what concerns many tasks."""

from __future__ import annotations

import pytest

from harness.player import ANNA, CORE, HANDS, text
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.state import HomeState
from loom.kernel.values import Principal, PrincipalKind
from loom.kernel.work import Refused

NOW = 1_000
EVE = Principal("eve", PrincipalKind.PERSON, "http")


def taken(*commands: c.HomeCommand, by: Principal = ANNA) -> HomeState:
    home = HomeState()
    for command in commands:
        home = evolve_home(home, tick_home(home, by, command, NOW))
    return home


BORN = (c.CreateHome("o", "k", 1), c.Start(1, "0.1", "b"))
ADDED = (*BORN, c.AddProject("p", "sample", "/p", "git"))


def test_a_home_has_an_origin_epochs_projects_settings_bundles_and_people() -> None:
    """Each command leaves what it says in the state."""
    home = taken(
        *ADDED,
        c.Start(2, "0.1", "b2"),
        c.TrustProject("p", "d1", text("make check")),
        c.ChangeSetting("budget", "9"),
        c.ChangeSetting("budget", "10"),
        c.KeepBundle("code", "dig", text("")),
        c.EnrolPrincipal(EVE, "tok"),
    )
    assert ("o", "k", 1, 2) == (home.origin, home.log_key, home.schema, home.epoch)
    assert [("p", "d1")] == [(project.id, project.trusted) for project in home.projects]
    assert (("budget", "10"),) == home.settings
    assert ((("dig", "code"),), (("tok", "eve"),)) == (home.bundles, home.principals)


def test_a_setting_goes_back_to_its_default() -> None:
    """The empty value leaves nothing behind."""
    assert () == taken(*BORN, c.ChangeSetting("budget", "9"), c.ChangeSetting("budget", "")).settings


def test_a_removed_project_is_gone() -> None:
    """And can be added again."""
    assert () == taken(*ADDED, c.RemoveProject("p")).projects
    assert 1 == len(taken(*ADDED, c.RemoveProject("p"), ADDED[-1]).projects)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (c.CreateHome("o", "k", 1), "home_exists"),
        (c.Start(1, "", ""), "stale_epoch"),
        (c.Start(3, "", ""), "stale_epoch"),
        (c.AddProject("p", "other", "/q", "git"), "project_exists"),
        (c.RemoveProject("q"), "no_such_project"),
        (c.TrustProject("q", "", text("")), "no_such_project"),
        (c.KeepBundle("other", "dig", text("")), "bundle_kept"),
    ],
)
def test_what_does_not_fit_is_refused(command: c.HomeCommand, code: str) -> None:
    """Twice, unknown, or out of turn: a sentence, and nothing changes."""
    home = taken(*ADDED, c.KeepBundle("code", "dig", text("")))
    with pytest.raises(Refused) as refused:
        tick_home(home, ANNA, command, NOW)
    assert code == refused.value.code


def test_who_may_change_a_home() -> None:
    """Trust is a person's; a worker changes nothing."""
    home = taken(*ADDED)
    with pytest.raises(Refused, match="only a person can trust a project"):
        tick_home(home, CORE, c.TrustProject("p", "d", text("")), NOW)
    for command in (c.ChangeSetting("a", "b"), c.EnrolPrincipal(HANDS, "t"), c.Start(2, "", "")):
        with pytest.raises(Refused, match="only people and loom itself"):
            tick_home(home, HANDS, command, NOW)


def test_events_about_tasks_change_no_home() -> None:
    """One log, two folds."""
    assert HomeState() == evolve_home(HomeState(), (e.TaskClosed(),))
