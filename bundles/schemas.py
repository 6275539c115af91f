"""Output types as JSON schemas that structured output of every provider takes.

One object with every key required and none besides, without references: what is not said by the agent's declaration cannot
be said by the model.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

DROPPED = frozenset({"title", "default"})
"""Noise to a model, and refused by some."""


def schema_of(kind: type) -> dict[str, Any]:
    """The JSON schema of an output type, references resolved. Raises TypeError for what has none."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    plain = _plain(schema, components, ())
    assert isinstance(plain, dict)
    return plain


def schema_text(schema: dict[str, Any]) -> str:
    """Canonical text: sorted keys, no spaces."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(node: Any, components: dict[str, Any], within: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_plain(item, components, within) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"]
        if name in within:
            raise TypeError(f"{name} contains itself; an output type is finite")
        return _plain(components[name], components, (*within, name))
    plain = {key: _plain(value, components, within) for key, value in node.items() if key not in DROPPED}
    if plain.get("type") == "object" and "properties" in plain:
        # `title` and `default` may be names of fields, too: those are in properties, one level down
        plain["properties"] = {k: _plain(v, components, within) for k, v in node["properties"].items()}
        plain["additionalProperties"] = False
        plain["required"] = list(plain["properties"])
    return plain
