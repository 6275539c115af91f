"""Output types of the benchmark's agents."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Work(Struct):
    """An answer."""

    outcome: Literal["done"]
    summary: str


class Plan(Work):
    """An answer with an artifact."""

    plan: str


class Change(Work):
    """An answer with another artifact."""

    change: str


class Remark(Struct):
    """What a finding is."""

    severity: Literal["blocking", "warn", "info"]
    category: str
    path: str
    line: int
    message: str
    evidence: str
    suggestion: str


class Review(Struct):
    """A judgement."""

    outcome: Literal["approve", "block"]
    summary: str
    findings: list[Remark]
