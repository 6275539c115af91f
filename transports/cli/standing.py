"""How a home stands, for `loom status`: without a command line, so that it is there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loom.transports.cli import output, reading

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries

SHOWN_GATES = 10


def look(home: Home) -> dict[str, Any]:
    """What `loom status --json` prints."""
    found: dict[str, Any] = {"home": str(home.path), "exists": home.exists, "coordinator": {"pid": 0}, "workers": 0}
    if home.exists:
        found["coordinator"] = {"pid": home.running()}
        found["workers"] = _workers(home)
        found.update(reading.read(home, _asked))
    return found


def _workers(home: Home) -> int:
    """How many local workers are there: each holds the lock of its place."""
    from loom.coordinator.local_workers import held

    return sum(held(lock) for lock in home.spool.glob("*/lock"))


async def _asked(queries: Queries) -> dict[str, Any]:
    listed = await queries.gates()
    return {
        **await queries.counts(),
        "gates": [{name: gate[name] for name in ("id", "task", "role", "answers")} for gate in listed["gates"]],
    }


def show(found: dict[str, Any]) -> None:
    """In words."""
    if not found["exists"]:
        output.say(f"There is no home at {output.clean(found['home'])} yet. The first `loom run` makes one.")
        return
    pid = found["coordinator"]["pid"]
    output.say(f"home         {output.clean(found['home'])}")
    output.say(f"coordinator  {f'runs (process {pid})' if pid else 'sleeps; the next command that needs it starts it'}")
    output.say(
        f"tasks        {found['open_tasks']} open of {found['tasks']} · "
        f"{found['running']} agents at work · {found['ready']} queued"
    )
    output.say(f"workers      {found['workers']} on this machine")
    gates = found["gates"]
    if not gates:
        output.say("waiting      nothing waits for you")
        return
    for number, gate in enumerate(gates[:SHOWN_GATES]):
        head = "waiting      " if not number else " " * 13
        output.say(f"{head}{gate['role']} of {gate['task']}: loom answer {gate['id']} {'|'.join(gate['answers'])}")
    if len(gates) > SHOWN_GATES:
        output.say(f"{' ' * 13}… and {len(gates) - SHOWN_GATES} more: loom gates")
