"""`loom backup` and `loom restore`: a copy of a home, and a home from a copy."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from loom import __version__
from loom.transports.cli import homes, output
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem


@click.command()
@click.argument("target", metavar="FILE")
@as_json
@click.pass_context
def backup(context: click.Context, target: str, as_json: bool) -> None:
    """Copy the home into FILE while it works: record, texts, repositories, settings. No private key and no secret."""
    from loom.coordinator.backup import backup as copy

    path = Path(target).expanduser()
    if not path.absolute().parent.is_dir():
        raise UsageProblem(f"There is no directory {path.absolute().parent}.")
    found = copy(homes.opened(context), path)
    if as_json:
        output.print_json({"file": str(path), "entries": found.entries, "files": found.files, "size": found.size})
        return
    output.say(f"{path}: {found.entries} entries, {found.files} files, {found.size} bytes; read back and right")


@click.command()
@click.argument("source", metavar="FILE")
@click.argument("home", metavar="HOME")
@click.option(
    "--last-head",
    metavar="NOTE",
    default="",
    help="The last head that a witness kept: what is missing is put on record.",
)
@as_json
def restore(source: str, home: str, last_head: str, as_json: bool) -> None:
    """Make HOME, which does not exist yet, from a backup. Its log goes on under a new name, which says whose copy it is."""
    from loom.coordinator.backup import restore as make
    from loom.coordinator.home import Home

    path = Path(source).expanduser()
    if not path.is_file():
        raise UsageProblem(f"There is no backup {path}.")
    note = Path(last_head).expanduser().read_text(encoding="utf-8") if last_head else ""
    made = Home(Path(home).expanduser().absolute())
    found = make(path, made, version=__version__, last_head=note)
    if as_json:
        output.print_json(
            {
                "home": str(made.path),
                "origin": found.origin,
                "was": found.was,
                "entries": found.entries,
                "lost": found.lost,
            }
        )
        return
    missing = f"; {found.lost} later entries of it are missing here" if found.lost else ""
    output.say(f"{made.path}: {found.entries} entries of {found.was}{missing}")
    output.say(f"its log is {found.origin} from now on; its key: {made.keys / 'log.pub'}")
