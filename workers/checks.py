"""Runs a project's checks on a fresh checkout and says what came out, as evidence.

    tree = await checkout(workspace.repository, commit, scratch / "checks")
    results = await run_checks(tree, assign.setup, sandbox=sandbox, scratch=scratch / "checks-private")
    statements = [each.statement(text_id_of(each.output)) for each in results]

What runs: the checks that are found by files (`discovery`), as loom's own command lines; instead of them, by name, what
the repository's own configuration says, only when a person has trusted it (`ProjectSetup.trusted`). Each runs in the given
sandbox, with an environment that holds no secret and, by default, without network. A check that ran no test is *skipped*,
never passed; one that reaches its time limit is *failed*, and so is one whose tool the tree itself would replace.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loom.workers.discovery import Plan, in_the_way, look, plans
from loom.workers.processes import run as run_command
from loom.workers.protocol import CheckCommand, ErrorClass, ProjectSetup, Statement
from loom.workers.seams import Command, Finished, HandsError, RunCommand, Sandbox

CHECK_MS = 15 * 60_000
"""Time limit of one check."""
SETUP_MS = 15 * 60_000
"""Time limit of one set-up command."""
MAX_OUTPUT = 512 * 1024
"""Bytes kept of a check's output: its head and its tail."""
MAX_SUMMARY = 200
MAX_NAMED = 5
"""Failing tests that a summary names."""
PATH = f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin"
SAFE = "-P"
"""Without it `python -m` looks for the tool in the tree first."""
NO_TESTS = 5
"""Exit code of pytest, and of unittest since Python 3.12, when there was no test."""

_MAKE = re.compile(r"make(\[\d+\])?: (\*\*\* |(Entering|Leaving) directory)")
_PYTEST = re.compile(r"\b(\d+) (passed|failed|errors?|xfailed|xpassed|skipped|deselected)\b")
_UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_FAILING = re.compile(r"^(?:FAIL|ERROR): (\w+) \(|^(?:FAILED|ERROR) (\S+::\S+)", re.MULTILINE)
"""A failing test's name, as unittest and as pytest say it."""
_UNITTEST_SKIPPED = re.compile(r"^(?:OK|FAILED) \(.*?\bskipped=(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check came to. outcome: passed, failed, skipped, not_applicable. `output`: what it wrote, bounded."""

    name: str
    outcome: str
    summary: str
    output: str = ""
    command: tuple[str, ...] = ()

    def statement(self, output_id: str) -> Statement:
        """The evidence, with the output by text id ("" when there is none)."""
        return Statement(
            kind=f"check.{self.name}",
            outcome=self.outcome,
            summary=self.summary,
            output=output_id if self.output else "",
            command=self.command,
        )


@dataclass(frozen=True, slots=True)
class Room:
    """Where checks run: the tree, what contains them, and a private directory for their HOME."""

    tree: Path
    scratch: Path
    sandbox: Sandbox
    run: RunCommand = run_command
    network: str = "none"

    def environment(self) -> dict[str, str]:
        """An allow-list made from nothing: no secret of the worker's environment can be in it."""
        home = self.scratch / "home"
        home.mkdir(parents=True, exist_ok=True)
        found = {
            "PATH": PATH,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CEILING_DIRECTORIES": str(self.tree.parent),
        }
        if self.sandbox.kind != "bubblewrap":  # which has an empty /tmp of its own
            (self.scratch / "tmp").mkdir(exist_ok=True)
            found["TMPDIR"] = str(self.scratch / "tmp")
        return found

    async def start(
        self, argv: Sequence[str], *, timeout_ms: int, network: str = "", extra: dict[str, str] | None = None
    ) -> Finished:
        env = await asyncio.to_thread(self.environment)
        command = Command(
            argv=tuple(argv),
            cwd=self.tree,
            env={**env, **(extra or {})},
            writable=(self.tree, self.scratch),
            network=network or self.network,
        )
        finished: Finished = await self.run(
            self.sandbox.wrap(command), timeout_ms=timeout_ms, max_output=MAX_OUTPUT // 2
        )
        return finished


async def run_checks(
    tree: Path,
    setup: ProjectSetup,
    *,
    sandbox: Sandbox,
    scratch: Path,
    run: RunCommand = run_command,
    timeout_ms: int = CHECK_MS,
    network: str = "none",
) -> tuple[Checked, ...]:
    """Every check of the tree, one after another; set-up commands first when they are trusted.

    `timeout_ms` bounds each check. Raises HandsError (PERMANENT) when a trusted set-up command fails.
    """
    await asyncio.to_thread(scratch.mkdir, parents=True, exist_ok=True)
    room = Room(tree, scratch, sandbox, run, network)
    await run_setup(room, setup)
    found = await asyncio.to_thread(plans, tree)
    layout = await asyncio.to_thread(look, tree)
    sources = (tree, tree / layout.source_path) if layout.source_path else (tree,)
    extra = {"PYTHONPATH": os.pathsep.join(map(str, sources))}
    configured = {each.name: each for each in setup.checks} if setup.trusted else {}
    results = []
    for plan in found:
        own = configured.pop(plan.name, None)
        results.append(await _configured(room, own, timeout_ms) if own else await _found(room, plan, extra, timeout_ms))
    results += [await _configured(room, own, timeout_ms) for own in configured.values()]
    return tuple(results)


async def run_setup(room: Room, setup: ProjectSetup) -> None:
    """The trusted set-up commands, in order, with network: they fetch what the project needs."""
    for argv in setup.setup if setup.trusted else ():
        done = await room.start(argv, timeout_ms=SETUP_MS, network="shared")
        if done.code or done.timed_out:
            tail = _output([done])[-1000:].strip()
            why = "did not end in time" if done.timed_out else f"ended with {done.code}"
            raise HandsError(
                ErrorClass.PERMANENT, f"the set-up command {' '.join(argv)!r} {why}: {tail}", status=done.code
            )


async def _configured(room: Room, check: CheckCommand, timeout_ms: int) -> Checked:
    if check.declared or not check.argv:
        return Checked(check.name, "not_applicable", "the project declares that it has none")
    done = await room.start(check.argv, timeout_ms=timeout_ms)
    output = _output([done])
    outcome, summary = _judged(done, timeout_ms)
    if outcome == "failed" and not done.timed_out:
        summary = _naming(summary, output)
    if outcome == "passed" and check.name == "test" and _no_test_ran(output):
        outcome, summary = "skipped", "no test was run"
    return Checked(check.name, outcome, summary, output, check.argv)


async def _found(room: Room, plan: Plan, extra: dict[str, str], timeout_ms: int) -> Checked:
    if not plan.commands:
        return Checked(plan.name, "skipped", plan.reason)
    obstacle = await asyncio.to_thread(in_the_way, room.tree, plan.commands[0][1])
    if obstacle:
        return Checked(plan.name, "failed", obstacle[:MAX_SUMMARY])
    done: list[Finished] = []
    for arguments in plan.commands:
        done.append(await room.start((sys.executable, SAFE, *arguments), timeout_ms=timeout_ms, extra=extra))
        if done[-1].timed_out:
            break
    command = ("python", SAFE, *plan.commands[0])
    for arguments in plan.commands[1:]:
        command += ("&&", "python", SAFE, *arguments)
    output = _output(done)
    if plan.name == "test":
        outcome, summary = _tests(done, output, timeout_ms)
    else:
        outcome, summary = _judged(next((each for each in done if each.code), done[-1]), timeout_ms)
    return Checked(plan.name, outcome, summary, output, command)


def _judged(done: Finished, timeout_ms: int) -> tuple[str, str]:
    if done.timed_out:
        return "failed", f"did not end within {timeout_ms // 1000} s and was stopped"
    streams = (done.stderr, done.stdout) if done.code else (done.stdout,)
    last = next((line for line in map(_last_line, streams) if line), "")[:MAX_SUMMARY]
    if done.code == 0:
        return "passed", last or "it ended with 0"
    return "failed", last or f"it ended with {done.code}"


def _last_line(stream: bytes) -> str:
    """The last line that says something: make's word that a recipe failed says less than the recipe did."""
    lines = (line.strip() for line in reversed(stream.decode("utf-8", "replace").splitlines()))
    return next((line for line in lines if line and not _MAKE.match(line)), "")


def _tests(done: list[Finished], output: str, timeout_ms: int) -> tuple[str, str]:
    """Of loom's own test commands: passed needs at least one test that really ran."""
    bad = next((each for each in done if each.timed_out or each.code not in (0, NO_TESTS)), None)
    ran, summary = _count(output)
    if bad is not None:
        outcome, said = _judged(bad, timeout_ms)
        return outcome, said if bad.timed_out else _naming(summary or said, output)
    if ran == 0:
        return "skipped", summary or "no test was run"
    return "passed", summary


def _naming(summary: str, output: str) -> str:
    """The summary with the tests that failed: whoever reads only this line, and whoever compares two rounds, needs them."""
    names = list(dict.fromkeys(name for pair in _FAILING.findall(output) for name in pair if name))
    if not names:
        return summary
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{summary}; failed: {', '.join(names[:MAX_NAMED])}{more}"[:MAX_SUMMARY]


def _count(output: str) -> tuple[int, str]:
    """(tests that really ran, a line about them) of pytest's last line or of unittest's."""
    unittest = [int(number) for number in _UNITTEST_RAN.findall(output)]
    if unittest:
        skipped = sum(int(number) for number in _UNITTEST_SKIPPED.findall(output))
        note = f", {skipped} skipped" if skipped else ""
        return max(sum(unittest) - skipped, 0), f"{sum(unittest)} tests were run{note}"
    for line in reversed(output.splitlines()):
        counts = {word: int(number) for number, word in _PYTEST.findall(line)}
        if counts:
            ran = sum(number for word, number in counts.items() if word not in ("skipped", "deselected"))
            return ran, line.strip(" =")[:MAX_SUMMARY]
    return 0, ""


def _no_test_ran(output: str) -> bool:
    counts = [int(number) for number in _UNITTEST_RAN.findall(output)]
    return bool(counts) and sum(counts) == 0


def _output(done: list[Finished]) -> str:
    """Both streams of the commands, bounded; the tail is what matters most."""
    data = b"".join(each.stdout + (b"\n" if each.stdout and each.stderr else b"") + each.stderr for each in done)
    if len(data) > MAX_OUTPUT:
        half = MAX_OUTPUT // 2
        data = data[:half] + f"\n… {len(data) - MAX_OUTPUT} bytes left out …\n".encode() + data[-half:]
    return data.decode("utf-8", "replace")


def report(results: Sequence[Checked]) -> str:
    """All results as one text for an agent or a person."""
    parts = []
    for each in results:
        line = f"## {each.name}: {each.outcome} — {each.summary}"
        parts.append(f"{line}\n$ {' '.join(each.command)}\n{each.output}" if each.command else line)
    return "\n\n".join(parts)
