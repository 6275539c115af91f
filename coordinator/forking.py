"""Forks, on the side that holds the record: what a new task takes over is read from its origin's entries.

Who asks for a fork names the origin, an entry and a stage, and a word to the agents. Everything else that the command brings is
written over: nobody hands results over that were never recorded. The entries of a task never change, so the same question
gives the same command, whenever it is asked again.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from loom.coordinator.inbox import Request
from loom.coordinator.store import Store
from loom.kernel.commands import Submit
from loom.kernel.events import Event
from loom.kernel.fold import evolve
from loom.kernel.forking import inherit
from loom.kernel.heritage import Inherited
from loom.kernel.state import TaskState
from loom.kernel.work import Refused


def with_origin(store: Store, request: Request) -> Request:
    """The request, with what a fork takes over filled in from the record. Raises Refused."""
    command = request.command
    if not isinstance(command, Submit) or command.inherited is None:
        return request
    asked = Inherited(command.inherited.n, command.inherited.stage, command.inherited.message)
    state: TaskState | None = None
    happened: list[Event] = []
    for entry in store.load_events(command.origin_task):
        if entry.n > asked.n:
            break
        state = evolve(state, entry.events, entry.now_ms)
        happened += entry.events
    if state is None or state.n != asked.n:
        raise Refused("no_origin", f"task {command.origin_task or '?'} has no entry {asked.n} in this home")
    inherited = inherit(state, happened, asked)
    spec = state.spec
    filled = replace(
        command, inherited=inherited, project=spec.project, base=spec.base, subject=spec.base_subject, text=spec.text
    )
    return structs.replace(request, command=filled)
