"""Assignments: what a granted attempt's worker is told. Everything that it needs, and nothing of the process.

The coordinator renders no prompt: it sends the bundle's template with inputs. Short texts travel inside the message; a
long one by its id, and the worker fetches it over the blob socket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from loom.coordinator.bindings import BadReference, to_binding
from loom.coordinator.inbox import Granted
from loom.kernel.flow import Agent, Bundle
from loom.kernel.state import HomeState, ProjectState, SpawnState, TaskState, doubt_about
from loom.kernel.values import Capability, Finding, Text, get
from loom.kernel.work import Rules
from loom.workers.protocol import (
    Assign,
    Binding,
    Bound,
    Input,
    Measure,
    ProjectSetup,
    Prompt,
    Repair,
    WorkspaceRef,
    attempt_id,
)
from loom.workers.protocol import Capability as Hands

INLINE_BUDGET = 40 * 1024
"""Bytes of inputs that travel inside one assignment; what does not fit is fetched by id."""
BRANCH_PREFIX = "loom/"
LOCAL = "local"
"""The binding of agents that need no provider."""

_encode = msgspec.json.Encoder().encode
_setup = msgspec.json.Decoder(ProjectSetup)


@dataclass(frozen=True, slots=True)
class Fixed:
    """What is the same in every assignment of one agent of one bundle. named: the made inputs that its template names."""

    capability: Hands
    prompt: Prompt
    named: frozenset[str]
    output_schema: str
    measures: tuple[Measure, ...]


class Assigner:
    """Makes assignments. `rules`: by bundle digest; `home`: the present fold; `text`: bytes of a stored text."""

    def __init__(
        self,
        *,
        rules: Callable[[str], Rules],
        home: Callable[[], HomeState],
        text: Callable[[str], bytes],
        repositories: Path,
        lease_ms: int,
    ) -> None:
        self._rules = rules
        self._home = home
        self._text = text
        self._repositories = repositories
        self._lease_ms = lease_ms
        self._fixed: dict[tuple[str, str], Fixed] = {}

    def __call__(self, granted: Granted) -> Assign:
        """Raises ValueError with a sentence when no assignment can be made of it."""
        task = granted.task
        rules = self._rules(task.spec.rules_digest)
        state = next(s for s in task.spawns if s.id == granted.spawn)
        agent = rules.agents[state.agent]
        stage, iteration = _place(granted.spawn)
        fixed = self._fixed_of(task.spec.rules_digest, agent)
        return Assign(
            attempt=attempt_id(granted.spawn, granted.attempt),
            fence=granted.fence,
            task=task.spec.task,
            agent=agent.name,
            stage=stage,
            iteration=iteration,
            capability=fixed.capability,
            binding=_binding(state.chain[state.binding], state.binding),
            prompt=fixed.prompt,
            inputs=self._inputs(task, state, agent, fixed.named),
            output_schema=fixed.output_schema,
            workspace=self._workspace(task, state, granted.attempt),
            sandbox=task.spec.sandbox,
            bound=Bound(
                wall_ms=agent.wall_ms, cost_microusd=state.reserved or None, tokens=state.reserved_tokens or None
            ),
            lease_ms=self._lease_ms,
            measures=fixed.measures,
            setup=self._setup_of(task),
            repair=self._repair(state),
            record=get(task.spec.options, "record", ""),
            reconciles=doubt_about(task.doubts, state.agent, state.effect) if task.doubts else "",
        )

    # ------------------------------------------------------------------------------------------------------ inputs

    def _fixed_of(self, digest: str, agent: Agent) -> Fixed:
        found = self._fixed.get((digest, agent.name))
        if found is None:
            found = self._fixed[digest, agent.name] = _fixed(self._rules(digest).bundle, agent)
        return found

    def _inputs(self, task: TaskState, state: SpawnState, agent: Agent, named: frozenset[str]) -> tuple[Input, ...]:
        if agent.capability is Capability.ACT:
            return (_json("effect", self._effect(task, state)),)
        if not agent.prompt:
            return ()
        given = [_json(name, make(self, task, agent)) for name, make in MADE.items() if name in named]
        made = {artifact.name: artifact.text for artifact in task.artifacts}
        texts = {n: made.get(n, Text()) for n in (*agent.needs, *agent.wants)}
        texts["task"] = task.spec.text
        room = INLINE_BUDGET - sum(len(one.value) for one in given)
        for name, text in sorted(texts.items(), key=lambda pair: pair[1].size):
            if not text.blob:
                given.append(Input(name=name, value=text.value))
            elif text.size <= room:
                room -= text.size
                given.append(Input(name=name, value=self._read(text)))
            else:
                given.append(Input(name=name, text=text.blob))
        return tuple(given)

    def _blockers(self, task: TaskState, agent: Agent) -> list[dict[str, Any]]:
        return [self._finding(f) for f in (*task.carried, *_open(task.findings))]

    def _own_findings(self, task: TaskState, agent: Agent) -> list[dict[str, Any]]:
        return [self._finding(f) | {"status": f.status.value} for f in task.carried if f.agent == agent.name]

    def _messages(self, task: TaskState, agent: Agent) -> list[dict[str, Any]]:
        return [{"by": message.by, "text": self._read(message.text)} for message in task.messages]

    def _finding(self, finding: Finding) -> dict[str, Any]:
        report = finding.report
        return {
            "id": finding.id,
            "agent": finding.agent,
            "severity": report.severity.value,
            "category": report.category,
            "path": report.place.path,
            "line": report.place.line,
            "message": self._read(report.message),
            "evidence": self._read(report.evidence),
            "suggestion": self._read(report.suggestion),
        }

    def _read(self, text: Text, limit: int = 8 * 1024) -> str:
        if not text.blob:
            return text.value
        whole = self._text(text.blob)
        return whole[:limit].decode(errors="replace") + (" … (cut)" if len(whole) > limit else "")

    def _repair(self, state: SpawnState) -> Repair | None:
        if not state.repair_error.value and not state.repair_error.blob:
            return None
        return Repair(output=self._read(state.repair_output, 16 * 1024), error=self._read(state.repair_error))

    # --------------------------------------------------------------------------------------------- workspace, setup

    def _project(self, task: TaskState) -> ProjectState | None:
        return next((p for p in self._home().projects if p.id == task.spec.project), None)

    def _workspace(self, task: TaskState, state: SpawnState, attempt: int) -> WorkspaceRef | None:
        if not task.spec.project:
            return None
        return WorkspaceRef(
            source=str(self._repositories / f"{task.spec.project}.git"),
            commit=task.work,
            base=task.spec.base,
            publish=f"refs/loom/{state.id}/{attempt}",
            previous=task.previous if task.previous not in (task.work, task.spec.base) else "",
        )

    def _effect(self, task: TaskState, state: SpawnState) -> dict[str, Any]:
        """What a person asked for; else the delivery: the branch in the person's repository, never forced."""
        project = self._project(task)
        asked = dict(state.effect) or {"kind": "branch"}
        return {
            "branch": f"{BRANCH_PREFIX}{task.spec.task}",
            **asked,
            "place": project.place if project and project.kind == "git" else "",
            "work": task.work,
        }

    def _setup_of(self, task: TaskState) -> ProjectSetup:
        """What the project's configuration may say: exactly what a person trusted, if the task's base still has it."""
        project = self._project(task)
        config = get(task.spec.options, "config", "")
        if project is None or not config or project.trusted != config:
            return ProjectSetup()
        try:
            return msgspec.structs.replace(_setup.decode(self._read(project.setup, 1 << 20)), trusted=True)
        except msgspec.MsgspecError as error:
            raise ValueError(f"the trusted configuration of project {project.name} cannot be read: {error}") from error


def _open(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(f for f in findings if f.status.value == "open")


MADE: dict[str, Callable[[Assigner, TaskState, Agent], Any]] = {
    "round": lambda assigner, task, agent: task.round,
    "iteration": lambda assigner, task, agent: get(task.iterations, task.stage, 1),
    "blockers": Assigner._blockers,
    "own_findings": Assigner._own_findings,
    "messages": Assigner._messages,
    "facts": lambda assigner, task, agent: dict(task.facts),
}
"""Inputs that are made of the task's state, for the templates that name them."""


def _fixed(bundle: Bundle, agent: Agent) -> Fixed:
    system, user = bundle.templates.get(agent.prompt, ("", ""))
    digest = hashlib.sha256(f"{system}\x00{user}".encode()).hexdigest()
    return Fixed(
        capability=Hands(agent.capability.value),
        prompt=Prompt(digest=digest, system=system, user=user),
        named=frozenset(name for name in MADE if name in system or name in user),
        output_schema=bundle.outputs.get(agent.output, ""),
        measures=tuple(Measure(fact=m.fact, how=m.how, patterns=m.patterns) for m in agent.measures),
    )


def _place(spawn: str) -> tuple[str, int]:
    """(stage, iteration) of a spawn's name."""
    stage, _, iteration = spawn.split("/")[1].rpartition(".")
    return stage, int(iteration)


@lru_cache(maxsize=1024)
def _binding(ref: str, index: int) -> Binding:
    if ref == LOCAL:
        return Binding(ref=LOCAL, family=LOCAL, model="", index=index)
    try:
        return to_binding(ref, index)
    except BadReference as error:
        raise ValueError(str(error)) from error


def _json(name: str, value: object) -> Input:
    return Input(name=name, media="json", value=_encode(value).decode())
