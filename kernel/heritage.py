"""What a task takes over from another one when it is forked from it: results, never decisions.

Results are what agents said, made and measured: they were paid for and stand in the other task's record. Decisions are
people's and policies' words about that task; they hold nowhere else, so an approval, an accepted blocker, or a waived review
is not taken over, and the gate asks again.
"""

from __future__ import annotations

from dataclasses import dataclass

from loom.kernel.values import NO_TEXT, Artifact, CarriedMessage, Counts, Evidence, Finding, Pairs, Text


@dataclass(frozen=True, slots=True)
class Inherited:
    """What is taken over. n: the other task's entry up to which; stage: where the new task goes on; message: a person's word
    to the agents there. These three are asked for; the rest is read from the other task's record by whoever holds it.

    settled: agents of the stage whose results stand already. iterations: without the entering that is done again.
    """

    n: int
    stage: str
    message: Text = NO_TEXT
    flow: str = ""
    base: str = ""
    round: int = 1
    iterations: Counts = ()
    subject: str = ""
    work: str = ""
    previous: str = ""
    change: str = ""
    change_text: Text = NO_TEXT
    change_list: Text = NO_TEXT
    author: str = ""
    outcomes: Pairs = ()
    settled: tuple[str, ...] = ()
    facts: Pairs = ()
    findings: tuple[Finding, ...] = ()
    finding_count: int = 0
    carried: tuple[Finding, ...] = ()
    messages: tuple[CarriedMessage, ...] = ()
    stalls: Counts = ()
    evidence: tuple[Evidence, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    owner: str = ""


@dataclass(frozen=True, slots=True)
class TaskForked:
    """A task begins with the results of another one, up to its entry n. What has an event of its own follows as such."""

    origin: str
    n: int
    stage: str
    round: int
    iterations: Counts
    outcomes: Pairs
    previous: str
    finding_count: int
    carried: tuple[Finding, ...] = ()
    messages: tuple[CarriedMessage, ...] = ()
    stalls: Counts = ()
