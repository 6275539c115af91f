"""`loom duties`: which duties are separate, so that nobody accepts what they had a hand in."""

from __future__ import annotations

from collections.abc import Sequence

import rich_click as click

from loom.coordinator.home import Home
from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json, signing
from loom.transports.errors import UsageProblem

DUTIES = ("submitter", "author", "owner")


@click.group()
def duties() -> None:
    """Separation of duties: who may not accept what they had a hand in."""


@duties.command()
@as_json
@click.pass_context
def show(context: click.Context, as_json: bool) -> None:
    """Show which duties are separate in tasks that are submitted from now on."""
    from loom.transports.asking import token_of_mine

    home = homes.opened(context)
    token = token_of_mine(home)
    separate = reading.read(home, lambda queries: queries.authority(token))["separate_duties"]
    if as_json:
        output.print_json({"separate_duties": separate})
        return
    output.say(f"separate: {', '.join(separate)}" if separate else "no duty is separate: loom duties set submitter")


@duties.command("set")
@click.argument("names", nargs=-1, metavar="submitter|author|owner …")
@signing
@as_json
@click.pass_context
def set_duties(context: click.Context, names: Sequence[str], sign: str, as_json: bool) -> None:
    """In every task submitted from now on, let nobody accept what they submitted themselves (submitter), made with their own
    hands (author), or had made by a worker that they let in (owner).

    Running tasks keep what held when they were submitted. Abandon stays everybody's.
    """
    unknown = sorted(set(names) - set(DUTIES))
    if not names or unknown:
        said = f"There is no duty {', '.join(unknown)}." if unknown else "Name the duties."
        raise UsageProblem(said, f"loom duties set {' '.join(DUTIES)}")
    _change(homes.opened(context), sorted(set(names)), sign, as_json)


@duties.command()
@signing
@as_json
@click.pass_context
def unset(context: click.Context, sign: str, as_json: bool) -> None:
    """Separate no duties any more, in tasks submitted from now on."""
    _change(homes.opened(context), [], sign, as_json)


def _change(home: Home, names: list[str], sign: str, as_json: bool) -> None:
    from loom.kernel.commands import ChangeSetting
    from loom.kernel.duties import SEPARATE_DUTIES
    from loom.transports.asking import token_of_mine
    from loom.transports.signing import ask_signed

    token = token_of_mine(home)
    found = reading.read(home, lambda queries: queries.authority(token))
    command = ChangeSetting(name=SEPARATE_DUTIES, value=",".join(names))
    ask_signed(home, command, sign, origin=found["origin"], principal=found["you"])
    if as_json:
        output.print_json({"separate_duties": names})
        return
    output.say(f"separate from now on: {', '.join(names)}" if names else "no duty is separate any more")
