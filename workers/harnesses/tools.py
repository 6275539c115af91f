"""The tools that the `api` harness offers, as the model sees them and as they are done."""

from __future__ import annotations

from collections.abc import Mapping

from loom.workers.harnesses.files import FORBIDDEN, MAX_SHOWN, Refused, Tree
from loom.workers.harnesses.transcript import cut
from loom.workers.protocol import Capability
from loom.workers.providers.common import UNREADABLE
from loom.workers.seams import Command, Hands, HandsError, Job, Tool

SEARCH_MS = 30_000
"""Milliseconds that one search may take."""
MAX_HITS = 50
"""Hits of one search in one file."""


def _schema(required: str, **properties: str) -> dict[str, object]:
    """A JSON schema of arguments; each property is given as "type: description"."""
    described = {}
    for name, words in properties.items():
        kind, _, description = words.partition(": ")
        described[name] = {"type": kind, "description": description}
    return {
        "type": "object",
        "properties": described,
        "required": required.split(),
        "additionalProperties": False,
    }


_PATH = "string: path relative to the top of the workspace"
READING = (
    Tool("list", "Lists every file below a directory with its size in bytes.", _schema("", path=_PATH)),
    Tool(
        "read",
        "Reads a text file, or a range of its lines.",
        _schema("path", path=_PATH, first="integer: first line, from 1", lines="integer: number of lines"),
    ),
    Tool(
        "search",
        "Finds lines by an extended regular expression (as grep -E), with file and line number.",
        _schema("pattern", pattern="string: extended regular expression", path=_PATH),
    ),
)
EDITING = (
    Tool(
        "edit",
        "Replaces a text in a file. `old` must stand in the file exactly, and once unless `every` is true.",
        _schema(
            "path old new",
            path=_PATH,
            old="string: the text that stands there",
            new="string: the text that shall stand there",
            every="boolean: replace every occurrence",
        ),
    ),
    Tool(
        "write", "Makes a file, or replaces it whole.", _schema("path content", path=_PATH, content="string: all of it")
    ),
    Tool("remove", "Removes a file.", _schema("path", path=_PATH)),
)
CHECKS = Tool("run_checks", "Runs the project's checks on the present tree and gives their output.", _schema(""))


class Toolbox:
    """The tools of one job. Reading jobs get no tool that writes, and none that runs what the tree holds."""

    def __init__(self, job: Job, hands: Hands) -> None:
        self._job = job
        self._hands = hands
        self._tree = Tree(job.workspace) if job.workspace is not None else None
        self.tools: tuple[Tool, ...] = ()
        if self._tree is not None:
            self.tools = READING
            if job.capability == Capability.EDIT:
                self.tools += EDITING + ((CHECKS,) if job.checks is not None else ())
        self._names = frozenset(tool.name for tool in self.tools)

    async def do(self, name: str, arguments: Mapping[str, object]) -> str:
        """Does one call. Raises Refused with a sentence for the model; anything else is trouble of the attempt."""
        if name not in self._names or self._tree is None:
            raise Refused(f"there is no tool {name}; there are: {', '.join(sorted(self._names)) or 'none'}")
        if UNREADABLE in arguments:
            raise Refused("the arguments are not a JSON object of whole characters")
        given = _Arguments(arguments)
        if name == "run_checks":
            return await self._checks()
        try:
            return await self._in(self._tree, name, given)
        except (ValueError, OSError) as error:
            # A path that no file can have (badly quoted, too long, half a character) is the model's to mend, like any other.
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise Refused(f"{name} could not be done: {why}") from error

    async def _in(self, tree: Tree, name: str, given: _Arguments) -> str:
        """One call of a file tool."""
        match name:
            case "list":
                return tree.list(given.text("path", "."))
            case "read":
                return tree.read(given.text("path"), given.number("first", 1), given.number("lines", 1_000))
            case "search":
                return await self._search(tree, given.text("pattern"), given.text("path", "."))
            case "edit":
                return tree.edit(given.text("path"), given.text("old"), given.text("new"), given.flag("every"))
            case "write":
                return tree.write(given.text("path"), given.text("content"))
            case _:
                return tree.remove(given.text("path"))

    async def _search(self, tree: Tree, pattern: str, path: str) -> str:
        # grep, not re: a pattern that never ends is a process that a limit can end.
        at = tree.name(tree.resolve(path or "."))
        outside = [f"--exclude-dir={name}" for name in sorted(FORBIDDEN)]
        command = Command(
            argv=("grep", "-rnIE", f"-m{MAX_HITS}", *outside, "-e", pattern, "--", at),
            cwd=tree.root,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            readable=(tree.root,),
        )
        done = await self._hands.run(self._hands.sandbox.wrap(command), timeout_ms=SEARCH_MS, max_output=MAX_SHOWN)
        if done.timed_out:
            raise Refused(
                f"the search took more than {SEARCH_MS // 1000} s: search a directory below, or a simpler pattern"
            )
        if done.code > 1:
            raise Refused(done.stderr.decode(errors="replace").strip() or f"grep ended with {done.code}")
        found = done.stdout.decode(errors="replace")
        return (
            cut("".join(line.removeprefix("./") for line in found.splitlines(keepends=True)), MAX_SHOWN)
            or "nothing found"
        )

    async def _checks(self) -> str:
        if self._job.checks is None:
            raise Refused("this job has no checks")
        try:
            return cut(await self._job.checks(), MAX_SHOWN)
        except HandsError as error:
            raise Refused(f"the checks could not run: {error.message}") from error


class _Arguments:
    """Arguments of a call, read by type."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given

    def text(self, name: str, default: str | None = None) -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise Refused(f"the argument {name} is missing or not a text")
        return value

    def flag(self, name: str) -> bool:
        return self._given.get(name) is True

    def number(self, name: str, default: int) -> int:
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(f"the argument {name} is not a whole number")
        return value
