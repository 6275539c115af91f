"""The harness `claude`: Claude Code's own command line, for every capability.

    answer    no tool at all
    read      Read, Grep, Glob
    edit      these, Edit and Write; Bash too, but only inside a real sandbox

The prompt goes in by stdin and the system text by file, never by argv, which every user of the host can read. Settings, hooks and
MCP servers of the *project* are not loaded: they are the repository's word, not the user's. The network is the host's in this
version, and the record says so.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loom.workers.harnesses.claude_login import Login, log_in
from loom.workers.harnesses.claude_stream import ClaudeStream
from loom.workers.protocol import Capability, ErrorClass
from loom.workers.providers.common import silence_s
from loom.workers.seams import Command, Finished, Hands, HandsError, HandsReply, Job, Probe

IDLE_S = 600.0
"""Silence after which a run is given up. With partial messages a model that writes or thinks is not silent."""
MAX_TURNS = 150
MAX_SCHEMA = 64 * 1024
"""Bytes of a schema that goes by argv (it is not secret); a larger one is asked for in words only."""
MAX_STDERR = 400
RETRIES = "2"
"""Its own default of 10 hangs for many minutes; the kernel retries."""
PROBE_S = 20
PROGRAM = "claude"

READING = "Read,Grep,Glob"
EDITING = f"{READING},Edit,Write,NotebookEdit"
PASSED_ON = (
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"
)  # fmt: skip
"""Variables of the worker's environment that say how the network is reached."""
PATH = f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the tool is started: the command to be contained, and what it reads on stdin."""

    command: Command
    stdin: bytes


class ClaudeHarness:
    """See `seams.Harness`. `program`: the tool's path (default: the one on PATH); `user`: whose login (default: HOME)."""

    name = "claude"

    def __init__(
        self,
        program: str | None = None,
        *,
        user: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._program = program
        self._user = user
        self._environ = os.environ if environ is None else environ

    def probe(self) -> Probe:
        """Runs `claude --version`, once a program."""
        program = self._found()
        if program is None:
            return Probe(works=False, reason="Claude Code is not installed (npm install -g @anthropic-ai/claude-code)")
        return _version(program)

    async def run(self, job: Job, hands: Hands) -> HandsReply:
        """Works until the tool ends. Raises HandsError with usage and transcript so far; cancelling kills the tool."""
        program = self._found()
        if program is None:
            raise HandsError(ErrorClass.PERMANENT, f"{job.binding.ref}: Claude Code is not on this worker's PATH")
        login = await asyncio.to_thread(log_in, job.binding.ref, hands.secret, job.scratch / "home", self._user)
        if job.capability == Capability.EDIT:
            login.leave_there()
        invocation = await asyncio.to_thread(self.prepare, job, program, login, hands.sandbox.kind)
        stream = ClaudeStream(job.binding.ref, login.name, hands.progress)
        used = hands.sandbox.used(invocation.command, login.sentence)
        try:
            text = await self._worked(job, hands, invocation, stream)
        except HandsError as error:
            error.sandbox = used
            raise
        finally:
            await asyncio.to_thread(login.bring_back)
        return HandsReply(
            text=text,
            usage=stream.usage,
            model=stream.model,
            transcript=stream.transcript.text(),
            sandbox=used,
            session=stream.session,
            notes=tuple(stream.notes),
        )

    async def _worked(self, job: Job, hands: Hands, invocation: Invocation, stream: ClaudeStream) -> str:
        """Runs the tool to its end and gives its final text."""
        started = time.monotonic()
        done = await hands.run(
            hands.sandbox.wrap(invocation.command),
            stdin=invocation.stdin,
            timeout_ms=job.bound.wall_ms,
            idle_ms=int(silence_s(self._environ, IDLE_S) * 1000),
            on_line=stream.take,
        )
        if stream.result is None:
            raise _unfinished(job, done, stream, int((time.monotonic() - started) * 1000))
        return stream.reply_text()

    def prepare(self, job: Job, program: str, login: Login, sandbox: str) -> Invocation:
        """The command line, its environment and files for a job in a sandbox of a kind."""
        contained = sandbox != "none"
        system = job.scratch / "system.md"
        system.write_text(job.system, encoding="utf-8")
        tree = job.workspace
        if tree is None:
            tree = job.scratch / "nothing"
            tree.mkdir(exist_ok=True)
        edits = job.capability == Capability.EDIT
        argv = [os.path.realpath(program), *self._arguments(job, system, contained)]
        return Invocation(
            Command(
                argv=tuple(argv),
                cwd=tree,
                env=self._environment(job, login, contained, program),
                writable=(tree, job.scratch) if edits else (job.scratch,),
                readable=(*installed(program), *(() if edits else (tree,))),
                network="shared",
            ),
            job.prompt.encode("utf-8", "replace"),
        )

    def _arguments(self, job: Job, system: Path, contained: bool) -> list[str]:
        given = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        given += ["--setting-sources", "user", "--strict-mcp-config", "--no-session-persistence"]
        given += ["--max-turns", str(MAX_TURNS)]
        if job.binding.model:
            given += ["--model", job.binding.model]
        if job.bound.cost_microusd is not None:
            given += ["--max-budget-usd", f"{job.bound.cost_microusd / 1_000_000:.6f}"]
        if job.schema is not None:
            schema = json.dumps(job.schema, ensure_ascii=False)
            given += ["--json-schema", schema] if len(schema.encode()) <= MAX_SCHEMA else []
        match job.capability:
            case Capability.EDIT:
                tools = f"{EDITING},Bash" if contained else EDITING
                given += ["--permission-mode", "acceptEdits", "--tools", tools]
                given += ["--allowedTools", "Bash"] if contained else []
            case Capability.READ:
                given += ["--permission-mode", "default", "--tools", READING]
            case _:
                given += ["--permission-mode", "default", "--tools", ""]
        # An answer is the agent's own words alone; who works in a tree needs the tool's own instructions as well.
        alone = job.capability == Capability.ANSWER
        given += ["--system-prompt-file" if alone else "--append-system-prompt-file", str(system)]
        return given

    def _environment(self, job: Job, login: Login, contained: bool, program: str) -> dict[str, str]:
        env = {name: self._environ[name] for name in PASSED_ON if name in self._environ}
        env |= {
            "HOME": str(login.home),
            "PATH": f"{PATH}:{os.path.dirname(program)}",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_MAX_RETRIES": RETRIES,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        base_url = job.binding.base_url or self._environ.get("ANTHROPIC_BASE_URL", "")
        if base_url:
            env["ANTHROPIC_BASE_URL"] = base_url
        if job.workspace is not None:
            env["GIT_CEILING_DIRECTORIES"] = str(job.workspace.parent)
        if contained:
            env["IS_SANDBOX"] = "1"  # its word for: running as root is meant, the sandbox holds
        else:
            tmp = job.scratch / "tmp"
            tmp.mkdir(exist_ok=True)
            env["TMPDIR"] = str(tmp)
        return env | login.env

    def _found(self) -> str | None:
        return shutil.which(self._program or PROGRAM, path=self._environ.get("PATH", os.defpath))


def _unfinished(job: Job, done: Finished, stream: ClaudeStream, elapsed_ms: int) -> HandsError:
    """Why the tool did not come to a result."""
    said = " ".join(done.stderr.decode(errors="replace").split())[-MAX_STDERR:]
    if done.timed_out and elapsed_ms >= job.bound.wall_ms:
        error_class, sentence = ErrorClass.LIMIT, f"claude was not done within {job.bound.wall_ms / 1000:g} s"
    elif done.timed_out:
        error_class, sentence = (
            ErrorClass.TRANSIENT,
            f"claude was silent for long and was stopped after {elapsed_ms / 1000:g} s",
        )
    elif stream.lines == 0 and done.code > 0:
        # A tool that says nothing at all does not work here (an old version, a missing library): no other try mends it.
        error_class, sentence = ErrorClass.PERMANENT, f"claude ended with {done.code}: {said or 'it said nothing'}"
    else:
        error_class, sentence = ErrorClass.TRANSIENT, f"claude ended with {done.code} and without a result: {said}"
    return HandsError(
        error_class,
        f"{job.binding.ref}: {sentence}",
        status=max(done.code, 0),
        usage=stream.usage,
        transcript=stream.transcript.text(),
    )


@functools.cache
def _version(program: str) -> Probe:
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, timeout=PROBE_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(works=False, reason=f"{program} does not run here: {error}; install Claude Code again")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[:MAX_STDERR]
        return Probe(works=False, reason=f"{program} --version ended with {done.returncode}: {said}")
    return Probe(works=True, reason=f"{program}", version=done.stdout.decode(errors="replace").strip())


def installed(program: str) -> tuple[Path, ...]:
    """What of the host the tool needs to see, when it is not installed below /usr: itself, or its package and its node."""
    real = Path(os.path.realpath(program))
    if real.is_relative_to("/usr"):
        return ()
    with real.open("rb") as file:
        script = file.read(2) == b"#!"
    if not script:
        return (real,)
    parts = [parent for parent in real.parents if parent.name == "node_modules"]
    package = parts[-1] if parts else real.parent
    node = shutil.which("node")
    prefix = Path(os.path.realpath(node)).parent.parent if node else None
    return (package,) if prefix is None or prefix.is_relative_to("/usr") else (package, prefix)
