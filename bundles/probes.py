"""Steps are tried before they are trusted: a view of a task that never was, one answer changed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loom.bundles.alphabets import Alphabet
from loom.kernel.facts import View
from loom.kernel.flow import Step
from loom.kernel.values import Evidence, Finding, Pairs


@dataclass(frozen=True, slots=True)
class Imagined:
    """What a view looks at, with nothing in it but what a probe puts there."""

    facts: Pairs = ()
    outcomes: Pairs = ()
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    subject: str = ""


def imagined(known: Alphabet) -> Iterator[Imagined]:
    """The empty task, then each fact with each value, then each agent with each word."""
    yield Imagined()
    yield from (Imagined(facts=((name, value),)) for name, values in known.facts.items() for value in values)
    yield from (Imagined(outcomes=((name, word),)) for name, words in known.said.items() for word in words)


def step_faults(step: Step, known: Alphabet) -> Iterator[str]:
    """What a step does wrong on any of the imagined tasks; each fault once."""
    if not step.writes:
        yield "writes nothing, so it changes nothing"
    faults: dict[str, None] = {}
    for task in imagined(known):
        faults.update(dict.fromkeys(_written(step, task)))
    yield from faults


def _written(step: Step, task: Imagined) -> Iterator[str]:
    declared = dict(step.writes)
    try:
        written = dict(step.run(View(task)))
    except Exception as error:  # the author's code may raise anything, and all of it is a fault to report
        yield f"its function raised {type(error).__name__}: {error}"
        return
    for name, value in written.items():
        if name not in declared:
            yield f"writes the fact {name} without declaring it"
        elif value not in declared[name]:
            yield f"writes {name}={value!r}; declared are {', '.join(declared[name])}"
