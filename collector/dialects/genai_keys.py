"""Facts behind the `gen_ai.*` keys that several dialects share: tokens, vendor, conversation, tool schemas."""

from functools import lru_cache
from typing import Any, Final

from collector.dialects.steps import Usage, inclusive
from collector.dialects.values import as_dict, as_id, as_int, as_list, as_text, as_usd, canonical, first
from collector.telemetry_data import Attributes

_NO_VENDOR: Final = frozenset({"strands-agents", "microsoft.agent_framework", "langchain", "langgraph", "gcp.vertex.agent"})
"""Frameworks that write their own name where the vendor of the model belongs."""
_REMEMBERED_CHARS: Final = 200_000
"""Longer tool definitions are read each time: what is remembered stays below 64 times this."""


_TIERS: Final = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "gen_ai.response.service_tier",
    "anthropic.response.service_tier",
)
_USUAL: Final = frozenset({"default", "standard", "normal", "auto"})


_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.prompt_tokens_details.cache_read",
)
_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.prompt_tokens_details.cache_write",
)
_WRITE_1H: Final = ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",)
_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.completion_tokens_details.reasoning",
)
_INPUT_AUDIO: Final = ("gen_ai.usage.details.input_audio_tokens",)
_OUTPUT_AUDIO: Final = (
    "gen_ai.usage.details.output_audio_tokens",
    # Pydantic AI copies OpenAI's details of the completion, not those of the prompt.
    "gen_ai.usage.details.audio_tokens",
    "gen_ai.usage.completion_tokens_details.audio",
)
_TOTAL: Final = ("gen_ai.usage.total_tokens",)
_STATED: Final = frozenset(
    {
        "gen_ai.cost.total_cost",  # LiteLLM
        "gen_ai.usage.cost",  # OpenLIT, which writes 0 for models that it has no price for
        "gen_ai.usage.total_cost",  # Sentry
        "opencode.llm.cost.total",
        "operation.cost",  # Pydantic AI
    }
)
"""What the sender reckons that a call costs, by a price list of its own."""
_PARTS: Final = {
    key: (rank, part)
    for part, keys in (
        ("read", _READ),
        ("write", _WRITE),
        ("reasoning", _REASONING),
        ("total", _TOTAL),
        ("write_1h", _WRITE_1H),
        ("input_audio", _INPUT_AUDIO),
        ("output_audio", _OUTPUT_AUDIO),
    )
    for rank, key in enumerate(keys)
}
"""Each key, how late it is asked, and what it counts."""
_PART_KEYS: Final = frozenset(_PARTS) | _STATED


def usage(attributes: Attributes) -> Usage:
    """Token counts under all the names that the conventions and their users have given them."""
    told, said = as_int(attributes.get("gen_ai.usage.input_tokens")), as_int(attributes.get("gen_ai.usage.output_tokens"))
    if told is None:
        told = as_int(attributes.get("gen_ai.usage.prompt_tokens"))
    if said is None:
        said = as_int(attributes.get("gen_ai.usage.completion_tokens"))
    present = _PART_KEYS.intersection(attributes)
    if not present:
        return Usage(told, said)
    counting, stating = _asked(present)
    parts: dict[str, int] = {}
    for key, part in counting:
        count = as_int(attributes[key])
        if count is not None:
            parts[part] = count
    found = inclusive(told, said, **parts)
    for key in stating:
        if usd := as_usd(attributes[key]):
            return found._replace(stated_usd=usd)
    return found


@lru_cache(maxsize=256)
def _asked(present: frozenset[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Of some of `_PART_KEYS` those that count, with what they count, the most trusted last; and those that state a cost."""
    counting = sorted(present - _STATED, key=_PARTS.__getitem__, reverse=True)
    return tuple((key, _PARTS[key][1]) for key in counting), tuple(sorted(present & _STATED))


def other_tier(name: Any) -> str | None:
    """The service tier, where it is not the one that list prices are for."""
    tier = as_id(name)
    return None if tier is None or tier.lower() in _USUAL else tier


def service_tier(attributes: Attributes) -> str | None:
    """The tier at which a call was served, where the attributes name another than the usual."""
    if attributes.keys().isdisjoint(_TIERS):
        return None
    return next((tier for key in _TIERS if (tier := other_tier(attributes.get(key))) is not None), None)


def provider(attributes: Attributes) -> str | None:
    """Vendor of the model, as far as the attribute names one."""
    name = attributes.get("gen_ai.provider.name")
    name = as_text(attributes.get("gen_ai.system") if name is None else name)
    return None if name in _NO_VENDOR else name


def conversation_of(attributes: Attributes) -> str | None:
    """Id of the conversation. Some agents put the previous response's id there, which changes with every call."""
    found = as_id(attributes.get("gen_ai.conversation.id"))
    return None if found is None or found.startswith("resp_") else found


def tool_schemas(definitions: Any) -> tuple[tuple[str, str], ...]:
    """Tools and the JSON Schema of their arguments, canonical, out of `gen_ai.tool.definitions`."""
    if isinstance(definitions, str) and len(definitions) < _REMEMBERED_CHARS:
        return _schemas_of_text(definitions)
    return _schemas(definitions) if definitions else ()


@lru_cache(maxsize=64)
def _schemas_of_text(definitions: str) -> tuple[tuple[str, str], ...]:
    # Every call of an agent repeats the same definitions, often tens of kilobytes.
    return _schemas(definitions)


def _schemas(definitions: Any) -> tuple[tuple[str, str], ...]:
    found = []
    for item in as_list(definitions):
        function = (as_dict(item.get("function")) or item) if isinstance(item, dict) else {}
        name = as_id(function.get("name"))
        schema = canonical(as_dict(first(function, "parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema")))
        if name and schema:
            found.append((name, schema))
    return tuple(found)
