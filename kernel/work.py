"""The bench that a tick works at: the rules, the draft, and what has been emitted so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from loom.kernel import events as e
from loom.kernel.draft import Draft
from loom.kernel.effects import Effect
from loom.kernel.facts import View
from loom.kernel.flow import Agent, Bundle, Flow, Role, Stage
from loom.kernel.fold import FOLDS
from loom.kernel.limits import INLINE_TEXT_BYTES, SEMANTICS
from loom.kernel.state import SpawnState, TaskState
from loom.kernel.values import Principal, PrincipalKind, Text


class Refused(Exception):
    """A command that cannot be taken: stale, malformed, not allowed. The state is as before.

    code: stable, for programs; sentence: what happened, to what, and how to mend it.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Unanswered(Exception):
    """A function of the bundle gave no answer: it took too long or failed. Recorded in the entry, with the reason, as an
    input: replay takes both from there, since a reason may differ from run to run."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = brief(reason)
        super().__init__(f"{name} did not answer: {self.reason}")

    @property
    def recorded(self) -> str:
        """How it stands in the entry."""
        return f"{self.name}: {self.reason}"


def recorded_silence(name: str, unanswered: Iterable[str]) -> Unanswered | None:
    """The silence of a function that an entry has on record; None: it answered."""
    for recorded in unanswered:
        if recorded.startswith(f"{name}: "):
            return Unanswered(name, recorded[len(name) + 2 :])
    return None


class Home(Protocol):
    """What a tick may read about the home, by name; recorded in the entry, so that one task replays alone."""

    def read(self, name: str) -> str: ...


Asking = Callable[..., Any]
"""`ask(name, function, *arguments)` runs a function of the bundle; raises Unanswered. Live: under a time limit."""


def ask_directly(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs the function; its exception is "did not answer"."""
    try:
        return function(*arguments)
    except Exception as error:
        raise Unanswered(name, f"{type(error).__name__}: {error}") from error


POLICY = Principal(id="policy", kind=PrincipalKind.POLICY, via="kernel", assurance="A0")
SYSTEM = Principal(id="loom", kind=PrincipalKind.SYSTEM, via="kernel", assurance="A0")


@dataclass(frozen=True)
class Rules:
    """A bundle with its indexes: what one task's decisions are taken under."""

    bundle: Bundle
    semantics: int
    agents: dict[str, Agent]
    flows: dict[str, Flow]
    roles: dict[str, Role]
    stages: dict[tuple[str, str], int]
    """(flow, stage) → its place in the flow."""

    def stage(self, flow: str, stage: str) -> Stage:
        return self.flows[flow].stages[self.stages[flow, stage]]


def rules_for(bundle: Bundle, semantics: int = SEMANTICS) -> Rules:
    """The rules of a bundle, indexed; callers keep them by digest, since indexing costs more than a tick."""
    return Rules(
        bundle=bundle,
        semantics=semantics,
        agents={agent.name: agent for agent in bundle.agents},
        flows={flow.name: flow for flow in bundle.flows},
        roles={role.name: role for role in bundle.roles},
        stages={(flow.name, stage.name): i for flow in bundle.flows for i, stage in enumerate(flow.stages)},
    )


class Work:
    """One tick in the making. `emit` folds each event at once, so that later decisions see it."""

    __slots__ = ("_view", "ask", "draft", "effects", "events", "goto", "home", "now_ms", "principal", "rules")

    def __init__(
        self, rules: Rules, task: TaskState, home: Home, principal: Principal, now_ms: int, ask: Asking
    ) -> None:
        self.rules = rules
        self.draft = Draft(task)
        self.home = home
        self.principal = principal
        self.now_ms = now_ms
        self.ask = ask
        self.events: list[e.TaskEvent] = []
        self.effects: list[Effect] = []
        self.goto: tuple[str, tuple[str, ...]] | None = None
        self._view: View | None = None

    def emit(self, event: e.TaskEvent) -> None:
        self.events.append(event)
        fold = FOLDS.get(type(event))
        if fold is not None:
            fold(self.draft, event)

    @property
    def view(self) -> View:
        """The draft as guards see it; what they read is gathered until `because` takes it."""
        if self._view is None:
            self._view = View(self.draft)
        return self._view

    def because(self) -> tuple[str, ...]:
        """What was read since the last call."""
        if self._view is None or not self._view.reads:
            return ()
        reads = tuple(dict.fromkeys(self._view.reads))
        self._view.reads.clear()
        return reads

    @property
    def task(self) -> str:
        return self.draft.spec.task

    @property
    def flow(self) -> Flow:
        return self.rules.flows[self.draft.flow]

    @property
    def stage(self) -> Stage:
        return self.rules.stage(self.draft.flow, self.draft.stage)

    def agent(self, spawn: SpawnState) -> Agent:
        return self.rules.agents[spawn.agent]


CUT_MARK = " …"


def brief(sentence: str) -> str:
    """The sentence as it may stand inline in an event: valid UTF-8, cut where it is longer than a text may be inline."""
    data = sentence.encode(errors="replace")
    if len(data) > INLINE_TEXT_BYTES:
        return data[: INLINE_TEXT_BYTES - len(CUT_MARK.encode())].decode(errors="ignore") + CUT_MARK
    return data.decode()


def say(sentence: str) -> Text:
    """A short text of the kernel's own."""
    value = brief(sentence)
    return Text(value=value, size=len(value.encode()))
