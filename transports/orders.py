"""An order: what a person asks for, checked against everything that there is before anything is created.

    Order (raw words)  ──check──▶  Plan (bundle, flow, chains, project …: all of it known to be there)  ──▶  submit

`check` creates nothing, not even a home; it raises UsageProblem or UnavailableProblem with one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

from loom.coordinator.client import make_text
from loom.coordinator.inbox import HOME_LABEL
from loom.kernel import commands as c
from loom.kernel.flow import Bundle
from loom.kernel.limits import SEMANTICS
from loom.kernel.values import AgentBinding, Caps, Pairs
from loom.transports import backends, catalogue, projects
from loom.transports.backends import Chooser, Machine
from loom.transports.errors import UnavailableProblem, UsageProblem, sentence
from loom.transports.projects import Fetched, Probed
from loom.transports.settings import Settings
from loom.workers.protocol import MAX_INLINE
from loom.workers.protocol import Text as SentText

MAX_TASK_TEXT = MAX_INLINE
"""Bytes of a task's text; a longer one belongs into a file of the project, which the text can name."""
MAX_BUDGET_USD = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, in the words of the surface. "" and 0: the settings decide."""

    text: str
    directory: Path
    bundle: str = ""
    flow: str = ""
    policy: str = ""
    models: Sequence[str] = ()
    sandbox: str = ""
    budget_usd: str = ""
    priority: int | None = None
    record: str = ""
    with_changes: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """An order that can be carried out. project: its id; place: its directory, or the top level of its work tree."""

    text: str
    bundle: Bundle
    flow: str
    preset: str
    chains: tuple[tuple[str, tuple[str, ...]], ...]
    caps: Caps
    sandbox: str
    priority: int
    record: str
    probed: Probed
    project: str
    place: Path
    with_changes: bool = False
    trusted: bool = False
    """Whether a person trusts the project's configuration as it is."""

    @property
    def kind(self) -> str:
        return "git" if self.probed.is_git else "directory"

    @property
    def requires(self) -> tuple[str, ...]:
        """Labels that every worker of this task needs: those that a trusted configuration names, and the home's own
        machine where files of it are read or written that are in no commit."""
        setup = self.probed.setup
        named = setup.requires if self.trusted else ()
        beside = self.record or (self.trusted and setup.include)
        return tuple(dict.fromkeys((*named, *((HOME_LABEL,) if beside else ()))))


def check(order: Order, settings: Settings, machine: Machine) -> Plan:
    """The plan of an order. Creates nothing."""
    text = _text(order.text)
    bundle = catalogue.load(order.bundle or settings.run.bundle)
    flow = catalogue.check_flow(bundle, order.flow or settings.run.flow)
    preset = catalogue.check_preset(bundle, order.policy or settings.run.policy)
    caps = replace(bundle.caps, cost=micro_usd(order.budget_usd or str(settings.run.budget_usd or "0")))
    record = _record(order.record)
    agents = catalogue.agents(bundle)
    choices = backends.parse_choices(order.models, agents)
    probed = projects.probe(order.directory)
    if probed.refusal:
        raise UnavailableProblem(sentence(probed.refusal))
    chains = Chooser(machine, settings.models).chains(agents, choices)
    place = place_of(order.directory, probed)
    return Plan(
        text=text,
        bundle=bundle,
        flow=flow,
        preset=preset,
        chains=chains,
        caps=caps,
        sandbox=order.sandbox or settings.run.sandbox,
        priority=settings.run.priority if order.priority is None else order.priority,
        record=record,
        probed=probed,
        project=projects.project_id(place),
        place=place,
        with_changes=order.with_changes,
    )


def submission(plan: Plan, task: str, base: Fetched) -> tuple[c.Submit, tuple[SentText, ...]]:
    """The command that starts the task, and the texts that it names."""
    text, sent = make_text(plan.text)
    options: Pairs = tuple(
        sorted(
            (name, value) for name, value in (("config", plan.probed.config_digest), ("record", plan.record)) if value
        )
    )
    command = c.Submit(
        task=task,
        project=plan.project,
        bundle=plan.bundle.name,
        rules_digest=plan.bundle.digest,
        semantics=SEMANTICS,
        text=text,
        flow=plan.flow,
        preset=plan.preset,
        policies=(),
        base=base.commit,
        subject=base.tree,
        bindings=tuple(AgentBinding(agent, chain) for agent, chain in plan.chains),
        caps=plan.caps,
        sandbox=plan.sandbox,
        priority=plan.priority,
        requires=plan.requires,
        options=options,
    )
    return command, sent


def micro_usd(text: str) -> int:
    """Dollars as micro-units, exactly. Raises UsageProblem."""
    try:
        amount = Decimal(text.strip().removeprefix("$")) * 1_000_000
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= MAX_BUDGET_USD * 1_000_000 or amount != int(amount):
        raise UsageProblem(f"{text!r} is not an amount of dollars.", "--budget 2.50")
    return int(amount)


def _text(text: str) -> str:
    try:
        size = len(text.strip().encode())
    except UnicodeEncodeError as error:
        raise UsageProblem("The task's text is not valid UTF-8.") from error
    if not size:
        raise UsageProblem("The task has no text.", 'loom run "what shall be done"')
    if size > MAX_TASK_TEXT:
        raise UsageProblem(
            f"The task's text has {size} bytes; at most {MAX_TASK_TEXT} are taken.",
            "put it into a file of the project, and name the file in the task",
        )
    return text.strip()


def _record(name: str) -> str:
    """The absolute path of the file that replies are recorded to; it must be possible to write it."""
    if not name:
        return ""
    path = Path(name).expanduser().absolute()
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageProblem(f"Replies cannot be recorded to {path}.", "name a file in a directory that you can write to")
    return str(path)


def place_of(directory: Path, probed: Probed) -> Path:
    """The directory, or the top level of its work tree, as it is on disk: the probe quotes names that are not UTF-8."""
    if not probed.is_git:
        return Path(os.path.realpath(directory))
    here = Path(os.path.realpath(directory))
    for candidate in (here, *here.parents):
        if (candidate / ".git").exists():
            return candidate
    return Path(probed.top)
