"""What Claude Code says while it works (`--output-format stream-json`), read line by line as it comes.

Judged by structure only: the result line's `is_error`, `api_error_status` and `subtype`, and the `error` of synthetic messages.
Its `subtype` says "success" even for API errors, so `is_error` goes first. A killed tool leaves no result line; what was
counted until then is reported without a cost. Tried with 2.1.197 and 2.1.330.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loom.workers.harnesses.transcript import Transcript
from loom.workers.protocol import ErrorClass, Usage
from loom.workers.seams import HandsError

MAX_WAIT_MS = 20_000
"""A wait that the tool announces and that is longer ends the attempt: the kernel waits without holding a slot."""
MAX_SAID = 400

_LIMITS = {"error_max_turns": "its turns", "error_max_budget_usd": "its cost"}
_PERMANENT = frozenset(
    {"authentication_failed", "billing_error", "invalid_request", "model_not_found", "oauth_org_not_allowed"}
)
_TRANSIENT = frozenset({"server_error", "overloaded", "timeout"})


@dataclass(slots=True)
class ClaudeStream:
    """One run of the tool. `take` each line; then `reply_text` or `failure`."""

    ref: str
    key_name: str
    progress: Callable[[str, str], None]
    transcript: Transcript = field(default_factory=Transcript)
    notes: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None
    session: str = ""
    model: str = ""
    error: str = ""
    not_before_ms: int = 0
    lines: int = 0
    _seen: set[str] = field(default_factory=set)
    _input: int = 0
    _cached: int = 0
    _output: int = 0

    def take(self, line: bytes) -> None:
        """One line. Raises HandsError (rate limit) when the tool is about to wait for long: the caller kills it."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # not the stream's: some shells and wrappers say a word of their own
        if not isinstance(said, dict):
            return
        self.lines += 1
        match said.get("type"):
            case "system":
                self._system(said)
            case "stream_event":
                self._event(said.get("event") or {})
            case "assistant":
                self._assistant(said)
            case "user":
                self._user(said.get("message") or {})
            case "rate_limit_event":
                self._rate_limit(said.get("rate_limit_info") or {})
            case "result":
                self.result = said
            case _:
                pass

    @property
    def usage(self) -> Usage:
        """By the result line's word, else what was counted on the way (then without a cost)."""
        if self.result is None:
            return Usage(
                input_tokens=self._input,
                output_tokens=self._output,
                cached_tokens=self._cached,
                calls=len(self._seen),
            )
        models = list((self.result.get("modelUsage") or {}).values())
        read = sum(each.get("cacheReadInputTokens", 0) for each in models)
        written = sum(each.get("cacheCreationInputTokens", 0) for each in models)
        cost = self.result.get("total_cost_usd")
        known = isinstance(cost, int | float)
        return Usage(
            input_tokens=sum(each.get("inputTokens", 0) for each in models) + read + written,
            output_tokens=sum(each.get("outputTokens", 0) for each in models),
            cached_tokens=read,
            calls=len(self._seen),
            cost_microusd=round(float(cost or 0) * 1_000_000) if known else None,
            price="reported" if known else "",
        )

    def reply_text(self) -> str:
        """The final text, or the structured output as JSON. Raises HandsError when the run failed."""
        if self.result is None or self.result.get("is_error") or self.result.get("subtype") != "success":
            raise self.failure()
        denied = self.result.get("permission_denials") or []
        if denied:
            names = sorted({str(each.get("tool_name", "?")) for each in denied})
            self.notes.append(f"{len(denied)} tool calls were not allowed: {', '.join(names)}")
        structured = self.result.get("structured_output")
        if isinstance(structured, dict):
            return json.dumps(structured, ensure_ascii=False)
        return str(self.result.get("result") or "")

    def failure(self) -> HandsError:
        """What the failed run means for the kernel."""
        result = self.result or {}
        subtype = str(result.get("subtype") or "")
        status = int(result.get("api_error_status") or 0)
        said = " ".join(str(result.get("result") or self.error or subtype).split())[:MAX_SAID]
        if subtype in _LIMITS:
            return self._error(ErrorClass.LIMIT, f"claude stopped at the limit of {_LIMITS[subtype]}", status)
        if subtype == "error_max_structured_output_retries":
            return self._error(ErrorClass.UNPARSEABLE, "claude did not give its output in the demanded form", status)
        if self.error == "max_output_tokens":
            return self._error(ErrorClass.LIMIT, f"claude: {said}", status)
        if status == 429 or self.error == "rate_limit":
            return self._error(ErrorClass.RATE_LIMIT, f"claude: rate limited: {said}", status)
        if status >= 500 or self.error in _TRANSIENT:
            return self._error(ErrorClass.TRANSIENT, f"claude: {said}", status)
        if self.error == "authentication_failed" or status in (401, 403):
            return self._error(ErrorClass.PERMANENT, f"claude: {self.key_name} was refused: {said}", status)
        if self.error in _PERMANENT or 400 <= status < 500:
            return self._error(ErrorClass.PERMANENT, f"claude: {said}", status)
        return self._error(ErrorClass.TRANSIENT, f"claude: {said or 'it ended without a result'}", status)

    def _error(self, error_class: ErrorClass, sentence: str, status: int) -> HandsError:
        limited = error_class == ErrorClass.RATE_LIMIT
        return HandsError(
            error_class,
            f"{self.ref}: {sentence}",
            not_before_ms=self.not_before_ms if limited else 0,
            status=status,
            usage=self.usage,
            transcript=self.transcript.text(),
        )

    def _system(self, said: dict[str, Any]) -> None:
        match said.get("subtype"):
            case "init":
                self.session = str(said.get("session_id") or "")
                self.model = str(said.get("model") or "")
            case "api_retry":
                self._retry(said)
            case _:
                pass

    def _retry(self, said: dict[str, Any]) -> None:
        status, delay_ms = int(said.get("error_status") or 0), float(said.get("retry_delay_ms") or 0)
        reason = said.get("error") or status
        self.notes.append(f"claude tried again after {delay_ms / 1000:.1f} s: {reason}")
        self.progress("phase", f"claude waits {delay_ms / 1000:.0f} s: {reason}")
        if status != 429:
            return
        self.not_before_ms = int(time.time() * 1000 + delay_ms)
        if delay_ms > MAX_WAIT_MS:
            raise self._error(ErrorClass.RATE_LIMIT, f"claude: rate limited for {delay_ms / 1000:.0f} s", status)

    def _rate_limit(self, info: dict[str, Any]) -> None:
        resets = info.get("resetsAt")
        if info.get("status") == "rejected" and isinstance(resets, int | float):
            self.not_before_ms = int(resets * 1000)

    def _event(self, event: dict[str, Any]) -> None:
        """A part of a message as it is written: progress, and tokens for a run that does not come to its end."""
        match event.get("type"):
            case "message_start":
                counted = (event.get("message") or {}).get("usage") or {}
                read = counted.get("cache_read_input_tokens") or 0
                written = counted.get("cache_creation_input_tokens") or 0
                self._input += (counted.get("input_tokens") or 0) + read + written
                self._cached += read
            case "content_block_delta":
                text = (event.get("delta") or {}).get("text")
                if text:
                    self.progress("text", str(text))
            case "message_delta":
                self._output += (event.get("usage") or {}).get("output_tokens") or 0
            case _:
                pass

    def _assistant(self, said: dict[str, Any]) -> None:
        message = said.get("message") or {}
        synthetic = message.get("model") == "<synthetic>"
        if said.get("error"):
            self.error = str(said["error"])
        if not synthetic:
            self.error = ""  # it went on: what failed before was mended
            self.model = str(message.get("model") or self.model)
            self._seen.add(str(message.get("id")))
        for block in message.get("content") or []:
            match block.get("type"):
                case "text":
                    self.transcript.add("claude itself says" if synthetic else "the model says", str(block.get("text")))
                case "tool_use":
                    given = block.get("input") or {}
                    self.transcript.call(str(block.get("name")), given)
                    self.progress("tool", f"{block.get('name')} {given.get('file_path') or given.get('command') or ''}")
                case _:
                    pass

    def _user(self, message: dict[str, Any]) -> None:
        content = message.get("content")
        for block in content if isinstance(content, list) else []:
            if block.get("type") == "tool_result":
                self.transcript.result("the tool", _shown(block.get("content")), failed=bool(block.get("is_error")))


def _shown(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
