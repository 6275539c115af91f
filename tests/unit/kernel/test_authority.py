"""Who signs: enrolment, revocation, the log's key and name, and decisions that nobody takes unsigned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.player import ANNA, CORE, Player
from harness.toy import TOY
from loom.kernel import commands as c
from loom.kernel import home_events as e
from loom.kernel.events import DecisionRecorded
from loom.kernel.home import evolve_home, tick_home
from loom.kernel.state import HomeState
from loom.kernel.values import AnswerWord, Approval, PrincipalKind, get
from loom.kernel.work import Refused

PERSON, WORKER = PrincipalKind.PERSON, PrincipalKind.WORKER
SIGNING = replace(ANNA, assurance="A2")
APPROVAL = Approval("{}", "t", "sshsig", ("k", "s"))
BORN = evolve_home(HomeState(), (e.HomeCreated("o", "k0", 1),))


def after(*steps: tuple[c.HomeCommand, object], home: HomeState = BORN) -> HomeState:
    for command, by in steps:
        home = evolve_home(home, tick_home(home, by, command, 1_000))  # type: ignore[arg-type]  # a principal each
    return home


KEYED = after((c.EnrolKey("anna", PERSON, "ssh-a"), ANNA))


def test_keys_come_and_go() -> None:
    """People's and workers' keys are two books; a revoked one is in neither."""
    home = after((c.EnrolKey("w1", WORKER, "w1-key"), CORE), home=KEYED)
    assert ((("ssh-a", "anna"),), (("w1-key", "w1"),)) == (home.signers, home.hands)
    home = after((c.RevokeKey("ssh-a"), SIGNING), (c.RevokeKey("w1-key"), SIGNING), home=home)
    assert ((), ()) == (home.signers, home.hands)
    with pytest.raises(Refused, match="stays so"):
        tick_home(home, SIGNING, c.EnrolKey("anna", PERSON, "ssh-a"), 1_000)


@pytest.mark.parametrize(
    ("command", "by", "code"),
    [
        (c.EnrolKey("eve", PERSON, "ssh-e"), ANNA, "signature_needed"),
        (c.EnrolKey("eve", PERSON, "ssh-e"), CORE, "not_a_person"),
        (c.EnrolKey("anna", PERSON, "ssh-a"), SIGNING, "key_enrolled"),
        (c.EnrolKey("w1", WORKER, "w1-key"), SIGNING, "not_allowed"),
        (c.EnrolKey("p", PrincipalKind.POLICY, "x"), CORE, "not_allowed"),
        (c.RevokeKey("ssh-a"), ANNA, "signature_needed"),
        (c.RevokeKey("ssh-x"), SIGNING, "no_such_key"),
        (c.ChangeSetting("signed_roles", ""), ANNA, "signature_needed"),
        (c.EnrolPrincipal(SIGNING, "tok"), ANNA, "not_allowed"),
        (c.RotateLogKey("k0", "note"), ANNA, "same_key"),
        (c.Restore("o", "k", "o", 3, "note"), ANNA, "wrong_origin"),
        (c.Restore("o2", "k", "other", 3, "note"), ANNA, "wrong_origin"),
    ],
)
def test_who_may_not(command: c.HomeCommand, by: object, code: str) -> None:
    """A token alone makes no signer once somebody signs; a second name for the log must be a new one."""
    with pytest.raises(Refused) as refused:
        tick_home(KEYED, by, command, 1_000)  # type: ignore[arg-type]
    assert code == refused.value.code


def test_the_log_keeps_its_name_under_a_new_key_and_gets_one_when_restored() -> None:
    """Rotation changes the key alone; a restored copy has name and key of its own."""
    rotated = after((c.RotateLogKey("k1", "note"), ANNA))
    assert ("o", "k1") == (rotated.origin, rotated.log_key)
    restored = after((c.Restore("o2", "k2", "o", 9, "note", 3), ANNA), home=rotated)
    assert ("o2", "k2") == (restored.origin, restored.log_key)


def at_the_gate(signed: str) -> Player:
    """The toy's task, finished by its worker."""
    player = Player(TOY, signed=signed)
    player.report("worker", subject="s1")
    return player


def test_a_signed_role_is_a_persons_under_every_preset() -> None:
    """The policy of a role that is signed is human, and the policy digest says so; no role is invented."""
    free, bound = at_the_gate(""), at_the_gate("final,elsewhere")
    assert (("on-blockers", "accepted"), ("human", "")) == tuple(
        (get(each.task.spec.policies, "final", ""), each.task.verdict) for each in (free, bound)
    )
    assert free.task.spec.policy_digest != bound.task.spec.policy_digest
    assert (("elsewhere", "final"), False) == (bound.task.spec.signed, "elsewhere" in dict(bound.task.spec.policies))


def test_only_a_signed_word_about_exactly_this_gate_counts() -> None:
    """Unsigned, or signed by nobody that was verified: refused. Signed about another root, subject or policy: refused."""
    player = at_the_gate("final")
    gate = player.gate
    exact = c.Answer(
        gate.id, AnswerWord.ACCEPT, base=gate.base, subject=gate.subject, change=gate.change,
        policy_digest=gate.policy_digest, root=gate.root, approval=APPROVAL,
    )  # fmt: skip
    assert "signature_needed" == player.refused(replace(exact, approval=None), ANNA)
    assert "signature_needed" == player.refused(replace(exact, approval=None), SIGNING)
    assert "signature_needed" == player.refused(exact, ANNA)
    for name in ("base", "subject", "change", "policy_digest", "root"):
        for other in ("", "other"):
            assert "stale_answer" == player.refused(replace(exact, **{name: other}), SIGNING)  # type: ignore[arg-type]  # a name each
    player.do(exact, SIGNING)
    (decision,) = player.happened(DecisionRecorded)
    assert ("accepted", "A2", APPROVAL) == (player.task.verdict, decision.by.assurance, decision.approval)
    assert player.replayed().difference is None


def test_giving_up_needs_no_signature() -> None:
    """Nothing is stuck where the only key is lost."""
    player = at_the_gate("final")
    player.answer("abandon")
    assert "abandoned" == player.task.verdict
