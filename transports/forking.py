"""Forks for surfaces: where a new task goes on from another one's record, and under which rules and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loom.bundles import registry
from loom.bundles.archives import BundleError
from loom.coordinator.client import Client, make_text
from loom.coordinator.entry import decode_entry
from loom.coordinator.queries import Queries
from loom.kernel.commands import KeepBundle, Submit
from loom.kernel.events import StageEntered
from loom.kernel.flow import Bundle
from loom.kernel.fold import evolve
from loom.kernel.heritage import Inherited
from loom.kernel.state import TaskState
from loom.kernel.values import AgentBinding, Verdict
from loom.transports import catalogue
from loom.transports.asking import taken
from loom.transports.backends import Chooser, parse_choices
from loom.transports.errors import UnavailableProblem, UsageProblem
from loom.transports.ids import new_task_id
from loom.transports.orders import micro_usd
from loom.transports.submit import check_keys

DRAWS = 3
"""Ids that are drawn when one is taken already."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fork begins: the origin's own command, its entry n, and the stage that is entered again."""

    submit: Submit
    n: int
    seq: int
    stage: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be other than in the origin. "" : nothing."""

    bundle: str = ""
    policy: str = ""
    models: Sequence[str] = ()
    budget_usd: str = ""
    message: str = ""


async def place_of(queries: Queries, task: str, at: str) -> Place:
    """Where `at` is: the number of an entry (as `loom log` shows it), a stage, or "" for the latest place there is.

    Raises UsageProblem.
    """
    submit: Submit | None = None
    state: TaskState | None = None
    last: tuple[int, int, str] | None = None
    entered: list[str] = []
    async for seq, body in queries.entries(task):
        entry = decode_entry(body)
        if submit is None and isinstance(entry.command, Submit):
            submit = entry.command
        state = evolve(state, entry.events, entry.now_ms)
        stages = [event.stage for event in entry.events if isinstance(event, StageEntered)]
        entered += stages
        if state.verdict is not Verdict.NONE:
            continue
        if at.isdecimal() or not at:
            last = (seq, entry.n, state.stage) if not at or seq == int(at) else last
        elif at in stages:
            last = (seq, entry.n, at)
    if submit is None or last is None:
        raise UsageProblem(*_nowhere(task, at, entered))
    seq, n, stage = last
    return Place(submit, n, seq, stage)


def _nowhere(task: str, at: str, entered: Sequence[str]) -> tuple[str, str]:
    names = ", ".join(dict.fromkeys(entered)) or "none"
    what = f"entry {at} of task {task} before its verdict" if at.isdecimal() else f"stage {at!r} in task {task}"
    return f"There is no {what}.", f"loom log {task}; stages that were entered: {names}"


def fork(client: Client, place: Place, wishes: Wishes, chooser: Chooser) -> str:
    """Starts the task that goes on from there. Returns its id. Raises Problems as `loom run` does."""
    submit = _wished(client, place.submit, wishes, chooser)
    message, texts = make_text(wishes.message)
    asked = Inherited(place.n, place.stage, message)
    for _ in range(DRAWS):
        task = new_task_id()
        command = replace(submit, task=task, origin_task=place.submit.task, inherited=asked)
        answered = client.call(command, task=task, texts=texts, key=f"submit:{task}")
        if answered.code != "task_exists":
            taken(answered)
            return task
    raise UnavailableProblem(f"{DRAWS} task ids in a row were taken already.", "loom doctor")


def _wished(client: Client, submit: Submit, wishes: Wishes, chooser: Chooser) -> Submit:
    """The origin's command with what is wished otherwise. Everything is checked before anything is sent."""
    bundle = catalogue.load(wishes.bundle) if wishes.bundle else None
    if wishes.policy:
        preset = catalogue.check_preset(bundle, wishes.policy) if bundle else wishes.policy
        submit = replace(submit, preset=preset)
    if wishes.budget_usd:
        submit = replace(submit, caps=replace(submit.caps, cost=micro_usd(wishes.budget_usd)))
    if wishes.models:
        submit = replace(submit, bindings=_bound(submit, bundle or catalogue.load(submit.bundle), wishes, chooser))
        check_keys(client, client.describe(), [(each.agent, each.chain) for each in submit.bindings])
    if bundle is not None:
        keep(client, bundle, wishes.bundle)
        submit = replace(submit, bundle=bundle.name, rules_digest=bundle.digest)
    return submit


def _bound(submit: Submit, bundle: Bundle, wishes: Wishes, chooser: Chooser) -> tuple[AgentBinding, ...]:
    """The origin's chains, and the wished ones in their place."""
    agents = catalogue.agents(bundle)
    choices = parse_choices(wishes.models, agents)
    chains = {each.agent: each.chain for each in submit.bindings}
    for agent in agents:
        if chosen := choices.get(agent.name) or choices.get("*"):
            chains[agent.name] = chooser.chain(chosen, agent.tier)
    return tuple(AgentBinding(agent, chain) for agent, chain in sorted(chains.items()))


def keep(client: Client, bundle: Bundle, ref: str) -> None:
    """Hand a bundle over that the coordinator would not find by its name: one of a folder."""
    try:
        if registry.load(bundle.name).digest == bundle.digest:
            return
    except BundleError:
        pass
    archive, texts = make_text(registry.archive(ref))
    answered = client.call(KeepBundle(name=bundle.name, digest=bundle.digest, archive=archive), texts=texts)
    if answered.code != "bundle_kept":
        taken(answered)
