"""What happens inside one attempt; `executor.Executor` gives it its means and takes down how it ended."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from loom.workers import checks, effects, outputs, processes, prompts, recording, workspaces
from loom.workers.harnesses.registry import harness_of
from loom.workers.harnesses.transcript import cut
from loom.workers.protocol import (
    Assign,
    Capability,
    Change,
    ErrorClass,
    Input,
    Result,
    SandboxUsed,
    Usage,
    WorkspaceRef,
)
from loom.workers.providers import replies
from loom.workers.providers.recorded import Recorder
from loom.workers.sandboxes import ENDING
from loom.workers.seams import Command, Hands, HandsError, HandsReply, Job, Position, Provider, Sandbox
from loom.workers.texts import Redactor, Texts
from loom.workers.workspaces.repository import ensure
from loom.workers.workspaces.working import describe, remove_tree

if TYPE_CHECKING:
    from loom.workers.executor import Executor

GRACE_S = 30.0
"""Seconds beyond the bound for what comes after the hands: snapshot, measures, publishing."""
REPAIR_ORDINAL = 900
"""The ordinal of a repair's model call: a file of replies tells it from the calls of the attempt that it repairs."""
MAX_DIFF_SHOWN = 200_000
"""Characters of a diff that a prompt may show; head and tail remain, with a mark between."""
MAX_PATHS_SHOWN = 1_000
"""Changed files that a prompt may list."""
MAX_RAW = 12 * 1024
"""Characters of an unreadable answer that the report carries for a repair."""

REPAIR_SYSTEM = (
    "An agent gave an answer that a program could not read. Give the same content again in the demanded form. Add nothing "
    "and leave nothing out; what cannot be read from the answer is not invented."
)
BUILT_IN = ("diff", "interdiff", "changed_files")
"""Inputs that the hands make from the workspace, for templates that name them."""


class Attempt:
    """One attempt. What is known of it when it fails is in its fields."""

    def __init__(
        self,
        *,
        means: Executor,
        assign: Assign,
        fetch: Callable[[str], Awaitable[bytes]],
        texts: Texts,
        redact: Redactor,
        progress: Callable[[str, str], None],
        folder: Path,
    ) -> None:
        self._means = means
        self.assign = assign
        self._fetch = fetch
        self._texts = texts
        self._redact = redact
        self._progress = progress
        self._folder = folder
        self.notes: list[str] = []
        self.usage = Usage()
        self.sandbox_used: SandboxUsed | None = None
        self.model = ""
        self.prompt = ""
        self.transcript = ""
        self.unfinished: Result | None = None
        """What a failed attempt brings all the same: an unreadable answer with the change that it belongs to."""
        self._left: tuple[workspaces.Repository, str, Path] | None = None

    async def run(self) -> Result:
        """The whole of it. Raises HandsError."""
        assign = self.assign
        await asyncio.to_thread(self._make_folder)
        match assign.capability:
            case Capability.CHECKS:
                return await self._checks()
            case Capability.ACT:
                self.notes.append(await effects.perform(assign.inputs, assign.workspace, assign.reconciles))
                return Result()
            case _ if assign.repair is not None:
                return await self._repair()
            case _:
                return await self._work()

    async def clean(self) -> None:
        """Removes the attempt's directory, whatever was left there; the pool takes out of it what it can use again."""
        if self._left and self._means.pool:
            await self._means.pool.give(*self._left)
        await asyncio.to_thread(remove_tree, self._folder)

    def _make_folder(self) -> None:
        remove_tree(self._folder)  # the same attempt, accepted again after a restart, begins again
        self._folder.mkdir(parents=True, mode=0o700)
        (self._folder / "own").mkdir(mode=0o700)

    # --------------------------------------------------------------------------------------------- a model works

    async def _work(self) -> Result:
        assign = self.assign
        schema = outputs.parse_schema(assign.output_schema) if assign.output_schema else None
        self._progress("phase", "preparing")
        workspace = await self._workspace()
        sandbox = await self._sandbox()
        if workspace is not None and assign.capability == Capability.EDIT:
            workspace = await self._furnished(workspace, sandbox)
        rendered = prompts.render(assign.prompt, await self._inputs(workspace), assign.output_schema)
        self.prompt = self._texts.add(rendered.record)
        tree = workspace.tree if workspace is not None and assign.capability != Capability.ANSWER else None
        job = Job(
            binding=assign.binding,
            capability=assign.capability,
            system=rendered.system,
            prompt=rendered.user,
            position=self._position(0),
            bound=assign.bound,
            workspace=tree,
            scratch=self._folder / "own",
            schema=schema,
            checks=self._checks_tool(workspace, sandbox),
        )
        reply = await self._hands(job, sandbox)
        change = await self._taken(workspace) if workspace and assign.capability == Capability.EDIT else None
        if workspace is not None and tree is not None and sandbox.kind in ENDING:
            self._left = (workspace.repository, change.commit if change else workspace.commit, tree)
        await self._recorded(reply, change)
        return await self._result(reply, schema, change)

    async def _hands(self, job: Job, sandbox: Sandbox) -> HandsReply:
        """Lets the harness work; keeps usage and transcript of a failure, too."""
        harness = self._means.harnesses.of(harness_of(job.binding))
        hands = Hands(
            sandbox=sandbox,
            run=processes.run,
            provider=self._provider,
            secret=self._means.secret,
            progress=self._progress,
        )
        self._progress("phase", f"working: {job.binding.ref}")
        try:
            reply = await harness.run(job, hands)
        except HandsError as error:
            self.usage, self.transcript, self.sandbox_used = error.usage, error.transcript, error.sandbox
            raise
        self.usage, self.transcript, self.model = reply.usage, reply.transcript, reply.model
        self.sandbox_used = reply.sandbox
        self.notes.extend(reply.notes)
        return reply

    async def _sandbox(self) -> Sandbox:
        """The sandbox for the assignment's wish; that it is less than was hoped for is a note."""
        sandbox, sentence = await asyncio.to_thread(self._means.sandbox, self.assign.sandbox)
        if sentence and sentence not in self.notes:
            self.notes.append(sentence)
        return sandbox

    def _provider(self, family: str) -> Provider:
        provider = self._means.providers.of(family)
        return Recorder(provider, Path(self.assign.record)) if self.assign.record else provider

    async def _recorded(self, reply: HandsReply, change: Change | None, ordinal: int = 0) -> None:
        """Writes down what a tool of its own did; what goes through a provider is recorded there, call by call."""
        assign = self.assign
        if not assign.record or harness_of(assign.binding) == "api":
            return
        calls: list[replies.Call] = []
        notes: list[str] = []
        if change is not None and assign.workspace is not None:
            repository = await self._repository(assign.workspace)
            calls, notes = await recording.calls_for(repository, assign.workspace.commit, change.commit)
        self.notes.extend(notes)
        recording.write(Path(assign.record), self._position(ordinal), reply, calls, assign.binding.ref)

    async def _result(self, reply: HandsReply, schema: dict[str, object] | None, change: Change | None) -> Result:
        assign = self.assign
        measured: dict[str, str] = {}
        if assign.workspace is not None and assign.measures:
            commit = change.commit if change is not None else assign.workspace.commit
            measured = await self._measured(assign.workspace, commit)
        if schema is None:
            return Result(output="", measured=measured, change=change)
        try:
            output = outputs.read_output(reply.text, schema)
        except HandsError:
            self.unfinished = Result(output=cut(reply.text, MAX_RAW), measured=measured, change=change)
            raise
        self.notes.extend(output.notes)
        return Result(output=output.text, repaired=output.repaired, measured=measured, change=change)

    def _position(self, ordinal: int) -> Position:
        assign = self.assign
        return Position(assign.agent, assign.stage, assign.iteration, ordinal)

    # ---------------------------------------------------------------------------------------------------- repair

    async def _repair(self) -> Result:
        """One plain model call on the answer alone; an edit's change stays what it was."""
        assign = self.assign
        if assign.repair is None or not assign.output_schema:
            raise HandsError(ErrorClass.PERMANENT, "a repair needs the answer and the agent's output schema")
        schema = outputs.parse_schema(assign.output_schema)
        prompt = (
            f"What was wrong: {assign.repair.error}\n\n{prompts.material(assign.repair.output, 'answer')}\n\n"
            "Give the answer in the demanded form."
        )
        system = "\n\n".join([REPAIR_SYSTEM, prompts.MATERIAL, prompts.OUTPUT.format(schema=assign.output_schema)])
        self.prompt = self._texts.add(prompts.Rendered(system, prompt).record)
        job = Job(
            binding=assign.binding,
            capability=Capability.ANSWER,
            system=system,
            prompt=prompt,
            position=self._position(REPAIR_ORDINAL),
            bound=assign.bound,
            workspace=None,
            scratch=self._folder / "own",
            schema=schema,
        )
        reply = await self._hands(job, await self._sandbox())
        change = None
        if assign.capability == Capability.EDIT and assign.workspace is not None:
            change = await self._kept(assign.workspace)
        await self._recorded(reply, None, REPAIR_ORDINAL)
        result = await self._result(reply, schema, change)
        self.notes.append("the output was repaired: by asking the model again with the error")
        return structs.replace(result, repaired=True)

    async def _kept(self, ref: WorkspaceRef) -> Change:
        """The change of the attempt that is repaired: base..commit, published under this attempt's ref as well."""
        repository = await self._repository(ref)
        await ensure(repository, ref.commit, ref.base)
        tree = await repository.tree_of(ref.commit)
        shot = await describe(repository, ref.base, ref.commit, tree)
        workspace = workspaces.Workspace(repository, ref.commit, ref.base, self._folder, self._folder, ref.publish)
        return await self._published(workspace, shot)

    # ---------------------------------------------------------------------------------------------------- checks

    async def _checks(self) -> Result:
        """The project's checks on a fresh checkout of the commit; no model."""
        ref = self.assign.workspace
        if ref is None:
            raise HandsError(ErrorClass.PERMANENT, "checks need a workspace, the assignment names none")
        repository = await self._repository(ref)
        sandbox = await self._sandbox()
        results = await self._checked(repository, ref.commit, sandbox, self._folder / "checks")
        self.transcript = checks.report(results)
        self.sandbox_used = sandbox.used(Command(argv=(), cwd=self._folder, env={}))
        statements = tuple(each.statement(self._texts.add(each.output)) for each in results)
        measured = await self._measured(ref, ref.commit) if self.assign.measures else {}
        return Result(measured=measured, statements=statements, tree=await repository.tree_of(ref.commit))

    async def _checked(
        self, repository: workspaces.Repository, commit: str, sandbox: Sandbox, folder: Path
    ) -> tuple[checks.Checked, ...]:
        self._progress("phase", "checking")
        tree = await workspaces.checkout(repository, commit, folder / "tree")
        await self._include(repository, tree)
        timeout_ms = min(checks.CHECK_MS, self.assign.bound.wall_ms)
        return await checks.run_checks(
            tree, self.assign.setup, sandbox=sandbox, scratch=folder / "own", timeout_ms=timeout_ms
        )

    def _checks_tool(
        self, workspace: workspaces.Workspace | None, sandbox: Sandbox
    ) -> Callable[[], Awaitable[str]] | None:
        """The checks of the tree as it stands, for an editing agent: on a checkout of a snapshot, as they will be judged."""
        if workspace is None or self.assign.capability != Capability.EDIT:
            return None
        count = itertools.count(1)

        async def run() -> str:
            shot = await workspaces.snapshot(workspace, message="a trial", date_ms=int(time.time() * 1000))
            folder = self._folder / f"trial-{next(count)}"
            try:
                results = await self._checked(workspace.repository, shot.commit, sandbox, folder)
                return "\n\n".join([*_left_out(shot), checks.report(results)])
            finally:
                await asyncio.to_thread(remove_tree, folder)

        return run

    # ------------------------------------------------------------------------------------------------- workspace

    async def _include(self, repository: workspaces.Repository, tree: Path) -> None:
        """The ignored files that a trusted configuration names (settings, fixtures): the tree is no use without them."""
        setup = self.assign.setup
        if setup.trusted and setup.include:
            copied = await workspaces.copy_included(repository, tree, setup.include)
            self._progress("phase", f"{len(copied)} included files copied")

    async def _furnished(self, workspace: workspaces.Workspace, sandbox: Sandbox) -> workspaces.Workspace:
        """What an editing agent finds beside the commit: included files, and what the trusted set-up commands make."""
        setup = self.assign.setup
        if not setup.trusted or not (setup.include or setup.setup):
            return workspace
        await self._include(workspace.repository, workspace.tree)
        if setup.setup:
            self._progress("phase", "setting up")
            room = checks.Room(tree=workspace.tree, scratch=self._folder / "setup", sandbox=sandbox)
            await checks.run_setup(room, setup)
        return await workspaces.furnished(workspace)

    async def _repository(self, ref: WorkspaceRef) -> workspaces.Repository:
        return await workspaces.open_repository(ref.source, mirrors=self._means.mirrors, token=ref.token, pin=ref.pin)

    async def _workspace(self) -> workspaces.Workspace | None:
        ref = self.assign.workspace
        if ref is None:
            if self.assign.capability == Capability.EDIT:
                raise HandsError(ErrorClass.PERMANENT, "an editing agent needs a workspace, the assignment names none")
            return None
        if self.assign.capability == Capability.ANSWER:
            repository = await self._repository(ref)
            await ensure(repository, ref.commit, ref.base)
            return workspaces.Workspace(repository, ref.commit, ref.base or ref.commit, self._folder, self._folder)
        return await workspaces.prepare(ref, self._folder / "work", mirrors=self._means.mirrors, pool=self._means.pool)

    async def _inputs(self, workspace: workspaces.Workspace | None) -> dict[str, object]:
        """The assignment's inputs by name, and the built-in ones that a template names and nobody gave."""
        assign = self.assign
        found: dict[str, object] = {}
        for each in assign.inputs:
            found[each.name] = prompts.parse_input(each.name, each.media, await self._text_of(each))
        wanted = [name for name in BUILT_IN if name not in found and name in assign.prompt.system + assign.prompt.user]
        if workspace is not None and assign.workspace is not None:
            for name in wanted:
                found[name] = await self._built_in(name, workspace, assign.workspace)
        return found

    async def _text_of(self, each: Input) -> str:
        if not each.text:
            return each.value
        return (await self._fetch(each.text)).decode(errors="replace")

    async def _built_in(self, name: str, workspace: workspaces.Workspace, ref: WorkspaceRef) -> object:
        repository = workspace.repository
        if name == "changed_files":
            paths = await workspaces.changed_paths(repository, workspace.base, ref.commit)
            return [
                {"path": each.path, "status": each.status, "added": each.added, "removed": each.removed}
                for each in paths[:MAX_PATHS_SHOWN]
            ]
        if name == "interdiff":
            if not ref.previous:
                return ""
            shown = await workspaces.interdiff(repository, ref.previous, ref.commit)
        else:
            shown = await workspaces.diff(repository, workspace.base, ref.commit)
        return cut(shown.decode(errors="replace"), MAX_DIFF_SHOWN)

    async def _taken(self, workspace: workspaces.Workspace) -> Change:
        """What the agent left, as a published commit."""
        self._progress("phase", "taking the change")
        shot = await workspaces.snapshot(workspace, message=self._message(), date_ms=int(time.time() * 1000))
        self.notes.extend(_left_out(shot))
        return await self._published(workspace, shot)

    def _message(self) -> str:
        assign = self.assign
        return f"loom {assign.task}: {assign.stage}\n\nBy {assign.agent}, iteration {assign.iteration}."

    async def _published(self, workspace: workspaces.Workspace, shot: workspaces.Snapshot) -> Change:
        secret = self._redact.found(shot.diff)
        if secret:
            sentence = f"the change holds the value of {secret} in the clear; it was not taken"
            raise HandsError(ErrorClass.WORKSPACE, sentence)
        await workspaces.publish(workspace, shot.commit)
        return shot.change(self._texts.add_exact(shot.diff))

    async def _measured(self, ref: WorkspaceRef, commit: str) -> dict[str, str]:
        repository = await self._repository(ref)
        return await workspaces.measure(repository, self.assign.measures, base=ref.base or ref.commit, commit=commit)


def _left_out(shot: workspaces.Snapshot) -> tuple[str, ...]:
    """What the person who reads the record, and the agent that asks for checks, should know of the snapshot."""
    if not shot.newly_ignored:
        return ()
    return (f"not part of the result, since the changed .gitignore hides it: {', '.join(shot.newly_ignored)}",)
