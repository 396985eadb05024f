"""Prices by hand for each vendor that the dialects know and each class of tokens, as telemetry tells them: to the micro-dollar.

The figures are those of the vendors' price lists of November 2025, in US dollars per million tokens.
"""
# ruff: noqa: E501 - one row of a table a line

from collections import Counter
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pytest

from collector.pricing import Prices
from detectors.model import CostBasis, Step, StepKind
from tests.core.agents import START_NS
from tests.dialects.captures import SCENARIOS, facts
from tests.dialects.spans import made, record, step

CLASSES: Final = ("input", "cached", "written", "for an hour", "output", "reasoning", "audio in", "audio out")


class Row(NamedTuple):
    vendor: str
    model: str
    tokens: tuple[int, int, int, int, int]
    """All input, of it read from the cache, of it written to the cache; all output, of it reasoning."""
    cost: str
    says: str
    hour: int | None = None
    """Of what was written to the cache that for an hour."""
    audio: tuple[int, int] = (0, 0)
    """Of the input and of the output."""


ROWS = [
    # OpenAI gpt-4.1: 2 in, 0.50 cached, 8 out. o4-mini: 1.10 in, 0.275 cached, 4.40 out, reasoning like any output.
    Row("openai", "gpt-4.1", (10_000, 0, 0, 1_000, 0), "0.028", "input output"),
    Row("openai", "gpt-4.1", (10_000, 4_000, 0, 1_000, 0), "0.022", "input cached output"),
    Row("openai", "o4-mini", (10_000, 4_000, 0, 1_000, 600), "0.0121", "input cached output reasoning"),
    # OpenAI gpt-audio: 2.50 in, 10 out; audio 32 in, 64 out.
    Row("openai", "gpt-audio", (10_000, 0, 0, 1_000, 0), "0.2606", "input output, audio in, audio out", None, (6_000, 900)),
    # Anthropic Haiku 4.5: 1 in, 0.10 read, 1.25 written for five minutes, 2 for an hour, 5 out.
    Row("anthropic", "claude-haiku-4-5", (10_000, 0, 0, 1_000, 0), "0.015", "input output"),
    Row("anthropic", "claude-haiku-4-5", (10_000, 6_000, 3_000, 1_000, 400), "0.01035", "input cached written output reasoning", 0),
    Row("anthropic", "claude-haiku-4-5", (10_000, 6_000, 3_000, 1_000, 0), "0.0111", "input cached written for an hour output", 1_000),
    Row("anthropic", "claude-haiku-4-5", (10_000, 6_000, 3_000, 1_000, 0), "0.0126", "input cached for an hour output", 3_000),
    # Google Gemini 2.5 Flash: 0.30 in, 0.03 cached, 2.50 out; thoughts are output.
    Row("google", "gemini-2.5-flash", (10_000, 0, 0, 1_000, 0), "0.0055", "input output"),
    Row("google", "gemini-2.5-flash", (10_000, 4_000, 0, 1_000, 250), "0.00442", "input cached output reasoning"),
    # The same with audio: 1 in.
    Row("google", "gemini-2.5-flash", (10_000, 0, 0, 1_000, 0), "0.0118", "input output, audio in", None, (9_000, 0)),
    # Mistral Large: 2 in, 6 out.
    Row("mistral", "mistral-large-latest", (10_000, 0, 0, 1_000, 0), "0.026", "input output"),
    # xAI Grok 4: 3 in, 0.75 cached, 15 out.
    Row("x-ai", "grok-4-0709", (10_000, 4_000, 0, 1_000, 500), "0.036", "input cached output reasoning"),
    # Groq Llama 3.3 70B: 0.59 in, 0.79 out.
    Row("groq", "llama-3.3-70b-versatile", (10_000, 0, 0, 1_000, 0), "0.00669", "input output"),
    # Cohere Command R+: 2.50 in, 10 out.
    Row("cohere", "command-r-plus", (10_000, 0, 0, 1_000, 0), "0.035", "input output"),
    # Amazon Nova Pro: 0.80 in, 0.20 cached, 3.20 out.
    Row("aws", "amazon.nova-pro-v1:0", (10_000, 4_000, 0, 1_000, 0), "0.0088", "input cached output"),
]  # fmt: skip


def told(row: Row) -> Step:
    """The call as conventions of today tell it."""
    whole, read, written, out, thought = row.tokens
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": row.vendor,
        "gen_ai.request.model": row.model,
        "gen_ai.usage.input_tokens": whole,
        "gen_ai.usage.output_tokens": out,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": written,
        "gen_ai.usage.reasoning.output_tokens": thought or None,
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": row.hour,
        "gen_ai.usage.details.input_audio_tokens": row.audio[0],
        "gen_ai.usage.details.output_audio_tokens": row.audio[1],
    }
    return step(made({key: value for key, value in attributes.items() if value is not None}))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.vendor} {row.says}")
def test_priced_by_hand(row: Row) -> None:
    cost, basis, _ = Prices().charge(told(row))
    assert cost == Decimal(row.cost)
    assert basis is CostBasis.COMPUTED


def test_claude_code_says_in_its_records_what_is_kept_for_an_hour() -> None:
    # 1,000 fresh at 1, 6,000 read at 0.10, 2,000 written for five minutes at 1.25 and 1,000 for an hour at 2, 1,000 out at 5.
    told = {"input_tokens": 1_000, "cache_read_tokens": 6_000, "cache_creation_tokens": 3_000, "output_tokens": 1_000}
    lasting = {"cache_creation_5m_tokens": 2_000, "cache_creation_1h_tokens": 1_000}
    said = {"event.name": "api_request", "model": "claude-haiku-4-5-20251001", **told}
    costs = [Prices().charge(step(record(said | more, scope="com.anthropic.claude_code.events"))) for more in (lasting, {})]
    assert costs[0][:2] == (Decimal("0.0111"), CostBasis.COMPUTED)
    # Earlier releases do not say for how long: an hour might have cost more.
    assert costs[1][:2] == (Decimal("0.01035"), CostBasis.ESTIMATED)


CALLED: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4.1",
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 1,
}
AI: dict[str, Any] = {"ai.operationId": "ai.generateText.doGenerate", **CALLED}
OI: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-4.1",
    "llm.token_count.prompt": 10,
    "llm.token_count.completion": 1,
}
TIERS = [
    made(CALLED | {"openai.response.service_tier": "{}"}),
    made(CALLED | {"gen_ai.openai.response.service_tier": "{}"}, scope="litellm"),
    made(AI | {"ai.response.providerMetadata": '{{"openai": {{"serviceTier": "{}"}}}}'}, scope="ai"),
    made(AI | {"ai.response.providerMetadata": '{{"anthropic": {{"usage": {{"service_tier": "{}"}}}}}}'}, scope="ai"),
    made(OI | {"output.value": '{{"choices": [], "service_tier": "{}"}}'}, scope="openinference.instrumentation.openai"),
    made({"model": "claude-haiku-4-5", "input_tokens": 10, "output_tokens": 1, "speed": "{}"}, name="claude_code.llm_request", scope="com.anthropic.claude_code.tracing"),
]  # fmt: skip


@pytest.mark.parametrize("span", TIERS, ids=lambda span: span.scope_name or "conventions")
def test_a_call_at_another_tier_than_list_prices_are_for_has_no_price(span: Any) -> None:
    def at(tier: str) -> Step:
        texts = {key: value.format(tier) if isinstance(value, str) else value for key, value in span.attributes.items()}
        return step(made(texts, name=span.name, scope=span.scope_name))

    for tier in ("default", "standard"):
        assert Prices().charge(at(tier))[1] is CostBasis.COMPUTED
    for tier in ("priority", "flex", "fast"):
        assert Prices().charge(at(tier))[:2] == (None, CostBasis.UNMETERED)


def test_rows_say_which_classes_they_price() -> None:
    for row in ROWS:
        whole, read, written, out, thought = row.tokens
        hour, (heard, spoken) = row.hour or 0, row.audio
        counted = (whole - read - written - heard, read, written - hour, hour, out - thought - spoken, thought, heard, spoken)
        assert [name for name in CLASSES if name in row.says] == [name for name, count in zip(CLASSES, counted, strict=True) if count]


def test_every_vendor_of_the_golden_payloads_and_every_class_it_prices_is_there() -> None:
    priced = {(row.vendor, name) for row in ROWS for name in CLASSES if name in row.says}
    assert {name for _, name in priced} == set(CLASSES)
    vendors = Counter(vendor for folder in SCENARIOS for call in facts(folder)["calls"] if (vendor := _vendor(call.get("model"))))
    assert set(vendors) <= {vendor for vendor, _ in priced}
    for vendor, name in (("openai", "cached"), ("openai", "reasoning"), ("anthropic", "written"), ("google", "reasoning")):
        assert (vendor, name) in priced


def _vendor(model: object) -> str | None:
    named = {"gpt": "openai", "o4": "openai", "claude": "anthropic", "gemini": "google"}
    name = str(model).rpartition("/")[2]
    return next((vendor for prefix, vendor in named.items() if name.startswith(prefix)), None)


@pytest.mark.parametrize("missing", ["input_tokens", "output_tokens"])
def test_a_call_without_counts_has_no_price(missing: str) -> None:
    known: dict[str, Any] = {"input_tokens": 10, "output_tokens": 1} | {missing: None}
    assert Prices().price("openai", "gpt-4.1", at_ns=START_NS, **known) == (None, CostBasis.UNMETERED)


def test_what_is_no_model_call_costs_nothing() -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 10, "gen_ai.request.model": "gpt-4.1"}
    assert step(made(agent)).kind is StepKind.AGENT
    assert step(made(agent)).input_tokens is None
