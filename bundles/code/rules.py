"""What may never become accepted, whatever flow, agents and policies say. Each rule names what leads on.

`approval.final` is the evidence that the final gate leaves about exactly the subject that was judged; a person's is marked.
"""

from __future__ import annotations

from loom.kernel.facts import All, Any, Fact, Guard, Not, Shown
from loom.kernel.flow import Rule
from loom.kernel.values import AnswerWord

CHECKED = ("check.test", "check.lint", "check.typecheck")
REMEDIES = (AnswerWord.REVISE, AnswerWord.ABANDON)

APPROVED = Shown("approval.final", "accept")
BY_A_PERSON = Shown("approval.final", "accept", person=True)
TESTS_TOUCHED = Any((Fact("tests_changed"), Fact("test_setup_changed")))
BY_A_POLICY = All((APPROVED, Not(BY_A_PERSON)))


def settled(kind: str) -> Guard:
    """The check ran on this very subject and passed, or a trusted configuration declares that there is none."""
    return Any((Shown(kind, "passed"), Shown(kind, "not_applicable")))


RULES = (
    Rule(
        name="changed tests need a person",
        on=("VerdictReached",),
        sentence="a test that existed before, or a file that says how tests run, was changed; only a person may accept that",
        never=All((TESTS_TOUCHED, BY_A_POLICY)),
        remedies=REMEDIES,
    ),
    Rule(
        name="an empty change needs a person",
        on=("VerdictReached",),
        sentence="nothing was changed; only a person may accept that",
        never=All((Fact("empty"), BY_A_POLICY)),
        remedies=REMEDIES,
    ),
    Rule(
        name="a policy accepts only what was checked",
        on=("VerdictReached",),
        sentence="tests, lint and type check did not all pass on exactly this tree (and are not declared not applicable)",
        never=All((BY_A_POLICY, Not(All(tuple(settled(kind) for kind in CHECKED))))),
        remedies=REMEDIES,
    ),
)
