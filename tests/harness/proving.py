"""A home with finished tasks, made in this process by the real core: what proofs are made of and broken on.

made = Proved.make(tmp_path)
made.task("t1")                           # write, read, accept: accepted
made.task("t2", signer=signer)            # accepted by a person's own key
made.close()
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.bundle_files import write as write_small
from harness.ledger import salted
from harness.signing import Signer
from loom.bundles import archives, registry
from loom.coordinator.home import Home
from loom.coordinator.inbox import Granted, Outcome, Reply, Request, SaltedText, Slot
from loom.coordinator.opening import Opened, open_home
from loom.coordinator.proof import approvals
from loom.kernel import commands as c
from loom.kernel.values import AgentBinding, AnswerWord, Caps, End, Execution, Principal, PrincipalKind, Text, Usage

ADA = Principal("ada", PrincipalKind.PERSON, "cli")
WORKER = Principal("w1", PrincipalKind.WORKER, "fabric")
SLOT = Slot("w1", "boot", 9)
BEGAN = 1_700_000_000_000


@dataclass
class Proved:
    """The home, opened."""

    home: Home
    bundle: Path
    opened: Opened
    now_ms: int = BEGAN
    asked: int = 0

    @classmethod
    def make(cls, folder: Path) -> Proved:
        home = Home(folder / "home")
        return cls(home, write_small(folder / "bundle"), open_home(home, version="0", now_ms=BEGAN))

    @property
    def key(self) -> str:
        """The log's public key line."""
        return (self.home.keys / "log.pub").read_text(encoding="ascii").strip()

    def close(self) -> None:
        """As a coordinator leaves: the head is signed."""
        self.opened.notary.sign(self.opened.core.head.edge, self.now_ms)
        self.opened.core.store.close()

    def reopen(self) -> None:
        self.opened = open_home(self.home, version="0", now_ms=self.now_ms)

    def ask(
        self,
        command: c.Command,
        *,
        task: str = "",
        by: Principal = ADA,
        texts: tuple[SaltedText, ...] = (),
        key: str = "",
    ) -> Reply:
        """One command that must be applied."""
        self.asked += 1
        self.now_ms += 1_000
        request = Request(key or f"key{self.asked}", by, task, command, texts)
        (reply,) = self.opened.core.turn([request], (), self.now_ms).replies
        assert Outcome.APPLIED is reply.outcome, reply
        return reply

    def signed(self, command: c.Signable, signer: Signer, task: str = "") -> Reply:
        """One command with the person's signature."""
        key = f"signed{self.asked}"
        payload = approvals.payload(
            command, origin=self.opened.core.head.home.origin, task=task, principal=ADA.id, key=key,
            not_after_ms=self.now_ms + 60_000,
        )  # fmt: skip
        made = approvals.approval(payload, signer.public, signer.sign(payload.encode(), approvals.TYPE))
        return self.ask(replace(command, approval=made), task=task, key=key)

    def task(self, task: str, *, signer: Signer | None = None) -> None:
        """A task that is written, read and accepted."""
        self._submit(task)
        for agent, outcome in (("writer", "done"), ("reader", "approve")):
            self.report(self._grant(task), agent, outcome)
        state = self.opened.core.task(task)
        assert state is not None
        assert state.gate is not None, state
        gate = state.gate
        answer = c.Answer(
            gate.id, AnswerWord.ACCEPT, base=gate.base, subject=gate.subject, change=gate.change,
            policy_digest=gate.policy_digest, root=gate.root,
        )  # fmt: skip
        if signer is None:
            self.ask(answer, task=task)
        else:
            self.signed(answer, signer, task)

    def _submit(self, task: str) -> None:
        data = registry.archive(str(self.bundle))
        digest = archives.digest_of(data)
        if digest not in dict(self.opened.core.head.home.bundles):
            kept = salted(data, bytes(16))
            keep = c.KeepBundle(name="small", digest=digest, archive=Text(blob=kept.id, size=kept.size))
            self.ask(keep, texts=(kept,))
            self.opened.library.kept(keep)
        submit = c.Submit(
            task=task, project="p", bundle="small", rules_digest=digest, semantics=1, text=Text("write it", "", 8),
            flow="", preset="autonomous", policies=(("final", "human"),), base="base", subject="subject",
            bindings=(AgentBinding("*", ("recorded:x",)),), caps=Caps(),
        )  # fmt: skip
        self.ask(submit)

    def _grant(self, task: str) -> Granted:
        self.now_ms += 1_000
        granted = self.opened.core.turn([], [SLOT], self.now_ms).granted
        return next(each for each in granted if each.task.spec.task == task)

    def report(self, granted: Granted, agent: str, outcome: str, signature: str = "") -> None:
        """What the worker brings: a text, a fact, and a long output of its own."""
        output = salted(f"what {agent} said about {granted.spawn}; ".encode() * 20, b"0123456789abcdef")
        writes = agent == "writer"
        ended = c.AttemptEnded(
            granted.spawn, granted.attempt, granted.fence, End.REPORTED, outcome=outcome,
            facts=(("good", "yes"),) if writes else (), artifacts=(("text", Text("a text", "", 6)),) if writes else (),
            summary=Text("well", "", 4), output=Text(blob=output.id, size=output.size),
            usage=Usage(10, 5, 0, 1, 7, "p"), execution=Execution("w1", "boot", signature=signature),
        )  # fmt: skip
        self.ask(ended, task=granted.task.spec.task, by=WORKER, texts=(output,))
