"""External effects: what an attempt of capability act does, once, as the assignment's input `effect` says.

    {"kind": "branch", "place": "/home/ann/shop", "branch": "loom/k3f9q2m7xd", "work": "<commit>"}
    {"kind": "push", "place": "/home/ann/shop", "remote": "origin", "branch": "loom/k3f9q2m7xd", "work": "<commit>"}

Every attempt looks first: what is done already is not done again, and what stands in the way is never forced aside. When an
attempt before it is in doubt (`reconciles`), that look is all there is to tell what happened; where it is not possible,
nothing is done.

    perform ─look▶ done · in the way · free ─do▶ done

A failure is PERMANENT when nothing was done, and only then: the kernel holds any other for a doubt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loom.workers import workspaces
from loom.workers.git import unquote_path
from loom.workers.protocol import ErrorClass, Input, WorkspaceRef
from loom.workers.pushing import Push
from loom.workers.seams import Effect, HandsError, Seen

EFFECT = "effect"


class BranchSaid(msgspec.Struct, tag_field="kind", tag="branch", forbid_unknown_fields=True):
    """Make a branch in a person's repository. place "" : there is none (a directory without git, or no project)."""

    place: str
    branch: str
    work: str


class PushSaid(msgspec.Struct, tag_field="kind", tag="push", forbid_unknown_fields=True):
    """Push the commit to a branch of a remote of a person's repository."""

    place: str
    remote: str
    branch: str
    work: str


async def perform(inputs: Sequence[Input], ref: WorkspaceRef | None, reconciles: str = "") -> str:
    """Perform the assignment's effect; returns one sentence about what was done. Raises HandsError.

    reconciles: the attempt in doubt before this one ("" : none).
    """
    effect = await _effect(inputs, ref)
    try:
        seen = await effect.look()
    except HandsError as error:
        if not reconciles:  # nothing was done yet, and that is certain
            raise HandsError(ErrorClass.PERMANENT, error.message) from error
        sentence = f"whether {reconciles} did it cannot be seen, so nothing is done: {error.message}"
        raise HandsError(error.error_class, sentence) from error
    if seen.done:
        return f"{seen.done}, by {reconciles} or somebody else" if reconciles else seen.done
    if seen.obstacle:
        raise HandsError(ErrorClass.PERMANENT, seen.obstacle)
    done = await effect.do()
    return f"{done} ({reconciles} had not)" if reconciles else done


async def _effect(inputs: Sequence[Input], ref: WorkspaceRef | None) -> Effect:
    said = _said(inputs)
    if not said.place:
        if isinstance(said, BranchSaid):
            return Nowhere()
        raise HandsError(ErrorClass.PERMANENT, "the task's project is no git repository; there is nothing to push from")
    if ref is None:
        raise HandsError(ErrorClass.PERMANENT, f"branch {said.branch} needs a workspace, the assignment names none")
    repository = await workspaces.open_repository(ref.source)
    place = Path(os.fsdecode(unquote_path(said.place)))
    if isinstance(said, PushSaid):
        return Push(place, said.remote, said.branch, said.work, repository.path)
    return Branch(place, said.branch, said.work, repository.path)


def _said(inputs: Sequence[Input]) -> BranchSaid | PushSaid:
    for each in inputs:
        if each.name == EFFECT:
            try:
                return msgspec.json.decode(each.value, type=BranchSaid | PushSaid)
            except msgspec.MsgspecError as error:
                raise HandsError(ErrorClass.PERMANENT, f"this worker knows no such effect: {error}") from error
    raise HandsError(ErrorClass.PERMANENT, "the assignment names no effect")


@dataclass(frozen=True, slots=True)
class Nowhere:
    """A branch that there is no repository for."""

    async def look(self) -> Seen:
        return Seen(done="there is no repository to make a branch in; the result is kept in the home")

    async def do(self) -> str:
        raise AssertionError("it is done")


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch in the person's repository: created if absent or equal, never forced."""

    place: Path
    branch: str
    work: str
    repository: Path

    async def look(self) -> Seen:
        found = await workspaces.branch_at(self.place, self.branch)
        if not found:
            return Seen()
        if found == self.work:
            return Seen(done=f"branch {self.branch} was there already in {self.place}")
        return Seen(
            obstacle=f"branch {self.branch} names {found} in {self.place}, not {self.work}; nothing was changed"
        )

    async def do(self) -> str:
        await workspaces.create_branch(self.place, self.branch, self.work, self.repository)
        return f"branch {self.branch} was made in {self.place}"
