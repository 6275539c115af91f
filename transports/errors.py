"""What goes wrong at a surface, for people: one sentence that says what and to what, one that says how to mend it.

Problem                 a surface cannot do what it was asked
├── UsageProblem        it was asked wrongly; nothing was created                        (exit 2)
├── UnavailableProblem  something that it needs is not there, or it was refused          (exit 4)
└── FailedProblem       it was done, and the answer is no                                (exit 1)
"""

from __future__ import annotations

from typing import ClassVar


class Problem(Exception):
    """A sentence and its mend ("" : there is none to offer)."""

    exit_code: ClassVar[int] = 4
    code: ClassVar[str] = "problem"

    def __init__(self, sentence: str, mend: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.mend = mend


class UsageProblem(Problem):
    """Asked wrongly."""

    exit_code = 2
    code = "usage"


class UnavailableProblem(Problem):
    """Not there, not reachable, or refused."""

    exit_code = 4
    code = "unavailable"


class FailedProblem(Problem):
    """Done, and the answer is no."""

    exit_code = 1
    code = "failed"


def sentence(text: str) -> str:
    """As a sentence: a capital at the beginning (unless it begins with a name or a path), a stop at the end."""
    text = text.strip()
    first = text.split(" ", 1)[0]
    begun = text[:1].upper() + text[1:] if first.isalpha() else text
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."
