"""Which model serves whom: the order of backends, tiers, chains, and what is refused before anything is created."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from loom.transports import backends, secrets
from loom.transports.backends import Agent, Chooser, Machine
from loom.transports.errors import UnavailableProblem, UsageProblem
from loom.transports.settings import Models, Tiers

AGENTS = (Agent("scout", "fast", True), Agent("planner", "premium", True), Agent("checks", "balanced", False))
NOWHERE = {"PATH": "", "HOME": "/nonexistent", "OLLAMA_HOST": "127.0.0.1:9"}


class Tags(BaseHTTPRequestHandler):
    """Ollama's list of models."""

    def do_GET(self) -> None:
        models = [{"name": "large:70b", "size": 9}, {"name": "small:1b", "size": 1}, {"name": "middle:8b", "size": 5}]
        body = json.dumps({"models": models}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def ollama() -> Iterator[str]:
    """A local server that has three models."""
    server = HTTPServer(("127.0.0.1", 0), Tags)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def claude(tmp_path: Path) -> Path:
    """A directory with an executable named claude."""
    tool = tmp_path / "bin" / "claude"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    return tool.parent


def test_a_login_comes_first(claude: Path, tmp_path: Path) -> None:
    """Claude Code that is logged in serves before any key; one that is not logged in does not."""
    (tmp_path / ".claude").mkdir()
    environ = {**NOWHERE, "PATH": str(claude), "HOME": str(tmp_path), "OPENAI_API_KEY": "k"}
    assert "openai" == backends.default_backend(Machine(None, environ)).family
    (tmp_path / ".claude" / ".credentials.json").write_text("{}")
    assert "claude" == backends.default_backend(Machine(None, environ)).family


@pytest.mark.parametrize(
    ("environ", "family"),
    [
        ({"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b"}, "anthropic"),
        ({"OPENAI_API_KEY": "b", "OPENROUTER_API_KEY": "c"}, "openai"),
        ({"OPENROUTER_API_KEY": "c"}, "openrouter"),
    ],
)
def test_keys_come_in_order(environ: dict[str, str], family: str) -> None:
    """The first key in the order of the families decides."""
    assert family == backends.default_backend(Machine(None, NOWHERE | environ)).family


def test_a_stored_key_counts(home: Path) -> None:
    """A key of the home's store is as good as one of the environment."""
    secrets.put(home, "OPENROUTER_API_KEY", "key")
    assert "openrouter" == backends.default_backend(Machine(home, NOWHERE)).family


def test_ollama_comes_last_and_serves_tiers_by_size(ollama: str) -> None:
    """A running Ollama serves when there is nothing else: its smallest, middle and largest model by tier."""
    machine = Machine(None, NOWHERE | {"OLLAMA_HOST": ollama})
    assert "ollama" == backends.default_backend(machine).family
    chains = Chooser(machine, Models()).chains(AGENTS, {})
    assert (("scout", ("ollama:small:1b",)), ("planner", ("ollama:large:70b",))) == chains


def test_with_nothing_one_sentence_says_what_to_do() -> None:
    """No backend at all is a usage problem whose mend names the ways."""
    with pytest.raises(UsageProblem) as caught:
        backends.default_backend(Machine(None, NOWHERE))
    assert "no model" in caught.value.sentence
    assert "ANTHROPIC_API_KEY" in caught.value.mend


def test_chains_come_from_option_then_setting_then_default() -> None:
    """An option for one agent beats the setting for it, which beats the setting for all; tiers are put in."""
    machine = Machine(None, NOWHERE | {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b"})
    models = Models(agents={"*": "openai:", "planner": "openai:own"}, openai=Tiers(fast="mine"))
    assert (("scout", ("openai:mine",)), ("planner", ("openai:own",))) == Chooser(machine, models).chains(AGENTS, {})
    options = backends.parse_choices(["planner=anthropic:fast,openai:"], AGENTS)
    expected = ("anthropic:claude-haiku-5-5", f"openai:{backends.MODELS['openai']['premium']}")
    assert expected == Chooser(machine, models).chains(AGENTS, options)[1][1]
    everybody = backends.parse_choices(["*=anthropic:x"], AGENTS)
    assert {("anthropic:x",)} == {chain for _, chain in Chooser(machine, models).chains(AGENTS, everybody)}


def test_an_address_is_captured_at_submit() -> None:
    """OPENAI_BASE_URL stands in the reference; a server of one's own needs no key."""
    machine = Machine(None, NOWHERE | {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1/"})
    assert ("openai:m@http://127.0.0.1:8000/v1",) == Chooser(machine, Models()).chain("openai:m", "fast")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("nobody=anthropic:x", "no agent 'nobody'"),
        ("checks=anthropic:x", "no agent 'checks'"),
        ("scout", "not of the form"),
        ("=anthropic:x", "not of the form"),
        ("scout=", "not of the form"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(option: str, said: str) -> None:
    """An unknown agent, one without a model, and a malformed option."""
    with pytest.raises(UsageProblem, match=said):
        backends.parse_choices([option], AGENTS)


def test_an_agent_has_one_choice() -> None:
    """Two options for one agent contradict each other."""
    with pytest.raises(UsageProblem, match="twice"):
        backends.parse_choices(["scout=openai:", "scout=anthropic:"], AGENTS)


@pytest.mark.parametrize(
    ("reference", "problem", "said"),
    [
        ("gemini:pro", UsageProblem, "not a model reference"),
        ("anthropic:x", UsageProblem, "needs ANTHROPIC_API_KEY"),
        ("openrouter:", UsageProblem, "needs OPENROUTER_API_KEY"),
        ("openai:x", UsageProblem, "needs OPENAI_API_KEY"),
        ("claude:", UsageProblem, "no `claude` on PATH"),
        ("ollama:x", UnavailableProblem, "No Ollama answers"),
        ("recorded:", UsageProblem, "names no file"),
        ("recorded:/nonexistent/x", UsageProblem, "cannot be read"),
        (",", UsageProblem, "names no model|not a model reference"),
    ],
)
def test_a_reference_is_checked_against_the_machine(reference: str, problem: type[Exception], said: str) -> None:
    """A missing key, tool, server or file is said in one sentence that names it."""
    with pytest.raises(problem, match=said):
        Chooser(Machine(None, NOWHERE), Models()).chain(reference, "fast")


def test_a_recorded_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of replies is complete, so that a worker elsewhere in the tree finds it; another file is refused."""
    (tmp_path / "r.jsonl").write_text('{"loom_replies": 1, "kind": "scripted"}\n')
    (tmp_path / "other.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    chooser = Chooser(Machine(None, NOWHERE), Models())
    assert (f"recorded:{tmp_path}/r.jsonl",) == chooser.chain("recorded:r.jsonl", "fast")
    with pytest.raises(UsageProblem, match="not a file of replies"):
        chooser.chain("recorded:other.jsonl", "fast")
