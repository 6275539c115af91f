"""Other rules: a file that adds some to the bundle of each run, or another bundle in its place.

A file of rules is Python under the same restrictions as a bundle's: it imports `loom.kernel` and a short list of the standard
library, and its functions are pure. It names at least one of

    RULES      tuple of Rule: added; one with the name of a rule of the bundle takes its place
    ROLES      tuple of Role: other floors, other reservations for a person; each takes the place of the role of its name
    POLICIES   tuple of (role, policy): who decides
    MEASURES   tuple of Measure (how: "paths"): facts measured anew from the recorded lists of changed paths
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, replace
from typing import Any

from loom.bundles import imports, registry
from loom.bundles.archives import BundleError, import_from
from loom.bundles.faults import role_faults, rule_faults
from loom.kernel.flow import Bundle, Measure, Role, Rule
from loom.kernel.policies import Policy
from loom.kernel.values import Capability, Pairs

MODULE = "rules.py"
PARTS: dict[str, type] = {"RULES": Rule, "ROLES": Role, "MEASURES": Measure}


@dataclass(frozen=True, slots=True)
class Changes:
    """What a file of rules adds or puts in the place of something."""

    rules: tuple[Rule, ...] = ()
    roles: tuple[Role, ...] = ()
    policies: Pairs = ()
    measures: tuple[Measure, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What is changed, for people."""
        roles = tuple(f"role {role.name}" for role in self.roles)
        policies = tuple(f"policy {role}={policy}" for role, policy in self.policies)
        return (*(rule.name for rule in self.rules), *roles, *policies)


class Unusable(Exception):
    """These rules cannot be used; `faults` has every reason, each a sentence."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def read(source: str, name: str) -> Changes:
    """What a file of rules says. Runs it. Raises Unusable."""
    if faults := imports.faults_of(name, source):
        raise Unusable(faults)
    data = source.encode()
    package = import_from({MODULE: data}, "whatif_" + hashlib.sha256(data).hexdigest(), f"<{name}>").__name__
    try:
        module = importlib.import_module(f"{package}.rules")
    except Exception as error:  # the author's code may raise anything
        raise Unusable([f"{name} raised {type(error).__name__}: {error}"]) from error
    found: dict[str, tuple[Any, ...]] = {part: _part(module, part, kind, name) for part, kind in PARTS.items()}
    changes = Changes(found["RULES"], found["ROLES"], _policies(module, name), found["MEASURES"])
    if not changes.names:
        raise Unusable([f"{name} changes nothing: it has none of RULES, ROLES and POLICIES"])
    if unknown := [measure.fact for measure in changes.measures if measure.how != "paths"]:
        raise Unusable([f"{name}: {', '.join(unknown)} can be measured anew from paths only (how: 'paths')"])
    return changes


def _part(module: object, part: str, kind: type, name: str) -> tuple[Any, ...]:
    found = getattr(module, part, ())
    if not isinstance(found, tuple) or not all(isinstance(each, kind) for each in found):
        raise Unusable([f"{name}: {part} is a tuple of {kind.__name__}"])
    return found


def _policies(module: object, name: str) -> Pairs:
    found = getattr(module, "POLICIES", ())
    known = tuple(policy.value for policy in Policy)
    if not isinstance(found, tuple) or not all(isinstance(each, tuple) and len(each) == 2 for each in found):
        raise Unusable([f"{name}: POLICIES is a tuple of (role, policy)"])
    pairs = tuple((str(role), str(policy)) for role, policy in found)
    if wrong := [policy for _, policy in pairs if policy not in known]:
        raise Unusable([f"{name}: {', '.join(wrong)} is no policy; there are: {', '.join(known)}"])
    return pairs


def changed(bundle: Bundle, changes: Changes) -> Bundle:
    """The bundle with the changes in it. Raises Unusable with what does not fit this bundle."""
    rules = {rule.name: rule for rule in bundle.rules} | {rule.name: rule for rule in changes.rules}
    roles = {role.name: role for role in bundle.roles}
    faults = [
        f"the bundle {bundle.name} has no role {name}"
        for name in (*(role.name for role in changes.roles), *(role for role, _ in changes.policies))
        if name not in roles
    ]
    roles |= {role.name: role for role in changes.roles}
    names = {measure.fact for measure in changes.measures}
    agents = tuple(
        replace(agent, measures=(*(m for m in agent.measures if m.fact not in names), *changes.measures))
        if agent.capability is Capability.EDIT
        else agent
        for agent in bundle.agents
    )
    other = replace(bundle, agents=agents, roles=tuple(roles.values()), rules=tuple(rules.values()))
    for rule in changes.rules:
        faults += rule_faults(rule, other)
    for role in changes.roles:  # a floor that a flow never reaches is no fault here: that is what is asked
        faults += role_faults(role, other)
    if faults:
        raise Unusable(faults)
    return other


def load(archive: bytes, digest: str) -> Bundle:
    """The bundle of an archive that runs were decided by. Raises Unusable."""
    try:
        return registry.load_archive(archive, digest)
    except BundleError as error:
        raise Unusable(list(error.faults)) from error
