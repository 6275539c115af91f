"""Toy bundles: the smallest tables that use every stage kind of the machine, without any domain.

`TOY` is two stages and a verdict. The others add one thing each: `FANOUT` three siblings, `REVIEW` a reviewer with a loop
back, `CHECKED` measured evidence under the floor and a rule, `CHOOSING` a first stage that names the flow, `STEPPED` a
computation, `DELIVERED` an agent that acts after the verdict. Their flows are data like any other bundle's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from loom.kernel.facts import BOOL, YES, Any, Blocked, Fact, Guard, Not, Said, Shown, View
from loom.kernel.flow import (
    Agent,
    Ask,
    Bundle,
    Conclude,
    Fanout,
    Finalize,
    Flow,
    Gate,
    Goto,
    Measure,
    Member,
    On,
    Rework,
    Role,
    Rule,
    Spawn,
    Stage,
    Step,
)
from loom.kernel.values import AnswerWord, Capability, Pairs, Tier, Verdict

HUMAN, ON_BLOCKERS, AUTO = "human", "on-blockers", "auto"

PRESETS: tuple[tuple[str, Pairs], ...] = (
    ("supervised", (("final", HUMAN),)),
    ("on-blockers", (("final", ON_BLOCKERS),)),
    ("autonomous", (("final", AUTO),)),
)

WORKER = Agent("worker", Capability.EDIT, outcomes=("done", "stuck"), makes=(), prompt="worker", output="worker")
ANSWERER = Agent("answerer", Capability.ANSWER, makes=("answer",), prompt="answerer", output="answerer", tier=Tier.FAST)
REVIEWER = Agent(
    "reviewer", Capability.READ, outcomes=("approve", "block"), prompt="reviewer", output="reviewer", judges=True
)
CHECKS = Agent("checks", Capability.CHECKS, outcomes=("passed", "failed", "skipped"))
DELIVER = Agent("deliver", Capability.ACT)

FINALIZE = Finalize("finalize", Verdict.ACCEPTED)
BACK = On(Blocked(), Rework("work"))


def schema_of(agent: Agent) -> str:
    """The JSON schema of an agent's output, as text: its outcome words, facts, artifacts, and findings when it judges."""
    properties: dict[str, object] = {"outcome": {"enum": list(agent.outcomes)}, "summary": {"type": "string"}}
    if agent.facts:
        facts = {name: {"enum": list(values)} for name, values in agent.facts}
        properties["facts"] = {
            "type": "object",
            "properties": facts,
            "required": list(facts),
            "additionalProperties": False,
        }
    if agent.judges:
        properties["findings"] = {"type": "array", "items": {"type": "object"}}
    properties.update({name: {"type": "string"} for name in agent.makes})
    shape = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return json.dumps(shape, sort_keys=True)


def make(
    name: str,
    agents: tuple[Agent, ...],
    *flows: Flow,
    floor: tuple[str, ...] | None = (),
    person_when: Guard | None = None,
    rules: tuple[Rule, ...] = (),
) -> Bundle:
    """A bundle with one role `final`, the three policies as presets, and one-line templates."""
    asked = [agent for agent in agents if agent.prompt]
    return Bundle(
        name=name,
        version="1",
        agents=agents,
        flows=flows,
        roles=(Role("final", floor, person_when),),
        entry=flows[0].name,
        presets=PRESETS,
        default_preset="on-blockers",
        rules=rules,
        digest=f"toy-{name}",
        templates={agent.prompt: (f"You are the {agent.name}.", "{{ task }}") for agent in asked},
        outputs={agent.output: schema_of(agent) for agent in asked},
        summary="A toy.",
    )


def gate(name: str = "decide", rework: str = "work") -> Gate:
    """The gate of the toys: role `final`."""
    return Gate(name, "final", rework=rework)


STUCK = On(Said("worker", "stuck"), Ask("the worker is stuck"))
WORK = Spawn("work", "worker", on=(STUCK,))

TOY = make("toy", (WORKER,), Flow("main", (WORK, gate(), FINALIZE), rework="work"))
"""work → gate → accepted."""

SIBLINGS = tuple(replace(REVIEWER, name=f"reviewer{i}") for i in (1, 2, 3))

FANOUT = make(
    "fanout",
    (WORKER, *SIBLINGS),
    Flow(
        "main",
        (WORK, Fanout("review", tuple(Member(s.name) for s in SIBLINGS), on=(BACK,)), gate(), FINALIZE),
        rework="work",
    ),
    floor=tuple(f"review.{s.name}" for s in SIBLINGS),
)
"""work → three reviewers at once → gate → accepted; any blocker goes back to work."""

REVIEW = make(
    "review",
    (WORKER, REVIEWER),
    Flow("main", (WORK, Spawn("review", "reviewer", on=(BACK,)), gate(), FINALIZE), rework="work"),
    floor=("review.reviewer",),
)
"""work → review → gate → accepted; a blocker goes back to work."""

MEASURED = replace(WORKER, measures=(Measure("empty", "empty", BOOL), Measure("risky", "paths", BOOL, ("secret/**",))))

CHECKED = make(
    "checked",
    (MEASURED, CHECKS, REVIEWER),
    Flow(
        "main",
        (
            WORK,
            Spawn("check", "checks", on=(On(Said("checks", "failed"), Rework("work")),)),
            Fanout("review", (Member("reviewer", when=Fact("risky")),), on=(BACK,)),
            gate(),
            Finalize("finalize", Verdict.ACCEPTED, needs=("check.test",)),
        ),
        rework="work",
    ),
    floor=("check.test",),
    person_when=Fact("empty"),
    rules=(
        Rule(
            "no empty work",
            ("VerdictReached",),
            "nothing was changed, and no person accepted that",
            never=Fact("empty"),
            remedies=(AnswerWord.REVISE, AnswerWord.ABANDON),
        ),
    ),
)
"""work → checks → a reviewer when it is risky → gate (a person when empty) → accepted, which needs the check; one rule."""

CHOOSER = Agent(
    "chooser",
    Capability.ANSWER,
    facts=(("flow", ("long", "ask")),),
    prompt="chooser",
    output="chooser",
    tier=Tier.FAST,
)
CHOOSE = Spawn("choose", "chooser", when=Not(Fact("flow_pinned")), chooses="flow")

CHOOSING = make(
    "choosing",
    (CHOOSER, WORKER, ANSWERER),
    Flow("long", (CHOOSE, WORK, gate(), FINALIZE), rework="work"),
    Flow("ask", (CHOOSE, Spawn("answer", "answerer"), Finalize("finalize", Verdict.ANSWERED))),
)
"""choose → (long: work → gate → accepted | ask: answer → answered)."""


def _weigh(view: View) -> Mapping[str, str]:
    """heavy: yes when the worker said done and nothing blocks."""
    return {"heavy": YES if view.said("worker") == "done" and not view.blockers() else "no"}


STEPPED = make(
    "stepped",
    (WORKER, REVIEWER),
    Flow(
        "main",
        (
            WORK,
            Step("weigh", _weigh, writes=(("heavy", BOOL),), on=(On(Not(Fact("heavy")), Goto("decide")),)),
            Spawn("review", "reviewer", on=(BACK,)),
            Gate("decide", "final", rework="work", when=Any((Fact("heavy"), Shown("review.reviewer", "block")))),
            FINALIZE,
        ),
        rework="work",
    ),
)
"""work → a step that computes `heavy` → review (skipped over when light) → gate (skipped when light) → accepted."""

DELIVERED = make(
    "delivered",
    (WORKER, DELIVER),
    Flow("main", (WORK, gate(), Finalize("finalize", Verdict.ACCEPTED, deliver="deliver")), rework="work"),
)
"""work → gate → accepted, then an agent that acts."""

GIVING_UP = make(
    "giving-up",
    (WORKER,),
    Flow("main", (Spawn("work", "worker", on=(On(Said("worker", "stuck"), Conclude(Verdict.FAILED)),)), FINALIZE)),
)
"""work → accepted, or failed when the worker is stuck; no gate."""


def serial(length: int) -> Bundle:
    """A flow of `length` answers, one after the other, then answered: for runs with many steps."""
    stages: tuple[Stage, ...] = tuple(Spawn(f"s{i:04}", "answerer") for i in range(length))
    return make("serial", (ANSWERER,), Flow("main", (*stages, Finalize("finalize", Verdict.ANSWERED))))


ALL = (TOY, FANOUT, REVIEW, CHECKED, CHOOSING, STEPPED, DELIVERED, GIVING_UP)
