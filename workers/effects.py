"""External effects: what an attempt of capability act does, once, as the assignment's input `effect` says.

    {"kind": "branch", "place": "/home/ann/shop", "name": "loom/k3f9q2m7xd", "work": "<commit>"}

A branch is created if it is absent or equal, never forced, so doing it again after a lost lease changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loom.workers import workspaces
from loom.workers.git import unquote_path
from loom.workers.protocol import ErrorClass, Input, WorkspaceRef
from loom.workers.seams import HandsError

EFFECT = "effect"


class BranchEffect(msgspec.Struct, tag_field="kind", tag="branch", forbid_unknown_fields=True):
    """Make a branch in a person's repository. place "" : there is none (a directory without git, or no project)."""

    place: str
    name: str
    work: str


async def perform(inputs: Sequence[Input], ref: WorkspaceRef | None) -> str:
    """Perform the assignment's effect; returns one sentence about what was done. Raises HandsError."""
    effect = _effect(inputs)
    if not effect.place:
        return "there is no repository to make a branch in; the result is kept in the home"
    if ref is None:
        raise HandsError(ErrorClass.PERMANENT, f"branch {effect.name} needs a workspace, the assignment names none")
    repository = await workspaces.open_repository(ref.source)
    place = Path(os.fsdecode(unquote_path(effect.place)))
    created = await workspaces.create_branch(place, effect.name, effect.work, repository.path)
    done = "was made" if created else "was there already"
    return f"branch {effect.name} {done} in {effect.place}"


def _effect(inputs: Sequence[Input]) -> BranchEffect:
    for each in inputs:
        if each.name == EFFECT:
            try:
                return msgspec.json.decode(each.value, type=BranchEffect)
            except msgspec.MsgspecError as error:
                raise HandsError(ErrorClass.PERMANENT, f"this worker knows no such effect: {error}") from error
    raise HandsError(ErrorClass.PERMANENT, "the assignment names no effect")
