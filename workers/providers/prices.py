"""What a call cost, from the price table that genai-prices carries in its wheel; an unknown price is None, never zero."""

from __future__ import annotations

from decimal import ROUND_CEILING

from loom.workers.protocol import Usage

_TABLES = {"openai": "openai", "openrouter": "openrouter", "anthropic": "anthropic", "claude": "anthropic"}
"""Family → the table's provider. A family that is not here (ollama, a server of one's own) has no known price."""

_MICRO = 1_000_000


def priced(family: str, model: str, usage: Usage, *, written_tokens: int = 0, own_server: bool = False) -> Usage:
    """`usage` with its estimated cost in micro-USD, rounded up; unchanged when the model or family has no known price.

    `usage.input_tokens` counts all input, `cached_tokens` the part of it that was read from a cache, `written_tokens` the
    part that was written to one. `own_server`: the base URL is not the family's, so its price table says nothing.
    """
    table = _TABLES.get(family)
    if table is None or own_server or usage.cost_microusd is not None:
        return usage
    # Imported here: 0.4 s that only a worker which paid for a call has to spend.
    from genai_prices import Usage as Counted
    from genai_prices import __version__, calc_price

    counted = Counted(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=written_tokens,
    )
    try:
        dollars = calc_price(counted, model, provider_id=table).total_price
    except (LookupError, ValueError):
        return usage
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        calls=usage.calls,
        cost_microusd=int((dollars * _MICRO).to_integral_value(ROUND_CEILING)),
        price=f"estimated:genai-prices {__version__}",
    )


def affordable(
    family: str, model: str, left_microusd: int, input_tokens: int, *, own_server: bool = False
) -> int | None:
    """How many output tokens a call with so much input may bring at most, so that it costs no more than what is left (0: not
    even the input fits). None: no price is known."""
    sent = priced(family, model, Usage(input_tokens=input_tokens), own_server=own_server).cost_microusd
    many = priced(family, model, Usage(input_tokens=input_tokens, output_tokens=_MICRO), own_server=own_server)
    if sent is None or many.cost_microusd is None:
        return None
    return max(0, (left_microusd - sent) * _MICRO // max(1, many.cost_microusd - sent))


def added(first: Usage, second: Usage) -> Usage:
    """The sum of two usages. The cost is unknown as soon as one call's cost is unknown; no call at all costs nothing."""
    if first.calls == 0:
        return second
    if second.calls == 0:
        return first
    known = first.cost_microusd is not None and second.cost_microusd is not None
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cached_tokens=first.cached_tokens + second.cached_tokens,
        calls=first.calls + second.calls,
        cost_microusd=(first.cost_microusd or 0) + (second.cost_microusd or 0) if known else None,
        price=first.price if known else "",
    )
