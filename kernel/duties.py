"""Separation of duties: who may not accept what they had a hand in. A part of a task's specification, pinned at submit.

    submitter   whoever submitted the task, or had it submitted
    author      whoever made the present subject with their own hands
    owner       whoever let the worker in that made the present subject

It takes the word away with which a person approves, *accept*, and nothing else: to send work back, to raise a budget and to
give up approve nothing. Whoever revises with work of their own becomes its author.
"""

from __future__ import annotations

from typing import Protocol

from loom.kernel.state import TaskSpec
from loom.kernel.values import AnswerWord, Pairs, Principal

SEPARATE_DUTIES = "separate_duties"
"""The setting that names, with commas between, what an approver must not be."""
SUBMITTER, AUTHOR, OWNER = "submitter", "author", "owner"
DUTIES = (AUTHOR, OWNER, SUBMITTER)
APPROVING = (AnswerWord.ACCEPT,)
"""Words with which a person approves. Trouble is accepted with the same one."""
HAND = {
    SUBMITTER: "submitted the task",
    AUTHOR: "made this work",
    OWNER: "let the worker in that made this work",
}
"""Duty → what the person did."""


class Handled(Protocol):
    """What of a task says who had a hand in it."""

    @property
    def spec(self) -> TaskSpec: ...
    @property
    def author(self) -> str: ...
    @property
    def owner(self) -> str: ...


def listed(setting: str) -> tuple[str, ...]:
    """The words of a setting that is a list with commas, each once, in order."""
    return tuple(sorted({word.strip() for word in setting.split(",")} - {""}))


def person_of(principal: Principal) -> str:
    """Who decides: the person that a surface acts for, else the principal itself."""
    return principal.acting_for or principal.id


def owner_of(worker: str) -> str:
    """The name under which a tick reads who let a worker in ("" : nobody; it is the home's own)."""
    return f"owner {worker}"


def barred(task: Handled) -> Pairs:
    """(person, duty) of everybody who may not accept the present subject, in order."""
    spec = task.spec
    if not spec.separate:
        return ()
    hands = (
        (AUTHOR, task.author),
        (OWNER, task.owner),
        (SUBMITTER, spec.submitter.id),
        (SUBMITTER, spec.submitter.acting_for),
    )
    return tuple(sorted({(person, duty) for duty, person in hands if person and duty in spec.separate}))


def conflict(task: Handled, by: Principal) -> str:
    """Why this principal may not accept ("" : they may): "anna submitted the task"."""
    person = person_of(by)
    hands = [HAND[duty] for barred_person, duty in barred(task) if barred_person == person]
    return f"{person} {' and '.join(hands)}" if hands else ""
