"""The stub hands: agents of the binding family `stub` that answer at once or after a fixed time, for benchmarks and tests.

`LOOM_BENCH_EXECUTOR` = `instant` (default) or `sleep:50` (milliseconds). `LOOM_BENCH_STARTS` names a file that gets one line
an agent start (attempt, fence, boot nonce, ms UTC): the agent's own count of how often, and when, it was really begun. The
answer is the smallest one that the agent's output schema takes, its first free text filled up to 2 KB. No asyncio: it runs
inside the worker's loop.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Mapping

from loom.workers.protocol import (
    Assign,
    Capability,
    Change,
    End,
    Report,
    Result,
    SandboxUsed,
    Statement,
    Usage,
    salted_id,
)

FAMILY = "stub"
ANSWER_BYTES = 2_000
USED = SandboxUsed(kind="none", network="shared", note="the stub starts nothing")


class Stub:
    """Agents without a model. `delay_ms`: how long one takes (0: answered at once)."""

    def __init__(self, environment: Mapping[str, str], *, boot: str, host: str) -> None:
        """Raises ValueError for a mode that is none."""
        mode = environment.get("LOOM_BENCH_EXECUTOR", "instant")
        kind, _, number = mode.partition(":")
        if not (mode == "instant" or (kind == "sleep" and number.isdigit())):
            raise ValueError(f"LOOM_BENCH_EXECUTOR={mode!r} is no mode; write instant or sleep:MILLISECONDS")
        self.delay_ms = int(number or 0)
        self._boot, self._host = boot, host
        starts = environment.get("LOOM_BENCH_STARTS", "")
        self._starts = os.open(starts, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600) if starts else -1

    def begin(self, assign: Assign) -> None:
        """The agent starts: it is counted."""
        if self._starts >= 0:
            at_ms = time.time_ns() // 1_000_000
            os.write(self._starts, f"{assign.attempt} {assign.fence} {self._boot} {at_ms}\n".encode())

    def report(self, assign: Assign) -> Report:
        """What the agent brings."""
        return Report(
            attempt=assign.attempt,
            fence=assign.fence,
            end=End.REPORTED,
            result=_result(assign),
            usage=Usage(input_tokens=1, output_tokens=1, calls=1, cost_microusd=0, price="reported"),
            sandbox=USED,
            binding=assign.binding.index,
            model=assign.binding.model,
            executor="stub",
            boot=self._boot,
            host=self._host,
            wall_ms=self.delay_ms,
        )


def _result(assign: Assign) -> Result:
    if assign.capability is Capability.CHECKS:
        return Result(statements=(Statement(kind="check.test", outcome="passed", summary="stub"),))
    change = None
    if assign.capability is Capability.EDIT:
        change = _change(assign)
    measured = {measure.fact: "no" for measure in assign.measures}
    return Result(output=_answer(assign.output_schema), measured=measured, change=change)


def _change(assign: Assign) -> Change:
    """A change that names what was made by whom; no repository is behind it."""
    base = assign.workspace.base if assign.workspace else "0" * 40
    made = salted_id(b"stub", f"{assign.task} {assign.stage} {assign.iteration} {assign.agent}".encode())
    return Change(commit=made[:40], tree=made[-40:], base=base, digest=made, diff="")


@functools.lru_cache(maxsize=256)
def _answer(schema: str) -> str:
    """The smallest answer that the schema takes; its first free text is filled up."""
    if not schema:
        return ""
    parsed = json.loads(schema)
    answer = _smallest(parsed, parsed.get("$defs", {}))
    text = json.dumps(answer)
    if isinstance(answer, dict) and len(text) < ANSWER_BYTES:
        for name, value in answer.items():
            if value == "stub":
                answer[name] = "stub " * ((ANSWER_BYTES - len(text)) // 5)
                break
    return json.dumps(answer)


def _smallest(schema: Mapping[str, object], definitions: Mapping[str, object]) -> object:
    """A value of a JSON schema: first of an enum, empty lists, the required properties."""
    known = dict(schema)
    if isinstance(reference := known.get("$ref"), str):
        return _smallest(_mapping(definitions.get(reference.rsplit("/", 1)[-1])), definitions)
    if "const" in known:
        return known["const"]
    if isinstance(words := known.get("enum"), list):
        return words[0]
    for either in ("anyOf", "oneOf"):
        if isinstance(options := known.get(either), list):
            return _smallest(_mapping(options[0]), definitions)
    match known.get("type"):
        case "object":
            properties = _mapping(known.get("properties"))
            required = known.get("required")
            names = required if isinstance(required, list) else []
            return {name: _smallest(_mapping(properties.get(name)), definitions) for name in names}
        case "array":
            return []
        case "integer" | "number":
            return known.get("minimum", 0)
        case "boolean":
            return False
        case "string":
            return "stub"
        case _:
            return None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
