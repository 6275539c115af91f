"""`loom projects` and `loom init`: which directories this home works on, and what of their own configuration may run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.coordinator.home import Home
from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UnavailableProblem, UsageProblem, sentence

if TYPE_CHECKING:
    from loom.transports.projects import Probed


@click.group()
def projects() -> None:
    """The projects of this home, and trust in their own configuration."""


@projects.command("list")
@as_json
@click.pass_context
def list_projects(context: click.Context, as_json: bool) -> None:
    """List the projects."""
    home = homes.opened(context)
    found = reading.read(home, lambda queries: queries.projects())
    if as_json:
        output.print_json(found)
        return
    rows = [
        (each["id"], each["kind"], "trusted" if each["trusted"] else "", str(each["open_tasks"]), each["place"])
        for each in found["projects"]
    ]
    output.table(
        ["project", "kind", "loom.toml", ">open tasks", "place"], rows, empty="No project yet: loom projects add DIR"
    )


@projects.command("add")
@click.argument("directory", metavar="DIR", default=".")
@as_json
@click.pass_context
def add_project(context: click.Context, directory: str, as_json: bool) -> None:
    """Make DIR (default: here) known to this home. `loom run` does it by itself."""
    from loom.transports.asking import connect

    probed, place, home = _look(context, directory)
    with connect(home) as client:
        project = _add(client, probed, place)
    if as_json:
        output.print_json({"project": project, "place": str(place), "kind": "git" if probed.is_git else "directory"})
    else:
        output.say(f"{project} is known to {home.path}")


@projects.command("remove")
@click.argument("project", metavar="ID|DIR")
@as_json
@click.pass_context
def remove_project(context: click.Context, project: str, as_json: bool) -> None:
    """Forget a project. Its tasks and their record stay."""
    from loom.kernel.commands import RemoveProject
    from loom.transports.asking import ask

    home = homes.opened(context)
    known = _find(home, project)
    if known["open_tasks"]:
        raise UnavailableProblem(
            f"Open tasks of {known['id']}: {known['open_tasks']}.",
            f"loom tasks --open --project {known['id']}",
        )
    ask(home, RemoveProject(project=known["id"]))
    if as_json:
        output.print_json({"project": known["id"]})
    else:
        output.say(f"{known['id']} is forgotten")


@projects.command("trust")
@click.argument("directory", metavar="DIR", default=".")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--none", "no_trust", is_flag=True, help="Take the trust back.")
@as_json
@click.pass_context
def trust(context: click.Context, directory: str, yes: bool, no_trust: bool, as_json: bool) -> None:
    """Show what DIR's loom.toml names, and let it run, as long as the file stays as it is."""
    probed, place, home = _look(context, directory)
    if not probed.config_digest and not no_trust:
        raise UsageProblem(f"There is no loom.toml in {place}; there is nothing to trust.")
    if not no_trust:
        lines = named(probed)
        if not as_json:
            output.say(f"{place / 'loom.toml'} names:")
            output.say("\n".join(f"  {output.clean(line)}" for line in lines) or "  nothing")
        if not yes:
            _agree(as_json)
    project = give_trust(home, probed, place, take_back=no_trust)
    digest = "" if no_trust else probed.config_digest
    if as_json:
        output.print_json({"project": project, "trusted": digest})
    else:
        output.say(
            f"{project} is {'no longer ' if no_trust else ''}trusted{f' (content {digest[:12]})' if digest else ''}; a changed file is not"
        )


def named(probed: Probed) -> list[str]:
    """What the configuration names, a line each."""
    lines = [
        f"check {check.name}: {'not applicable' if check.declared else ' '.join(check.argv)}"
        for check in probed.setup.checks
    ]
    lines += [f"set-up command: {' '.join(words)}" for words in probed.setup.setup]
    lines += [f"ignored files that are copied: {pattern}" for pattern in probed.setup.include]
    lines += [f"required label of a worker: {label}" for label in probed.setup.requires]
    return lines


def give_trust(home: Home, probed: Probed, place: Path, *, take_back: bool = False) -> str:
    """Records the trust in the configuration as it is now. Returns the project's id."""
    import msgspec

    from loom.coordinator.client import make_text
    from loom.kernel.commands import TrustProject
    from loom.transports.asking import connect, taken

    content, texts = make_text("" if take_back else msgspec.json.encode(probed.setup).decode())
    with connect(home) as client:
        project = _add(client, probed, place)
        digest = "" if take_back else probed.config_digest
        taken(client.call(TrustProject(project=project, digest=digest, content=content), texts=texts))
    return project


def _agree(as_json: bool) -> None:
    if as_json or not output.interactive():
        raise UsageProblem("Trust needs a person's yes.", "look at it, then: loom projects trust -y")
    if not click.confirm("Let loom run this?", default=False, err=True):
        raise UsageProblem("Nothing was recorded.")


def _look(context: click.Context, directory: str) -> tuple[Probed, Path, Home]:
    """What the directory is, where it is, and the home that it belongs to (which may not exist yet)."""
    from loom.transports.orders import place_of
    from loom.transports.projects import probe

    start = Path(directory)
    probed = probe(start)
    if probed.refusal:
        raise UnavailableProblem(sentence(probed.refusal))
    place = place_of(start, probed)
    return probed, place, homes.for_work(context, start.absolute(), place if probed.is_git else None)


def _add(client: Any, probed: Probed, place: Path) -> str:
    from loom.transports.projects import project_id
    from loom.transports.submit import add_project as add

    project = project_id(place)
    add(client, project, place, probed)
    return project


def _find(home: Home, name: str) -> dict[str, Any]:
    found = reading.read(home, lambda queries: queries.projects())["projects"]
    place = str(Path(name).absolute())
    for each in found:
        if name == each["id"] or place == each["place"]:
            return dict(each)
    raise UsageProblem(f"There is no project {name!r} in this home.", "loom projects list")


@click.command()
@click.argument("directory", metavar="DIR", default=".")
@as_json
@click.pass_context
def init(context: click.Context, directory: str, as_json: bool) -> None:
    """Make a home for DIR (default: here), for settings and secrets before the first task."""
    _, _, home = _look(context, directory)
    home.make()
    if as_json:
        output.print_json({"home": str(home.path)})
    else:
        output.say(f'{output.clean(str(home.path))} is ready: loom models list · loom secrets set NAME · loom run "…"')
