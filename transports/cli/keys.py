"""`loom keys`: who signs here, what has to be signed, and the log's own key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from loom import __version__
from loom.coordinator.home import Home
from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json, signing
from loom.transports.errors import UsageProblem


@click.group()
def keys() -> None:
    """Keys of people, workers and the log."""


@keys.command("list")
@as_json
@click.pass_context
def listed(context: click.Context, as_json: bool) -> None:
    """List whose keys count, the log's key, and the roles whose decisions must be signed."""
    found = _found(homes.opened(context))
    if as_json:
        output.print_json(found)
        return
    from loom.coordinator.proof import sshsig

    now_ms = time.time_ns() // 1_000_000
    rows = [
        (
            each["principal"],
            each["kind"],
            sshsig.fingerprint(each["key"]) if each["kind"] == "person" else each["key"].split("+")[1],
            "revoked" if each["revoked_ms"] else f"{output.duration(now_ms - each['now_ms'])} ago",
        )
        for each in found["keys"]
    ]
    output.table(["who", "what", "key", "enrolled"], rows, empty="Nobody signs here yet: loom keys add")
    output.say(f"log\t{found['log_key']}")
    output.say(f"signed\t{', '.join(found['signed_roles']) or 'no role has to be signed'}")


@keys.command()
@click.argument("file", required=False, default="")
@click.option("--for", "person", metavar="PERSON", default="", help="Whose key it is (default: you).")
@signing
@as_json
@click.pass_context
def add(context: click.Context, file: str, person: str, sign: str, as_json: bool) -> None:
    """Enrol an SSH public key (FILE, default: your usual one): it signs answers from now on.

    Once a key is enrolled, another one is enrolled or revoked only with a signature: --sign.
    """
    from loom.kernel.commands import EnrolKey
    from loom.kernel.values import PrincipalKind
    from loom.transports import signing as signatures

    home = homes.opened(context)
    found = _found(home)
    public = signatures.public_of(signatures.key_file(file or signatures.DEFAULT))
    command = EnrolKey(principal=person or found["you"], kind=PrincipalKind.PERSON, key=public)
    _send(home, found, command, sign)
    if as_json:
        output.print_json({"principal": command.principal, "key": public})
        return
    output.say(f"enrolled for {command.principal}: {public}")


@keys.command()
@click.argument("key")
@signing
@as_json
@click.pass_context
def revoke(context: click.Context, key: str, sign: str, as_json: bool) -> None:
    """Let KEY (its text, fingerprint, or a file) sign nothing any more. What it signed before stands."""
    from loom.kernel.commands import RevokeKey

    home = homes.opened(context)
    found = _found(home)
    public = _named(found["keys"], key)
    _send(home, found, RevokeKey(key=public), sign)
    if as_json:
        output.print_json({"revoked": public})
        return
    output.say(f"revoked: {public}")


@keys.command()
@click.argument("roles", nargs=-1)
@click.option("--none", "nothing", is_flag=True, help="No role has to be signed.")
@signing
@as_json
@click.pass_context
def require(context: click.Context, roles: Sequence[str], nothing: bool, sign: str, as_json: bool) -> None:
    """Have decisions of these ROLES (final, plan …) signed by a person's own key, in every task submitted from now on."""
    if bool(roles) == nothing:
        raise UsageProblem("Name the roles, or --none.", "loom keys require final")
    from loom.kernel.commands import ChangeSetting
    from loom.kernel.values import SIGNED_ROLES

    home = homes.opened(context)
    value = ",".join(sorted(set(roles)))
    _send(home, _found(home), ChangeSetting(name=SIGNED_ROLES, value=value), sign)
    if as_json:
        output.print_json({"signed_roles": sorted(set(roles))})
        return
    output.say(f"signed from now on: {', '.join(sorted(set(roles)))}" if roles else "no role has to be signed any more")


@keys.command()
@as_json
@click.pass_context
def rotate(context: click.Context, as_json: bool) -> None:
    """Give the log another key. The old one signs that, and what it signed before verifies as ever."""
    from loom.coordinator.proof.rotation import rotate as turn
    from loom.transports.asking import send_away

    home = homes.opened(context)
    send_away(home)
    public = turn(home, version=__version__)
    if as_json:
        output.print_json({"log_key": public})
        return
    output.say(f"the log's key is now {public}")
    output.note("  hand it to whoever verifies; with the old one they still can, for the old one signed this")


def _send(home: Home, found: dict[str, Any], command: Any, sign: str) -> None:
    from loom.transports import signing as signatures

    signatures.ask_signed(home, command, sign, origin=found["origin"], principal=found["you"])


def _found(home: Home) -> dict[str, Any]:
    return reading.read(home, lambda queries: queries.authority(_token(home)))


def _token(home: Home) -> str:
    from loom.transports.asking import token_of_mine

    return token_of_mine(home)


def _named(known: Sequence[dict[str, Any]], name: str) -> str:
    """The enrolled key that a text, a fingerprint or a file names. Raises UsageProblem."""
    from loom.coordinator.proof import sshsig
    from loom.transports import signing as signatures

    live = [each for each in known if not each["revoked_ms"]]
    path = Path(name).expanduser()
    wanted = signatures.public_of(path) if path.is_file() else name.strip()
    for each in live:
        shown = sshsig.fingerprint(each["key"]) if each["kind"] == "person" else each["key"].split("+")[1]
        if wanted in (each["key"], shown) or each["key"] == " ".join(wanted.split()[:2]):
            return str(each["key"])
    raise UsageProblem(f"Nobody signs with {name[:80]!r}.", "loom keys list")
