"""`loom whatif`: what other rules would have made of recorded runs; nothing is called, nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries
    from loom.transports.histories import Runs
    from loom.transports.whatif.wire import Question, Supposed

SAME, OTHERWISE = 0, 1
PAGE = 1_000
SPANS = {"d": 24 * 3600, "h": 3600, "m": 60}
FATES = ("same", "objected", "asks", "other", "unknown")
WORDS = {
    "objected": "would have been objected to",
    "asks": "would have asked a person",
    "other": "would have gone another way",
    "unknown": "cannot be told",
}


@click.command()
@click.option("--rules", metavar="FILE.py", default="", help="Rules to add to the bundle of each run.")
@click.option("--bundle", metavar="REF", default="", help="A bundle in the place of each run's own, by name or path.")
@click.option("--since", metavar="DATE", default="", help="Only runs submitted since: 2026-11-01, 90d, 12h.")
@click.option("--project", metavar="P", default="", help="Only runs of this project (its id or name).")
@click.option("--task", "tasks", multiple=True, metavar="T", help="Only this run; may be given often.")
@click.option("--history", metavar="FILE", default="", help="The runs of a history file, instead of a home's.")
@as_json
@click.pass_context
def whatif(
    context: click.Context,
    *,
    rules: str,
    bundle: str,
    since: str,
    project: str,
    tasks: Sequence[str],
    history: str,
    as_json: bool,
) -> int:
    """Take recorded runs again under other rules: which go the same way, which do not, where, and why."""
    question = _question(rules, bundle)
    if history and (since or project or tasks):
        raise UsageProblem("--history is asked as a whole: --since, --project and --task are for a home.")
    from loom.transports.whatif.asking import suppose

    with _runs(context, since, project, tasks, history) as runs:
        found = suppose(runs, question)
    if as_json:
        output.print_json(_as_json(found))
    else:
        _show(found)
    return SAME if all(each.fate == "same" for each in found) else OTHERWISE


def _question(rules: str, bundle: str) -> Question:
    from loom.transports.whatif.wire import Question

    if bool(rules) is bool(bundle):
        raise UsageProblem("Name other rules: --rules FILE.py, or --bundle REF.", "docs/tutorials/what-if.md")
    if bundle:
        from loom.bundles import registry
        from loom.transports import catalogue

        catalogue.load(bundle)  # every fault at once, in words
        return Question(name=bundle, archive=registry.archive(bundle))
    try:
        source = Path(rules).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"The rules {rules} cannot be read: {error}.") from error
    return Question(name=Path(rules).name, source=source)


def _runs(
    context: click.Context, since: str, project: str, tasks: Sequence[str], history: str
) -> AbstractContextManager[Runs]:
    from loom.transports.histories import FileRuns, HomeRuns

    if history:
        return FileRuns(Path(history))
    home = homes.opened(context)
    return HomeRuns(home, _chosen(home, since_ms(since), project, tasks))


def _chosen(home: Home, since: int, project: str, beginnings: Sequence[str]) -> list[str]:
    """The runs that are asked, the oldest first."""

    async def found(queries: Queries) -> list[str]:
        named = [await reading.find_task(queries, beginning) for beginning in beginnings]
        wanted = await _project(queries, project) if project else None
        listed: list[str] = []
        before: str | None = None
        while page := (await queries.tasks(project=wanted, before=before, limit=PAGE))["tasks"]:
            recent = [each["id"] for each in page if each["submitted_ms"] >= since]
            listed += recent
            before = page[-1]["id"]
            if len(page) < PAGE or not recent:
                break
        return [task for task in reversed(listed) if not named or task in named]

    return reading.read(home, found)


async def _project(queries: Queries, name: str) -> str:
    known = (await queries.projects())["projects"]
    for each in known:
        if name in (each["id"], each["name"]):
            return str(each["id"])
    raise UsageProblem(f"There is no project {name!r} in this home.", "loom projects list")


def since_ms(text: str, now: datetime | None = None) -> int:
    """A date (with or without a time; local), or a span back from now, as ms UTC. "" is the beginning. Raises UsageProblem."""
    if not text:
        return 0
    now = now or datetime.now(UTC)
    if text[-1:] in SPANS and text[:-1].isdigit():
        begun = now - timedelta(seconds=int(text[:-1]) * SPANS[text[-1]])
    else:
        try:
            begun = datetime.fromisoformat(text).astimezone()
        except ValueError:
            raise UsageProblem(f"{text!r} is no date and no span.", "--since 2026-11-01, or --since 90d") from None
    return int(begun.timestamp() * 1000)


# ----------------------------------------------------------------------------------------------------------- answers


def _counts(found: Sequence[Supposed]) -> dict[str, int]:
    counts = Counter(each.fate for each in found)
    return {fate: counts[fate] for fate in FATES}


def _as_json(found: Sequence[Supposed]) -> dict[str, object]:
    runs = [msgspec.to_builtins(each) for each in found if each.fate != "same"]
    for run in runs:
        run.pop("line")
    return {"runs": len(found), **_counts(found), "parted": runs}


def _show(found: Sequence[Supposed]) -> None:
    counts = ", ".join(f"{count} {fate}" for fate, count in _counts(found).items() if count or fate == "same")
    output.say(f"{len(found)} run{'' if len(found) == 1 else 's'}: {counts}")
    for each in found:
        if each.fate != "same":
            output.say()
            _show_parted(each)


def _show_parted(run: Supposed) -> None:
    """A run that leaves the recorded way: where, by which rule, why, and what it really came to."""
    come = f"{run.verdict}{f', decided by {run.by}' if run.by else ''}" if run.verdict else "still open"
    place = f"at entry {run.seq} (its number {run.n}, {run.command})"
    output.say(f"{run.task}  {WORDS[run.fate]} {place}")
    for name, words in (
        ("rule", run.rule),
        ("says" if run.rule else "why", run.sentence),
        ("because", "; ".join(run.because)),
        ("was", run.recorded),
        ("now", run.supposed),
        ("came to", come),
    ):
        if words:
            output.say(f"    {name:<8} {output.clean(words)}")
