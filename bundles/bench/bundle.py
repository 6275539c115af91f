"""The workload that loom is measured with: nine calls in six stages of work, and what late steps and wide fan-outs cost.

`main`       classify → plan → implement → four reviewers at once → validate → finish → accepted, with the reviews' evidence
`fanout64`   one fan-out of 64
`fanout128`  one fan-out of 128
`fanout256`  one fan-out of 256, the most that a stage may run
`long`       1,000 steps, one after the other
Every agent only answers, so the figures are loom's own. No gates: there is nobody to wait for.
"""

from __future__ import annotations

from loom.kernel.facts import Any, Said
from loom.kernel.flow import Agent, Bundle, Fanout, Finalize, Flow, Member, On, Rework, Spawn
from loom.kernel.values import Capability, Caps, Tier, Verdict

LONG = 1_000
WIDEST = 256
REVIEWERS = ("reviewer1", "reviewer2", "reviewer3", "reviewer4")


def answering(name: str, output: str = "Work", *, needs: tuple[str, ...] = (), makes: tuple[str, ...] = ()) -> Agent:
    """An agent that only answers; a judging one has output Review."""
    judges = output == "Review"
    return Agent(
        name,
        Capability.ANSWER,
        outcomes=("approve", "block") if judges else ("done",),
        needs=needs,
        makes=makes,
        prompt="work",
        output=output,
        tier=Tier.FAST,
        judges=judges,
    )


MEMBERS = tuple(answering(f"member{i:03}") for i in range(WIDEST))


def wide(width: int) -> Flow:
    """One fan-out of this width."""
    members = tuple(Member(agent.name) for agent in MEMBERS[:width])
    return Flow(f"fanout{width}", (Fanout("fan", members), Finalize("end", Verdict.ANSWERED)))


MAIN = Flow(
    "main",
    (
        Spawn("classify", "classifier"),
        Spawn("plan", "planner"),
        Spawn("implement", "implementer"),
        Fanout(
            "review",
            tuple(Member(name) for name in REVIEWERS),
            on=(On(Any(tuple(Said(name, "block") for name in REVIEWERS)), Rework("implement")),),
        ),
        Spawn("validate", "validator"),
        Spawn("finish", "finisher"),
        Finalize("end", Verdict.ACCEPTED, needs=tuple(f"review.{name}" for name in REVIEWERS)),
    ),
    rework="implement",
)
SERIAL = Flow("long", (*(Spawn(f"step{i:04}", "stepper") for i in range(LONG)), Finalize("end", Verdict.ANSWERED)))

BUNDLE = Bundle(
    name="bench",
    version="1",
    agents=(
        answering("classifier"),
        answering("planner", "Plan", makes=("plan",)),
        answering("implementer", "Change", needs=("plan",), makes=("change",)),
        *(answering(name, "Review", needs=("change",)) for name in REVIEWERS),
        answering("validator", needs=("change",)),
        answering("finisher"),
        answering("stepper"),
        *MEMBERS,
    ),
    flows=(MAIN, wide(64), wide(128), wide(WIDEST), SERIAL),
    roles=(),
    entry="main",
    presets=(("autonomous", ()),),
    default_preset="autonomous",
    caps=Caps(attempts=0, rounds=4),
    summary="What loom itself costs.",
)
