"""Anthropic's Messages API: streamed, the system prefix cached, structured output natively or by a forced tool."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from loom.workers.protocol import ErrorClass, Usage
from loom.workers.providers import common, errors, prices
from loom.workers.seams import HandsError, Message, ModelReply, ModelRequest, ToolCall

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

BASE_URL = "https://api.anthropic.com"
KEY_NAMES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
OUTPUT_TOOL = "give_output"
"""The forced tool that carries structured output where the native format is not known."""

_WAYS: dict[str, tuple[str, ...]] = {"output format": ("natively", "by a forced tool", "in words")}
_HINTS: dict[str, tuple[str, ...]] = {
    "output format": ("output_config", "output_format", "schema", "structured", "tool_choice", "format")
}
_CACHED = {"type": "ephemeral"}


class AnthropicProvider:
    """The family `anthropic`. A key is read by name at every call; a bearer token serves as well."""

    family = "anthropic"

    def __init__(self, secret: common.Secret, environ: Mapping[str, str] | None = None) -> None:
        self._secret = secret
        self._environ = os.environ if environ is None else environ
        self._clients: dict[tuple[str, str, str], AsyncAnthropic] = {}
        self._degrade = common.Degrade(_WAYS, _HINTS)

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """See `seams.Provider`. A way of structured output that the server refuses is stepped down within this call."""
        return await common.within(request, self._complete(request, on_text))

    async def aclose(self) -> None:
        """Closes every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    def _target(self, request: ModelRequest) -> errors.Target:
        url = (request.binding.base_url or self._environ.get("ANTHROPIC_BASE_URL") or BASE_URL).rstrip("/")
        for name in KEY_NAMES:
            key = self._secret(name)
            if key:
                return errors.Target(request.binding.ref, request.binding.model, name, url, (key,))
        raise errors.missing_key(request.binding.ref, KEY_NAMES)

    def _client(self, target: errors.Target) -> AsyncAnthropic:
        import httpx2
        from anthropic import AsyncAnthropic

        key = target.secrets[0]
        at = (target.base_url, target.key_name, key)
        if at not in self._clients:
            bearer = target.key_name == "ANTHROPIC_AUTH_TOKEN"
            self._clients[at] = AsyncAnthropic(
                api_key=None if bearer else key,
                auth_token=key if bearer else None,
                base_url=target.base_url,
                max_retries=0,  # the kernel retries: its retries are commands in the ledger
                timeout=httpx2.Timeout(common.silence_s(self._environ), connect=common.CONNECT_S),
            )
        return self._clients[at]

    async def _complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        target = self._target(request)
        client = self._client(target)
        notes: list[str] = []
        used = frozenset(_WAYS) if request.schema is not None else frozenset[str]()
        for _ in _WAYS["output format"]:
            way = self._degrade.way(target.base_url, request.binding.model, "output format")
            try:
                return await self._stream(client, target, _arguments(request, way), on_text, tuple(notes))
            except HandsError as error:
                note = self._degrade.plainer(target.base_url, request.binding.model, error, used)
                if not note:
                    raise
                notes.append(note)
        raise HandsError(ErrorClass.PERMANENT, f"{target.ref}: {target.base_url} refused every way to ask: {notes[-1]}")

    async def _stream(
        self,
        client: AsyncAnthropic,
        target: errors.Target,
        arguments: dict[str, Any],
        on_text: Callable[[str], None],
        notes: tuple[str, ...],
    ) -> ModelReply:
        import anthropic
        import httpx2

        try:
            async with client.messages.stream(**arguments) as stream:
                async for text in stream.text_stream:
                    on_text(text)
                message = await stream.get_final_message()
        except (anthropic.AnthropicError, httpx2.HTTPError) as error:
            raise errors.from_exception(target, error) from error
        except AssertionError as error:  # the SDK's word for a stream without a single event
            raise errors.cut_stream(target) from error
        return self._reply(target, message, notes)

    def _reply(self, target: errors.Target, message: Any, notes: tuple[str, ...]) -> ModelReply:
        if not message.stop_reason:
            raise errors.cut_stream(target)
        if message.stop_reason == "refusal":
            raise HandsError(ErrorClass.PERMANENT, f"{target.ref}: the model refused to answer")
        if message.stop_reason == "model_context_window_exceeded":
            sentence = f"{target.ref}: prompt and answer are too long for {target.model}"
            raise HandsError(ErrorClass.PERMANENT, sentence)
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = []
        for block in message.content:
            if block.type == "tool_use" and block.name == OUTPUT_TOOL:
                text = json.dumps(block.input, ensure_ascii=False)
            elif block.type == "tool_use":
                arguments = common.arguments_of(json.dumps(block.input))
                calls.append(ToolCall(block.id, block.name, dict(arguments)))
        stop = "tool" if calls else "length" if message.stop_reason == "max_tokens" else "end"
        usage = _usage(message, own_server=target.base_url != BASE_URL)
        return ModelReply(text, tuple(calls), usage, message.model, stop, notes)


def _usage(message: Any, *, own_server: bool) -> Usage:
    """Anthropic counts what it read from and wrote to the cache beside `input_tokens`; ours counts all input."""
    counted = message.usage
    read, written = counted.cache_read_input_tokens or 0, counted.cache_creation_input_tokens or 0
    usage = Usage(
        input_tokens=counted.input_tokens + read + written,
        output_tokens=counted.output_tokens,
        cached_tokens=read,
        calls=1,
    )
    return prices.priced("anthropic", message.model, usage, written_tokens=written, own_server=own_server)


def _arguments(request: ModelRequest, way: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": request.binding.model,
        "max_tokens": request.max_output_tokens,
        "messages": _messages(request.messages),
    }
    if request.system:
        arguments["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHED}]
    tools: list[dict[str, Any]] = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in request.tools
    ]
    if request.schema is not None and way == "natively":
        arguments["output_config"] = {"format": {"type": "json_schema", "schema": _native(request.schema)}}
    elif request.schema is not None and way == "by a forced tool":
        tools.append({"name": OUTPUT_TOOL, "description": "Give the output.", "input_schema": request.schema})
        # With other tools at hand the model may still choose; alone, it must give the output.
        arguments["tool_choice"] = {"type": "any"} if request.tools else {"type": "tool", "name": OUTPUT_TOOL}
    if tools:
        arguments["tools"] = tools
    return arguments


def _native(schema: dict[str, object]) -> dict[str, object]:
    """The schema in the subset that the API takes; what the SDK cannot turn is sent as it is, and refused there."""
    from anthropic import transform_schema

    try:
        return dict(transform_schema(schema))
    except (ValueError, AssertionError, AttributeError):
        return schema


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Turns in the API's shape. Results of the calls of one turn must stand together in one user message."""
    shown: list[dict[str, Any]] = []
    for message in common.conversation(messages):
        if message.role == "tool":
            result = {
                "type": "tool_result",
                "tool_use_id": message.call_id,
                "content": message.text,
                "is_error": message.is_error,
            }
            if shown and shown[-1]["role"] == "user" and isinstance(shown[-1]["content"], list):
                shown[-1]["content"].append(result)
            else:
                shown.append({"role": "user", "content": [result]})
            continue
        shown.append({"role": message.role, "content": _content(message)})
    return shown


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.calls:
        return message.text
    text = [{"type": "text", "text": message.text}] if message.text else []
    calls = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in message.calls]
    return [*text, *calls]
