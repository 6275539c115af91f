"""Separation of duties: pinned at submit, about accept alone, and the gate stays open for everybody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, HANDS, T0, Player, submission
from harness.toy import DELIVERED, REVIEW, TOY
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.duties import DUTIES, barred, person_of
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.machine import Rejection
from loom.kernel.state import HomeState
from loom.kernel.values import Principal, Verdict
from loom.kernel.work import Refused

BOB = replace(ANNA, id="bob")
CLEO = replace(ANNA, id="cleo")
OLGA = replace(ANNA, id="olga")
ALL = ",".join(DUTIES)


def at_the_gate(duties: str = ALL, bundle: object = TOY) -> Player:
    """A task that anna submitted; a worker that olga let in made the work."""
    read = {"separate_duties": duties, "owner w1": "olga"}
    player = Player(bundle, {"preset": "supervised"}, read=read)  # type: ignore[arg-type]
    player.report("worker", subject="s1")
    return player


def sentence(player: Player, word: str, by: Principal) -> str:
    """With which words the answer is refused; the state is as before."""
    before, taken = player.task, player.try_(player.answering(word), by)
    assert isinstance(taken, Rejection), taken
    assert ("own_work", before) == (taken.code, player.task)
    return taken.sentence


def test_whoever_submitted_does_not_accept() -> None:
    """The refusal says why, who else may, and what is left; another person accepts at the same gate."""
    player = at_the_gate("submitter")
    said = sentence(player, "accept", ANNA)
    assert "anna submitted the task" in said
    assert "any other person" in said
    assert "anna may still revise or abandon" in said
    player.answer("accept", by=BOB)
    assert (Verdict.ACCEPTED, BOB) == (player.task.verdict, player.task.evidence[0].by)
    assert None is player.replayed().difference


def test_whoever_let_the_worker_in_does_not_accept_its_work() -> None:
    """Its owner at the moment of the report: that the worker is revoked afterwards changes nothing."""
    player = at_the_gate("owner")
    assert ("w1", "olga") == (player.task.author, player.task.owner)
    player.home.values["owner w1"] = ""
    assert "olga let the worker in" in sentence(player, "accept", OLGA)
    player.answer("accept", by=ANNA)
    assert Verdict.ACCEPTED is player.task.verdict
    assert None is player.replayed().difference


def test_whoever_made_the_work_does_not_accept_it() -> None:
    """To answer with one's own commit makes one its author, whether or not one acts through somebody else's surface."""
    player = at_the_gate("author")
    through = replace(BOB, id="bot", acting_for="cleo")
    player.answer("revise", work="c9", new_subject="s9", by=through)
    assert ("cleo", "") == (player.task.author, player.task.owner)
    assert "cleo made this work" in sentence(player, "accept", CLEO)
    assert "cleo made this work" in sentence(player, "accept", through)
    player.answer("accept", by=replace(through, acting_for="bob"))
    assert Verdict.ACCEPTED is player.task.verdict


def test_a_surface_that_submits_for_a_person() -> None:
    """Neither the person nor the bare surface accepts; the surface with another person's word does."""
    bot = replace(ANNA, id="bot", acting_for="cleo")
    player = Player(TOY, {"preset": "supervised"}, read={"separate_duties": "submitter"}, by=bot)
    player.report("worker", subject="s1")
    for by in (CLEO, bot, replace(bot, acting_for="")):
        assert "own_work" == player.refused(player.answering("accept"), by)
    player.answer("accept", by=replace(bot, acting_for="bob"))
    assert "bob" == person_of(player.task.evidence[0].by)


@pytest.mark.parametrize("word", ["revise", "abandon"])
def test_what_approves_nothing_stays_everybodys(word: str) -> None:
    """The submitter, who also is the owner, sends back or gives up."""
    player = at_the_gate()
    player.answer(word, "no", by=ANNA)
    assert player.task.gate is None


def give_up(player: Player) -> None:
    """The reviewer fails on every binding."""
    while not player.parked:
        player.fail("reviewer", "permanent")


def test_trouble_is_accepted_by_another_person_too() -> None:
    """The gate of a parked task: as it is, only for those who had no hand in it; retry is for everybody."""
    player = at_the_gate("submitter", REVIEW)
    give_up(player)
    assert "spawn_failed" == player.parked
    assert "anna may still retry or revise or abandon" in sentence(player, "accept", ANNA)
    player.answer("retry")
    give_up(player)
    player.do(player.answering("accept", accept=dict.fromkeys(player.blockers(), "known")), BOB)
    assert "" == player.parked


def test_the_gate_says_who_may_not() -> None:
    """On record with the gate: person and duty, in order."""
    player = at_the_gate()
    (opened,) = player.happened(e.GateOpened)
    assert (("anna", "submitter"), ("olga", "owner"), ("w1", "author")) == opened.barred == barred(player.task)
    assert () == at_the_gate("").happened(e.GateOpened)[0].barred


def test_it_is_pinned_at_submit() -> None:
    """The task keeps what held then; it stands in the policy digest, and without the setting nothing is read or refused."""
    player = at_the_gate("submitter")
    player.home.values["separate_duties"] = ""
    assert "own_work" == player.refused(player.answering("accept"), ANNA)
    free = at_the_gate("")
    free.home.values["separate_duties"] = ALL
    assert player.task.spec.policy_digest != free.task.spec.policy_digest
    assert ("submitter",) == player.task.spec.separate
    assert not [name for record in free.records for name, _ in record.home_reads if name.startswith("owner ")]
    free.answer("accept", by=ANNA)
    assert Verdict.ACCEPTED is free.task.verdict


def test_a_policy_is_nobodys_hand() -> None:
    """Under a preset that leaves the decision to a policy, evidence decides as ever."""
    player = Player(TOY, {"preset": "on-blockers"}, read={"separate_duties": ALL, "owner w1": ""})
    player.report("worker", subject="s1")
    assert Verdict.ACCEPTED is player.task.verdict


def test_a_delivery_that_failed_is_retried_by_the_submitter() -> None:
    """After the verdict there is nothing to accept."""
    player = at_the_gate(ALL, DELIVERED)
    player.answer("accept", by=BOB)
    player.fail("deliver", "permanent")
    player.answer("retry", by=ANNA)
    assert "" == player.parked


def test_the_setting_is_a_persons_to_change_and_names_known_duties() -> None:
    """Neither loom nor a worker changes it; with keys enrolled it takes a signature; a word that is no duty is refused."""
    home = HomeState()
    for by, value, code in (
        (CORE, "owner", "not_a_person"),
        (HANDS, "", "not_allowed"),
        (ANNA, "owner,boss", "no_such_duty"),
    ):
        with pytest.raises(Refused) as refused:
            tick_home(home, by, c.ChangeSetting("separate_duties", value), T0)
        assert code == refused.value.code, by
    with pytest.raises(Refused) as refused:
        tick_home(replace(home, signers=(("key", "anna"),)), ANNA, c.ChangeSetting("separate_duties", ""), T0)
    assert "signature_needed" == refused.value.code
    after = evolve_home(home, tick_home(home, ANNA, c.ChangeSetting("separate_duties", "author, owner"), T0))
    assert (("separate_duties", "author, owner"),) == after.settings


def test_a_worker_belongs_to_whoever_invited_it() -> None:
    """The owner stands with the worker from its enrolment on."""
    home = HomeState()
    invited = replace(ANNA, id="bot", acting_for="olga")
    home = evolve_home(home, tick_home(home, invited, c.InviteWorker("digest", T0 + 60_000), T0))
    home = evolve_home(home, tick_home(home, CORE, c.EnrolWorker("far", "key", "digest"), T0 + 1))
    assert [("far", "olga")] == [(known.worker, known.owner) for known in home.workers]


def test_a_fork_takes_the_owner_over() -> None:
    """From its origin, or from the home where the origin did not ask."""
    from loom.kernel.forking import inherit
    from loom.kernel.heritage import Inherited

    for origin_duties in ("", "owner"):
        origin = at_the_gate(origin_duties)
        events = [event for record in origin.records for event in record.events]
        taken = inherit(origin.task, events, Inherited(n=origin.task.n, stage="decide"))
        assert ("olga" if origin_duties else "") == taken.owner
        asked = {**vars_of(taken), "preset": "supervised"}
        fork = Player(TOY, asked, read={"separate_duties": "owner", "owner w1": "olga"}, by=BOB)
        assert "own_work" == fork.refused(fork.answering("accept"), OLGA)


def vars_of(taken: object) -> dict[str, object]:
    """The fields of a Submit that forks."""
    made = replace(submission(TOY), task="u", origin_task="t", inherited=taken)  # type: ignore[arg-type]
    return {"task": made.task, "origin_task": made.origin_task, "inherited": made.inherited}
