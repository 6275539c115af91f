"""How the stand-in's steps look on the wire: Anthropic Messages and OpenAI chat completions, whole and streamed."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.standin import Request, Say, Use

_numbers = itertools.count(1)
_PART = 24
"""Characters of text in one streamed part."""


STRUCTURED = "StructuredOutput"
"""The tool by which Claude Code takes its output under --json-schema; a model that says JSON is made to use it."""


def features(body: dict[str, Any]) -> frozenset[str]:
    """What of the API a request uses: response_format:json_schema, response_format:json_object, output_config, tool_choice,
    stream_options, max_completion_tokens, max_tokens, tools."""
    found: set[str] = {
        name
        for name in ("output_config", "stream_options", "max_completion_tokens", "max_tokens", "tools", "tool_choice")
        if name in body
    }
    asked = body.get("response_format")
    if isinstance(asked, dict):
        found.add(f"response_format:{asked.get('type')}")
    return frozenset(found)


def failure(api: str, status: int, message: str, kind: str, code: str | None) -> bytes:
    """The body of an error answer."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kinds |= {400: "invalid_request_error", 500: "api_error", 529: "overloaded_error"}
    error: dict[str, Any] = {"type": kind or kinds.get(status, "api_error"), "message": message}
    if api == "openai":
        return json.dumps({"error": error | {"code": code, "param": None}}).encode()
    return json.dumps({"type": "error", "error": error, "request_id": "req_standin"}).encode()


def whole(request: Request, step: Say | Use) -> dict[str, Any]:
    """The answer as one JSON document."""
    if request.api == "openai":
        return _chat(request, step)
    return _message(request, step) | {"content": _blocks(request, step)}


def events(request: Request, step: Say | Use) -> list[bytes]:
    """The answer as server-sent events."""
    return _chat_events(request, step) if request.api == "openai" else _message_events(request, step)


def opening(request: Request, text: str) -> list[bytes]:
    """The beginning of a streamed answer that says `text` and then breaks off."""
    from harness.standin import Say

    complete = events(request, Say(text))
    return complete[: max(2, len(complete) // 2)]


# ------------------------------------------------------------------------------------------------------- Anthropic


def _usage(step: Say | Use) -> dict[str, int]:
    cached = getattr(step, "cached_tokens", 0)
    return {
        "input_tokens": getattr(step, "input_tokens", 11) - cached,
        "output_tokens": getattr(step, "output_tokens", 7),
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }


def _message(request: Request, step: Say | Use) -> dict[str, Any]:
    return {
        "id": f"msg_{next(_numbers):08d}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": _stop_reason(request, step),
        "stop_sequence": None,
        "usage": _usage(step),
    }


def _stop_reason(request: Request, step: Say | Use) -> str:
    if any(block["type"] == "tool_use" for block in _blocks(request, step)):
        return "tool_use"
    return {"length": "max_tokens", "refusal": "refusal"}.get(getattr(step, "finish", "end"), "end_turn")


def _blocks(request: Request, step: Say | Use) -> list[dict[str, Any]]:
    calls = getattr(step, "calls", ())
    forced = request.body.get("tool_choice") or {}
    if not calls and forced.get("type") == "tool":
        return [_tool_use(forced["name"], json.loads(step.text))]
    if not calls and any(tool.get("name") == STRUCTURED for tool in request.body.get("tools") or ()):
        found = _json_object(step.text)
        if found is not None:
            return [_tool_use(STRUCTURED, found)]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": step.text}] if step.text else []
    return blocks + [_tool_use(call.name, call.arguments) for call in calls]


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _tool_use(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{next(_numbers):08d}", "name": name, "input": arguments}


def _message_events(request: Request, step: Say | Use) -> list[bytes]:
    message = _message(request, step)
    start = message | {"stop_reason": None, "usage": _usage(step) | {"output_tokens": 1}}
    shown = [{"type": "message_start", "message": start}]
    for index, block in enumerate(_blocks(request, step)):
        shown += _block_events(index, block)
    shown.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": message["usage"]["output_tokens"]},
        }
    )
    shown.append({"type": "message_stop"})
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in shown]


def _block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        empty: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in _parts(block["text"])]
    else:
        empty = block | {"input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in _parts(json.dumps(block["input"]))]
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _parts(text: str) -> list[str]:
    return [text[at : at + _PART] for at in range(0, len(text), _PART)] or [""]


# ---------------------------------------------------------------------------------------------------------- OpenAI


def _finish(step: Say | Use) -> str:
    if getattr(step, "calls", ()):
        return "tool_calls"
    return {"length": "length", "refusal": "content_filter"}.get(getattr(step, "finish", "end"), "stop")


def _chat_usage(step: Say | Use) -> dict[str, Any]:
    taken, given = getattr(step, "input_tokens", 11), getattr(step, "output_tokens", 7)
    return {
        "prompt_tokens": taken,
        "completion_tokens": given,
        "total_tokens": taken + given,
        "prompt_tokens_details": {"cached_tokens": getattr(step, "cached_tokens", 0)},
    }


def _tool_calls(step: Say | Use) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{next(_numbers):08d}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in getattr(step, "calls", ())
    ]


def _chat(request: Request, step: Say | Use) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": step.text or None}
    calls = _tool_calls(step)
    if calls:
        message["tool_calls"] = calls
    return {
        "id": f"chatcmpl-{next(_numbers):08d}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(step)}],
        "usage": _chat_usage(step),
    }


def _chat_events(request: Request, step: Say | Use) -> list[bytes]:
    base = {
        "id": f"chatcmpl-{next(_numbers):08d}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": request.model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    shown = [chunk({"role": "assistant", "content": ""})]
    shown += [chunk({"content": part}) for part in (_parts(step.text) if step.text else [])]
    for index, call in enumerate(_tool_calls(step)):
        function = call["function"]
        shown.append(chunk({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]}))
        shown += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            for part in _parts(function["arguments"])
        ]
    shown.append(chunk({}, _finish(step)))
    if (request.body.get("stream_options") or {}).get("include_usage"):
        shown.append(base | {"choices": [], "usage": _chat_usage(step)})
    return [f"data: {json.dumps(event)}\n\n".encode() for event in shown] + [b"data: [DONE]\n\n"]
