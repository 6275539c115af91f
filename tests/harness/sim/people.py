"""People in the simulator: they submit, answer gates, pause, resume and cancel; and ask again, with the same key, until
somebody answers. A person reads what the database has now, and may act on what is not true any more."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import msgspec

from harness.sim.coordinator import NAME, CoordinatorNode
from harness.sim.plan import Plan
from harness.sim.world import World
from loom.coordinator import api
from loom.coordinator.codec import encode_command
from loom.kernel import commands as c
from loom.kernel.facts import live_blockers
from loom.kernel.flow import Bundle
from loom.kernel.limits import SEMANTICS
from loom.kernel.state import GateState, TaskState
from loom.kernel.values import Acceptance, AgentBinding, AnswerWord, Caps, Counts, ParkCode, Text

ASK_AGAIN_MS = 700
LOOK_MS = 1_500
ANSWERS = 40
"""After so many answers a person has had enough, and abandons."""


def token_of(person: str) -> str:
    """What a person's client brings."""
    return f"client-token-of-{person}"


@dataclass
class Asked:
    """One call: its frame, and every answer to it."""

    key: str
    frame: bytes
    answers: list[api.Answered] = field(default_factory=list)
    denials: list[api.Denied] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return not self.answers


class Person:
    """One client. `asked`: by key, in order."""

    def __init__(self, world: World, coordinator: CoordinatorNode, name: str, plan: Plan) -> None:
        self.world, self.coordinator, self.name, self.plan = world, coordinator, name, plan
        self.asked: dict[str, Asked] = {}
        self.calm = False
        self._draw = world.stream(f"person {name}")
        self._answers: dict[tuple[str, str], str] = {}
        """(task, gate) → the key of our answer to it."""
        self._resumes: dict[str, str] = {}
        coordinator.clients[name] = self.hear
        world.after(self._draw.randint(300, LOOK_MS), self._look, name)

    @property
    def waits(self) -> list[str]:
        """Keys of calls that nobody has answered."""
        return [asked.key for asked in self.asked.values() if asked.open]

    # ------------------------------------------------------------------------------------------------- calls

    def ask(self, command: c.Command, task: str) -> str:
        """A new call; returns its key."""
        key = f"{self.name}-{len(self.asked) + 1}"
        nonce = f"{self._draw.getrandbits(64):x}"
        raw = msgspec.Raw(encode_command(command))
        call = api.Call(token=token_of(self.name), key=key, via="sim", command=raw, task=task, nonce=nonce)
        self.asked[key] = Asked(key, api.encode(call))
        self._send(key)
        return key

    def _send(self, key: str) -> None:
        """Until it is answered; and now and then once more, by a client that did not see the answer."""
        asked = self.asked[key]
        if asked.open or (not self.calm and self._draw.random() < 0.1):
            deliver = functools.partial(self.coordinator.client_says, self.name.encode(), asked.frame)
            self.world.send(self.name, NAME, asked.frame, deliver)
            self.world.after(ASK_AGAIN_MS, lambda: self._send(key), self.name)

    def hear(self, frame: bytes) -> None:
        said = api.decode_to_client(frame)
        if isinstance(said, api.Answered) and said.key in self.asked:
            self.asked[said.key].answers.append(said)
        elif isinstance(said, api.Denied) and said.key in self.asked:
            self.asked[said.key].denials.append(said)

    def submit(self, task: str, bundle: Bundle) -> None:
        """A new task; and perhaps second thoughts about it."""
        self.ask(
            c.Submit(
                task=task,
                project="",
                bundle=bundle.name,
                rules_digest=bundle.digest,
                semantics=SEMANTICS,
                text=Text(value="do it", size=5),
                flow="",
                preset=self._draw.choice(bundle.presets)[0],
                policies=(),
                base="base",
                subject="subject",
                bindings=(AgentBinding("*", ("stub:one", "stub:two")),),
                caps=Caps(attempts=200, rounds=20, cost=self.plan.cost_cap),
                priority=self._draw.choice((0, 0, 1)),
            ),
            task,
        )
        for command, chance in ((c.Pause(), 1.0), (c.Cancel(), 0.5), (c.Resume(), 0.3)):
            if self._draw.random() < self.plan.moody * chance:
                wait_ms = self._draw.randint(300, self.plan.bad_ms)
                self.world.after(wait_ms, functools.partial(self._change_mind, command, task), self.name)

    def _change_mind(self, command: c.Command, task: str) -> None:
        self.ask(command, task)

    # ------------------------------------------------------------------------------------------------- looking

    def _look(self) -> None:
        """Answer the gates that are open now and resume what is paused, as a reader of the database would see them."""
        rounds = self.coordinator.rounds
        if rounds is not None:
            for task_id in rounds.core.store.open_tasks():
                task = rounds.core.task(task_id)
                if task is not None and task.gate is not None:
                    self._see_gate(task, task.gate)
                elif task is not None and task.paused and self._settled(self._resumes.get(task_id)):
                    self._resumes[task_id] = self.ask(c.Resume(), task_id)
        self.world.after(LOOK_MS, self._look, self.name)

    def _settled(self, key: str | None) -> bool:
        """Whether nothing is to be expected from a call any more."""
        return key is None or not self.asked[key].open

    def _see_gate(self, task: TaskState, gate: GateState) -> None:
        place = (task.spec.task, gate.id)
        before = self._answers.get(place)
        if self._settled(before):
            word = self._word(gate) if before is None else AnswerWord.ABANDON
            if before is not None and word not in gate.answers:
                word = gate.answers[0]
            self._answers[place] = self.ask(self._answer(task, gate, word), place[0])

    def _word(self, gate: GateState) -> AnswerWord:
        if len(self._answers) >= ANSWERS and AnswerWord.ABANDON in gate.answers:
            return AnswerWord.ABANDON
        if not self.calm and self._draw.random() < self.plan.moody:
            return self._draw.choice(gate.answers)
        wishes = (AnswerWord.RETRY, AnswerWord.RAISE, AnswerWord.ACCEPT, AnswerWord.REVISE, AnswerWord.ABANDON)
        return next(word for word in wishes if word in gate.answers)

    def _answer(self, task: TaskState, gate: GateState, word: AnswerWord) -> c.Answer:
        accepts: tuple[Acceptance, ...] = ()
        if word is AnswerWord.ACCEPT:
            meant = Text(value="it is meant", size=11)
            accepts = tuple(Acceptance(finding.id, meant) for finding in live_blockers(task.findings))
        raises: Counts = ()
        if word is AnswerWord.RAISE and task.parked is not None and task.parked.code is ParkCode.COST:
            raises = (("cost", (task.caps.cost + task.spent.cost) * 2),)
        message = Text() if word in (AnswerWord.RAISE, AnswerWord.ABANDON) else Text(value="go on", size=5)
        return c.Answer(
            gate=gate.id,
            word=word,
            message=message,
            accepts=accepts,
            raises=raises,
            base=gate.base,
            subject=gate.subject,
            change=gate.change,
            policy_digest=gate.policy_digest,
            root=gate.root,
        )
