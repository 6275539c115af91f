"""Every provider, against a real HTTP server or a file, keeps the promises of `seams.Provider`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.standin import Drop, Fail, Hang, Request, Say, StandIn, Use
from loom.workers.protocol import Binding, ErrorClass, Usage
from loom.workers.providers.anthropic import AnthropicProvider
from loom.workers.providers.fake import FakeProvider
from loom.workers.providers.openai import OpenAIProvider
from loom.workers.providers.recorded import RecordedProvider, Recorder, append
from loom.workers.providers.registry import Providers, families
from loom.workers.providers.replies import Call, Entry, Reply, Tokens
from loom.workers.seams import HandsError, Message, ModelReply, ModelRequest, Position, Provider, Tool, ToolCall

KEY = "sk-very-secret-0123456789"
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"plan": {"type": "string"}},
    "required": ["plan"],
    "additionalProperties": False,
}
READ = Tool(
    "read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
)
HTTP = ["openai", "openrouter", "ollama", "anthropic"]
ALL = [*HTTP, "fake", "recorded"]


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


def secret(name: str) -> str | None:
    return KEY if name.endswith("_API_KEY") else None


def made(family: str) -> Provider:
    return AnthropicProvider(secret, {}) if family == "anthropic" else OpenAIProvider(family, secret, {})


@dataclass
class Subject:
    """One provider and how it is made to answer."""

    family: str
    provider: Provider
    api: StandIn
    folder: Path

    def request(self, model: str = "m", **changes: Any) -> ModelRequest:
        base_url = self.api.url if self.family == "anthropic" else self.api.openai_url
        if self.family == "recorded":
            model = str(self.folder / "replies.jsonl")
        request = ModelRequest(
            binding=Binding(ref=f"{self.family}:{model}", family=self.family, model=model, base_url=base_url),
            system="You are careful.",
            messages=(Message("user", "Say something."),),
            position=Position("planner", "plan", 0, 0),
        )
        return replace(request, **changes)

    def answers(self, text: str = "", calls: tuple[ToolCall, ...] = ()) -> None:
        """Sets the one answer."""
        match self.family:
            case "fake":
                usage = Usage(input_tokens=11, output_tokens=7, calls=1)
                reply = ModelReply(text, calls, usage, "fake/m", "tool" if calls else "end")
                self.provider = FakeProvider(lambda request: reply)
            case "recorded":
                shown = Reply(text, tuple(Call(c.name, c.arguments) for c in calls), Tokens(11, 7))
                entry = Entry(agent="planner", stage="plan", iteration=0, reply=shown)
                append(self.folder / "replies.jsonl", entry)
            case _:
                uses = [Use(call.name, text=text, **call.arguments) for call in calls]
                self.api.script("m", uses[0] if uses else Say(text))


@pytest.fixture(params=ALL)
async def subject(request: pytest.FixtureRequest, api: StandIn, tmp_path: Path) -> AsyncIterator[Subject]:
    family: str = request.param
    plain: dict[str, Callable[[], Provider]] = {"recorded": RecordedProvider, "fake": lambda: FakeProvider.scripted([])}
    provider = plain[family]() if family in plain else made(family)
    found = Subject(family, provider, api, tmp_path)
    yield found
    await found.provider.aclose()


@pytest.fixture(params=HTTP)
async def remote(request: pytest.FixtureRequest, api: StandIn, tmp_path: Path) -> AsyncIterator[Subject]:
    found = Subject(request.param, made(request.param), api, tmp_path)
    yield found
    await found.provider.aclose()


async def failure(call: Awaitable[ModelReply]) -> HandsError:
    with pytest.raises(HandsError) as caught:
        await call
    assert KEY not in caught.value.message
    return caught.value


async def test_text_comes_as_it_is_written_with_its_usage(subject: Subject) -> None:
    """The whole text is in the reply, all of it went through on_text, and tokens are counted."""
    text = "A plan — with an umlaut: Ä, and more than one streamed part of it."
    subject.answers(text)
    parts: list[str] = []
    reply = await subject.provider.complete(subject.request(), parts.append)
    assert text == reply.text == "".join(parts)
    assert (11, 7, 1, "end") == (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.calls, reply.stop)
    assert "m" in reply.model or "recorded" in reply.model


async def test_a_tool_call_comes_with_its_arguments(subject: Subject) -> None:
    """Name and arguments of a call arrive whole, the reply says that it stopped for a tool."""
    subject.answers("I look.", (ToolCall("x", "read", {"path": "a/ü.py", "deep": {"n": [1, 2]}}),))
    reply = await subject.provider.complete(subject.request(tools=(READ,)), lambda text: None)
    assert [("read", {"path": "a/ü.py", "deep": {"n": [1, 2]}})] == [(c.name, c.arguments) for c in reply.calls]
    assert ("tool", "I look.") == (reply.stop, reply.text)
    assert reply.calls[0].id


async def test_structured_output_is_asked_for(subject: Subject) -> None:
    """A schema is passed on in the API's own way and the JSON comes back as text."""
    subject.answers('{"plan": "x"}')
    reply = await subject.provider.complete(subject.request(schema=SCHEMA), lambda text: None)
    assert {"plan": "x"} == json.loads(reply.text)
    for asked in subject.api.of("m"):
        shown = json.dumps(asked.body)
        assert '"json_schema"' in shown
        assert '"plan"' in shown


@pytest.mark.parametrize(
    "unknown", ["response_format:json_schema", "output_config", "stream_options", "max_completion_tokens"]
)
async def test_what_a_server_does_not_know_is_asked_for_in_plainer_ways(remote: Subject, unknown: str) -> None:
    """A refused feature is stepped down once, noted, and remembered for the next call."""
    remote.api.knows_not("m", unknown)
    remote.api.script("m", Say('{"plan": "x"}'))
    first = await remote.provider.complete(remote.request(schema=SCHEMA), lambda text: None)
    second = await remote.provider.complete(remote.request(schema=SCHEMA), lambda text: None)
    used = remote.family == "anthropic" if unknown == "output_config" else remote.family != "anthropic"
    assert {"plan": "x"} == json.loads(first.text) == json.loads(second.text)
    assert (3 if used else 2) == remote.api.calls["m"]
    assert used == any("does not know" in note for note in first.notes)


async def test_the_results_of_tools_are_shown_to_the_model(remote: Subject) -> None:
    """A conversation with two calls and their results reaches the API in its own shape."""
    remote.answers("done")
    calls = (ToolCall("a", "read", {"path": "one"}), ToolCall("b", "read", {"path": "two"}))
    messages = (
        Message("user", "Look."),
        Message("assistant", "", calls),
        Message("tool", "first content", call_id="a"),
        Message("tool", "no such file", call_id="b", is_error=True),
    )
    await remote.provider.complete(remote.request(messages=messages, tools=(READ,)), lambda text: None)
    body = remote.api.of("m")[0].body
    shown = json.dumps(body)
    assert "first content" in shown
    assert "no such file" in shown
    ids = (
        [part["tool_use_id"] for part in body["messages"][-1]["content"]]
        if remote.family == "anthropic"
        else [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    )
    assert ["a", "b"] == ids


CASES = [
    (Fail(429, retry_after="7"), ErrorClass.RATE_LIMIT, "rate limited"),
    (Fail(429, kind="some_other_word"), ErrorClass.RATE_LIMIT, "rate limited"),
    (Fail(402, code="insufficient_quota"), ErrorClass.PERMANENT, ""),
    (Fail(500), ErrorClass.TRANSIENT, "500"),
    (Fail(503, retry_after="3"), ErrorClass.TRANSIENT, "503"),
    (Fail(529), ErrorClass.TRANSIENT, "529"),
    (Fail(401, f"bad key {KEY}"), ErrorClass.PERMANENT, "_API_KEY was refused"),
    (Fail(403), ErrorClass.PERMANENT, "_API_KEY was refused"),
    (Fail(404), ErrorClass.PERMANENT, "does not know the model m"),
    (Fail(400), ErrorClass.PERMANENT, "was refused"),
    (Fail(400, "prompt is too long: 9 > 8"), ErrorClass.PERMANENT, "too long for m"),
    (Fail(400, "x", code="context_length_exceeded"), ErrorClass.PERMANENT, ""),
    (Drop(), ErrorClass.TRANSIENT, ""),
    (Drop(rudely=False), ErrorClass.TRANSIENT, "closed the stream"),
    (Say("x", finish="refusal"), ErrorClass.PERMANENT, ""),
]


@pytest.mark.parametrize(("step", "error_class", "words"), CASES, ids=lambda value: str(value)[:40])
async def test_each_failure_has_its_class(remote: Subject, step: Any, error_class: ErrorClass, words: str) -> None:
    """Status, words and cut streams become the class that the kernel acts on; the SDK does not retry by itself."""
    remote.api.script("m", step)
    before = int(time.time() * 1000)
    error = await failure(remote.provider.complete(remote.request(), lambda text: None))
    assert error_class == error.error_class
    assert words in error.message
    assert 1 == remote.api.calls["m"]
    wanted = int(getattr(step, "retry_after", None) or 0) * 1000
    assert 0 <= error.not_before_ms - (before + wanted) < 5000 if wanted else error.not_before_ms == 0


async def test_a_used_up_quota_is_not_a_rate_limit(api: StandIn, tmp_path: Path) -> None:
    """OpenAI answers 429 for an account without money: waiting does not help, the next binding may."""
    subject = Subject("openai", made("openai"), api, tmp_path)
    api.script("m", Fail(429, kind="insufficient_quota", code="insufficient_quota"))
    error = await failure(subject.provider.complete(subject.request(), lambda text: None))
    assert ErrorClass.PERMANENT == error.error_class
    assert "OPENAI_API_KEY has no quota left" in error.message
    await subject.provider.aclose()


async def test_a_silent_server_is_given_up_in_time(remote: Subject) -> None:
    """The request's own limit ends a call that hangs; it is transient."""
    remote.api.script("m", Hang())
    error = await failure(remote.provider.complete(remote.request(timeout_ms=200), lambda text: None))
    assert ErrorClass.TRANSIENT == error.error_class
    assert "0.2 s" in error.message


async def test_nobody_at_the_address_is_transient(remote: Subject, api: StandIn) -> None:
    """A refused connection names the address."""
    request = remote.request()
    request = replace(request, binding=replace_url(request.binding, "http://127.0.0.1:9"))
    error = await failure(remote.provider.complete(request, lambda text: None))
    assert ErrorClass.TRANSIENT == error.error_class
    assert "127.0.0.1:9" in error.message


def replace_url(binding: Binding, url: str) -> Binding:
    return Binding(ref=binding.ref, family=binding.family, model=binding.model, base_url=url)


@pytest.mark.parametrize("step", [Hang(), Say("a slow answer " * 50, seconds=20)], ids=["before", "within"])
async def test_cancelling_ends_the_call_at_the_server(remote: Subject, step: Any) -> None:
    """A cancelled call closes its connection, so nothing more is paid."""
    remote.api.script("m", step)
    task = asyncio.create_task(remote.provider.complete(remote.request(), lambda text: None))
    await until(lambda: remote.api.calls["m"] == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: remote.api.cut["m"] == 1)


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what is awaited happens in another thread
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("family", ["openai", "openrouter", "anthropic"])
async def test_a_missing_key_names_the_key(family: str) -> None:
    """Without a key nothing is called, and the sentence says what to set."""
    provider = (
        AnthropicProvider(lambda name: None, {})
        if family == "anthropic"
        else OpenAIProvider(family, lambda name: None, {})
    )
    binding = Binding(ref=f"{family}:m", family=family, model="m")
    request = ModelRequest(binding, "", (Message("user", "x"),), Position("a", "s", 0, 0))
    error = await failure(provider.complete(request, lambda text: None))
    assert ErrorClass.PERMANENT == error.error_class
    assert f"{family.upper()}_API_KEY is not set" in error.message
    await provider.aclose()


async def test_the_system_prefix_is_cached_and_cached_tokens_are_counted(remote: Subject) -> None:
    """Anthropic is asked to cache the prefix; every provider reports what was read from a cache as part of the input."""
    remote.api.script("m", Say("x", input_tokens=100, cached_tokens=60))
    reply = await remote.provider.complete(remote.request(), lambda text: None)
    assert (100, 60) == (reply.usage.input_tokens, reply.usage.cached_tokens)
    if remote.family == "anthropic":
        assert {"type": "ephemeral"} == remote.api.of("m")[0].body["system"][0]["cache_control"]


async def test_recorded_replies_come_back_and_a_changed_prompt_is_said(remote: Subject, tmp_path: Path) -> None:
    """What Recorder wrote, `recorded` gives again, calls included; another prompt gets the reply with a note."""
    path = tmp_path / "run.jsonl"
    remote.api.script("m", Use("read", text="I look.", path="a"), Fail(500), Say("done"))
    recorder = Recorder(remote.provider, path)
    request = remote.request(tools=(READ,))
    later = replace(request, position=Position("planner", "plan", 0, 1))
    first = await recorder.complete(request, lambda text: None)
    await failure(recorder.complete(later, lambda text: None))
    await recorder.complete(later, lambda text: None)
    recorded = RecordedProvider()
    binding = Binding(ref="recorded:run", family="recorded", model=str(path))
    again = await recorded.complete(replace(request, binding=binding), lambda text: None)
    assert (first.text, [c.arguments for c in first.calls]) == (again.text, [c.arguments for c in again.calls])
    assert () == again.notes
    assert "recorded/recorded:run.jsonl" == again.model
    assert 3 == len(path.read_text().splitlines())
    changed = replace(later, binding=binding, messages=(Message("user", "Something else."),))
    other = await recorded.complete(changed, lambda text: None)
    assert "done" == other.text
    assert "is not the one" in other.notes[0]


async def test_a_missing_or_broken_reply_names_place_and_file(tmp_path: Path) -> None:
    """No file, no header, a bad line, no entry: permanent, with the file (and line) in the sentence."""
    path = tmp_path / "r.jsonl"
    binding = Binding(ref="recorded:r", family="recorded", model=str(path))
    request = ModelRequest(binding, "", (Message("user", "x"),), Position("critic", "review", 2, 0))
    provider = RecordedProvider()
    header = '{"loom_replies":1,"kind":"scripted"}\n'
    for content, words in [
        (None, "cannot be read"),
        ("", "r.jsonl:1: not the header"),
        ('{"loom_replies":9,"kind":"scripted"}', "format 9"),
        (header + "{}", "r.jsonl:2: not a reply"),
        (header, "agent critic, stage review, iteration 2, call 0"),
    ]:
        if content is not None:
            path.write_text(content)
        error = await failure(provider.complete(request, lambda text: None))
        assert ErrorClass.PERMANENT == error.error_class
        assert words in error.message
        assert str(path) in error.message


async def test_an_entry_without_iteration_serves_every_iteration_without_its_own(tmp_path: Path) -> None:
    """The exact entry wins; an open one answers the rest; a JSON object as text is given as JSON."""
    path = tmp_path / "r.jsonl"
    lines = [
        {"loom_replies": 1, "kind": "scripted", "note": "n"},
        {"agent": "critic", "stage": "review", "ordinal": 0, "reply": {"text": {"outcome": "block"}}},
        {"agent": "critic", "stage": "review", "iteration": 1, "ordinal": 0, "reply": {"text": "own"}},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    binding = Binding(ref="recorded:r", family="recorded", model=str(path))
    provider = RecordedProvider()
    texts = [
        (await provider.complete(ModelRequest(binding, "", (Message("user", "x"),), at), lambda text: None)).text
        for at in (
            Position("critic", "review", 0, 0),
            Position("critic", "review", 1, 0),
            Position("critic", "review", 5, 0),
        )
    ]
    assert ['{"outcome": "block"}', "own", '{"outcome": "block"}'] == texts


async def test_the_registry_makes_each_family_once_and_names_what_there_is() -> None:
    """Unknown families are a permanent error that lists the known ones."""
    providers = Providers(secret)
    for family in families():
        assert family == providers.of(family).family
        assert providers.of(family) is providers.of(family)
    with pytest.raises(HandsError, match="anthropic, ollama, openai, openrouter, recorded"):
        providers.of("nobody")
    await providers.aclose()


def test_the_stand_in_hands_scripted_functions_the_request() -> None:
    """A step may be a function of the request: what the scripts of larger tests stand on."""
    with StandIn() as api:
        api.script("m", lambda request: Say(request.model.upper()))
        step = api.answer(Request("openai", "m", {}, {}))
    assert Say("M") == step
