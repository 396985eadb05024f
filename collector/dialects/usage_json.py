"""Token usage in JSON, as providers' responses and frameworks' records of them hold it."""

from decimal import Decimal
from typing import Any, Final

from collector.dialects.steps import Usage, inclusive, lasting
from collector.dialects.values import as_dict, as_int, as_usd

_INPUT: Final = ("prompt_tokens", "input_tokens", "input")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "output")
_READ: Final = ("cache_read_input_tokens", "input_cache_read", "input_cached_tokens", "cached_input_tokens", "cached_tokens", "cache_read")
_WRITE: Final = (
    "cache_creation_input_tokens",
    "cache_write_input_tokens",
    "input_cache_creation",
    "cache_write_tokens",
    "cache_creation_tokens",
    "cache_creation",
)
_LIFETIMES: Final = ("cache_creation", "cache_creation_token_details")
"""Objects that say how long what was written is kept: Anthropic's, LiteLLM's."""
_HOUR: Final = ("ephemeral_1h_input_tokens", "input_ephemeral_1h_input_tokens")
_MINUTES: Final = ("ephemeral_5m_input_tokens", "input_ephemeral_5m_input_tokens")
_REASONING: Final = ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens", "reasoning")
_TOTAL: Final = ("total_tokens", "total")
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_AUDIO: Final = ("audio_tokens", "audio")
_COSTS: Final = frozenset({"cost", "cost_in_usd_ticks"})
_TICKS: Final = 10
"""Of xAI's ticks 10¹⁰ are a dollar."""


def usage_of(value: Any) -> Usage:
    """Usage out of a JSON object: OpenAI's chat and Responses, Anthropic's, LangChain's, Langfuse's and MLflow's names.

    >>> usage_of('{"input": 279, "output": 27, "total": 698, "input_cache_read": 384, "output_reasoning": 8}')[:3]
    (663, 35, 384)
    """
    found = as_dict(value)
    flat = dict(found)
    heard, spoken = _first(found, ("input_audio_tokens", "input_audio")), _first(found, ("output_audio_tokens", "output_audio"))
    for key in (*_INPUT_DETAILS, *_OUTPUT_DETAILS):
        details = as_dict(found.get(key))
        for name, count in details.items():
            flat.setdefault(name, count)
        if key in _INPUT_DETAILS:
            heard = _first(details, _AUDIO) if heard is None else heard
        else:
            spoken = _first(details, _AUDIO) if spoken is None else spoken
    read, write, reasoning, total = (_first(flat, names) for names in (_READ, _WRITE, _REASONING, _TOTAL))
    write, hour = _written(flat, write)
    usage = inclusive(
        _first(found, _INPUT),
        _first(found, _OUTPUT),
        read=read,
        write=write,
        reasoning=reasoning,
        total=total,
        write_1h=hour,
        input_audio=heard,
        output_audio=spoken,
    )
    if _COSTS.isdisjoint(found):
        return usage
    billed = billed_usd(found)
    return usage._replace(billed_usd=billed, stated_usd=(as_usd(found.get("cost")) or None) if billed is None else None)


def billed_usd(usage: dict[str, Any]) -> Decimal | None:
    """What a provider's response says it charges: OpenRouter's, Perplexity's and xAI's, as each documents it.

    OpenRouter's `cost` is what it charges by itself; where the key is the customer's own, the vendor behind it charges the rest.
    Whose the key is, older responses do not say: then an amount behind it that differs leaves the charge unknown. A bare
    `cost`, without the fields that OpenRouter has beside it, may be any gateway's reckoning. An amount of 0 is believed of
    OpenRouter's own, free, models only.

    >>> billed_usd({"cost": 0.00014, "is_byok": False, "cost_details": {"upstream_inference_cost": None}})
    Decimal('0.00014')
    >>> billed_usd({"cost_in_usd_ticks": 37756000}), billed_usd({"cost": {"total_cost": 0.006}}), billed_usd({"cost": 0.1})
    (Decimal('0.0037756'), Decimal('0.006'), None)
    """
    if "cost_in_usd_ticks" in usage:
        return as_usd(usage["cost_in_usd_ticks"], digits=_TICKS) or None
    charged = usage.get("cost")
    if isinstance(charged, dict):
        return as_usd(charged.get("total_cost")) or None
    if "is_byok" not in usage and "cost_details" not in usage:
        return None
    own, behind = as_usd(charged), as_usd(as_dict(usage.get("cost_details")).get("upstream_inference_cost"))
    match usage.get("is_byok"):
        case False:
            return own
        case True:
            return None if own is None or behind is None else own + behind
        case _:
            return own if own and behind in {None, Decimal(0), own} else None


def written(value: Any) -> int | None:
    """Of the tokens written to a cache those kept for an hour, as a provider's usage says; None where it does not."""
    found = as_dict(value)
    return _written({**found, **as_dict(found.get("input_token_details"))}, _first(found, _WRITE))[1]


def _written(flat: dict[str, Any], write: int | None) -> tuple[int | None, int | None]:
    """Tokens written to a cache, and how many of them for an hour."""
    told = flat
    for key in _LIFETIMES:
        lifetimes = as_dict(flat.get(key))
        if lifetimes:
            told = lifetimes
    hour, minutes = _first(told, _HOUR), _first(told, _MINUTES)
    if hour is not None and minutes is not None and hour + minutes > (write or 0):
        # LangChain sets the sum to zero where it tells the durations apart.
        write = hour + minutes
    return write, lasting(write, hour, minutes)


def completed(known: Usage, other: Usage) -> Usage:
    """`known` with what it lacks taken from `other`, a second record of the same call."""
    return Usage._make(one if one is not None else two for one, two in zip(known, other, strict=True))


def _first(found: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := as_int(found.get(name))) is not None), None)
