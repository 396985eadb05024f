"""Whether a cost is computed or an estimate, by what each sender tells of cached tokens; against what recorded agents really used."""
# ruff: noqa: E501 - one row of a table a line

from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from collector.pricing import Prices
from collector.tariffs import LEAST_CACHED
from collector.telemetry_data import Span
from detectors.model import CostBasis, Step, StepKind
from tests.core.agents import Run
from tests.dialects.captures import SCENARIOS, facts, name_of, requests, steps
from tests.dialects.spans import final, made, record, step

PRICES: Final = Prices()
COMPUTED, ESTIMATED = CostBasis.COMPUTED, CostBasis.ESTIMATED
GEN: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4.1"}
USED: dict[str, Any] = {"gen_ai.usage.input_tokens": 10_000, "gen_ai.usage.output_tokens": 1_000}
OI: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-4.1",
    "llm.token_count.prompt": 10_000,
    "llm.token_count.completion": 1_000,
}
AI: dict[str, Any] = {"ai.operationId": "ai.generateText.doGenerate", **GEN, **USED}
META: Final = "ai.response.providerMetadata"
READ: Final = "gen_ai.usage.cache_read.input_tokens"


class Sender(NamedTuple):
    """Who sends no count of cached tokens, and what that means."""

    name: str
    scope: str
    attributes: dict[str, Any]
    basis: CostBasis
    version: str = ""
    span: str = "chat gpt-4.1"


SENDERS = [
    # No count means that nobody knows.
    Sender("conventions", "", GEN | USED, ESTIMATED),
    Sender("openai-v2", "opentelemetry.instrumentation.openai_v2", GEN | USED, ESTIMATED),
    Sender("openai-v2 of 2026", "opentelemetry.util.genai.handler", GEN | USED, ESTIMATED, "0.4b0"),
    Sender("openai-agents-v2", "opentelemetry.instrumentation.openai_agents", GEN | USED, ESTIMATED),
    Sender("Strands of 2025", "strands.telemetry.tracer", GEN | USED, ESTIMATED),
    Sender("MLflow with GenAI conventions", "mlflow", GEN | USED, ESTIMATED),
    Sender("MLflow", "mlflow.tracing.provider", {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"gpt-4.1"', "mlflow.chat.tokenUsage": '{"input_tokens": 10000, "output_tokens": 1000}'}, ESTIMATED),
    Sender("Langfuse", "langfuse-sdk", {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "gpt-4.1", "langfuse.observation.usage_details": '{"input": 10000, "output": 1000}'}, ESTIMATED),
    Sender("Google ADK 1", "gcp.vertex.agent", GEN | USED, ESTIMATED),
    Sender("AI SDK 5 with OpenAI", "ai", AI | {"ai.usage.inputTokens": 10_000, META: '{"openai": {"responseId": "r"}}'}, ESTIMATED),
    Sender("Pydantic AI", "pydantic-ai", GEN | USED, ESTIMATED, "1.0.7"),
    Sender("Pydantic AI", "pydantic-ai", GEN | USED, ESTIMATED, "1.2.9"),
    Sender("Pydantic AI", "pydantic-ai", GEN | USED, ESTIMATED, "new"),
    Sender("OpenInference: OpenAI", "openinference.instrumentation.openai", OI, ESTIMATED),
    Sender("OpenInference: OpenAI Agents, chat completions", "openinference.instrumentation.openai_agents", OI, ESTIMATED, "2.6.0"),
    # No count means none: the sender leaves zeros out.
    Sender("Pydantic AI", "pydantic-ai", GEN | USED, COMPUTED, "1.3.0"),
    Sender("Pydantic AI", "pydantic-ai", GEN | USED, COMPUTED, "1.10.0"),
    Sender("Pydantic AI", "pydantic-ai", GEN | USED, COMPUTED, "2.68.0"),
    Sender("Copilot CLI", "github.copilot", GEN | USED, COMPUTED),
    Sender("Copilot Chat", "copilot-chat", GEN | USED | {"copilot_chat.time_to_first_token": 300}, COMPUTED),
    Sender("OpenInference: Anthropic", "openinference.instrumentation.anthropic", OI, COMPUTED),
    Sender("OpenInference: LangChain", "openinference.instrumentation.langchain", OI, COMPUTED),
    Sender("OpenInference: LangChain JS", "@arizeai/openinference-instrumentation-langchain", OI, COMPUTED),
    Sender("OpenInference: agno", "openinference.instrumentation.agno", OI, COMPUTED),
    Sender("OpenInference: CrewAI", "openinference.instrumentation.crewai", OI, COMPUTED),
    Sender("OpenInference: CrewAI's events", "openinference.instrumentation.crewai._event_listener", OI, COMPUTED),
    Sender("OpenInference: Google GenAI", "openinference.instrumentation.google_genai", OI, COMPUTED),
    # The count is there.
    Sender("AI SDK 4 with OpenAI", "ai", AI | {"gen_ai.system": "openai.chat", META: '{"openai": {"cachedPromptTokens": 0}}'}, COMPUTED),
    Sender("conventions", "", GEN | USED | {READ: 0}, COMPUTED),
    Sender("Strands", "strands.telemetry.tracer", GEN | USED | {READ: 0}, COMPUTED),
]  # fmt: skip


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: f"{sender.name} {sender.version}")
def test_no_count_of_cached_tokens_means_none_or_that_nobody_knows(sender: Sender) -> None:
    found = step(made(sender.attributes, name=sender.span, scope=sender.scope, scope_version=sender.version))
    cost, basis, _ = PRICES.charge(found)
    # gpt-4.1: 2 in, 0.50 cached, 8 out. At most this; no less than 0.013, were all of it cached.
    assert cost == Decimal("0.028")
    assert basis is sender.basis


def test_a_record_of_a_call_without_its_parts_says_nothing_of_them() -> None:
    told = {"event.name": "gen_ai.client.inference.operation.details", **GEN, **USED, "gen_ai.response.id": "r"}
    found = step(record(told, resource={"service.name": "copilot-chat"}))
    assert (found.dialect, PRICES.charge(found)[1]) == ("vscode_copilot", ESTIMATED)


def used(**tokens: int) -> Span:
    return made(GEN | {f"gen_ai.usage.{name}": count for name, count in tokens.items()})


def test_it_matters_only_where_part_of_the_input_may_have_had_another_price() -> None:
    small, large = (step(used(input_tokens=told, output_tokens=1)) for told in (LEAST_CACHED - 1, LEAST_CACHED))
    assert [PRICES.charge(one)[1] for one in (small, large)] == [COMPUTED, ESTIMATED]
    # Mistral has one price for all input, an operator's own price too unless it says otherwise.
    for prices, model in ((PRICES, "mistral-large-latest"), (Prices({"ours": {"input_per_million": 1, "output_per_million": 2}}), "ours")):
        found = step(made(GEN | USED | {"gen_ai.request.model": model}))
        assert prices.charge(found)[1] is COMPUTED
    own = Prices({"ours": {"input_per_million": 1, "output_per_million": 2, "cached_input_per_million": 0.1}})
    assert own.charge(step(made(GEN | USED | {"gen_ai.request.model": "ours"})))[1] is ESTIMATED


def test_what_is_written_to_a_cache_matters_where_it_is_dearer() -> None:
    told = GEN | USED | {READ: 0}
    written = told | {"gen_ai.usage.cache_creation.input_tokens": 0}
    bases = [PRICES.charge(step(made(one | {"gen_ai.request.model": "claude-haiku-4-5"})))[1] for one in (told, written)]
    assert bases == [ESTIMATED, COMPUTED]
    assert PRICES.charge(step(made(told)))[1] is COMPUTED


def test_speech_matters_with_models_that_speak() -> None:
    told = GEN | USED | {READ: 0}
    counted = told | {"gen_ai.usage.details.input_audio_tokens": 0, "gen_ai.usage.details.output_audio_tokens": 0}
    for model, bases in (("gpt-audio", [ESTIMATED, COMPUTED]), ("gemini-2.5-flash", [COMPUTED, COMPUTED])):
        found = (
            step(made(one | {"gen_ai.request.model": model, "gen_ai.usage.cache_creation.input_tokens": 0})) for one in (told, counted)
        )
        assert [PRICES.charge(one)[1] for one in found] == bases


def test_reasoning_matters_where_it_has_a_price_of_its_own() -> None:
    told = GEN | USED | {READ: 0, "gen_ai.request.model": "sonar-deep-research", "gen_ai.provider.name": "perplexity"}
    thought = told | {"gen_ai.usage.reasoning.output_tokens": 0}
    assert [PRICES.charge(step(made(one)))[1] for one in (told, thought)] == [ESTIMATED, COMPUTED]


def test_a_second_record_of_the_call_that_tells_more_makes_the_cost_exact() -> None:
    named = GEN | USED | {"gen_ai.response.id": "r"}
    openai = made(named, scope="opentelemetry.instrumentation.openai_v2", span_id="a" * 16, lasts=1.1)
    other = made(named | {READ: 4_000}, scope="openlit.instrumentation.openai", span_id="b" * 16)
    for order in ((openai, other), (other, openai)):
        (found,), _ = final(*order, price=PRICES.charge)
        assert (found.cost_usd, found.cost_basis) == (Decimal("0.022"), COMPUTED)


def truth(found: Step, call: dict[str, Any]) -> Decimal | None:
    """What the call cost, by the counts of the model server itself. How much was written to the cache not all of them noted."""
    return PRICES.price(
        found.provider,
        found.model,
        input_tokens=call["input_tokens"],
        cached_input_tokens=call["cached_input_tokens"],
        cache_write_tokens=call.get("cache_write_tokens", found.cache_write_tokens or 0),
        cache_write_1h_tokens=found.cache_write_1h_tokens,
        reasoning_tokens=call["reasoning_tokens"],
        output_tokens=call["output_tokens"],
        at_ns=found.started_ns,
    )[0]


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_a_computed_cost_is_the_true_one_and_an_estimate_no_less(folder: Path) -> None:
    calls = [call for call in facts(folder)["calls"] if call.get("status") == 200]
    for found in steps(Run().send_each(*requests(folder))):
        if found.kind is not StepKind.LLM or found.cost_usd is None:
            continue
        same = [call for call in calls if (call["input_tokens"], call["output_tokens"]) == (found.input_tokens, found.output_tokens)]
        costs = [truth(found, call) for call in same]
        if not costs:
            continue
        if found.cost_basis is COMPUTED:
            assert found.cost_usd in costs
        elif not found.cache_write_tokens:
            assert found.cost_basis is ESTIMATED
            assert any(cost is not None and cost <= found.cost_usd for cost in costs)
