"""The side commands on projects' content, which the transports start as child processes: they never run git themselves.

    python -m loom.workers.project probe  --path DIR
    python -m loom.workers.project fetch  --home HOME --project ID --path DIR [--rev REV | --with-changes]
    python -m loom.workers.project import --home HOME --project ID --path DIR
    python -m loom.workers.project empty  --home HOME --project ID
    python -m loom.workers.project branch --home HOME --project ID --path DIR --name BRANCH --commit COMMIT
    python -m loom.workers.project diff   --home HOME --project ID --base COMMIT --commit COMMIT [--raw]

One JSON object on standard output (`--json` is accepted and changes nothing):

    probe    see `loom.workers.probing.Probed`
    fetch, import, empty    {"repository", "commit", "tree"}: the base commit, kept in the project's private repository
    branch   {"branch", "commit", "created"}; created false: it was there and equal
    diff     {"base", "commit", "digest", "diff", "paths": [{"path", "status", "added", "removed", "digest"}]}; the diff as
             text with bytes that are not UTF-8 replaced; `--raw` writes its bytes instead of the JSON

Exit codes: 0; 2 when what was asked for is not there or wrong (directory, revision, loom.toml); 4 when it cannot be done
(`.loom/` tracked, name taken, disk, git missing). Errors are one sentence on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from loom.workers import workspaces
from loom.workers.git import GitError, quote_path
from loom.workers.probing import probe
from loom.workers.project_file import ProjectFileError
from loom.workers.seams import HandsError
from loom.workers.workspaces.changes import fetch_with_changes
from loom.workers.workspaces.projects import NotThere

WRONG = 2
CANNOT = 4


async def _probe(asked: argparse.Namespace) -> object:
    return await probe(asked.path)


async def _fetch(asked: argparse.Namespace) -> object:
    if asked.with_changes:
        return _fetched(await fetch_with_changes(asked.home, asked.project, asked.path))
    return _fetched(await workspaces.fetch_project(asked.home, asked.project, asked.path, asked.rev))


async def _import(asked: argparse.Namespace) -> object:
    return _fetched(await workspaces.import_directory(asked.home, asked.project, asked.path))


async def _empty(asked: argparse.Namespace) -> object:
    return _fetched(await workspaces.empty_project(asked.home, asked.project))


def _fetched(found: workspaces.Fetched) -> dict[str, str]:
    return {"repository": quote_path(os.fsencode(found.repository)), "commit": found.commit, "tree": found.tree}


async def _branch(asked: argparse.Namespace) -> object:
    repository = workspaces.repository_path(asked.home, asked.project)
    created = await workspaces.create_branch(asked.path, asked.name, asked.commit, repository)
    return {"branch": asked.name, "commit": asked.commit, "created": created}


async def _diff(asked: argparse.Namespace) -> object:
    repository = await workspaces.open_repository(str(workspaces.repository_path(asked.home, asked.project)))
    canonical = await workspaces.diff(repository, asked.base, asked.commit)
    if asked.raw:
        return canonical
    return {
        "base": asked.base,
        "commit": asked.commit,
        "digest": hashlib.sha256(canonical).hexdigest(),
        "diff": canonical.decode("utf-8", "replace"),
        "paths": await workspaces.changed_paths(repository, asked.base, asked.commit),
    }


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], Awaitable[object]], tuple[str, ...]]] = {
    "probe": (_probe, ("path",)),
    "fetch": (_fetch, ("home", "project", "path")),
    "import": (_import, ("home", "project", "path")),
    "empty": (_empty, ("home", "project")),
    "branch": (_branch, ("home", "project", "path", "name", "commit")),
    "diff": (_diff, ("home", "project", "base", "commit")),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one side command; the exit code."""
    asked = _parser().parse_args(argv)
    try:
        if "path" in asked and not asked.path.is_dir():
            raise NotThere(f"there is no directory {quote_path(os.fsencode(asked.path))}")
        result = asyncio.run(_run(asked))
    except (NotThere, ProjectFileError) as error:
        return _failed(WRONG, str(error))
    except HandsError as error:
        return _failed(CANNOT, error.message)
    except GitError as error:
        return _failed(CANNOT, error.message)
    except OSError as error:
        return _failed(CANNOT, f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    data = result if isinstance(result, bytes) else msgspec.json.encode(result) + b"\n"
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return 0


async def _run(asked: argparse.Namespace) -> object:
    return await COMMANDS[asked.command][0](asked)


def _failed(code: int, sentence: str) -> int:
    sys.stderr.write(sentence.encode("utf-8", "backslashreplace").decode() + "\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loom.workers.project", description="Side commands on projects' content."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, needed) in COMMANDS.items():
        command = commands.add_parser(name)
        command.add_argument("--json", action="store_true", help="accepted; the output is always JSON")
        for option in needed:
            command.add_argument(f"--{option}", required=True, type=Path if option in ("home", "path") else str)
        if name == "fetch":
            command.add_argument("--rev", default="HEAD")
            command.add_argument("--with-changes", action="store_true")
        if name == "diff":
            command.add_argument("--raw", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
