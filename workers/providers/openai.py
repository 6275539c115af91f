"""OpenAI's chat completions at any base URL: OpenAI itself, OpenRouter, Ollama, vLLM, LM Studio.

The three families differ in base URL and key name only. Servers differ in what they know of the API, so a feature that a
server refuses is asked for in a plainer way and remembered (`Degrade`), and the reply says so in a note.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loom.workers.protocol import ErrorClass, Usage
from loom.workers.providers import common, errors, prices
from loom.workers.seams import HandsError, Message, ModelReply, ModelRequest, ToolCall

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_STEPS = 6
"""Calls that one request may take to find what the server knows."""


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family's API is: its address, the variable that overrides it, its key's name, and whether a key is needed."""

    name: str
    base_url: str
    url_variable: str
    key_name: str
    needs_key: bool


FAMILIES = {
    "openai": Family("openai", "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY", needs_key=True),
    "openrouter": Family(
        "openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", needs_key=True
    ),
    "ollama": Family("ollama", "http://127.0.0.1:11434/v1", "OLLAMA_HOST", "OLLAMA_API_KEY", needs_key=False),
}

_WAYS = {
    "response_format": ("json_schema", "json_object", "none"),
    "output bound": ("max_completion_tokens", "max_tokens"),
    "stream_options": ("include_usage", "none"),
}
_HINTS = {
    "stream_options": ("stream_options",),
    "output bound": ("max_completion_tokens", "max_tokens"),
    "response_format": ("response_format", "json_schema", "json_object", "schema", "structured", "grammar"),
}


def _ollama_url(host: str) -> str:
    """OLLAMA_HOST may be host, host:port or a URL, with or without the API's path."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    place = parts.netloc if parts.port or parts.scheme == "https" else f"{parts.netloc}:11434"
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{place}{path if path.endswith('/v1') else f'{path}/v1'}"


class OpenAIProvider:
    """One of `FAMILIES`. Keys are read by name at every call, so that a new key is used without a restart."""

    def __init__(self, family: str, secret: common.Secret, environ: Mapping[str, str] | None = None) -> None:
        self.family = family
        self._facts = FAMILIES[family]
        self._secret = secret
        self._environ = os.environ if environ is None else environ
        self._clients: dict[tuple[str, str], AsyncOpenAI] = {}
        self._degrade = common.Degrade(_WAYS, _HINTS)

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """See `seams.Provider`. A feature that the server does not know is stepped down within this call."""
        return await common.within(request, self._complete(request, on_text))

    async def aclose(self) -> None:
        """Closes every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    def base_url(self, given: str) -> str:
        """The binding's own address, else the environment's, else the family's."""
        named = given or self._environ.get(self._facts.url_variable, "") or self._facts.base_url
        return _ollama_url(named) if self.family == "ollama" else named.rstrip("/")

    def _target(self, request: ModelRequest) -> errors.Target:
        url = self.base_url(request.binding.base_url)
        key = self._secret(self._facts.key_name) or ""
        if not key and self._facts.needs_key and url == self._facts.base_url:
            raise errors.missing_key(request.binding.ref, [self._facts.key_name])
        return errors.Target(request.binding.ref, request.binding.model, self._facts.key_name, url, (key,))

    def _client(self, target: errors.Target) -> AsyncOpenAI:
        import httpx2
        from openai import AsyncOpenAI

        at = (target.base_url, target.secrets[0])
        if at not in self._clients:
            self._clients[at] = AsyncOpenAI(
                api_key=target.secrets[0] or "unused",  # a server of one's own asks for none, the SDK insists on one
                base_url=target.base_url,
                max_retries=0,  # the kernel retries: its retries are commands in the ledger
                timeout=httpx2.Timeout(common.silence_s(self._environ), connect=common.CONNECT_S),
            )
        return self._clients[at]

    async def _complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        target = self._target(request)
        client = self._client(target)
        notes: list[str] = []
        for _ in range(MAX_STEPS):
            arguments, used = self._arguments(request, target)
            try:
                return await self._stream(client, target, arguments, on_text, tuple(notes))
            except HandsError as error:
                note = self._degrade.plainer(target.base_url, request.binding.model, error, used)
                if not note:
                    raise
                notes.append(note)
        raise HandsError(ErrorClass.PERMANENT, f"{target.ref}: {target.base_url} refused every way to ask: {notes[-1]}")

    def _arguments(self, request: ModelRequest, target: errors.Target) -> tuple[dict[str, Any], frozenset[str]]:
        model = request.binding.model

        def way(feature: str) -> str:
            return self._degrade.way(target.base_url, model, feature)

        used = {"output bound", "stream_options"}
        arguments: dict[str, Any] = {
            "model": model,
            "messages": _messages(request),
            "stream": True,
            way("output bound"): request.max_output_tokens,
        }
        if way("stream_options") != "none":
            arguments["stream_options"] = {"include_usage": True}
        if request.tools:
            arguments["tools"] = [_tool(tool.name, tool.description, tool.parameters) for tool in request.tools]
        if request.schema is not None:
            used.add("response_format")
            asked = _response_format(way("response_format"), request.schema)
            if asked:
                arguments["response_format"] = asked
        if self.family == "openrouter":
            arguments["extra_body"] = {"usage": {"include": True}}  # its answer then names the real cost
        return arguments, frozenset(used)

    async def _stream(
        self,
        client: AsyncOpenAI,
        target: errors.Target,
        arguments: dict[str, Any],
        on_text: Callable[[str], None],
        notes: tuple[str, ...],
    ) -> ModelReply:
        import httpx2
        import openai

        answer = _Answer()
        try:
            stream = await client.chat.completions.create(**arguments)
            async with stream:
                async for chunk in stream:
                    answer.take(chunk, on_text)
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise errors.from_exception(target, error) from error
        own = target.base_url != self._facts.base_url
        return answer.reply(
            target, notes, lambda usage, model: prices.priced(self.family, model, usage, own_server=own)
        )


@dataclass(slots=True)
class _Answer:
    """The chunks of one streamed answer, put together."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    at: dict[int, int] = field(default_factory=dict)
    finish: str = ""
    model: str = ""
    usage: Any = None

    def take(self, chunk: Any, on_text: Callable[[str], None]) -> None:
        self.model = chunk.model or self.model
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices or ():
            self.finish = choice.finish_reason or self.finish
            delta = choice.delta
            if delta is None:
                continue
            if delta.content:
                self.text.append(delta.content)
                on_text(delta.content)
            if delta.refusal:
                self.refusal.append(delta.refusal)
            for part in delta.tool_calls or ():
                self._call(part)

    def _call(self, part: Any) -> None:
        index = part.index or 0
        known = self.at.get(index)
        # Some servers give every whole call the index 0: a new id is a new call.
        fresh = known is None or bool(part.id and self.calls[known]["id"] and part.id != self.calls[known]["id"])
        if fresh or known is None:
            known = self.at[index] = len(self.calls)
            self.calls.append({"id": "", "name": "", "arguments": ""})
        call = self.calls[known]
        call["id"] = part.id or call["id"]
        if part.function is not None:
            call["name"] = part.function.name or call["name"]
            call["arguments"] += part.function.arguments or ""

    def reply(self, target: errors.Target, notes: tuple[str, ...], price: Callable[[Usage, str], Usage]) -> ModelReply:
        if self.refusal:
            raise HandsError(
                ErrorClass.PERMANENT, f"{target.ref}: the model refused: {target.scrub(''.join(self.refusal))}"
            )
        if self.finish == "content_filter":
            raise HandsError(
                ErrorClass.PERMANENT, f"{target.ref}: the answer was stopped by the provider's content filter"
            )
        if not self.finish:
            raise errors.cut_stream(target)
        model = self.model or target.model
        calls = tuple(
            ToolCall(call["id"] or f"call_{number}", call["name"], common.arguments_of(call["arguments"]))
            for number, call in enumerate(self.calls)
        )
        stop = "tool" if calls else "length" if self.finish == "length" else "end"
        if self.usage is None:
            notes = (*notes, f"{target.base_url} reported no token counts")
        return ModelReply("".join(self.text), calls, price(_usage(self.usage), model), model, stop, notes)


def _usage(counted: Any) -> Usage:
    if counted is None:
        return Usage(calls=1)
    details = counted.prompt_tokens_details
    cost = (counted.model_extra or {}).get("cost")
    reported = round(cost * 1_000_000) if isinstance(cost, int | float) else None
    return Usage(
        input_tokens=counted.prompt_tokens or 0,
        output_tokens=counted.completion_tokens or 0,
        cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
        calls=1,
        cost_microusd=reported,
        price="" if reported is None else "reported",
    )


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    return shown + [_message(message) for message in common.conversation(request.messages)]


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if not message.calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in message.calls
    ]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}


def _tool(name: str, description: str, parameters: dict[str, object]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _response_format(way: str, schema: dict[str, object]) -> dict[str, Any] | None:
    if way == "json_schema":
        named = {"name": "output", "schema": schema, "strict": fits_strict(schema)}
        return {"type": "json_schema", "json_schema": named}
    return {"type": "json_object"} if way == "json_object" else None


def fits_strict(schema: object) -> bool:
    """Whether every object of the schema is closed and requires all its properties, as OpenAI's strict mode demands."""
    if isinstance(schema, list):
        return all(fits_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        names = set(properties) if isinstance(properties, dict) else set()
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != names:
            return False
    return all(fits_strict(part) for part in schema.values())
