"""How a home stands, for `loom status`: without a command line, so that it is there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loom.coordinator.errors import LoomError
from loom.transports.cli import output, queueing, reading

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries

SHOWN_GATES = 10


def look(home: Home) -> dict[str, Any]:
    """What `loom status --json` prints."""
    found: dict[str, Any] = {"home": str(home.path), "exists": home.exists, "coordinator": {"pid": 0}, "workers": 0}
    if home.exists:
        pid = home.running()
        found["coordinator"] = {"pid": pid}
        found.update(_queue(home, pid))
        found["workers"] = _workers(home)
        found.update(reading.read(home, _asked))
    return found


def _queue(home: Home, pid: int) -> dict[str, Any]:
    """What waits, by the coordinator's notice board, and who has the machine's slots, by their locks."""
    from loom.coordinator import board, machine
    from loom.coordinator.home import runtime_folder

    said = board.read(home.run, pid) if pid else {}
    try:
        used, homes = machine.in_use(runtime_folder(machine.MACHINE_FOLDER))
    except (OSError, LoomError):
        used = homes = 0
    shared = said.get("machine") or {}
    slots = {
        "used": used,
        "size": shared.get("size", machine.usual_size()),
        "homes": homes,
        "held": shared.get("held", 0),
    }
    return {"queue": said.get("groups", []), "machine": slots}


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
    if said := queueing.summary(found["queue"]):
        output.say(f"queue        {output.clean(said)}")
    output.say(f"workers      {found['workers']} on this machine")
    machine = found["machine"]
    if machine["used"]:
        homes = f"{machine['homes']} home{'s' if machine['homes'] != 1 else ''}"
        output.say(f"machine      {machine['used']} of {machine['size']} slots at work, of {homes}")
    gates = found["gates"]
    if not gates:
        output.say("waiting      nothing waits for you")
        return
    for number, gate in enumerate(gates[:SHOWN_GATES]):
        head = "waiting      " if not number else " " * 13
        output.say(f"{head}{gate['role']} of {gate['task']}: loom answer {gate['id']} {'|'.join(gate['answers'])}")
    if len(gates) > SHOWN_GATES:
        output.say(f"{' ' * 13}… and {len(gates) - SHOWN_GATES} more: loom gates")
