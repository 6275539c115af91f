"""Times, costs and sentences of model calls."""

from __future__ import annotations

import pytest

from loom.workers.protocol import Usage
from loom.workers.providers import errors, prices
from loom.workers.providers.openai import OpenAIProvider, fits_strict

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"retry-after": "7"}, 7_000),
        ({"retry-after": "1.5"}, 1_500),
        ({"retry-after-ms": "250", "retry-after": "9"}, 250),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10_000),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0),
        ({"retry-after": "99999999999"}, errors.MAX_RETRY_AFTER_MS),
        ({"retry-after": "inf"}, errors.MAX_RETRY_AFTER_MS),
    ],
)
def test_retry_after_is_a_time(headers: dict[str, str], wait_ms: int) -> None:
    """Seconds, milliseconds and HTTP dates become a Unix time, at most a day away."""
    assert NOW + wait_ms == errors.retry_after_ms(headers, NOW)


@pytest.mark.parametrize("value", ["soon", "-3", "nan", "", "Tue, 99 Nov"])
def test_a_broken_retry_after_is_none(value: str) -> None:
    """What is no time is no time: the kernel's own backoff holds."""
    assert 0 == errors.retry_after_ms({"retry-after": value}, NOW)


def test_a_known_price_is_estimated_and_an_unknown_one_is_unknown() -> None:
    """The estimate names its table; no table, no model, a server of one's own: None, never zero."""
    usage = Usage(input_tokens=1_000, output_tokens=100, cached_tokens=200, calls=1)
    known = prices.priced("openai", "gpt-4o", usage)
    assert 3_250 == known.cost_microusd
    assert known.price.startswith("estimated:genai-prices ")
    for unknown in (
        prices.priced("openai", "no-such-model", usage),
        prices.priced("ollama", "gpt-4o", usage),
        prices.priced("openai", "gpt-4o", usage, own_server=True),
    ):
        assert (None, "") == (unknown.cost_microusd, unknown.price)


def test_what_is_affordable_costs_no_more_than_what_is_left() -> None:
    """The most output that fits, by the table that prices the call afterwards; nothing when the input alone is too dear; None
    where no price is known."""
    fits = prices.affordable("openai", "gpt-4o", 10_000, 1_000)
    assert fits is not None
    dearest = prices.priced("openai", "gpt-4o", Usage(input_tokens=1_000, output_tokens=fits)).cost_microusd or 0
    dearer = prices.priced("openai", "gpt-4o", Usage(input_tokens=1_000, output_tokens=fits + 1)).cost_microusd or 0
    assert dearest <= 10_000 < dearer
    assert 0 == prices.affordable("openai", "gpt-4o", 10, 1_000)
    assert prices.affordable("openai", "gpt-4o", 10_000, 1_000, own_server=True) is None
    assert prices.affordable("ollama", "gpt-4o", 10_000, 1_000) is None


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    """Known costs add up; one unknown call makes the whole unknown; no call costs nothing."""
    known = Usage(input_tokens=1, calls=1, cost_microusd=5, price="reported")
    unknown = Usage(input_tokens=2, calls=1)
    assert 10 == prices.added(known, known).cost_microusd
    assert (None, 3) == (prices.added(known, unknown).cost_microusd, prices.added(known, unknown).input_tokens)
    assert known == prices.added(Usage(), known) == prices.added(known, Usage())


def test_strict_is_said_only_of_schemas_that_are() -> None:
    """OpenAI refuses strict schemas with open objects or optional properties, at any depth."""
    closed: dict[str, object] = {
        "type": "object",
        "properties": {"a": {}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert fits_strict(closed)
    assert fits_strict({"type": "array", "items": closed})
    assert not fits_strict(closed | {"required": []})
    assert not fits_strict({"type": "array", "items": {"type": "object"}})


@pytest.mark.parametrize(
    ("family", "given", "environ", "url"),
    [
        ("openai", "", {}, "https://api.openai.com/v1"),
        ("openai", "", {"OPENAI_BASE_URL": "http://x/v1/"}, "http://x/v1"),
        ("openai", "http://mine/v1", {"OPENAI_BASE_URL": "http://x/v1"}, "http://mine/v1"),
        ("openrouter", "", {"OPENAI_BASE_URL": "http://x/v1"}, "https://openrouter.ai/api/v1"),
        ("ollama", "", {}, "http://127.0.0.1:11434/v1"),
        ("ollama", "", {"OLLAMA_HOST": "0.0.0.0"}, "http://0.0.0.0:11434/v1"),
        ("ollama", "http://gpu", {}, "http://gpu:11434/v1"),
        ("ollama", "http://gpu/v1/", {}, "http://gpu:11434/v1"),
        ("ollama", "https://gpu.example/ollama", {}, "https://gpu.example/ollama/v1"),
        ("ollama", "", {"OLLAMA_HOST": "gpu:1234"}, "http://gpu:1234/v1"),
        ("ollama", "", {"OLLAMA_HOST": "https://gpu:1234/v1"}, "https://gpu:1234/v1"),
    ],
)
def test_where_a_family_is(family: str, given: str, environ: dict[str, str], url: str) -> None:
    """The binding's address, else the environment's, else the family's own."""
    assert url == OpenAIProvider(family, lambda name: None, environ).base_url(given)


def test_a_key_that_is_a_common_word_is_not_looked_for() -> None:
    """Servers of one's own are given "x" or "none" for a key; a real key is cut out, "none" stays a word."""
    real, word = "sk-0123456789", "none"
    said = f"there is none, not even {real}"
    target = errors.Target("openai:m", "m", "OPENAI_API_KEY", "http://h", (real, word))
    assert "there is none, not even «redacted:OPENAI_API_KEY»" == target.scrub(said)
