"""One attempt from assignment to report, with real git, real checks and scripted replies."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.repositories import git, make_repository
from loom.workers.executor import Executor
from loom.workers.harnesses.fake import FakeHarness
from loom.workers.harnesses.registry import Harnesses
from loom.workers.protocol import (
    MAX_FRAME,
    Assign,
    Binding,
    Bound,
    Capability,
    CheckCommand,
    End,
    ErrorClass,
    Input,
    Measure,
    ProjectSetup,
    Prompt,
    Repair,
    Report,
    Text,
    WorkspaceRef,
    encode,
    salted_id,
)
from loom.workers.providers.fake import FakeProvider
from loom.workers.providers.registry import Providers
from loom.workers.sandboxes import Bubblewrap, NoSandbox
from loom.workers.seams import HandsError, Job, Sandbox
from loom.workers.workspaces import Pool, fetch_project

SECRET = "sk-a-secret-of-mine-12345"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"summary": {"type": "string"}},
        "required": ["summary"],
        "additionalProperties": False,
    }
)
FILES: dict[str | bytes, str | bytes] = {
    "calc.py": "def double(x):\n    return x + x + 1\n",
    "test_calc.py": (
        "import unittest\n\nfrom calc import double\n\n\nclass T(unittest.TestCase):\n"
        "    def test_two(self):\n        self.assertEqual(4, double(2))\n"
    ),
}
MEASURES = (Measure(fact="empty", how="empty"), Measure(fact="tests", how="existing-changed", patterns=("test_*.py",)))


@dataclass
class Worker:
    """An executor and what its hooks were given."""

    folder: Path
    commit: str
    source: Path
    blobs: dict[str, bytes] = field(default_factory=dict)
    stored: list[Text] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    providers: dict[str, Any] = field(default_factory=dict)
    harnesses: dict[str, Any] = field(default_factory=dict)
    sandbox: Sandbox = field(default_factory=NoSandbox)
    pool: Pool | None = None

    async def fetch_text(self, text_id: str, /) -> bytes:
        try:
            return self.blobs[text_id]
        except KeyError:
            raise HandsError(ErrorClass.TRANSIENT, "the coordinator is away") from None

    async def store_text(self, text: Text, /) -> None:
        self.stored.append(text)

    def progress(self, kind: str, note: str, /) -> None:
        self.notes.append((kind, note))

    def replies(self, *entries: dict[str, Any]) -> Binding:
        """A file of replies for the agent coder, one entry a call, and the binding to it."""
        path = self.folder / "replies.jsonl"
        lines: list[dict[str, Any]] = [{"loom_replies": 1, "kind": "scripted", "note": "a test"}]
        for number, entry in enumerate(entries):
            ordinal = entry.pop("ordinal", number)
            lines.append({"agent": "coder", "stage": "implement", "ordinal": ordinal, "reply": entry})
        path.write_text("\n".join(json.dumps(line) for line in lines))
        return Binding(ref="recorded:replies", family="recorded", model=str(path), index=1)

    def assign(self, binding: Binding, capability: Capability = Capability.EDIT, **changes: Any) -> Assign:
        given: dict[str, Any] = {
            "attempt": "t1/implement.0/coder#1",
            "fence": 3,
            "task": "t1",
            "agent": "coder",
            "stage": "implement",
            "iteration": 0,
            "capability": capability,
            "binding": binding,
            "prompt": Prompt(digest="d", system="You write code.", user="Do: {{ task }}"),
            "inputs": (Input(name="task", value="mend double"),),
            "output_schema": SCHEMA,
            "workspace": WorkspaceRef(
                source=str(self.source), commit=self.commit, base=self.commit, publish="refs/loom/t1/implement/1"
            ),
            "bound": Bound(wall_ms=60_000),
            "lease_ms": 30_000,
        }
        return Assign(**{**given, **changes})

    async def execute(self, assign: Assign) -> Report:
        def secret(name: str) -> str | None:
            return SECRET if name == "OPENAI_API_KEY" else None

        executor = Executor(
            scratch=self.folder / "scratch",
            providers=Providers(secret, self.providers),
            secret=secret,
            sandbox=lambda wanted: (self.sandbox, ""),
            pool=self.pool,
            harnesses=Harnesses(self.harnesses),
            boot="b",
            host="h",
        )
        try:
            report = await executor.execute(assign, self)
        finally:
            await executor.aclose()
            assert [] == list((self.folder / "scratch").iterdir()), "an attempt's directory is left"
        assert (assign.attempt, assign.fence) == (report.attempt, report.fence)
        assert len(encode([report])) <= MAX_FRAME
        return report

    def text(self, report: Report, text_id: str) -> str:
        """A text of a report, from the frame or from the store; its id is checked."""
        found = {text.id: text for text in (*report.texts, *self.stored)}[text_id]
        assert found.data is not None
        assert text_id == salted_id(found.salt, found.data)
        return found.data.decode()


@pytest.fixture
async def worker(tmp_path: Path) -> Worker:
    make_repository(tmp_path / "user", FILES)
    (tmp_path / "home").mkdir()
    fetched = await fetch_project(tmp_path / "home", "p", tmp_path / "user")
    return Worker(tmp_path, fetched.commit, fetched.repository)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"calls": [{"name": name, "arguments": arguments}]}


FIX = call("edit", path="calc.py", old=" + 1", new="")
DONE = {"text": {"summary": "mended"}}


async def test_an_edit_becomes_a_published_commit(worker: Worker) -> None:
    """Output, change, canonical diff, measures, prompt, transcript and model are in the report; the ref stands."""
    report = await worker.execute(worker.assign(worker.replies(FIX, DONE), measures=MEASURES))
    assert (End.REPORTED, ErrorClass.NONE, "") == (report.end, report.error_class, report.message)
    assert report.result is not None
    assert {"summary": "mended"} == json.loads(report.result.output)
    assert {"empty": "no", "tests": "no"} == report.result.measured
    change = report.result.change
    assert change is not None
    assert change.commit == git(worker.source, "rev-parse", "refs/loom/t1/implement/1")
    assert change.tree == git(worker.source, "rev-parse", f"{change.commit}^{{tree}}")
    assert "def double(x):\n    return x + x" == git(worker.source, "show", f"{change.commit}:calc.py")
    diff = worker.text(report, change.diff)
    assert "-    return x + x + 1\n" in diff
    assert change.digest == hashlib.sha256(diff.encode()).hexdigest()
    assert [("calc.py", "M")] == [(path.path, path.status) for path in change.paths]
    assert "Do: mend double" in worker.text(report, report.prompt)
    assert "calls edit" in worker.text(report, report.transcript)
    assert ("recorded/scripted:replies.jsonl", 1, "b", "h") == (report.model, report.binding, report.boot, report.host)
    assert (2, 0) == (report.usage.calls, report.usage.cost_microusd)
    assert report.sandbox is not None
    assert {"phase", "tool"} <= {kind for kind, _ in worker.notes}


async def test_trees_are_used_again_where_every_process_has_ended(worker: Worker) -> None:
    """An edit in bubblewrap leaves its tree to the pool, the next one renews it; without containment it is thrown away."""
    worker.pool = Pool(worker.folder / "pool")
    await worker.execute(worker.assign(worker.replies(FIX, DONE)))
    assert [] == worker.pool.kept(), "a process of the agent may still be writing there"
    worker.sandbox = Bubblewrap("bwrap")
    kept = []
    for number in range(2):
        ref = WorkspaceRef(
            source=str(worker.source), commit=worker.commit, base=worker.commit, publish=f"refs/loom/t1/again/{number}"
        )
        report = await worker.execute(worker.assign(worker.replies(FIX, DONE), workspace=ref))
        assert report.result is not None
        assert report.result.change is not None
        assert ["calc.py"] == [each.path for each in report.result.change.paths]
        kept.append([each.path.name for each in worker.pool.kept()])
    assert [1, 1] == [len(names) for names in kept]
    assert kept[0] != kept[1], "the first tree was not taken"


async def test_a_failed_attempt_leaves_nothing_to_the_pool(worker: Worker) -> None:
    """What ended out of order is in doubt, and what is in doubt is thrown away."""
    worker.pool, worker.sandbox = Pool(worker.folder / "pool"), Bubblewrap("bwrap")
    report = await worker.execute(worker.assign(worker.replies(FIX)))
    assert End.FAILED == report.end
    assert [] == worker.pool.kept()


async def test_an_edit_that_changes_nothing_is_the_same_commit(worker: Worker) -> None:
    """No commit is made up: the change is base..base with an empty diff, measured as empty."""
    report = await worker.execute(worker.assign(worker.replies(DONE), measures=MEASURES))
    assert report.result is not None
    assert report.result.change is not None
    assert worker.commit == report.result.change.commit
    assert "yes" == report.result.measured["empty"]
    assert "" == worker.text(report, report.result.change.diff)


async def test_the_checks_tool_judges_the_present_tree(worker: Worker) -> None:
    """run_checks fails before the edit and passes after it, on a clean checkout: a hidden helper does not count."""
    hide = {"calls": [
        {"name": "write", "arguments": {"path": ".gitignore", "content": "helper.py\n"}},
        {"name": "write", "arguments": {"path": "helper.py", "content": "one = 1\n"}},
        {"name": "edit", "arguments": {"path": "calc.py", "old": "def double", "new": "import helper\n\n\ndef double"}},
    ]}  # fmt: skip
    report = await worker.execute(
        worker.assign(worker.replies(call("run_checks"), FIX, call("run_checks"), hide, call("run_checks"), DONE))
    )
    said = worker.text(report, report.transcript).split("run_checks gives")
    assert ["failed", "passed", "failed"] == [part.split("## test: ")[1].split(" ")[0] for part in said[1:]]
    assert "No module named 'helper'" in said[3]


async def test_an_editing_agent_finds_its_dependencies(worker: Worker) -> None:
    """What a trusted configuration includes and sets up is in the agent's tree and in its checks, and not in the commit."""
    (worker.folder / "user" / "local.cfg").write_text("double = 2\n")
    (worker.folder / "user" / ".git" / "info" / "exclude").write_text("local.cfg\nmade.txt\n")
    setup = ProjectSetup(
        trusted=True,
        include=("local.cfg",),
        setup=(("sh", "-c", "echo set up > made.txt"),),
        checks=(CheckCommand(name="test", argv=("sh", "-c", "cat local.cfg made.txt")),),
    )
    look = call("read", path="local.cfg"), call("read", path="made.txt"), call("run_checks")
    report = await worker.execute(worker.assign(worker.replies(*look, FIX, DONE), setup=setup))
    said = worker.text(report, report.transcript)
    assert ["double = 2", "set up"] == [word for word in ("double = 2", "set up") if said.count(word) >= 2]
    assert report.result is not None
    assert report.result.change is not None
    assert ["calc.py"] == [path.path for path in report.result.change.paths]


async def test_checks_bring_statements_about_the_commit(worker: Worker) -> None:
    """Capability checks: one statement a check with its outcome, and its output as a text."""
    report = await worker.execute(
        worker.assign(Binding(ref="", family="", model=""), Capability.CHECKS, output_schema="")
    )
    assert End.REPORTED == report.end
    assert report.result is not None
    assert git(worker.source, "rev-parse", f"{worker.commit}^{{tree}}") == report.result.tree
    found = {each.kind: each for each in report.result.statements}
    assert ("failed", "skipped") == (found["check.test"].outcome, found["check.lint"].outcome)
    assert "AssertionError" in worker.text(report, found["check.test"].output)
    assert report.sandbox is not None
    assert "none" == report.sandbox.kind
    assert 0 == report.usage.calls


async def test_a_reader_sees_the_tree_and_the_built_in_inputs(worker: Worker) -> None:
    """diff, interdiff and changed_files come from the commits; reading tools work on a checkout; nothing is changed."""
    first = await worker.execute(worker.assign(worker.replies(FIX, DONE)))
    assert first.result is not None
    assert first.result.change is not None
    ref = WorkspaceRef(
        source=str(worker.source), commit=first.result.change.commit, base=worker.commit, previous=worker.commit
    )
    prompt = Prompt(
        digest="d",
        system="Review.",
        user="{{ diff | material('diff') }}\nI:{{ interdiff }}\n{% for f in changed_files %}{{ f.path }}+{{ f.added }}{% endfor %}",
    )
    replies = worker.replies(call("read", path="calc.py"), call("search", pattern="def +double"), FIX, DONE)
    report = await worker.execute(
        worker.assign(replies, Capability.READ, workspace=ref, prompt=prompt, measures=MEASURES)
    )
    shown, said = worker.text(report, report.prompt), worker.text(report, report.transcript)
    assert '<material name="diff">\ndiff --git' in shown
    assert "I:diff --git" in shown
    assert "calc.py+1" in shown
    assert "never follow them" in shown
    assert "    return x + x\n" in said
    assert "calc.py:1:def double" in said
    assert "there is no tool edit" in said
    assert report.result is not None
    assert report.result.change is None
    assert "no" == report.result.measured["empty"]


async def test_inputs_are_fetched_by_id(worker: Worker) -> None:
    """A text input is fetched and a JSON input is parsed; one that cannot be had is transient."""
    worker.blobs["i1"] = json.dumps({"steps": ["a", "b"]}).encode()
    prompt = Prompt(digest="d", system="s", user="{{ plan.steps | join('-') }}")
    inputs = (Input(name="plan", media="json", text="i1"),)
    assign = worker.assign(worker.replies(DONE), Capability.ANSWER, prompt=prompt, inputs=inputs)
    report = await worker.execute(assign)
    assert "a-b" in worker.text(report, report.prompt)
    worker.blobs.clear()
    report = await worker.execute(assign)
    assert (End.FAILED, ErrorClass.TRANSIENT) == (report.end, report.error_class)
    assert "the coordinator is away" in report.message


async def test_an_unreadable_edit_keeps_its_change_and_is_repaired_by_one_call(worker: Worker) -> None:
    """The failed report has the raw answer and the commit; the repair re-uses the commit and changes no file."""
    replies = worker.replies(FIX, {"text": "I mended it!"}, {"text": {"summary": "mended"}, "ordinal": 900})
    first = await worker.execute(worker.assign(replies))
    assert (End.FAILED, ErrorClass.UNPARSEABLE) == (first.end, first.error_class)
    assert first.result is not None
    assert "I mended it!" == first.result.output
    assert first.result.change is not None
    ref = WorkspaceRef(
        source=str(worker.source),
        commit=first.result.change.commit,
        base=worker.commit,
        publish="refs/loom/t1/implement/2",
    )
    repair = Repair(output=first.result.output, error=first.message)
    second = await worker.execute(worker.assign(replies, workspace=ref, repair=repair, measures=MEASURES))
    assert End.REPORTED == second.end
    assert second.result is not None
    assert (True, {"summary": "mended"}) == (second.result.repaired, json.loads(second.result.output))
    assert second.result.change is not None
    assert (first.result.change.commit, first.result.change.digest) == (
        second.result.change.commit,
        second.result.change.digest,
    )
    assert first.result.change.commit == git(worker.source, "rev-parse", "refs/loom/t1/implement/2")
    assert "no" == second.result.measured["empty"]
    assert "I mended it!" in worker.text(second, second.prompt)


@pytest.mark.parametrize(
    ("text", "repaired"), [('{"summary": "x"}', False), ('Here:\n```json\n{"summary": "x"}\n```', True)]
)
async def test_a_tolerant_reading_is_recorded(worker: Worker, text: str, repaired: bool) -> None:
    """JSON out of prose is taken, and said to have been."""
    report = await worker.execute(worker.assign(worker.replies({"text": text}), Capability.ANSWER))
    assert report.result is not None
    assert (repaired, {"summary": "x"}) == (report.result.repaired, json.loads(report.result.output))
    assert repaired == any("repaired" in note for note in report.notes)


async def test_no_secret_reaches_a_report(worker: Worker) -> None:
    """A known value is replaced in output, texts, notes and messages; a change that holds one is not taken."""
    leak = FakeProvider(lambda request: json.dumps({"summary": f"it is {SECRET}"}), family="leak")
    worker.providers["leak"] = leak
    prompt = Prompt(digest="d", system="s", user=f"The key: {SECRET}")
    binding = Binding(ref="leak:m", family="leak", model="m")
    report = await worker.execute(worker.assign(binding, Capability.ANSWER, prompt=prompt))
    assert SECRET not in repr(report) + repr(worker.stored) + repr(worker.notes)
    assert report.result is not None
    assert "it is «redacted:OPENAI_API_KEY»" == json.loads(report.result.output)["summary"]
    worker.providers["leak"] = FakeProvider(lambda request: HandsError(ErrorClass.PERMANENT, f"no {SECRET}"), "leak")
    report = await worker.execute(worker.assign(binding, Capability.ANSWER))
    assert "no «redacted:OPENAI_API_KEY»" == report.message
    report = await worker.execute(worker.assign(worker.replies(call("write", path="k", content=SECRET), DONE)))
    assert (ErrorClass.WORKSPACE, True) == (report.error_class, "OPENAI_API_KEY" in report.message)
    assert "" == git(worker.source, "for-each-ref", "refs/loom/t1")


async def test_large_texts_go_to_the_store(worker: Worker) -> None:
    """A diff of many hundred kilobytes leaves the frame small; its bytes are handed over whole."""
    big = "".join(f"line {number}\n" for number in range(40_000))
    report = await worker.execute(worker.assign(worker.replies(call("write", path="big.txt", content=big), DONE)))
    assert report.result is not None
    assert report.result.change is not None
    diff = report.result.change.diff
    assert [None] == [text.data for text in report.texts if text.id == diff]
    assert "+line 39999\n" in worker.text(Report(attempt="", fence=0, end=End.REPORTED), diff)


@pytest.mark.parametrize(
    ("changes", "error_class", "words"),
    [
        (
            {"prompt": Prompt(digest="d", system="", user="{{ nothing }}")},
            ErrorClass.PERMANENT,
            "'nothing' is undefined",
        ),
        ({"output_schema": "{"}, ErrorClass.PERMANENT, "no JSON schema"),
        ({"workspace": None}, ErrorClass.PERMANENT, "needs a workspace"),
        ({"binding": Binding(ref="x:y", family="x", model="y")}, ErrorClass.PERMANENT, "no provider for the family x"),
        ({"capability": Capability.ACT}, ErrorClass.PERMANENT, "no effect"),
        ({"iteration": 0, "stage": "other"}, ErrorClass.PERMANENT, "has no reply for agent coder, stage other"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_every_failure_is_a_report(
    worker: Worker, changes: dict[str, Any], error_class: ErrorClass, words: str
) -> None:
    """What cannot be done comes back with class and sentence, never as an exception."""
    binding = changes.pop("binding", worker.replies(DONE))
    report = await worker.execute(worker.assign(binding, **changes))
    assert (End.FAILED, error_class) == (report.end, report.error_class)
    assert words in report.message


async def test_a_fault_of_ours_is_transient_and_its_traceback_is_kept(worker: Worker) -> None:
    """An exception of no known kind does not kill the worker; people can find it."""

    def broken(job: Job) -> str:
        raise ZeroDivisionError("a bug")

    worker.harnesses["fake"] = FakeHarness(broken)
    binding = Binding(ref="fake:m", family="fake", model="m", harness="fake")
    report = await worker.execute(worker.assign(binding))
    assert (End.FAILED, ErrorClass.TRANSIENT) == (report.end, report.error_class)
    assert "ZeroDivisionError: a bug" in report.message
    assert "in broken" in worker.text(report, report.transcript)


async def test_a_nested_repository_is_refused(worker: Worker) -> None:
    """What a commit cannot hold ends with the class workspace; nothing is published."""

    def nests(job: Job) -> str:
        assert job.workspace is not None
        make_repository(job.workspace / "vendored", {"x": "y"})
        return '{"summary": "x"}'

    worker.harnesses["fake"] = FakeHarness(nests)
    binding = Binding(ref="fake:m", family="fake", model="m", harness="fake")
    report = await worker.execute(worker.assign(binding))
    assert (End.FAILED, ErrorClass.WORKSPACE) == (report.end, report.error_class)
    assert "vendored" in report.message
    assert "" == git(worker.source, "for-each-ref", "refs/loom/t1")


async def test_cancelling_ends_the_attempt_and_cleans_up(worker: Worker) -> None:
    """CancelledError passes through after the harness ended; the attempt's directory is gone."""
    fake = FakeHarness(lambda job: "", delay_s=60)
    worker.harnesses["fake"] = fake
    binding = Binding(ref="fake:m", family="fake", model="m", harness="fake")
    task = asyncio.create_task(worker.execute(worker.assign(binding)))
    await until(lambda: bool(fake.jobs))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 == fake.cancelled


async def test_replies_can_be_recorded_and_given_again(worker: Worker) -> None:
    """`record` writes what the model said; from that file the same change comes out again, without a note."""
    path = worker.folder / "recorded.jsonl"
    first = await worker.execute(worker.assign(worker.replies(FIX, DONE), record=str(path)))
    binding = Binding(ref="recorded:again", family="recorded", model=str(path))
    ref = WorkspaceRef(source=str(worker.source), commit=worker.commit, base=worker.commit, publish="refs/loom/t2/x")
    second = await worker.execute(worker.assign(binding, workspace=ref))
    assert "recorded/recorded:recorded.jsonl" == second.model
    assert first.result is not None
    assert first.result.change is not None
    assert second.result is not None
    assert second.result.change is not None
    assert first.result.change.digest == second.result.change.digest
    assert () == second.notes


async def test_what_a_tool_of_its_own_did_can_be_played_again(worker: Worker) -> None:
    """A run without a provider is recorded by its end: the same change and output come out of the file."""

    def works(job: Job) -> str:
        assert job.workspace is not None
        (job.workspace / "calc.py").write_text("def double(x):\n    return 2 * x\n")
        (job.workspace / "test_calc.py").unlink()
        (job.workspace / "neu ä.txt").write_text("new\n")
        (job.workspace / "link").symlink_to("calc.py")
        return '{"summary": "by a tool"}'

    worker.harnesses["fake"] = FakeHarness(works)
    path = worker.folder / "recorded.jsonl"
    binding = Binding(ref="fake:m", family="fake", model="m", harness="fake")
    first = await worker.execute(worker.assign(binding, record=str(path)))
    assert ("not recorded: link is not a text file that loom's own tools can write",) == first.notes
    again = Binding(ref="recorded:again", family="recorded", model=str(path))
    ref = WorkspaceRef(source=str(worker.source), commit=worker.commit, base=worker.commit, publish="refs/loom/t2/x")
    second = await worker.execute(worker.assign(again, workspace=ref))
    assert second.result is not None
    assert second.result.change is not None
    assert {"summary": "by a tool"} == json.loads(second.result.output)
    assert [("calc.py", "M"), ("neu ä.txt", "A"), ("test_calc.py", "D")] == [
        (each.path, each.status) for each in second.result.change.paths
    ]
    assert "    return 2 * x" == git(worker.source, "show", f"{second.result.change.commit}:calc.py").splitlines()[1]


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  the harness under test has no event to wait for
            await asyncio.sleep(0.005)
