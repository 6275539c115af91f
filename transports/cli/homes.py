"""Which home a command is about: `--home`, $LOOM_HOME, the nearest `.loom/` upwards, the user's data directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from loom.coordinator.home import Home, find_home
from loom.transports.errors import UnavailableProblem

if TYPE_CHECKING:
    import rich_click as click

NO_HOME = "loom run, which makes one, or name another: --home DIR"


def resolve(context: click.Context, start: Path | None = None) -> Home:
    """The home for work in `start` (default: here); it may not exist."""
    return named(context.find_root().obj, start)


def named(override: str | None, start: Path | None = None) -> Home:
    """The same without a command line: `override` is what `--home` says."""
    environ = {**os.environ, "LOOM_HOME": override} if override else os.environ
    return find_home(start or Path.cwd(), environ)


def find(context: click.Context, start: Path | None = None) -> Path | None:
    """The directory of the home, None when there is none yet."""
    home = resolve(context, start)
    return home.path if home.path.is_dir() else None


def need(context: click.Context, mend: str = NO_HOME) -> Path:
    """The directory of the home. Raises UnavailableProblem when there is none."""
    home = resolve(context)
    if not home.path.is_dir():
        raise UnavailableProblem(f"There is no home of loom at {home.path}.", mend)
    return home.path


def opened(context: click.Context) -> Home:
    """The home, with a database in it. Raises UnavailableProblem."""
    home = resolve(context)
    if not home.exists:
        raise UnavailableProblem(f"There is no home of loom at {home.path}.", NO_HOME)
    return home


def for_work(context: click.Context, start: Path, top: Path | None) -> Home:
    """The home that a task in `start` goes to: one that is named or found, else a new `.loom/` at the top of its git work
    tree, else the user's. Creates nothing. A path that is not UTF-8 holds no home: sockets and records name it as text."""
    found = resolve(context, start)
    asked = context.find_root().obj or os.environ.get("LOOM_HOME")
    if top is None or asked or found.path.name == ".loom" or not _is_text(top):
        return found
    return Home(top / ".loom")


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
