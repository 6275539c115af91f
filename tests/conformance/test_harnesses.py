"""Every harness, with its real tool where it has one, keeps the promises of `seams.Harness`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.standin import Drop, Fail, Hang, Say, StandIn, Use
from loom.workers.harnesses.api import FRAME_TOKENS, LEAST_OUTPUT_TOKENS, ApiHarness
from loom.workers.harnesses.claude import ClaudeHarness
from loom.workers.harnesses.fake import FakeHarness
from loom.workers.processes import run
from loom.workers.protocol import Binding, Bound, Capability, ErrorClass
from loom.workers.providers.openai import OpenAIProvider
from loom.workers.sandboxes import Bubblewrap, NoSandbox
from loom.workers.seams import Hands, HandsError, HandsReply, Harness, Job, Position, Sandbox

KEY = "sk-very-secret-0123456789"
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}
CLAUDE = os.environ.get("LOOM_TEST_CLAUDE") or shutil.which("claude") or ""
REAL = [pytest.param("claude", marks=pytest.mark.needs("claude")), "api"]
ALL = [*REAL, "fake"]


@dataclass
class Subject:
    """A harness, a workspace, and the words in which its model asks for an edit."""

    name: str
    harness: Harness
    api: StandIn
    folder: Path
    sandbox: Sandbox = field(default_factory=NoSandbox)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def job(self, capability: Capability = Capability.EDIT, **changes: Any) -> Job:
        claude = self.name == "claude"
        job = Job(
            binding=Binding(
                ref=f"{self.name}:m",
                family="claude" if claude else "openai",
                model="m",
                base_url=self.api.url if claude else self.api.openai_url,
            ),
            capability=capability,
            system="SYSTEM-WORDS",
            prompt="PROMPT-WORDS with an umlaut: Ä",
            position=Position("implementer", "implement", 0, 0),
            bound=Bound(wall_ms=60_000),
            workspace=None if capability == Capability.ANSWER else self.tree,
            scratch=self.folder / "own",
        )
        return replace(job, **changes)

    def edit(self) -> tuple[Any, ...]:
        """Steps of a model that reads a file and edits it."""
        if self.name == "claude":
            path = str(self.tree / "a.py")
            return (
                Use("Read", file_path=path),
                Use("Edit", file_path=path, old_string="x = 1", new_string="x = 2"),
                Say('{"summary": "changed"}'),
            )
        return (
            Use("read", path="a.py"),
            Use("edit", path="a.py", old="x = 1", new="x = 2"),
            Say('{"summary": "changed"}'),
        )

    def script(self, *steps: Any) -> None:
        self.api.script("m", *steps)

    async def run(self, job: Job) -> HandsReply:
        self.harness = self.fake() if self.name == "fake" else self.harness
        provider = OpenAIProvider("openai", lambda name: KEY, {})
        hands = Hands(
            sandbox=self.sandbox,
            run=run,
            provider=lambda family: provider,
            secret=lambda name: KEY if name == "ANTHROPIC_API_KEY" else None,
            progress=lambda kind, note: self.notes.append((kind, note)),
        )
        try:
            return await self.harness.run(job, hands)
        finally:
            await provider.aclose()

    def fake(self) -> Harness:
        def work(job: Job) -> str:
            if job.workspace is not None and job.capability == Capability.EDIT:
                (job.workspace / "a.py").write_text("x = 2\n")
            return '{"summary": "changed"}'

        return FakeHarness(work)


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


def made(name: str, api: StandIn, folder: Path) -> Subject:
    (folder / "own").mkdir()
    (folder / "tree").mkdir()
    (folder / "tree" / "a.py").write_text("x = 1\n")
    harnesses: dict[str, Callable[[], Harness]] = {
        "claude": lambda: ClaudeHarness(CLAUDE, user=folder, environ={"PATH": os.environ["PATH"]}),
        "api": ApiHarness,
        "fake": lambda: FakeHarness(lambda job: ""),
    }
    return Subject(name, harnesses[name](), api, folder)


@pytest.fixture(params=ALL)
async def subject(request: pytest.FixtureRequest, api: StandIn, tmp_path: Path) -> Subject:
    return made(request.param, api, tmp_path)


@pytest.fixture(params=REAL)
async def real(request: pytest.FixtureRequest, api: StandIn, tmp_path: Path) -> Subject:
    return made(request.param, api, tmp_path)


async def failure(subject: Subject, job: Job) -> HandsError:
    with pytest.raises(HandsError) as caught:
        await subject.run(job)
    assert KEY not in caught.value.message + caught.value.transcript
    return caught.value


async def test_an_edit_changes_the_file(subject: Subject) -> None:
    """The tree holds the model's edit, the output is the final JSON, and transcript, usage and containment are there."""
    subject.script(*subject.edit())
    reply = await subject.run(subject.job(schema=SCHEMA))
    assert "x = 2\n" == (subject.tree / "a.py").read_text()
    assert {"summary": "changed"} == json.loads(reply.text)
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.transcript
    assert "none" == reply.sandbox.kind
    assert subject.notes
    assert {"a.py"} == {path.name for path in subject.tree.iterdir()}
    for asked in subject.api.of("m")[:1]:
        assert "PROMPT-WORDS with an umlaut: Ä" in asked.text
        assert "SYSTEM-WORDS" in asked.text


async def test_a_reading_job_cannot_edit(real: Subject) -> None:
    """With the capability read, the very same calls of the model change nothing; it still may answer."""
    real.script(*real.edit())
    reply = await real.run(real.job(Capability.READ))
    assert "x = 1\n" == (real.tree / "a.py").read_text()
    assert {"summary": "changed"} == json.loads(reply.text)
    offered = json.dumps(real.api.of("m")[0].body["tools"])
    assert '"Read"' in offered or '"read"' in offered
    for tool in ("Edit", "Write", "Bash", "edit", "write", "remove", "run_checks"):
        assert f'"name": "{tool}"' not in offered


async def test_an_answer_has_no_tool_and_no_tree(real: Subject) -> None:
    """With the capability answer the model is offered no tool but the one for its output."""
    real.script(Say('{"summary": "said"}'))
    reply = await real.run(real.job(Capability.ANSWER, schema=SCHEMA))
    assert {"summary": "said"} == json.loads(reply.text)
    offered = {tool.get("name") for tool in real.api.of("m")[0].body.get("tools", [])}
    assert offered <= {"StructuredOutput", "DeferredToolPlaceholder"}  # the latter, since 2.1.330, does nothing
    assert 1 == real.api.calls["m"]


@pytest.mark.parametrize(
    ("step", "error_class"),
    [
        (Fail(429), ErrorClass.RATE_LIMIT),
        (Fail(500), ErrorClass.TRANSIENT),
        (Fail(529), ErrorClass.TRANSIENT),
        (Drop(), ErrorClass.TRANSIENT),
        (Fail(401), ErrorClass.PERMANENT),
        (Fail(404), ErrorClass.PERMANENT),
        (Fail(400), ErrorClass.PERMANENT),
        (Fail(400, "prompt is too long: 9 > 8"), ErrorClass.PERMANENT),
        (Say("x", finish="refusal"), ErrorClass.PERMANENT),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_each_failure_has_its_class(real: Subject, step: Any, error_class: ErrorClass) -> None:
    """An API's failure reaches the kernel with the class it acts on, whichever tool stood between."""
    real.script(step)
    error = await failure(real, real.job())
    assert (error_class, real.job().binding.ref) == (error.error_class, error.message.split(": ")[0])


async def test_a_long_rate_limit_ends_the_attempt_at_once(real: Subject) -> None:
    """Retry-After of 40 s: nobody waits in a slot, the kernel hears the time. (For an hour claude gives up without a word.)"""
    real.script(Fail(429, retry_after="40"))
    started = asyncio.get_running_loop().time()
    error = await failure(real, real.job())
    assert ErrorClass.RATE_LIMIT == error.error_class
    assert error.not_before_ms > 0
    assert asyncio.get_running_loop().time() - started < 20


async def test_a_failure_late_in_the_work_keeps_what_is_known(real: Subject) -> None:
    """What was consumed and done before the failure, and what contained it, is in the error."""
    real.script(*real.edit()[:2], Fail(401))
    error = await failure(real, real.job())
    assert ErrorClass.PERMANENT == error.error_class
    assert (22, 14) == (error.usage.input_tokens, error.usage.output_tokens)
    assert "x = 2" in error.transcript
    assert error.sandbox is not None
    assert "none" == error.sandbox.kind
    assert (real.name == "claude") == ("ANTHROPIC_API_KEY" in error.sandbox.credentials)


async def test_no_call_is_made_that_could_go_beyond_the_grant(api: StandIn, tmp_path: Path) -> None:
    """Our own loop asks for no more output than still fits; when nothing useful fits, it says so and does not call."""
    subject = made("api", api, tmp_path)
    subject.script(Say('{"summary": "done"}'))
    error = await failure(subject, subject.job(Capability.ANSWER, bound=Bound(wall_ms=60_000, tokens=FRAME_TOKENS)))
    assert ErrorClass.LIMIT == error.error_class
    assert "loom budgets set attempt" in error.message
    assert 0 == api.calls["m"]
    await subject.run(subject.job(Capability.ANSWER, bound=Bound(wall_ms=60_000, tokens=6_000)))
    asked = [request.body.get("max_completion_tokens") or request.body.get("max_tokens") for request in api.of("m")]
    assert [True] == [LEAST_OUTPUT_TOKENS <= int(tokens or 0) < 6_000 - FRAME_TOKENS for tokens in asked]


@pytest.mark.parametrize("step", [Hang(), Say("slow " * 100, seconds=60)], ids=["silent", "slow"])
async def test_the_wall_ends_it(real: Subject, step: Any) -> None:
    """A job that is not done within its bound ends with the class limit."""
    real.script(step)
    error = await failure(real, real.job(bound=Bound(wall_ms=2_500)))
    assert ErrorClass.LIMIT == error.error_class
    assert "2.5 s" in error.message


async def test_cancelling_leaves_nothing_behind(subject: Subject) -> None:
    """A cancelled job ends its process and its calls."""
    if subject.name == "fake":
        fake = FakeHarness(lambda job: "", delay_s=60)
        subject.fake = lambda: fake  # type: ignore[method-assign]
    subject.script(Hang())
    task = asyncio.create_task(subject.run(subject.job()))
    if subject.name == "fake":
        await until(lambda: bool(fake.jobs))
    else:
        await until(lambda: subject.api.calls["m"] == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if subject.name == "fake":
        assert 1 == fake.cancelled
    else:
        await until(lambda: subject.api.cut["m"] == 1)
    assert [] == [
        process for process in psutil.Process().children(recursive=True) if "claude" in " ".join(command(process))
    ]


def command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what is awaited happens in another process
            await asyncio.sleep(0.01)


@pytest.mark.needs("bubblewrap")
async def test_it_works_within_bubblewrap(real: Subject) -> None:
    """The same edit inside the real sandbox: the tool is visible there, the tree is writable, the record says both."""
    real.sandbox = Bubblewrap()
    real.script(*real.edit())
    reply = await real.run(real.job())
    assert "x = 2\n" == (real.tree / "a.py").read_text()
    assert "bubblewrap" == reply.sandbox.kind
    assert ("shared" if real.name == "claude" else "none") == reply.sandbox.network


@pytest.mark.needs("bubblewrap", "claude")
async def test_claude_may_run_commands_only_inside_a_real_sandbox(api: StandIn, tmp_path: Path) -> None:
    """Bash is offered and works in bubblewrap, reaches nothing outside, and is not there without a sandbox."""
    subject = made("claude", api, tmp_path)
    (tmp_path / "outside").write_text("secret")
    shell = f"cat {tmp_path}/outside > got.txt; echo ran >> got.txt"
    for sandbox, wanted in ((Bubblewrap(), "ran\n"), (NoSandbox(), None)):
        subject.sandbox = sandbox
        (subject.tree / "got.txt").unlink(missing_ok=True)
        subject.script(Use("Bash", command=shell), Say("done"))
        await subject.run(subject.job())
        offered = {tool["name"] for tool in api.of("m")[-1].body["tools"]}
        assert (wanted is not None) == ("Bash" in offered)
        assert wanted == ((subject.tree / "got.txt").read_text() if (subject.tree / "got.txt").exists() else None)


@pytest.mark.needs("claude")
async def test_claude_says_that_nobody_is_logged_in(api: StandIn, tmp_path: Path) -> None:
    """Without key and login nothing is started, and the sentence says what to do."""
    subject = made("claude", api, tmp_path)
    hands = Hands(sandbox=NoSandbox(), run=run, provider=lambda family: None, secret=lambda name: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(HandsError, match="run `claude` once and log in, or export ANTHROPIC_API_KEY") as caught:
        await subject.harness.run(subject.job(), hands)
    assert ErrorClass.PERMANENT == caught.value.error_class


@pytest.mark.needs("claude")
async def test_claude_works_with_a_copy_of_the_login(api: StandIn, tmp_path: Path) -> None:
    """A subscription login is used from a copy: its token reaches the API, the original stays, the record says so."""
    subject = made("claude", api, tmp_path)
    login = {"claudeAiOauth": {"accessToken": "oat-token-12345", "refreshToken": "r", "expiresAt": 4_000_000_000_000,
                               "scopes": ["user:inference"], "subscriptionType": "max"}}  # fmt: skip
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / ".credentials.json").write_text(json.dumps(login))
    subject.script(Say("hello"))
    hands = Hands(sandbox=NoSandbox(), run=run, provider=lambda family: None, secret=lambda name: None)  # type: ignore[arg-type,return-value]
    reply = await subject.harness.run(subject.job(Capability.ANSWER), hands)
    assert "hello" == reply.text
    assert "Bearer oat-token-12345" == api.of("m")[0].headers.get(
        "authorization", api.of("m")[0].headers.get("Authorization")
    )
    assert "copy of the Claude login" in reply.sandbox.credentials
    assert login == json.loads((tmp_path / ".claude" / ".credentials.json").read_text())


@pytest.mark.needs("claude")
async def test_claude_loads_nothing_that_the_repository_configures(api: StandIn, tmp_path: Path) -> None:
    """Hooks in the project's .claude/settings.json do not run, its MCP servers are not started."""
    subject = made("claude", api, tmp_path)
    folder = subject.tree / ".claude"
    folder.mkdir()
    hook = {"type": "command", "command": f"touch {tmp_path}/hooked"}
    hooks = {
        name: [{"matcher": "", "hooks": [hook]}] for name in ("SessionStart", "UserPromptSubmit", "PreToolUse", "Stop")
    }
    (folder / "settings.json").write_text(json.dumps({"hooks": hooks}))
    server = {"mcpServers": {"bad": {"command": "touch", "args": [f"{tmp_path}/served"]}}}
    (subject.tree / ".mcp.json").write_text(json.dumps(server))
    subject.script(*subject.edit())
    await subject.run(subject.job())
    assert "x = 2\n" == (subject.tree / "a.py").read_text()
    assert not (tmp_path / "hooked").exists()
    assert not (tmp_path / "served").exists()


def test_a_probe_runs_the_tool() -> None:
    """A program that is not there does not work, with the mend; one that is there says its version."""
    missing = ClaudeHarness("/nonexistent/claude", environ={"PATH": "/usr/bin"}).probe()
    assert (False, True) == (missing.works, "npm install" in missing.reason)
    assert ApiHarness().probe().works
    if CLAUDE:
        assert "Claude Code" in ClaudeHarness(CLAUDE).probe().version


@pytest.mark.parametrize("path", ['"abc', '"\\999"', "a" * 300, "a\0b", "a\ud800b", "l", "a.py/x"])
async def test_a_path_that_is_none_is_told_to_the_model(api: StandIn, tmp_path: Path, path: str) -> None:
    """Badly quoted, too long, half a character, a link in a circle: the model is told, and the attempt goes on."""
    subject = made("api", api, tmp_path)
    (subject.tree / "l").symlink_to("l")
    calls = (Use("read", path=path), Use("write", path=path, content="x"), Use("remove", path=path + "?"),
             Use("list", path=path), Use("search", pattern="x", path=path))  # fmt: skip
    subject.script(*calls, Say("done"))
    reply = await subject.run(subject.job())
    assert "done" == reply.text
    assert len(calls) == reply.transcript.count(" refuses\n")
    reply.transcript.encode()
