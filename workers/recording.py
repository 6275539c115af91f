"""Recording what an agent's own tool did, so that a file of replies can give it again without the tool.

What goes through a provider is recorded call by call (`providers.recorded.Recorder`). A tool like Claude Code speaks to its API by
itself: of it, the end is recorded. An edit becomes the calls of loom's own tools that lead from the commit it began with to
the commit it made; then comes the final text. Played again, the same files stand there.
"""

from __future__ import annotations

from pathlib import Path

from loom.workers.git import GitError, unquote_path
from loom.workers.harnesses.files import MAX_FILE
from loom.workers.protocol import ChangedPath
from loom.workers.providers.recorded import append
from loom.workers.providers.replies import Call, Entry, Reply, Tokens
from loom.workers.seams import HandsReply, Position
from loom.workers.workspaces import Repository, changed_paths


async def calls_for(repository: Repository, before: str, after: str) -> tuple[list[Call], list[str]]:
    """The tool calls that make `after` of `before`, and a note for each file that they cannot make."""
    calls: list[Call] = []
    notes: list[str] = []
    for each in await changed_paths(repository, before, after):
        if each.status == "D":
            calls.append(Call("remove", {"path": each.path}))
            continue
        content = await _content(repository, after, each)
        if content is None:
            notes.append(f"not recorded: {each.path} is not a text file that loom's own tools can write")
        else:
            calls.append(Call("write", {"path": each.path, "content": content}))
    return calls, notes


def write(path: Path, at: Position, reply: HandsReply, calls: list[Call], ref: str) -> None:
    """Adds the entries. Raises HandsError when the file cannot be written."""
    counted = reply.usage
    usage = Tokens(counted.input_tokens, counted.output_tokens, counted.cached_tokens)
    said = (
        [Reply(calls=tuple(calls), usage=usage), Reply(text=reply.text)] if calls else [Reply(reply.text, usage=usage)]
    )
    for number, each in enumerate(said):
        entry = Entry(agent=at.agent, stage=at.stage, iteration=at.iteration, ordinal=at.ordinal + number, reply=each)
        append(path, entry, note=f"recorded from {ref}")


async def _content(repository: Repository, commit: str, changed: ChangedPath) -> str | None:
    """The file's text; None when it is a link, not UTF-8, or too large."""
    path = unquote_path(changed.path)
    try:
        line = await repository.git.run("ls-tree", "-z", "-l", "--full-tree", commit, "--", path)
        mode, kind, oid, size = line.split(b"\t")[0].split()
        if kind != b"blob" or mode == b"120000" or int(size) > MAX_FILE:
            return None
        return (await repository.git.run("cat-file", "blob", oid.decode())).decode()
    except (GitError, UnicodeDecodeError, ValueError):
        return None
