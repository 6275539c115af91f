"""Bundles as a surface needs them: found, loaded, and asked for their agents, flows and presets."""

from __future__ import annotations

from loom.bundles import registry
from loom.bundles.archives import BundleError
from loom.kernel.flow import Bundle
from loom.kernel.values import Capability
from loom.transports.backends import Agent
from loom.transports.errors import UsageProblem

THINKING = frozenset({Capability.ANSWER, Capability.READ, Capability.EDIT})
"""Capabilities that are served by a model."""


def load(ref: str) -> Bundle:
    """The bundle of a name or path. Raises UsageProblem."""
    try:
        return registry.load(ref)
    except BundleError as error:
        raise UsageProblem(f"The bundle {ref!r} cannot be used: {'; '.join(error.faults)}.") from error


def agents(bundle: Bundle) -> tuple[Agent, ...]:
    """The agents that take a model, in the bundle's order."""
    return tuple(
        Agent(agent.name, agent.tier.value, thinks=True) for agent in bundle.agents if agent.capability in THINKING
    )


def check_flow(bundle: Bundle, flow: str) -> str:
    """The flow, "" for the classifier's choice. Raises UsageProblem for one that the bundle has not."""
    names = [known.name for known in bundle.flows]
    if flow and flow not in names:
        raise UsageProblem(f"The bundle {bundle.name} has no flow {flow!r}.", f"its flows are {', '.join(names)}")
    return flow


def check_preset(bundle: Bundle, preset: str) -> str:
    """The preset, the bundle's default for "". Raises UsageProblem for one that the bundle has not."""
    names = [name for name, _ in bundle.presets]
    if preset and preset not in names:
        raise UsageProblem(
            f"The bundle {bundle.name} has no policy {preset!r}.", f"its policies are {', '.join(names)}"
        )
    return preset or bundle.default_preset
