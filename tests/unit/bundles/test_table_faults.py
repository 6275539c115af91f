"""Every fault of a table is found, and said in the author's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any as Whatever

import pytest

from harness import toy
from loom.bundles.faults import table_faults
from loom.kernel.facts import (
    ALWAYS,
    BOOL,
    All,
    Any,
    AtLeast,
    Blocked,
    Fact,
    Guard,
    Not,
    Said,
    Shown,
    View,
)
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
    Move,
    On,
    Rework,
    Role,
    Rule,
    Spawn,
    Stage,
    Step,
)
from loom.kernel.values import AnswerWord, Capability, Verdict

WORK, DECIDE, END = toy.WORK, toy.gate(), toy.FINALIZE


def flow(*stages: Stage, **more: Whatever) -> Bundle:
    """The toy bundle with other stages."""
    return replace(toy.REVIEW, flows=(Flow("main", stages, **more),))


def leading(move: Move, when: Guard = ALWAYS) -> Bundle:
    """work → review, which makes this move → gate → end."""
    return flow(WORK, Spawn("review", "reviewer", on=(On(when, move),)), DECIDE, END)


def agents(**changes: Whatever) -> Bundle:
    """The toy bundle with a changed reviewer."""
    return replace(toy.REVIEW, agents=(toy.WORKER, replace(toy.REVIEWER, **changes)))


def worker(**changes: Whatever) -> Bundle:
    """The toy bundle with a changed worker."""
    return replace(toy.REVIEW, agents=(replace(toy.WORKER, **changes), toy.REVIEWER))


def ruled(**changes: Whatever) -> Bundle:
    """The toy bundle with one rule."""
    rule = {"name": "r", "on": ("VerdictReached",), "sentence": "no", "never": Blocked()}
    return replace(toy.REVIEW, rules=(Rule(**{**rule, **changes}),))


def writing(written: Mapping[str, str] | None = None) -> Step:
    """A step that declares `heavy` and writes this (None: it raises)."""

    def run(view: View) -> Mapping[str, str]:
        if written is None:
            raise KeyError("f")
        return written if view.said("worker") == "stuck" else {}

    return Step("weigh", run, writes=(("heavy", BOOL),))


CASES: dict[str, tuple[Bundle, str]] = {
    "agent twice": (replace(toy.REVIEW, agents=(*toy.REVIEW.agents, toy.WORKER)), "agent worker is declared 2 times"),
    "bad name": (replace(toy.REVIEW, name="My Bundle"), "the bundle's name 'My Bundle': a name is lower case"),
    "bad agent name": (agents(name="Reviewer"), "agent 'Reviewer': a name is lower case"),
    "entry": (replace(toy.REVIEW, entry="mian"), "entry names the flow mian, which is not there; did you mean main?"),
    "no outcome": (worker(outcomes=()), "agent worker: declares no outcome"),
    "judge's words": (agents(outcomes=("yes", "no")), "its outcomes are approve and block, not yes, no"),
    "judge without a model": (agents(capability=Capability.CHECKS), "capability checks brings no judgement"),
    "no prompt": (worker(prompt=""), "agent worker: has no prompt"),
    "no output": (worker(output=""), "agent worker: has no output"),
    "prompt without a model": (agents(capability=Capability.ACT), "has no model behind it"),
    "measures nothing": (agents(measures=(Measure("empty", "empty", BOOL),)), "capability read changes nothing"),
    "unknown artifact": (worker(wants=("plna",)), "agent worker: asks for plna, which no agent makes"),
    "artifact of a built-in name": (worker(makes=("diff",)), "agent worker: makes 'diff'; an artifact's name"),
    "artifact that is no variable": (worker(makes=("a-b",)), "agent worker: makes 'a-b'"),
    "fact without values": (worker(facts=(("f", ()),)), "the fact f needs values"),
    "told and measured": (
        worker(facts=(("empty", BOOL),), measures=(Measure("empty", "empty", BOOL),)),
        "says the fact empty, which is also measured",
    ),
    "one fact, two alphabets": (
        replace(
            toy.REVIEW,
            agents=(replace(toy.WORKER, facts=(("f", BOOL),)), replace(toy.REVIEWER, facts=(("f", ("a", "b")),))),
        ),
        "the fact f has other values for agent reviewer than for agent worker",
    ),
    "unused agent": (
        replace(toy.REVIEW, agents=(*toy.REVIEW.agents, toy.CHECKS)),
        "agent checks is declared, but no flow uses it",
    ),
    "no stages": (flow(), "flow main: has no stages"),
    "stage twice": (flow(WORK, WORK, DECIDE, END), "flow main: two stages are named work"),
    "rework of a flow": (flow(WORK, DECIDE, END, rework="wrok"), "rework goes to wrok, which is no stage"),
    "unknown agent": (
        flow(Spawn("work", "wroker"), DECIDE, END),
        "runs wroker, which is no agent; did you mean worker?",
    ),
    "unknown role": (flow(WORK, Gate("decide", "finall"), END), "asks the role finall, which is not declared"),
    "gate without answers": (flow(WORK, Gate("decide", "final", answers=()), END), "offers no answer"),
    "gate offers retry": (
        flow(WORK, Gate("decide", "final", answers=(AnswerWord.RETRY,)), END),
        "offers retry; a gate offers some of",
    ),
    "gate shows": (
        flow(WORK, Gate("decide", "final", shows=("plan",)), END),
        "shows plan, which no agent of this flow",
    ),
    "gate goes back to later": (
        flow(WORK, toy.gate(rework="finalize"), END),
        "Rework('finalize') must go to an earlier",
    ),
    "rework to nowhere": (leading(Rework("wrok"), Blocked()), "Rework('wrok') names no stage of this flow"),
    "rework to itself": (leading(Rework("review"), Blocked()), "Rework('review') must go to an earlier stage"),
    "goto back": (leading(Goto("work"), Blocked()), "Goto('work') must go to a later stage; only Rework goes back"),
    "concludes with accepted": (leading(Conclude(Verdict.ACCEPTED), Blocked()), "acceptance is Finalize's alone"),
    "unreachable": (leading(Goto("finalize")), "flow main, stage decide: no way leads here"),
    "behind an end": (flow(WORK, END, DECIDE), "flow main, stage decide: no way leads here"),
    "no end": (flow(WORK, DECIDE), "flow main: ends with decide; a flow ends with Finalize"),
    "no verdict": (flow(WORK, DECIDE, Finalize("finalize", Verdict.NONE)), "sets no verdict"),
    "delivers with a worker": (
        flow(WORK, DECIDE, replace(END, deliver="worker")),
        "delivers with worker, whose capability is edit",
    ),
    "delivers with nobody": (flow(WORK, DECIDE, replace(END, deliver="x")), "runs x, which is no agent"),
    "needs of an end": (
        flow(WORK, DECIDE, replace(END, needs=("review.reviewer",))),
        "the evidence review.reviewer never is brought here",
    ),
    "two editing at once": (
        replace(
            toy.REVIEW,
            agents=(*toy.REVIEW.agents, replace(toy.WORKER, name="worker2")),
            flows=(Flow("main", (Fanout("work", (Member("worker"), Member("worker2"))), DECIDE, END)),),
        ),
        "worker and worker2 would edit at once",
    ),
    "one twice at once": (
        flow(WORK, Fanout("review", (Member("reviewer"), Member("reviewer"))), DECIDE, END),
        "runs reviewer 2 times at once",
    ),
    "nobody at once": (flow(WORK, Fanout("review", ()), DECIDE, END), "runs 0 agents at once"),
    "unknown fact": (leading(Ask("why"), Fact("emptty")), "the fact emptty never is recorded here"),
    "unknown value": (leading(Ask("why"), Fact("flow_pinned", "maybe")), "the fact flow_pinned is never 'maybe'"),
    "unknown word": (leading(Ask("why"), Said("reviewer", "blocks")), "the agent reviewer is never 'blocks'"),
    "agent of another flow": (
        flow(WORK, replace(DECIDE, when=Said("reviewer", "block")), END),
        "reviewer never runs here",
    ),
    "deep in a guard": (leading(Ask("why"), Not(All((Any((Fact("x"),)),)))), "the fact x never is recorded here"),
    "fact of a skipped member": (
        flow(WORK, Fanout("review", (Member("reviewer", when=Fact("x")),)), DECIDE, END),
        "the fact x never is recorded here",
    ),
    "at least of too few": (leading(Ask("why"), AtLeast(2, (Blocked(),))), "AtLeast(2) of 1 parts says nothing"),
    "check without checks": (leading(Ask("why"), Shown("check.test", "passed")), "no agent of capability checks runs"),
    "review that is never so": (
        leading(Ask("why"), Shown("review.reviewer", "passed")),
        "the evidence review.reviewer is never 'passed'",
    ),
    "step writes more": (flow(WORK, writing({"light": "yes"}), DECIDE, END), "writes the fact light without declaring"),
    "step writes other": (flow(WORK, writing({"heavy": "very"}), DECIDE, END), "writes heavy='very'; declared are"),
    "step raises": (flow(WORK, writing(), DECIDE, END), "its function raised KeyError"),
    "step writes nothing": (flow(WORK, replace(writing({}), writes=()), DECIDE, END), "writes nothing"),
    "need not made": (
        replace(
            toy.REVIEW,
            agents=(replace(toy.WORKER, needs=("note",)), replace(toy.REVIEWER, makes=("note",))),
        ),
        "flow main, stage work: worker needs note, which no earlier stage makes for certain",
    ),
    "need of a skipped stage": (
        replace(
            toy.REVIEW,
            agents=(replace(toy.WORKER, makes=("note",)), replace(toy.REVIEWER, needs=("note",))),
            flows=(Flow("main", (replace(WORK, when=Fact("flow_pinned")), Spawn("review", "reviewer"), DECIDE, END)),),
        ),
        "reviewer needs note, which no earlier stage makes for certain",
    ),
    "need jumped over": (
        replace(
            toy.REVIEW,
            agents=(replace(toy.WORKER, makes=("note",)), replace(toy.REVIEWER, needs=("note",)), toy.CHECKS),
            flows=(
                Flow(
                    "main",
                    (
                        Spawn("check", "checks", on=(On(Said("checks", "failed"), Goto("review")),)),
                        WORK,
                        Spawn("review", "reviewer"),
                        DECIDE,
                        END,
                    ),
                ),
            ),
        ),
        "reviewer needs note, which no earlier stage makes for certain",
    ),
    "undeclared phase": (flow(replace(WORK, phase="bulid"), DECIDE, END), "the phase bulid is not declared"),
    "phase back": (
        replace(flow(replace(WORK, phase="b"), replace(DECIDE, phase="a"), replace(END, phase="b")), phases=("a", "b")),
        "stage decide: goes back to phase a",
    ),
    "stage without phase": (replace(toy.REVIEW, phases=("a",)), "stage work: phase '' is not declared"),
    "chooses without a fact": (flow(replace(WORK, chooses="flow"), DECIDE, END), "which worker does not declare"),
    "chooses no flow": (
        replace(toy.CHOOSING, flows=(toy.CHOOSING.flows[0],)),
        "may choose ask, which is no flow",
    ),
    "chooses another beginning": (
        replace(toy.CHOOSING, flows=(toy.CHOOSING.flows[0], Flow("ask", toy.CHOOSING.flows[1].stages[1:]))),
        "may choose the flow ask, which does not begin with choose",
    ),
    "policy without floor": (
        replace(toy.REVIEW, roles=(Role("final"),)),
        "role final: has no floor of evidence, but the preset on-blockers lets a policy decide it",
    ),
    "floor of nobody": (
        replace(toy.REVIEW, roles=(Role("final", floor=("review.reviwer",)),)),
        "role final, floor: the evidence review.reviwer never is brought here; did you mean review.reviewer?",
    ),
    "floor out of reach": (
        replace(toy.FANOUT, flows=(*toy.FANOUT.flows, Flow("short", (WORK, DECIDE, END)))),
        "flow short, stage decide: the floor of role final is out of reach",
    ),
    "the kernel's role": (replace(toy.REVIEW, roles=(*toy.REVIEW.roles, Role("trouble"))), "is the kernel's own"),
    "reserved for a person when": (
        replace(toy.REVIEW, roles=(Role("final", (), Fact("x")),)),
        "role final, person_when: the fact x never is recorded here",
    ),
    "preset of an unknown role": (
        replace(toy.REVIEW, presets=(("on-blockers", (("fnial", "auto"),)),)),
        "preset on-blockers: knows no role fnial; did you mean final?",
    ),
    "preset of an unknown policy": (
        replace(toy.REVIEW, presets=(("on-blockers", (("final", "automatic"),)),)),
        "final is 'automatic', which is no policy",
    ),
    "default preset": (replace(toy.REVIEW, default_preset="off"), "default_preset off is not there"),
    "rule of an unknown event": (
        ruled(on=("VerdictReachd",)),
        "looked at on VerdictReachd, which is no event; did you",
    ),
    "rule of no event": (ruled(on=()), "is looked at on no event"),
    "rule without remedy": (ruled(remedies=()), "has no remedy"),
    "rule with apply": (ruled(remedies=(AnswerWord.APPLY,)), "apply is no remedy"),
    "rule without sentence": (ruled(sentence=" "), "has no sentence"),
    "rule of both kinds": (ruled(check=lambda before, after: None), "has either `never` or `check`"),
    "rule of no kind": (ruled(never=None), "has either `never` or `check`"),
    "rule over nothing": (ruled(never=Fact("x")), "rule r: the fact x never is recorded here"),
    "a rule's name that the record cannot tell from a reason": (
        ruled(name="no: never"),
        "rule no: never: its name has ': ' in it",
    ),
    "a step's name that the record cannot tell from a reason": (
        flow(WORK, Step("weigh: it", lambda view: {"heavy": "no"}, writes=(("heavy", BOOL),)), DECIDE, END),
        "step weigh: it: its name has ': ' in it",
    ),
    "an editor beside a judge": (
        flow(WORK, Fanout("both", (Member("worker"), Member("reviewer"))), DECIDE, END),
        "worker would edit while reviewer judges",
    ),
    "nothing behind a rework for a person's own work": (
        flow(WORK, DECIDE, END, rework="finalize"),
        "its rework goes to finalize, the last stage",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found(name: str) -> None:
    """Each way to break a table is refused with a sentence that names the place."""
    bundle, expected = CASES[name]
    found = table_faults(bundle)
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize("bundle", toy.ALL, ids=lambda bundle: bundle.name)
def test_the_toys_are_sound(bundle: Bundle) -> None:
    """No toy of the kernel's tests has a fault: what is refused here is really wrong."""
    assert [] == table_faults(bundle)


def test_all_faults_come_at_once() -> None:
    """An author mends a bundle in one go."""
    broken = replace(
        agents(outcomes=("yes",)), entry="x", rules=ruled(remedies=()).rules, default_preset="y", roles=(Role("final"),)
    )
    assert 5 <= len(table_faults(broken))


def test_what_a_later_stage_may_build_on() -> None:
    """An artifact made on every way is there for certain, also across a jump that starts behind its maker."""
    maker = replace(toy.WORKER, makes=("note",))
    user = Agent("user", Capability.ANSWER, needs=("note",), prompt="p", output="o")
    stages = (
        replace(WORK, on=(On(Said("worker", "stuck"), Goto("use")),)),
        Spawn("review", "reviewer"),
        Spawn("use", "user"),
        DECIDE,
        END,
    )
    assert [] == table_faults(replace(toy.REVIEW, agents=(maker, toy.REVIEWER, user), flows=(Flow("main", stages),)))


def test_a_required_label_is_a_name() -> None:
    """What no worker can be given as a label is a fault of the table, not a queue that nobody empties."""
    (agent, *others) = toy.REVIEW.agents
    odd = replace(toy.REVIEW, agents=(replace(agent, requires=("gpu", "two words")), *others))
    assert [f"agent {agent.name} requires"] == [
        fault.partition(" the ")[0].replace(":", "") for fault in table_faults(odd)
    ]
