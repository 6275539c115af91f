"""What each agent answers, as types: JSON schemas for the model, validation at the worker.

Every key is required, and there is no other; the descriptions are read by the model.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Summary = Annotated[str, Meta(description="One or two plain sentences for a person who reads only this.")]
YesNo = Literal["yes", "no"]


class Finding(Struct):
    """One thing that is wrong, at one place, shown."""

    severity: Annotated[
        Literal["blocking", "warn", "info"],
        Meta(description="blocking: must not go in like this. warn: should be mended. info: worth knowing."),
    ]
    category: Annotated[str, Meta(description="One or two lower-case words, the same for the same kind of trouble.")]
    path: Annotated[str, Meta(description='Path relative to the repository; "" when it is about no one file.')]
    line: Annotated[int, Meta(description="Line in the new version of the file; 0 when it is about no one line.")]
    message: Annotated[str, Meta(description="What is wrong, in one or two sentences.")]
    evidence: Annotated[str, Meta(description="What shows it: a failing case (input, expected, got), or the lines.")]
    suggestion: Annotated[str, Meta(description='The smallest mend; "" when there is none to offer.')]


class Triage(Struct):
    """What the task is."""

    flow: Literal["question", "trivial", "simple", "medium"]
    risk: Literal["low", "medium", "high"]


class Classification(Struct):
    """classifier."""

    outcome: Literal["done"]
    summary: Summary
    facts: Triage


class Answer(Struct):
    """responder."""

    outcome: Literal["done"]
    summary: Summary
    answer: Annotated[str, Meta(description="The whole answer, in Markdown.")]


class Notes(Struct):
    """scout."""

    outcome: Literal["done"]
    summary: Summary
    notes: Annotated[str, Meta(description="The notes, in Markdown.")]


class Plan(Struct):
    """planner."""

    outcome: Annotated[
        Literal["done", "unclear"],
        Meta(description="unclear: the task can be read in ways that need different changes, and only a person knows."),
    ]
    summary: Summary
    plan: Annotated[str, Meta(description="The plan, in Markdown; when unclear, it ends with the questions.")]


class Implementation(Struct):
    """implementer."""

    outcome: Annotated[Literal["done", "stuck"], Meta(description="stuck: you cannot do it, and the summary says why.")]
    summary: Summary


class Review(Struct):
    """Every agent that judges."""

    outcome: Annotated[Literal["approve", "block"], Meta(description="block exactly when a finding is blocking.")]
    summary: Summary
    findings: Annotated[list[Finding], Meta(description="Empty when there is nothing worth saying.")]


Unproved = Annotated[
    YesNo,
    Meta(description="yes: a blocking finding rests on behaviour that only running the code would show. Else no."),
]


class CorrectnessFacts(Struct):
    """What correctness says of its own findings."""

    correctness_unproved: Unproved


class CorrectnessReview(Review):
    """correctness."""

    facts: CorrectnessFacts


class ChallengerFacts(Struct):
    """What challenger says of its own findings."""

    challenger_unproved: Unproved


class ChallengerReview(Review):
    """challenger."""

    facts: ChallengerFacts
