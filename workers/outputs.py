"""An agent's output: one JSON object, found in what the model said and valid against the agent's schema.

Tried in this order: the whole text; the last fenced block; the last object that stands in the prose; json-repair. Anything
but the whole text is recorded as `repaired`. What no way makes valid is UNPARSEABLE, with the reason of the best candidate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loom.workers.protocol import ErrorClass
from loom.workers.seams import HandsError

MAX_TEXT = 2 * 1024 * 1024
"""Characters of an answer that are searched."""
MAX_OUTPUT = 24 * 1024
"""Bytes of one output: it travels inside a control frame and lives inside the database."""
MAX_MENDED = 256 * 1024
"""Characters that json-repair is given."""
MAX_TRIED = 40
"""Places in prose at which an object is looked for, from the end."""

_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Output:
    """`text`: the object as compact JSON; `repaired`: it was found tolerantly or mended; `notes` say how."""

    text: str
    repaired: bool
    notes: tuple[str, ...] = ()


def parse_schema(schema: str) -> dict[str, object]:
    """The schema as a dict. Raises HandsError (permanent) when it is none."""
    import jsonschema_rs

    try:
        found = json.loads(schema)
        jsonschema_rs.validator_for(found)
    except (ValueError, TypeError) as error:  # jsonschema_rs.ValidationError is a ValueError
        raise HandsError(ErrorClass.PERMANENT, f"the agent's output schema is no JSON schema: {error}") from error
    if not isinstance(found, dict):
        raise HandsError(ErrorClass.PERMANENT, "the agent's output schema is not an object")
    return found


def read_output(text: str, schema: dict[str, object]) -> Output:
    """The output in a model's answer. Raises HandsError (unparseable): its message says what is wrong with it."""
    import jsonschema_rs

    validator = jsonschema_rs.validator_for(schema)
    complaint = "there is no JSON object in the answer" if text.strip() else "the answer is empty"
    for how, said in _candidates(text[:MAX_TEXT]):
        found = _writable(said)
        wrong = _wrong(validator, found)
        if not wrong:
            return _output(how if found is said else f"{how}, characters that are no text replaced".lstrip(", "), found)
        complaint = wrong
    raise HandsError(ErrorClass.UNPARSEABLE, f"the answer is not of the agent's output type: {complaint}")


def _output(how: str, found: dict[str, Any]) -> Output:
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size > MAX_OUTPUT:
        sentence = f"the output has {size} bytes, at most {MAX_OUTPUT} are taken: shorten it"
        raise HandsError(ErrorClass.UNPARSEABLE, sentence)
    return Output(text, bool(how), (f"the output was repaired: {how}",) if how else ())


def _writable(found: dict[str, Any]) -> dict[str, Any]:
    """The object itself, or a copy in which lone surrogates are replaced: they cannot be written as UTF-8."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        joined = json.loads(json.dumps(found))  # two halves that stand together are one character
        copy: dict[str, Any] = json.loads(json.dumps(joined, ensure_ascii=False).encode(errors="replace"))
        return copy
    return found


def _wrong(validator: Any, found: dict[str, Any]) -> str:
    """What is wrong with a candidate, the first three places; "" when nothing is."""
    said = []
    for error in validator.iter_errors(found):
        place = "/".join(str(step) for step in error.instance_path)
        said.append(f"at /{place}: {error.message}"[:300])
        if len(said) == 3:
            break
    return "; ".join(said)


def _candidates(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(how it was found, object), the best first; "" means: the whole text, as it should be."""
    whole = _object(text)
    if whole is not None:
        yield "", whole
        return
    for block in reversed(_FENCE.findall(text)):
        found = _object(block)
        if found is not None:
            yield "taken from a code fence", found
    for found in _in_prose(text):
        yield "taken out of prose", found
    mended = _mended(text)
    if mended is not None:
        yield "mended by json-repair", mended


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _in_prose(text: str) -> Iterator[dict[str, Any]]:
    """Outermost objects in the text, the last first."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    found: list[dict[str, Any]] = []
    at = text.find("{")
    tried = 0
    while at >= 0 and tried < MAX_TRIED:
        tried += 1
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            found.append(value)
        at = text.find("{", end)
    yield from reversed(found)


def _mended(text: str) -> dict[str, Any] | None:
    start = text.find("{")
    if start < 0:
        return None
    import json_repair

    try:
        found = json_repair.loads(text[start : start + MAX_MENDED])
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list):  # several objects in a row: the last is the answer
        found = next((part for part in reversed(found) if isinstance(part, dict)), None)
    return found if isinstance(found, dict) and found else None
