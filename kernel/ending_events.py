"""Events at the end of a task and after it: the verdict, what is still done outside, results that came too late."""

from __future__ import annotations

from dataclasses import dataclass

from loom.kernel.values import Execution, Principal, Text, Usage, Verdict


@dataclass(frozen=True, slots=True)
class VerdictReached:
    verdict: Verdict
    by: Principal
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskClosed:
    """Nothing of the task is left to do."""

    delivered: str = ""


@dataclass(frozen=True, slots=True)
class TaskReopened:
    """A person asked for one more effect of accepted work. The verdict stands; the task is open until that has ended."""

    stage: str
    iteration: int
    by: Principal
    reason: Text


@dataclass(frozen=True, slots=True)
class ResultTaken:
    """A person took the result of an attempt that had ended without one. What it consumed is counted only now."""

    spawn: str
    attempt: int
    fence: int
    by: Principal
    reason: Text
    usage: Usage
    execution: Execution
    prompt: Text
    transcript: Text
    output: Text
    repaired: bool = False
