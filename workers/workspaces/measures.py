"""Facts that are measured on the trees themselves, never taken from an agent's word.

    empty              "yes" when base and commit have the same tree
    paths              "yes" when a created or modified path matches a pattern
    existing-changed   "yes" when the content of a base path that matches a pattern was changed or is gone; the same content
                       at another matching path is a move, not a change
    size               "small", "medium" or "large", by lines added and removed

In doubt (a content that has no lines, an unknown way to measure) the answer is the one that asks for more care.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loom.workers.protocol import ErrorClass, Measure
from loom.workers.protocol.globs import Matcher, matcher
from loom.workers.seams import HandsError
from loom.workers.workspaces.repository import Repository, check_oid
from loom.workers.workspaces.trees import Difference, Entry, differences, entries

SMALL_LINES = 60
MEDIUM_LINES = 400
BINARY_LINES = 200
"""What a changed binary file counts as."""


async def measure(repository: Repository, measures: Sequence[Measure], *, base: str, commit: str) -> dict[str, str]:
    """The facts, by name. Raises HandsError (PERMANENT) for a way to measure that this worker does not know."""
    check_oid(base), check_oid(commit)
    if not measures:
        return {}
    changed = await differences(repository, base, commit)
    before: list[Entry] = []
    after: list[Entry] = []
    if any(each.how == "existing-changed" for each in measures):
        before, after = await entries(repository, base), await entries(repository, commit)
    facts: dict[str, str] = {}
    for each in measures:
        matches = matcher(each.patterns)
        match each.how:
            case "empty":
                facts[each.fact] = _yes(not changed)
            case "paths":
                facts[each.fact] = _yes(any(matches(path.path) for path in changed if path.status != "D"))
            case "existing-changed":
                facts[each.fact] = _yes(_existing_changed(before, after, matches))
            case "size":
                facts[each.fact] = size_of(changed)
            case other:
                raise HandsError(ErrorClass.PERMANENT, f"this worker cannot measure {other!r} (fact {each.fact})")
    return facts


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _existing_changed(before: Sequence[Entry], after: Sequence[Entry], matches: Matcher) -> bool:
    """Each content at the matching base paths must still be at as many matching paths; the path that kept its content
    comes first, so that a copy elsewhere cannot stand in for a file that was emptied."""
    now = {entry.path: (entry.kind, entry.oid) for entry in after if matches(entry.path)}
    lost: Counter[tuple[str, str]] = Counter()
    for entry in before:
        if not matches(entry.path):
            continue
        if now.get(entry.path) == (entry.kind, entry.oid):
            continue
        if entry.path in now:
            return True
        lost[entry.kind, entry.oid] += 1
    known = {entry.path for entry in before}
    found = Counter(content for path, content in now.items() if path not in known)
    return bool(lost - found)


def size_of(changed: Sequence[Difference]) -> str:
    """small, medium or large."""
    lines = sum(BINARY_LINES if each.added < 0 else each.added + each.removed for each in changed)
    return "small" if lines <= SMALL_LINES else "medium" if lines <= MEDIUM_LINES else "large"
