"""The bundle `code`: the way from a task to a reviewed branch, in four sizes.

Every flow begins with the same stage `classify`; a flow named at submit skips it. A blocker sends the work back to the
implementer, a failed check too; a skipped check lets the work go on, and then only a person can accept it.
"""

from __future__ import annotations

from loom.kernel.facts import All, Any, Fact, Guard, Not, Said
from loom.kernel.flow import Ask, Bundle, Fanout, Finalize, Flow, Gate, Goto, Member, On, Rework, Role, Spawn
from loom.kernel.values import Pairs, Verdict

from . import agents as a  # noqa: TID251  # a bundle runs from its archive, under another name: it imports itself relatively
from .rules import CHECKED, RULES, TESTS_TOUCHED  # noqa: TID251

UNDERSTAND, PLAN, BUILD, REVIEW, FINISH = PHASES = ("understand", "plan", "build", "review", "finish")
HUMAN, ON_BLOCKERS, AUTO = "human", "on-blockers", "auto"
REVIEWERS = (a.CORRECTNESS, a.CHALLENGER, a.SECURITY_REVIEWER, a.STYLE)
UNCLEAR = Said("planner", "unclear")
PINNED = Fact("flow_pinned")


def blocked(*names: str) -> Guard:
    """One of these agents blocks."""
    return Any(tuple(Said(name, "block") for name in names))


def disputed(claims: str, denies: str) -> Guard:
    """One reviewer blocks with a claim that only running would prove, and the other one approves the same change."""
    return All((Said(claims, "block"), Fact(f"{claims}_unproved"), Said(denies, "approve")))


DISPUTED = Any((disputed("correctness", "challenger"), disputed("challenger", "correctness")))
RISKY = Any((Fact("touches_security"), Not(Fact("risk", "low"))))
"""In doubt the security reviewer runs: a task that was not classified has no risk on record."""

CLASSIFY = Spawn("classify", "classifier", UNDERSTAND, when=Not(PINNED), chooses="flow")
SCOUT = Spawn("scout", "scout", PLAN)
PLANNING = Spawn("plan", "planner", PLAN)
IMPLEMENT = Spawn(
    "implement",
    "implementer",
    BUILD,
    on=(
        On(Said("implementer", "stuck"), Ask("the implementer is stuck; its summary says why")),
        On(Fact("empty"), Ask("the implementer reports that it is done, and nothing was changed")),
    ),
)
CHECK = Spawn("checks", "checks", BUILD, on=(On(Said("checks", "failed"), Rework("implement")),))
ONE_REVIEW = Spawn("review", "correctness", REVIEW, on=(On(blocked("correctness"), Rework("implement")),))
REVIEWS = Fanout(
    "review",
    (
        Member("correctness"),
        Member("challenger"),
        Member("security", when=RISKY),
        Member("style", when=Fact("size", "large")),
    ),
    REVIEW,
    on=(
        On(blocked("security", "style"), Rework("implement")),
        On(Not(blocked("correctness", "challenger")), Goto("acceptance")),
        On(Not(DISPUTED), Rework("implement")),
    ),
)
ADJUDICATE = Spawn("adjudicate", "adjudicator", REVIEW, on=(On(blocked("adjudicator"), Rework("implement")),))
ACCEPTANCE = Spawn("acceptance", "acceptance", REVIEW, on=(On(blocked("acceptance"), Rework("implement")),))
FINAL = Gate("final", "final", FINISH, rework="implement")
DONE = Finalize("finalize", Verdict.ACCEPTED, needs=("approval.final",), deliver="deliver", phase=FINISH)

QUESTION = Flow(
    "question",
    (
        CLASSIFY,
        Spawn("answer", "responder", PLAN),
        Finalize("finalize", Verdict.ANSWERED, phase=FINISH),
    ),
    rework="answer",
)
TRIVIAL = Flow("trivial", (CLASSIFY, IMPLEMENT, CHECK, FINAL, DONE), rework="implement")
SIMPLE = Flow(
    "simple",
    (
        CLASSIFY,
        SCOUT,
        PLANNING,
        Gate("plan_gate", "plan", PLAN, rework="plan", when=UNCLEAR, shows=("plan",)),
        IMPLEMENT,
        CHECK,
        ONE_REVIEW,
        ACCEPTANCE,
        FINAL,
        DONE,
    ),
    rework="implement",
)
MEDIUM = Flow(
    "medium",
    (
        CLASSIFY,
        Gate("classify_gate", "classify", UNDERSTAND, rework="classify", when=Not(PINNED)),
        SCOUT,
        PLANNING,
        Spawn("plan_review", "plan_reviewer", PLAN, on=(On(blocked("plan_reviewer"), Rework("plan")),)),
        Gate("plan_gate", "plan", PLAN, rework="plan", shows=("plan",)),
        IMPLEMENT,
        CHECK,
        REVIEWS,
        ADJUDICATE,
        ACCEPTANCE,
        FINAL,
        DONE,
    ),
    rework="implement",
)

ROLES = (
    Role("classify", floor=()),
    Role("plan", floor=(), person_when=UNCLEAR),
    Role("final", floor=CHECKED, person_when=Any((TESTS_TOUCHED, Fact("empty")))),
)


def policies(usual: str, **other: str) -> Pairs:
    """The policy of each role: `usual`, unless named."""
    return tuple((role.name, other.get(role.name, usual)) for role in ROLES)


PRESETS = (
    ("supervised", policies(HUMAN)),
    ("review-plan", policies(ON_BLOCKERS, plan=HUMAN)),
    ("review-final", policies(ON_BLOCKERS, final=HUMAN)),
    ("on-blockers", policies(ON_BLOCKERS)),
    ("autonomous", policies(AUTO)),
)

BUNDLE = Bundle(
    name="code",
    version="1",
    agents=a.AGENTS,
    flows=(MEDIUM, SIMPLE, TRIVIAL, QUESTION),
    roles=ROLES,
    entry="medium",
    presets=PRESETS,
    default_preset="on-blockers",
    rules=RULES,
    phases=PHASES,
    summary="Changes to a git repository that pass checks, reviews and gates; and questions about one.",
)
