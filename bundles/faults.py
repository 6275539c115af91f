"""What is wrong with a bundle's table: every fault at once, each a sentence in the author's words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from loom.bundles.alphabets import (
    JUDGEMENTS,
    agents_of,
    alphabet,
    evidence_faults,
    facts_of,
    guard_faults,
    nearest,
)
from loom.bundles.prompts import RESERVED
from loom.bundles.stage_faults import flow_faults
from loom.kernel import events
from loom.kernel.flow import Agent, Bundle, Flow, Role, Rule, Spawn, Stage, Step
from loom.kernel.policies import Policy
from loom.kernel.values import TROUBLE, AnswerWord, Capability, get

RECORD_MARK = ": "
"""What stands between the name of a function that did not answer and the reason, in an entry."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,39}")
MODELS = (Capability.ANSWER, Capability.READ, Capability.EDIT)
"""Capabilities behind which a model stands: these need a prompt and an output type."""
EVENTS = frozenset(name for name, value in vars(events).items() if isinstance(value, type) and name[0].isupper())
REMEDIES = frozenset({AnswerWord.RETRY, AnswerWord.ACCEPT, AnswerWord.REVISE, AnswerWord.ABANDON, AnswerWord.RAISE})
DECIDING = (Policy.ON_BLOCKERS.value, Policy.AUTO.value)


def table_faults(bundle: Bundle) -> list[str]:
    """Every fault of the table, sorted by what it is about; empty when the bundle can be used."""
    return list(
        dict.fromkeys(
            [
                *_names(bundle),
                *(fault for agent in bundle.agents for fault in _agent(agent, bundle)),
                *_clashes(bundle),
                *_unused(bundle),
                *(fault for flow in bundle.flows for fault in flow_faults(flow, bundle)),
                *_choices(bundle),
                *(fault for role in bundle.roles for fault in role_faults(role, bundle)),
                *_presets(bundle),
                *(fault for rule in bundle.rules for fault in rule_faults(rule, bundle)),
            ]
        )
    )


def _names(bundle: Bundle) -> Iterator[str]:
    kinds: tuple[tuple[str, Iterable[str]], ...] = (
        ("agent", (agent.name for agent in bundle.agents)),
        ("flow", (flow.name for flow in bundle.flows)),
        ("role", (role.name for role in bundle.roles)),
        ("preset", (name for name, _ in bundle.presets)),
        ("rule", (rule.name for rule in bundle.rules)),
    )
    for kind, names in kinds:
        counts = Counter(names)
        yield from (f"{kind} {name} is declared {count} times" for name, count in counts.items() if count > 1)
        if kind != "rule":
            yield from (f"{kind} {name!r}: {_spelling(NAME)}" for name in counts if not NAME.fullmatch(name))
    if not NAME.fullmatch(bundle.name):
        yield f"the bundle's name {bundle.name!r}: {_spelling(NAME)}"
    flows = [flow.name for flow in bundle.flows]
    if bundle.entry not in flows:
        yield f"entry names the flow {bundle.entry}, which is not there; {nearest(bundle.entry, flows)}"


def _agent(agent: Agent, bundle: Bundle) -> Iterator[str]:
    at = f"agent {agent.name}"
    if not agent.outcomes:
        yield f"{at}: declares no outcome; an agent has at least one word to end with"
    if agent.judges and sorted(agent.outcomes) != sorted(JUDGEMENTS):
        yield f"{at}: judges, so its outcomes are approve and block, not {', '.join(agent.outcomes)}"
    if agent.judges and agent.capability not in MODELS:
        yield f"{at}: judges, but capability {agent.capability} brings no judgement"
    if agent.capability in MODELS:
        yield from (f"{at}: has no {what}" for what in ("prompt", "output") if not getattr(agent, what))
    elif agent.prompt or agent.output:
        yield f"{at}: capability {agent.capability} has no model behind it, and so no prompt and no output"
    if agent.measures and agent.capability is not Capability.EDIT:
        yield f"{at}: measures what it changed, but capability {agent.capability} changes nothing"
    for label in agent.requires:
        if not NAME.fullmatch(label):
            yield f"{at}: requires the label {label!r}: {_spelling(NAME)}"
    yield from _artifacts(agent, at, {name for other in bundle.agents for name in other.makes})
    for name, values in facts_of(agent).items():
        if not values or len(set(values)) != len(values):
            yield f"{at}: the fact {name} needs values, each once"
    for name in {name for name, _ in agent.facts} & {measure.fact for measure in agent.measures}:
        yield f"{at}: says the fact {name}, which is also measured; a measured fact is nobody's word"


def _artifacts(agent: Agent, at: str, makers: set[str]) -> Iterator[str]:
    for name in (*agent.needs, *agent.wants):
        if name not in makers:
            yield f"{at}: asks for {name}, which no agent makes; {nearest(name, makers)}"
    for name in agent.makes:
        if not VARIABLE.fullmatch(name) or name in RESERVED:
            yield f"{at}: makes {name!r}; an artifact's name is a template's variable and not one of {', '.join(RESERVED)}"


def _clashes(bundle: Bundle) -> Iterator[str]:
    """One fact has one alphabet, whoever records it."""
    seen: dict[str, tuple[str, tuple[str, ...]]] = {}
    for owner, facts in _recorders(bundle):
        for name, values in facts.items():
            first = seen.setdefault(name, (owner, values))
            if first[1] != values:
                yield f"the fact {name} has other values for {owner} than for {first[0]}"


def _recorders(bundle: Bundle) -> Iterator[tuple[str, Mapping[str, tuple[str, ...]]]]:
    yield from ((f"agent {agent.name}", facts_of(agent)) for agent in bundle.agents)
    steps = [stage for flow in bundle.flows for stage in flow.stages if isinstance(stage, Step)]
    yield from ((f"step {step.name}", dict(step.writes)) for step in steps)


def _unused(bundle: Bundle) -> Iterator[str]:
    """Acts are left out: one that no flow uses is there for a person to ask for."""
    used = {name for flow in bundle.flows for stage in flow.stages for name in agents_of(stage)}
    yield from (
        f"agent {agent.name} is declared, but no flow uses it"
        for agent in bundle.agents
        if agent.name not in used and agent.capability is not Capability.ACT
    )


def _choices(bundle: Bundle) -> Iterator[str]:
    """A stage that chooses the flow: each value of its fact is a flow that begins alike, up to that stage."""
    flows = {flow.name: flow for flow in bundle.flows}
    facts = {agent.name: facts_of(agent) for agent in bundle.agents}
    for flow in bundle.flows:
        for place, stage in enumerate(flow.stages):
            if not isinstance(stage, Spawn) or not stage.chooses:
                continue
            at = f"flow {flow.name}, stage {stage.name}"
            values = facts.get(stage.agent, {}).get(stage.chooses)
            if values is None:
                yield f"{at}: chooses by the fact {stage.chooses}, which {stage.agent} does not declare"
            for value in values or ():
                yield from _choice(at, value, flow.stages[: place + 1], flows)


def _choice(at: str, value: str, beginning: tuple[Stage, ...], flows: Mapping[str, Flow]) -> Iterator[str]:
    if value not in flows:
        yield f"{at}: may choose {value}, which is no flow; {nearest(value, flows)}"
    elif [s.name for s in flows[value].stages[: len(beginning)]] != [s.name for s in beginning]:
        alike = " → ".join(stage.name for stage in beginning)
        yield f"{at}: may choose the flow {value}, which does not begin with {alike}"


def role_faults(role: Role, bundle: Bundle) -> Iterator[str]:
    """What is wrong with a role, in this bundle."""
    at = f"role {role.name}"
    known = alphabet(bundle)
    if role.name == TROUBLE:
        yield f"{at}: is the kernel's own, and always a person's"
    for fault in guard_faults(role.person_when, known):
        yield f"{at}, person_when: {fault}"
    for kind in role.floor or ():
        yield from (f"{at}, floor: {fault}" for fault in evidence_faults(kind, "", known))
    deciding = [name for name, policies in bundle.presets if get(policies, role.name, "") in DECIDING]
    if deciding and role.floor is None:
        yield (
            f"{at}: has no floor of evidence, but the preset {deciding[0]} lets a policy decide it; give it a floor (an empty "
            "one says that nothing is needed), or policy human"
        )


def _presets(bundle: Bundle) -> Iterator[str]:
    roles = [role.name for role in bundle.roles]
    policies = [policy.value for policy in Policy]
    names = [name for name, _ in bundle.presets]
    if bundle.default_preset not in names:
        yield f"default_preset {bundle.default_preset} is not there; {nearest(bundle.default_preset, names)}"
    for name, pairs in bundle.presets:
        for role, policy in pairs:
            if role not in roles:
                yield f"preset {name}: knows no role {role}; {nearest(role, roles)}"
            if policy not in policies:
                yield f"preset {name}: {role} is {policy!r}, which is no policy; {nearest(policy, policies)}"


def rule_faults(rule: Rule, bundle: Bundle) -> Iterator[str]:
    """What is wrong with a rule, in this bundle."""
    at = f"rule {rule.name}"
    if RECORD_MARK in rule.name:
        yield f"{at}: its name has {RECORD_MARK!r} in it, by which the record tells a name from a reason"
    if (rule.never is None) == (rule.check is None):
        yield f"{at}: has either `never` or `check`, and exactly one of them"
    if not rule.on:
        yield f"{at}: is looked at on no event; name some in `on`"
    for kind in rule.on:
        if kind not in EVENTS:
            yield f"{at}: is looked at on {kind}, which is no event; {nearest(kind, EVENTS)}"
    if not rule.sentence.strip():
        yield f"{at}: has no sentence to object with"
    if not rule.remedies:
        yield f"{at}: has no remedy; an objection must lead on"
    for word in rule.remedies:
        if word not in REMEDIES:
            yield f"{at}: {word} is no remedy; there are: {', '.join(sorted(REMEDIES))}"
    for fault in guard_faults(rule.never, alphabet(bundle)):
        yield f"{at}: {fault}"


def _spelling(pattern: re.Pattern[str]) -> str:
    return f"a name is lower case letters, digits, _ and - ({pattern.pattern})"
