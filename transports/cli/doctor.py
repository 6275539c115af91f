"""`loom doctor`: everything that loom stands on here, looked at; a mend for every red line."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import rich_click as click

from loom import __version__
from loom.coordinator import health
from loom.coordinator.errors import LoomError
from loom.coordinator.home import Home
from loom.transports import backends, secrets, settings
from loom.transports.cli import homes, output
from loom.transports.cli.options import as_json
from loom.transports.errors import Problem

GOOD, BAD = 0, 4
TRY_S = 60
"""Seconds that trying the workers' parts may take."""
LOW_BYTES, FULL_BYTES = 2 << 30, 200 << 20

State = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at. mend: what to do about it."""

    name: str
    state: State
    said: str
    mend: str = ""


@click.command()
@click.option("--rebuild", is_flag=True, help="Make the projections again from the entries, and compare.")
@as_json
@click.pass_context
def doctor(context: click.Context, rebuild: bool, as_json: bool) -> int:
    """Look at everything that loom stands on here, and say how to mend what is red."""
    home = homes.resolve(context)
    lines: list[Line] = []
    for line in _looked(home, rebuild):
        lines.append(line)
        if not as_json:
            _print(line)
    code = BAD if any(line.state == "bad" for line in lines) else GOOD
    if as_json:
        output.print_json(
            {
                "home": str(home.path),
                "version": __version__,
                "lines": [msgspec.to_builtins(line) for line in lines],
                "exit": code,
            }
        )
    return code


def _looked(home: Home, rebuild: bool) -> Iterator[Line]:
    yield Line(
        "loom", "good", f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    for look in (_sqlite, _git, _disk, _sync):
        yield from _safely(look.__name__.lstrip("_"), partial(look, home))
    yield from _safely("sandbox", _parts)
    yield from _safely("models", lambda: _models(home))
    if not home.exists:
        yield Line("home", "good", f"there is none at {home.path} yet; the first `loom run` makes one")
        return
    yield from _safely("home", lambda: _private(home))
    yield from _safely("ledger", lambda: _ledger(home))
    if rebuild:
        yield from _safely("projections", lambda: _rebuilt(home))
    yield from _safely("coordinator", lambda: _coordinator(home))


def _safely(name: str, look: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """The lines of one look; an error of ours is its red line, and the others go on."""
    try:
        yield from look()
    except LoomError as error:
        yield Line(name, "bad", error.what, f"{error.remedy} ({error.code})")
    except Problem as problem:
        yield Line(name, "bad", problem.sentence, problem.mend)
    except (OSError, subprocess.SubprocessError) as error:
        yield Line(name, "bad", str(error))


def _print(line: Line) -> None:
    sign, colour = {"good": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "red")}[line.state]
    click.secho(f"{sign} ", fg=colour, nl=False)
    output.say(output.clean(f"{line.name:<12} {line.said}"))
    if line.mend and line.state != "good":
        click.secho(f"  {'':<12} {output.clean(line.mend)}", dim=True)


def _sqlite(home: Home) -> Iterator[Line]:
    found = health.sqlite_version()
    said = ".".join(map(str, found))
    if found < health.WAL_RESET_MENDED:
        said += "; below 3.51.3 two programs that checkpoint at once can lose writes (loom itself has one writer)"
    yield Line("SQLite", "good", said)


def _git(home: Home) -> Iterator[Line]:
    path = shutil.which("git")
    if not path:
        yield Line("git", "bad", "there is none on PATH", "apt install git")
        return
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=TRY_S, check=True)
    yield Line("git", "good", done.stdout.strip().removeprefix("git version "))


def _folder(home: Home) -> Path:
    """The home, or the nearest directory above that there is."""
    return next(path for path in (home.path, *home.path.parents) if path.is_dir())


def _disk(home: Home) -> Iterator[Line]:
    free = shutil.disk_usage(_folder(home)).free
    state: State = "bad" if free < FULL_BYTES else "warn" if free < LOW_BYTES else "good"
    yield Line(
        "disk",
        state,
        f"{free / (1 << 30):.1f} GiB free at {_folder(home)}",
        "free some space: a full disk stops every task",
    )


def _sync(home: Home) -> Iterator[Line]:
    try:
        spent = health.sync_ms(_folder(home))
    except OSError as error:
        said = f"{_folder(home)} cannot be written: {error.strerror}"
        yield Line("fsync", "bad", said, "make it writable for you, or name another home in LOOM_HOME")
        return
    if spent < health.HONEST_MS:
        yield Line(
            "fsync",
            "warn",
            f"{spent:.3f} ms: this disk says that it has written before it can have",
            "keep the home on a disk that does, or have a battery",
        )
        return
    yield Line("fsync", "good", f"{spent:.2f} ms for a durable write")


def _parts() -> Iterator[Line]:
    """Sandboxes and harnesses, tried by a child process."""
    command = [sys.executable, "-P", "-m", "loom.workers.abilities"]
    done = subprocess.run(command, capture_output=True, timeout=TRY_S, check=False)
    if done.returncode:
        yield Line("workers", "bad", done.stderr.decode(errors="replace").strip().splitlines()[-1], "reinstall loom")
        return
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    works = [each for each in found["sandboxes"] if each["works"]]
    if works and works[0]["name"] != "none":
        yield Line(
            "sandbox",
            "good",
            ", ".join(each["version"] or each["name"] for each in works if each["name"] != "none"),
        )
    else:
        why = found["sandboxes"][0]["reason"]
        yield Line("sandbox", "warn", "none: an agent has your user's rights here", why)
    engine = found["engine"]
    answers = f"{engine['version']} answers" if engine["works"] else "no engine answers"
    yield Line("containers", "good", f"{answers} (not a sandbox in this version)")
    for each in found["harnesses"]:
        if each["name"] != "api":
            said = f"{each['version'] or 'works'}" if each["works"] else "not there (only needed for claude:)"
            yield Line(each["name"], "good", said)


def _models(home: Home) -> Iterator[Line]:
    place = home.path if home.path.is_dir() else None
    machine = backends.Machine(place)
    settings.load(place)
    try:
        backend = backends.default_backend(machine)
    except Problem as problem:
        yield Line("models", "warn", problem.sentence, problem.mend)
    else:
        yield Line("models", "good", f"without a setting: {backend.family}:, by {backend.why}")
    names = [name for names in backends.KEYS.values() for name in names if secrets.origin(name, place)]
    yield Line("keys", "good", ", ".join(names) or "none")


def _private(home: Home) -> Iterator[Line]:
    home.check_private()
    yield Line("home", "good", f"{home.path}, private")


def _ledger(home: Home) -> Iterator[Line]:
    found = health.read_ledger(home)
    restore = "restore a backup; nothing was changed"
    if found.schema > found.newest:
        yield Line(
            "schema", "bad", f"{found.schema}, newer than this loom's {found.newest}", "use that version or a later one"
        )
    else:
        yield Line("schema", "good", str(found.schema))
    if found.complaint:
        yield Line("database", "bad", found.complaint, restore)
    if found.broken >= 0:
        yield Line("ledger", "bad", f"entry {found.broken} is not what was hashed", restore)
    elif not found.root_agrees:
        yield Line("ledger", "bad", "the tree's edge is not that of its entries", restore)
    else:
        yield Line("ledger", "good", f"{found.entries} entries, each as it was hashed, and the tree's edge is theirs")


def _rebuilt(home: Home) -> Iterator[Line]:
    """The projections made again; a coordinator that runs is sent away first, and comes back when it is needed."""
    from loom.coordinator.client import Client

    if home.running():
        with Client.connect(home, start=False) as client:
            client.leave()
    found = health.rebuild_home(home)
    if found.different:
        yield Line(
            "projections",
            "warn",
            f"{', '.join(found.different)} were not what the entries say; they are now",
            "nothing more to do",
        )
    else:
        yield Line("projections", "good", f"made again from {found.entries} entries: the same rows")


def _coordinator(home: Home) -> Iterator[Line]:
    from loom.coordinator.client import Client

    pid = home.running()
    if not pid:
        yield Line("coordinator", "good", "sleeps; the next command that needs it starts it")
        return
    with Client.connect(home, start=False) as client:
        found = client.describe()
    if found["read_only"]:
        yield Line(
            "coordinator",
            "bad",
            f"cannot write: {found['read_only']}",
            "free space, or make the home writable; it goes on by itself",
        )
        return
    yield Line(
        "coordinator",
        "good",
        f"process {pid}, epoch {found['epoch']}, {len(found['workers'])} workers, {found['leases']} at work",
    )
