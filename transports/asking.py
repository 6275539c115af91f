"""Asking the coordinator: started when none runs, asked once, and its "no" put into words."""

from __future__ import annotations

import os
from collections.abc import Sequence

from loom.coordinator.api import Answered
from loom.coordinator.client import Client
from loom.coordinator.home import Home
from loom.coordinator.keys import client_token, token_digest
from loom.kernel.commands import Command
from loom.transports import settings
from loom.transports.errors import FailedProblem, UnavailableProblem, sentence
from loom.workers.protocol import Text

TOKEN = "LOOM_TOKEN"
"""The variable with the token of whoever types, where that is not the home's owner (`loom users add`)."""
MENDS = {
    "gate_closed": "loom gates lists what waits now",
    "stale_answer": "loom gates",
    "task_done": "loom show TASK",
    "name_the_budget": "loom answer GATE raise --budget 10",
    "paused": "loom resume TASK",
    "not_paused": "loom tasks",
    "not_accepted": "loom show TASK",
    "busy": "loom show TASK",
    "gone_on": "loom show TASK",
    "settled": "loom show TASK",
    "signature_needed": "--sign, with a key that is enrolled: loom keys list",
    "own_work": "loom users list shows who else may; loom gates --json says who may not, and why",
    "no_such_duty": "loom duties set submitter author owner",
    "bad_approval": "loom keys list shows whose keys count",
}
"""Code of a rejection → what to type next."""


def connect(home: Home, via: str = "cli", *, listen: str = "") -> Client:
    """A client of the home's coordinator, which is started with the settings' options if none runs. listen: where it lets
    other hosts in ("" : as the settings say)."""
    wanted = settings.load(home.path if home.path.is_dir() else None).settings.coordinator
    arguments: list[str] = []
    options = {
        "--workers": wanted.workers,
        "--slots": wanted.slots,
        "--lease-ms": wanted.lease_ms,
        "--machine-slots": wanted.machine_slots,
        "--listen": listen or wanted.listen,
        "--labels": wanted.labels,
    }
    for option, value in options.items():
        if value:
            arguments += [option, str(value)]
    if listen or wanted.listen:
        arguments.append("--stay")  # nobody on another host could start it again
    return Client.connect(home, via=via, arguments=arguments, token=os.environ.get(TOKEN, ""))


def token_of_mine(home: Home) -> str:
    """The digest of the token that commands speak with: the one in LOOM_TOKEN, else the home's owner's."""
    return token_digest(os.environ.get(TOKEN, "") or client_token(home.keys))


def send_away(home: Home) -> None:
    """Lets a coordinator that runs go, for work that needs the home alone; the next command that needs one starts it. Its
    workers stay. Returns when it is gone. Raises LoomError."""
    if home.running():
        with Client.connect(home, start=False, token=os.environ.get(TOKEN, "")) as client:
            client.leave()


def ask(home: Home, command: Command, *, task: str = "", texts: Sequence[Text] = (), key: str = "") -> Answered:
    """One command over a connection of its own. Raises a Problem when it was not taken."""
    with connect(home) as client:
        return taken(client.call(command, task=task, texts=texts, key=key))


def taken(answered: Answered) -> Answered:
    """The answer, if the command was applied. Raises FailedProblem (a rule objects) or UnavailableProblem (refused)."""
    outcome = answered.was if answered.outcome == "duplicate" else answered.outcome
    if outcome == "objected":
        mend = f"loom show {answered.task}" if answered.task else ""
        raise FailedProblem(sentence(f"The rule {answered.code} objects: {answered.sentence}"), mend)
    if outcome == "rejected":
        raise UnavailableProblem(sentence(answered.sentence or answered.code), MENDS.get(answered.code, ""))
    return answered
