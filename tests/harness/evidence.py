"""A home with a signed task, and its evidence: what tests of the verifier judge, change and judge again.

case = Case(folder)
case.judge()                              # everything that it needs is given
case.judge(case.changed("read.md", …))    # one part changed, the file canonical again
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.proving import Proved
from harness.signing import Signer
from loom.coordinator.proof import evidence, notes
from loom.coordinator.proof.export import export
from loom.coordinator.proof.judging import Judgement, Level, State
from loom.coordinator.proof.verify import verify
from loom.kernel.commands import EnrolKey
from loom.kernel.values import PrincipalKind
from loom.transports.proving import replayer


class Case:
    """A home with two tasks, one of them signed, and the evidence of the signed one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = Signer.make(folder / "ada")
        self.made = Proved.make(folder)
        self.made.ask(EnrolKey("ada", PrincipalKind.PERSON, self.signer.public))
        self.made.task("t1", signer=self.signer)
        self.made.task("t2")
        self.made.close()
        self.file = folder / "t1.loom-evidence"
        export(self.made.home, self.file, task="t1")
        self.approvers = {"ada": frozenset({self.signer.public})}
        self.replay = replayer([str(self.made.bundle)])

    def judge(self, path: Path | None = None, *, witness: str = "") -> Judgement:
        return verify(
            path or self.file,
            key=notes.verifier_key(self.made.key),
            approvers=self.approvers,
            witnesses=[notes.verifier_key(witness)] if witness else [],
            replay=self.replay,
        )

    def changed(self, name: str, change: Callable[[bytes], bytes]) -> Path:
        """The file with one part changed, canonical again."""
        opened = evidence.open_evidence(self.file)
        parts = {each: opened.part(each) for each in opened.names}
        opened.close()
        parts[name] = change(parts[name])
        target = self.folder / "changed"
        evidence.write(target, parts, parts.__getitem__)
        return target


def states(judgement: Judgement) -> list[State]:
    return [judgement.state(level) for level in Level]


def wrong(judgement: Judgement) -> str:
    """What is wrong, in words."""
    return "\n".join(f"{line.level} {line.part} {line.said}" for line in judgement.lines if line.state is State.BAD)
