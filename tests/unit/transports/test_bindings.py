"""References: what a chain's text means, and that it means the same when it is read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.coordinator.bindings import FAMILIES, BadReference, Reference, format_ref, parse_ref, split, to_binding

MODELS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="@,"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anthropic:claude-sonnet-5-5", Reference("anthropic", "claude-sonnet-5-5")),
        ("ollama:qwen3:8b", Reference("ollama", "qwen3:8b")),
        ("openai:m@http://127.0.0.1:8000/v1", Reference("openai", "m", "http://127.0.0.1:8000/v1")),
        ("openai:m@2026@https://host/v1/", Reference("openai", "m@2026", "https://host/v1")),
        ("recorded:/a b/ü,x@http://y.jsonl", Reference("recorded", "/a b/ü,x@http://y.jsonl")),
        ("anthropic:", Reference("anthropic", "")),
    ],
)
def test_a_reference_is_taken_apart(text: str, expected: Reference) -> None:
    """Family, model and address are found, also beside colons and at-signs of the model's own."""
    assert expected == parse_ref(text)


@pytest.mark.parametrize(
    "text",
    ["", "claude", "gemini:x", "anthropic:a b", "openai:x\x1b[31m", "anthropic:" + "x" * 5000, "openai:x,y"],
)
def test_what_is_no_reference_is_refused_in_words(text: str) -> None:
    """An unknown family, a space, a control character and an endless name are refused with a sentence."""
    with pytest.raises(BadReference, match=r"reference"):
        parse_ref(text)


@given(st.sampled_from(FAMILIES), MODELS, st.sampled_from(["", "http://127.0.0.1:1/v1", "https://host"]))
def test_format_and_parse_agree(family: str, model: str, base_url: str) -> None:
    """What `format_ref` writes, `parse_ref` reads as the same."""
    reference = Reference(family, model, "" if family == "recorded" else base_url)
    assert reference == parse_ref(format_ref(reference))


def test_a_chain_is_split_at_references_only() -> None:
    """A comma inside a path separates nothing; one before a family does."""
    assert ("recorded:/a,b.jsonl", "anthropic:x", "openai:") == split("recorded:/a,b.jsonl,anthropic:x, openai:")


def test_a_binding_names_its_harness() -> None:
    """The tool `claude` is its own harness; every other family works through our own loop."""
    assert ("claude", "api") == (to_binding("claude:opus", 0).harness, to_binding("anthropic:x", 1).harness)
    assert ("http://h/v1", 1) == (to_binding("openai:x@http://h/v1", 1).base_url, to_binding("openai:x", 1).index)


def test_a_binding_is_complete() -> None:
    """A family without a model never reaches a worker."""
    with pytest.raises(BadReference, match="names no model"):
        to_binding("anthropic:", 0)
