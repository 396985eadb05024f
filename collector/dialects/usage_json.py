"""Token usage in JSON, as providers' responses and frameworks' records of them hold it."""

from typing import Any, Final

from collector.dialects.steps import Usage, inclusive
from collector.dialects.values import as_dict, as_int

_INPUT: Final = ("prompt_tokens", "input_tokens", "input")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "output")
_READ: Final = ("cache_read_input_tokens", "input_cache_read", "input_cached_tokens", "cached_input_tokens", "cached_tokens", "cache_read")
_WRITE: Final = ("cache_creation_input_tokens", "cache_write_input_tokens", "input_cache_creation", "cache_write_tokens", "cache_creation")
_REASONING: Final = ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens", "reasoning")
_TOTAL: Final = ("total_tokens", "total")
_DETAILS: Final = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "input_token_details",
    "output_token_details",
)


def usage_of(value: Any) -> Usage:
    """Usage out of a JSON object: OpenAI's chat and Responses, Anthropic's, LangChain's, Langfuse's and MLflow's names.

    >>> usage_of('{"input": 279, "output": 27, "total": 698, "input_cache_read": 384, "output_reasoning": 8}')[:3]
    (663, 35, 384)
    """
    found = as_dict(value)
    flat = dict(found)
    for key in _DETAILS:
        for name, count in as_dict(found.get(key)).items():
            flat.setdefault(name, count)
    read, write, reasoning, total = (_first(flat, names) for names in (_READ, _WRITE, _REASONING, _TOTAL))
    return inclusive(_first(found, _INPUT), _first(found, _OUTPUT), read=read, write=write, reasoning=reasoning, total=total)


def completed(known: Usage, other: Usage) -> Usage:
    """`known` with what it lacks taken from `other`, a second record of the same call."""
    return Usage(*(one if one is not None else two for one, two in zip(known, other, strict=True)))


def _first(found: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := as_int(found.get(name))) is not None), None)
