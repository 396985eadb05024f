"""Token usage in JSON, as providers' responses and frameworks' records of them hold it."""

from typing import Any, Final

from collector.dialects.steps import Usage, inclusive, lasting
from collector.dialects.values import as_dict, as_int

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
    return inclusive(
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
    return Usage(*(one if one is not None else two for one, two in zip(known, other, strict=True)))


def _first(found: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := as_int(found.get(name))) is not None), None)
