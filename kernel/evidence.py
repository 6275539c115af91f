"""Evidence, the one idea behind acceptance: what is still missing for this subject?

Acceptance, floors, "newer voids it" and verified-done are this one function over (needs, subject, evidence).
"""

from __future__ import annotations

from collections.abc import Iterable

from loom.kernel.values import Evidence

SATISFYING = frozenset({"passed", "approve", "accept", "not_applicable", "waived", "done"})
"""Outcomes that count as there. "skipped" is not among them: a skipped check lets nothing through."""


def missing(needs: Iterable[str], subject: str, evidence: Iterable[Evidence]) -> tuple[str, ...]:
    """The kinds in `needs` for which no satisfying evidence about exactly this subject exists, in the order of `needs`."""
    there = {e.kind for e in evidence if e.subject == subject and e.outcome in SATISFYING}
    return tuple(kind for kind in needs if kind not in there)
