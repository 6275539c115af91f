"""Submitting a plan: the project is made known, its base brought into the home, and the task started."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loom.coordinator.client import Client
from loom.coordinator.offers import requires_of
from loom.kernel.commands import AddProject
from loom.transports import projects
from loom.transports.asking import taken
from loom.transports.backends import KEYS
from loom.transports.errors import UnavailableProblem
from loom.transports.ids import new_task_id
from loom.transports.orders import Plan, submission
from loom.transports.projects import Fetched, Probed
from loom.transports.secrets import stored

DRAWS = 3
"""Ids that are drawn when one is taken already."""


def submit(client: Client, plan: Plan) -> str:
    """Starts the task of a plan, in the client's home. Returns its id."""
    status: dict[str, Any] = client.describe()
    check_keys(client, status, plan.chains)
    _check_labels(status, plan)
    add_project(client, plan.project, plan.place, plan.probed)
    base = bring(client, plan)
    for _ in range(DRAWS):
        task = new_task_id()
        command, texts = submission(plan, task, base)
        answered = client.call(command, task=task, texts=texts, key=f"submit:{task}")
        if answered.code != "task_exists":
            taken(answered)
            return task
    raise UnavailableProblem(f"{DRAWS} task ids in a row were taken already.", "loom doctor")


def add_project(client: Client, project: str, place: Path, probed: Probed) -> None:
    """Makes a project known to the home, once. Its place stands there as text, C-quoted when it is not UTF-8."""
    name = os.fsencode(place.name).decode(errors="replace") or "/"
    command = AddProject(project=project, name=name, place=probed.top, kind="git" if probed.is_git else "directory")
    answered = client.call(command)
    if answered.code != "project_exists":
        taken(answered)


def bring(client: Client, plan: Plan) -> Fetched:
    """The base that work starts from, kept in the home."""
    home = client.home.path
    if plan.kind == "directory":
        return projects.import_directory(home, plan.project, plan.place)
    if plan.with_changes:
        return projects.fetch_with_changes(home, plan.project, plan.place)
    return projects.fetch(home, plan.project, plan.place)


Chains = Iterable[tuple[str, tuple[str, ...]]]


def check_keys(client: Client, status: dict[str, Any], chains: Chains) -> None:
    """That the workers will have the keys that these chains need: they have the environment of the coordinator, not ours.

    Raises UnavailableProblem that says what to do.
    """
    references = [reference for _, chain in chains for reference in chain]
    _check_served(status, {reference.partition(":")[0] for reference in references})
    there = {*status.get("secrets", ()), *stored(client.home.path)}
    families = {reference.partition(":")[0] for reference in references if "@" not in reference}
    for family in sorted(families & set(KEYS)):
        ours = [name for name in KEYS[family] if os.environ.get(name)]
        if ours and there.isdisjoint(KEYS[family]):
            raise UnavailableProblem(
                f"The coordinator of this home was started without {ours[0]}, and its workers have not got it.",
                f"loom secrets set {ours[0]}, or `loom daemon stop --workers` and again",
            )


def _check_served(status: dict[str, Any], families: set[str]) -> None:
    """That some worker that is there serves each family; else the task would wait in a queue that nobody empties."""
    workers = status.get("workers", ())
    served = {family for worker in workers for family in worker.get("families", ())}
    missing = sorted(families - served) if workers else []
    if missing:
        raise UnavailableProblem(
            f"No worker of this home serves {', '.join(missing)}: they were started where it was not to be found.",
            "`loom daemon stop --workers` and again; `loom doctor` says what works here",
        )


def _check_labels(status: dict[str, Any], plan: Plan) -> None:
    """That for every agent some worker has all labels that are required: one that is there, or is enrolled and may come
    back. Else its attempts would wait in a queue that nobody empties."""
    workers = [*status.get("workers", ()), *status.get("enrolled", ())]
    for agent in plan.bundle.agents if workers else ():
        wanted = set(requires_of(plan.requires, agent))
        best = min((wanted - set(worker.get("labels", ())) for worker in workers), key=len)
        if best:
            raise UnavailableProblem(
                f"No worker of this home has what the agent {agent.name} requires: the nearest one lacks the "
                f"{'label' if len(best) == 1 else 'labels'} {', '.join(sorted(best))}.",
                "`loom workers list` shows who has which; `loom workers token --label LABEL` lets another one in",
            )
