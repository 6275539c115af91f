"""References: which model serves an agent, as the one text that stands in a task's chain and in every record.

    family:model               anthropic:claude-sonnet-5-5 · recorded:/home/me/replies.jsonl
    family:model@address       openai:qwen3@http://127.0.0.1:8000/v1

A reference is complete: what a tier or an environment variable meant was put in when the task was submitted, so the same
chain means the same model on every worker and on every replay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from loom.kernel.values import Bound
from loom.workers.protocol import Binding

FAMILIES = ("anthropic", "openai", "openrouter", "ollama", "claude", "recorded", "stub")
"""The families that a reference may name. `claude` is the agent tool of that name, with its own login."""

PATHS = frozenset({"recorded"})
"""Families whose model is a file's path: it may hold any character, and never an address."""

HARNESSES = {"claude": "claude"}
"""Family → the harness that its agents work through; every other family works through our own tool loop."""
OWN_HARNESS = "api"

MAX_REFERENCE = 4_096
"""Bytes of one reference."""

_ADDRESS = re.compile(r"@(?=https?://)")
_BETWEEN = re.compile(r",(?=\s*[a-z]+:)")


class BadReference(ValueError):
    """A reference cannot be read; the message says what is wrong and what a right one looks like."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference, taken apart. `base_url` "": the family's own address."""

    family: str
    model: str
    base_url: str = ""


def split(chain: str) -> tuple[str, ...]:
    """The references of `REF[,REF…]`, in order. A comma inside a path does not separate."""
    return tuple(part.strip() for part in _BETWEEN.split(chain) if part.strip())


def parse_ref(text: str) -> Reference:
    """Takes a reference apart; the model may be empty (a family alone) or a tier, which `parse_ref` does not resolve.

    Raises BadReference.
    """
    family, colon, rest = text.partition(":")
    if not colon or family not in FAMILIES:
        known = ", ".join(f"{name}:" for name in FAMILIES if name != "stub")
        raise BadReference(f"{text!r} is not a model reference: it is written FAMILY:MODEL, with one of {known}")
    if len(text.encode(errors="surrogateescape")) > MAX_REFERENCE:
        raise BadReference(f"the model reference {text[:40]!r}… is longer than {MAX_REFERENCE} bytes")
    if family in PATHS:
        return Reference(family, rest)
    if "," in rest:
        raise BadReference(
            f"{text!r} is not one model reference: each of a chain begins with its family, FAMILY:MODEL,FAMILY:MODEL"
        )
    parts = _ADDRESS.split(rest, maxsplit=1)
    model, base_url = parts[0], parts[1] if len(parts) > 1 else ""
    if any(character.isspace() or not character.isprintable() for character in rest):
        raise BadReference(f"{text!r} is not a model reference: there is a space or control character in it")
    return Reference(family, model, base_url.rstrip("/"))


def split_address(family: str, rest: str) -> str:
    """The address in what follows a reference's family ("" : the family's own)."""
    parts = () if family in PATHS else _ADDRESS.split(rest, maxsplit=1)
    return parts[1].rstrip("/") if len(parts) > 1 else ""


_BOUNDS = {"anthropic": Bound.ENFORCED, "openai": Bound.ENFORCED, "openrouter": Bound.ENFORCED, "claude": Bound.METERED}


def bound_of(ref: str) -> Bound:
    """How well an attempt on this binding keeps to what it reserved. Enforced: our own loop asks for no more than still fits,
    by a price it knows. Metered: the tool stops itself, after the call that went beyond. Declared: as the replies say.
    None: no price is known."""
    family, _, rest = ref.partition(":")
    if split_address(family, rest):
        return Bound.NONE
    return _BOUNDS.get(family, Bound.NONE if family == "ollama" else Bound.DECLARED)


def format_ref(reference: Reference) -> str:
    """The text of a reference; `parse_ref` gives it back."""
    address = f"@{reference.base_url}" if reference.base_url else ""
    return f"{reference.family}:{reference.model}{address}"


def to_binding(ref: str, index: int) -> Binding:
    """What a worker is told about place `index` of a chain. Raises BadReference, also for a family without a model."""
    found = parse_ref(ref)
    if not found.model:
        raise BadReference(f"{ref!r} names no model: a task's chain holds complete references only")
    return Binding(
        ref=ref,
        family=found.family,
        model=found.model,
        harness=HARNESSES.get(found.family, OWN_HARNESS),
        base_url=found.base_url,
        index=index,
    )
