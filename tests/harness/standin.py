"""A stand-in for the model APIs: real HTTP on 127.0.0.1, replies scripted per model name, failures on demand.

    with StandIn() as api:
        api.script("planner-model", Say('{"plan": "…"}'))
        api.script("coder-model", Use("Edit", file_path="a.py", old_string="1", new_string="2"), Say("done"))
        api.script("busy-model", Fail(429, retry_after="7"), Say("now"))
        …ANTHROPIC_BASE_URL=api.url, OPENAI_BASE_URL=api.openai_url…
        assert 2 == api.calls["busy-model"]

Each call takes the next step of its model's script; the last step serves every further call. A step may be a function
(Request) → step. A model without a script says "ok". Speaks Anthropic Messages (JSON and SSE, tool_use, count_tokens), OpenAI
chat completions (JSON and SSE, tool calls) and HEAD, enough for both SDKs and the Claude Code CLI.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from harness import standin_wire as wire

MAX_BODY = 64 * 1024 * 1024
STOP_S = 10.0
"""Seconds until a hanging answer is given up, when the server is closed before."""


@dataclass(frozen=True)
class Say:
    """A text answer. `seconds` pass between its first and its last part (a slow answer)."""

    text: str
    seconds: float = 0.0
    input_tokens: int = 11
    output_tokens: int = 7
    cached_tokens: int = 0
    finish: str = "end"
    """end, length, refusal."""


@dataclass(frozen=True, init=False)
class Use:
    """A call of a tool, with text before it. `more`: further calls of the same turn."""

    name: str
    arguments: dict[str, Any]
    text: str
    more: tuple[Use, ...]

    def __init__(self, name: str, *more: Use, text: str = "", **arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "more", more)

    @property
    def calls(self) -> tuple[Use, ...]:
        return (self, *self.more)


@dataclass(frozen=True)
class Fail:
    """An error answer. 529 is Anthropic's "overloaded"; `kind` is the error's type, `code` OpenAI's code."""

    status: int
    message: str = "scripted failure"
    retry_after: str | None = None
    kind: str = ""
    code: str | None = None


@dataclass(frozen=True)
class Hang:
    """Takes the request and never answers (until the stand-in is closed)."""


@dataclass(frozen=True)
class Drop:
    """Streams the text and closes the connection in the middle of the answer. `rudely`: not even the last chunk is sent."""

    text: str = "half an ans"
    rudely: bool = True


Step = Say | Use | Fail | Hang | Drop


@dataclass(frozen=True)
class Request:
    """What was asked. `api`: anthropic or openai."""

    api: str
    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    """When it came, in seconds of the monotonic clock."""

    @property
    def text(self) -> str:
        """Everything that the model was shown, as one JSON text, for looking for words."""
        shown = {key: self.body.get(key) for key in ("system", "messages")}
        return json.dumps(shown, ensure_ascii=False)


Scripted = Step | Callable[[Request], Step]


@dataclass
class _Script:
    steps: tuple[Scripted, ...]
    at: int = 0

    def next(self) -> Scripted:
        step = self.steps[min(self.at, len(self.steps) - 1)]
        self.at += 1
        return step


@dataclass
class StandIn:
    """The server; a context manager. `calls` counts the model calls by model name, `requests` keeps them in order."""

    calls: Counter[str] = field(default_factory=Counter)
    requests: list[Request] = field(default_factory=list)
    unknown: dict[str, frozenset[str]] = field(default_factory=dict)
    closed: threading.Event = field(default_factory=threading.Event)
    cut: Counter[str] = field(default_factory=Counter)
    """Answers that the client did not wait for, by model."""

    def __post_init__(self) -> None:
        self._scripts: dict[str, _Script] = {}
        self._lock = threading.Lock()
        stand_in = self

        class Handler(_Handler):
            api = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_S)

    @property
    def url(self) -> str:
        """ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """OPENAI_BASE_URL."""
        return f"{self.url}/v1"

    def script(self, model: str, *steps: Scripted) -> None:
        """Sets what `model` answers, call by call; the last step stays."""
        if not steps:
            raise ValueError(f"the script of {model} needs at least one step")
        with self._lock:
            self._scripts[model] = _Script(steps)

    def knows_not(self, model: str, *features: str) -> None:
        """`model` answers 400 to a request with one of the features: see `wire.features`."""
        self.unknown[model] = frozenset(features)

    def of(self, model: str) -> list[Request]:
        """The requests of one model, in order."""
        with self._lock:
            return [request for request in self.requests if request.model == model]

    def answer(self, request: Request) -> Step:
        """The next step for a request; counts it."""
        with self._lock:
            self.calls[request.model] += 1
            self.requests.append(request)
            refused = self.unknown.get(request.model, frozenset()) & wire.features(request.body)
            if refused:
                return Fail(400, f"unknown parameter: {sorted(refused)[0].split(':')[0]}", kind="invalid_request_error")
            script = self._scripts.get(request.model)
            step = script.next() if script else Say("ok")
        return step if not callable(step) else step(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: StandIn

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Says nothing: a test's output is its own."""

    def do_HEAD(self) -> None:
        self._send(200, b"")

    def do_GET(self) -> None:
        self._send(200, json.dumps({"object": "list", "data": []}).encode())

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(min(length, MAX_BODY)) or b"{}")
        path = self.path.split("?")[0]
        if path.endswith("/count_tokens"):
            self._send(200, b'{"input_tokens": 42}')
        elif path.endswith("/messages"):
            self._serve(Request("anthropic", body.get("model", ""), body, dict(self.headers)))
        elif path.endswith("/chat/completions"):
            self._serve(Request("openai", body.get("model", ""), body, dict(self.headers)))
        else:
            self._send(404, b'{"error": {"type": "not_found_error", "message": "no such path"}}')

    def _serve(self, request: Request) -> None:
        step = self.api.answer(request)
        try:
            self._give(request, step)
        except (BrokenPipeError, ConnectionResetError):
            self.api.cut[request.model] += 1
            self.close_connection = True

    def _give(self, request: Request, step: Step) -> None:
        match step:
            case Fail():
                headers = {} if step.retry_after is None else {"retry-after": step.retry_after}
                body = wire.failure(request.api, step.status, step.message, step.kind, step.code)
                self._send(step.status, body, headers)
            case Hang():
                self._wait_for_the_end(request)
            case Drop():
                self._stream([*wire.opening(request, step.text)], end=not step.rudely)
                self.close_connection = True
            case Say() | Use():
                if request.body.get("stream"):
                    self._stream(wire.events(request, step), pause=getattr(step, "seconds", 0.0))
                else:
                    self.api.closed.wait(getattr(step, "seconds", 0.0))
                    self._send(200, json.dumps(wire.whole(request, step)).encode())

    def _wait_for_the_end(self, request: Request) -> None:
        """Until the client hangs up or the stand-in is closed."""
        self.connection.settimeout(0.05)
        while not self.api.closed.is_set():
            try:
                if not self.connection.recv(1):
                    self.api.cut[request.model] += 1
                    break
            except TimeoutError:
                continue
        self.close_connection = True

    def _stream(self, events: list[bytes], *, pause: float = 0.0, end: bool = True) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()
            if pause:
                self.api.closed.wait(pause / len(events))
        if end:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
