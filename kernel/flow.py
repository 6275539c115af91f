"""The table that a bundle is: phases, agents, stages, flows, roles, rules. Data, and a few pure functions.

From this one table come the tick, the picture of a flow, the model checker, what-if and the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loom.kernel.facts import Guard, View
from loom.kernel.limits import ATTEMPT_WALL_MS
from loom.kernel.values import AnswerWord, Capability, Caps, Pairs, Tier, Verdict

ACCEPT, REVISE, ABANDON = AnswerWord.ACCEPT, AnswerWord.REVISE, AnswerWord.ABANDON


@dataclass(frozen=True, slots=True)
class Measure:
    """A fact that the worker's hands measure; `how` and `patterns` are opaque to the kernel. `values`: its alphabet."""

    fact: str
    how: str
    values: tuple[str, ...]
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agent:
    """One role of work. `outcomes` and `facts` are finite alphabets; what is not declared never reaches the state.

    needs, makes: artifacts by name. judges: a reviewer; its outcomes are "approve" and "block", and its word becomes evidence
    `review.<name>` about the subject. prompt, output: names of template and output type in the bundle.
    """

    name: str
    capability: Capability
    outcomes: tuple[str, ...] = ("done",)
    facts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    measures: tuple[Measure, ...] = ()
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    """Artifacts that are shown when they exist."""
    makes: tuple[str, ...] = ()
    prompt: str = ""
    output: str = ""
    tier: Tier = Tier.BALANCED
    judges: bool = False
    wall_ms: int = ATTEMPT_WALL_MS
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rework:
    """Back to a named stage, with the live findings."""

    to: str


@dataclass(frozen=True, slots=True)
class Goto:
    """On to a named stage further down; a later stage only, so that only Rework can loop."""

    to: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Park for a person, with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Conclude:
    """Set this verdict (never `accepted`: that is Finalize's)."""

    verdict: Verdict


Move = Rework | Goto | Ask | Conclude


@dataclass(frozen=True, slots=True)
class On:
    """When a stage has settled and the guard holds, make this move; the first that holds is taken, else the next stage."""

    when: Guard
    move: Move


@dataclass(frozen=True, slots=True)
class Spawn:
    """Runs one agent. `when`: a guard that may skip it. `chooses`: the fact whose value names the flow to go on with."""

    name: str
    agent: str
    phase: str = ""
    when: Guard | None = None
    on: tuple[On, ...] = ()
    chooses: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of a fan-out, with the guard that may skip it."""

    agent: str
    when: Guard | None = None


@dataclass(frozen=True, slots=True)
class Fanout:
    """Runs several agents at once."""

    name: str
    members: tuple[Member, ...]
    phase: str = ""
    on: tuple[On, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """A decision. `rework`: where revise goes ("" : revise is not offered)."""

    name: str
    role: str
    phase: str = ""
    rework: str = ""
    answers: tuple[AnswerWord, ...] = (ACCEPT, REVISE, ABANDON)
    when: Guard | None = None
    shows: tuple[str, ...] = ()
    """Artifacts that the decision needs to be seen."""


@dataclass(frozen=True, slots=True)
class Step:
    """Pure computation: facts from what the view shows; undeclared writes are refused at load and again at run."""

    name: str
    run: Callable[[View], Mapping[str, str]]
    writes: tuple[tuple[str, tuple[str, ...]], ...]
    phase: str = ""
    on: tuple[On, ...] = ()


@dataclass(frozen=True, slots=True)
class Finalize:
    """Sets the verdict, when nothing in `needs` is missing for the subject. `deliver`: an agent of capability act that
    runs after the verdict ("" : none)."""

    name: str
    verdict: Verdict
    needs: tuple[str, ...] = ()
    deliver: str = ""
    phase: str = ""


Stage = Spawn | Fanout | Gate | Step | Finalize


@dataclass(frozen=True, slots=True)
class Flow:
    """A way through the stages, in order. `rework`: where trouble answered with revise goes."""

    name: str
    stages: tuple[Stage, ...]
    rework: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of decision. floor: evidence that a policy needs about the subject before it may accept (None: no policy may
    decide). person_when: what always goes to a person."""

    name: str
    floor: tuple[str, ...] | None = None
    person_when: Guard | None = None


Check = Callable[[View, View], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a bundle: looked at when one of the event kinds in `on` happened.

    Either `never` (a guard over the state after: when it holds, the rule objects with `sentence`) or `check` (a pure
    function of the views before and after: None, or the sentence of its objection).
    """

    name: str
    on: tuple[str, ...]
    sentence: str
    never: Guard | None = None
    check: Check | None = None
    remedies: tuple[AnswerWord, ...] = (REVISE, ABANDON)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A domain as data. digest: of the bundle's archive. entry: the flow that a task without a pinned flow starts in.

    presets: name → (role, policy) pairs. defaults: the name of the default preset.
    """

    name: str
    version: str
    agents: tuple[Agent, ...]
    flows: tuple[Flow, ...]
    roles: tuple[Role, ...]
    entry: str
    presets: tuple[tuple[str, Pairs], ...]
    default_preset: str
    rules: tuple[Rule, ...] = ()
    caps: Caps = Caps()
    phases: tuple[str, ...] = ()
    digest: str = ""
    templates: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False, compare=False)
    """agent prompt name → (system, user) template texts; read by the coordinator for assignments, never by the kernel."""
    outputs: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    """output type name → JSON schema text."""
    summary: str = ""
