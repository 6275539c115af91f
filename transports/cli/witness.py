"""`loom witness`: a second party that keeps the heads of a log, and sees when the log is rewritten, forked or rolled back."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import rich_click as click

from loom.transports.cli import homes, output
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem


@click.group()
def witness() -> None:
    """A second party that remembers the heads of a log."""


@witness.command()
@click.argument("folder", metavar="DIR")
@click.option("--name", required=True, help="What the witness is called, such as audit.example.org.")
@as_json
def new(folder: str, name: str, as_json: bool) -> None:
    """Make a witness in DIR: best on another machine, of another owner."""
    from loom.coordinator.proof.witness import Witness

    made = Witness.make(Path(folder).expanduser(), name, secrets.token_bytes(32))
    if as_json:
        output.print_json({"name": name, "key": made.key.line})
        return
    output.say(made.key.line)


@witness.command()
@click.argument("folder", metavar="DIR")
@as_json
def show(folder: str, as_json: bool) -> None:
    """The witness's key, and the last head of each log that it signed."""
    from loom.coordinator.proof.witness import Witness

    found = Witness(_folder(folder))
    logs = [{"origin": head.origin, "size": head.size, "root": head.root.hex()} for head in found.logs()]
    if as_json:
        output.print_json({"key": found.key.line, "logs": logs})
        return
    output.say(found.key.line)
    rows = [(str(each["origin"]), str(each["size"]), str(each["root"])) for each in logs]
    output.table(["log", ">entries", "root"], rows, empty="It has signed nothing yet.")


@witness.command()
@click.option("--since", type=click.IntRange(min=0), default=0, help="How many entries the witness's last head covers.")
@click.option("-o", "--output", "target", metavar="FILE", default="", help="Write it here instead of printing it.")
@click.pass_context
def ask(context: click.Context, since: int, target: str) -> None:
    """What a witness elsewhere is asked with: this home's signed head, and the proof that it goes on from SINCE."""
    from loom.coordinator.proof.witness import request

    _hand_over(request(homes.opened(context), since), target)


@witness.command()
@click.argument("folder", metavar="DIR")
@click.argument("source", metavar="REQUEST|HOME")
@click.option("--key", metavar="PUB", default="", help="The log's public key, told once, by somebody you believe.")
@click.option("-o", "--output", "target", metavar="FILE", default="", help="Write the cosigned head here.")
def check(folder: str, source: str, key: str, target: str) -> None:
    """Sign the log's head, if the log went on from the one that was signed before; else say what happened to it."""
    from loom.coordinator.home import Home
    from loom.coordinator.proof import notes
    from loom.coordinator.proof.witness import Witness, parse_request, request
    from loom.transports import proving

    found = Witness(_folder(folder))
    if key:
        found.trust(proving.verifier(key))
    path = Path(source).expanduser()
    if path.is_dir():
        home = Home(path.absolute())
        origin = notes.checkpoint(notes.parse(parse_request(request(home, 0))[2]).text).origin
        held = found.held(origin)
        text = request(home, held.size if held else 0)
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageProblem(f"{path} cannot be read: {error}.") from error
    _hand_over(found.cosign(text, time.time_ns() // 1_000_000_000), target)


def _hand_over(text: str, target: str) -> None:
    if target:
        Path(target).expanduser().write_text(text, encoding="utf-8")
        output.note(f"  {target}")
    else:
        output.say(text.rstrip("\n"))


def _folder(folder: str) -> Path:
    from loom.coordinator.proof.witness import KEY

    path = Path(folder).expanduser()
    if not (path / KEY).is_file():
        raise UsageProblem(f"There is no witness in {path}.", f"loom witness new {folder} --name NAME")
    return path
