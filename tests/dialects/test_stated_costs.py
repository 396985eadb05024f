"""Costs that telemetry itself states: the provider's charge is the cost, a sender's reckoning helps where the price list does not know."""
# ruff: noqa: E501 - one row of a table a line

import json
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.dialects.usage_json import billed_usd
from collector.dialects.values import MAX_USD, as_usd
from collector.pricing import Prices
from collector.telemetry_data import LogRecord, Span
from detectors.model import CostBasis, StepKind
from tests.core.agents import Run
from tests.dialects.captures import SCENARIOS, facts, items, requests, steps
from tests.dialects.spans import final, made, record, said, step

PRICES: Final = Prices()
PROVIDER, COMPUTED, ESTIMATED, UNMETERED = CostBasis.PROVIDER, CostBasis.COMPUTED, CostBasis.ESTIMATED, CostBasis.UNMETERED
META: Final = "ai.response.providerMetadata"
READ: Final = "gen_ai.usage.cache_read.input_tokens"
ROUTED: Final = {"prompt_tokens": 1_000, "completion_tokens": 100, "cost": 0.0042, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0042}}  # fmt: skip


def gen(model: str = "house-model", **more: Any) -> dict[str, Any]:
    told = {"gen_ai.usage.input_tokens": 1_000, "gen_ai.usage.output_tokens": 100, "gen_ai.usage.cache_read.input_tokens": 0}
    return {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, **told, **more}


class Stated(NamedTuple):
    """A call of a model without a price, 1,000 tokens in and 100 out, for which its sender reckons 0.0042 dollars."""

    dialect: str
    item: Span | LogRecord


def oi(**more: Any) -> dict[str, Any]:
    return {
        "openinference.span.kind": "LLM",
        "llm.model_name": "house-model",
        "llm.token_count.prompt": 1_000,
        "llm.token_count.completion": 100,
        **more,
    }


LANGFUSE = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "house-model",
    "langfuse.observation.usage_details": '{"input": 1000, "output": 100}',
}
CLAUDE = {
    "event.name": "api_request",
    "model": "house-model",
    "input_tokens": 1_000,
    "output_tokens": 100,
    "cache_read_tokens": 0,
    "cache_creation_tokens": 0,
}
MLFLOW = {
    "mlflow.spanType": '"CHAT_MODEL"',
    "mlflow.llm.model": '"house-model"',
    "mlflow.chat.tokenUsage": '{"input_tokens": 1000, "output_tokens": 100}',
}
EVENTS = "com.anthropic.claude_code.events"
STATED = [
    Stated("otel_genai", made(gen(**{"gen_ai.usage.cost": 0.0042}))),
    Stated("otel_genai", made(gen(**{"gen_ai.usage.total_cost": "0.0042"}))),
    Stated("openlit", made(gen(**{"gen_ai.usage.cost": 0.0042}), scope="openlit.instrumentation.openai")),
    Stated("pydantic_ai", made(gen(**{"operation.cost": 0.0042}), scope="pydantic-ai", scope_version="2.68.0")),
    Stated("litellm", made(gen(**{"gen_ai.cost.total_cost": 0.004200000000000001}), scope="litellm")),
    Stated("opencode", made({"ai.operationId": "ai.streamText.doStream", **gen(**{"opencode.llm.cost.total": 0.0042})}, scope="opencode")),
    Stated("openinference", made(oi(**{"llm.cost.total": 0.0042, "llm.cost.prompt": 0.004}), scope="openinference.instrumentation.litellm")),
    Stated("openinference", made(oi(**{"llm.cost.total": "4.2e-3"}))),
    Stated("langfuse", made(LANGFUSE | {"langfuse.observation.cost_details": '{"input": 0.004, "output": 0.0002, "total": 0.0042}'})),
    Stated("langfuse", made(LANGFUSE | {"langfuse.observation.cost_details": '{"input": 0.004, "output": 0.0002}'})),
    Stated("mlflow", made(MLFLOW | {"mlflow.llm.cost": '{"input_cost": 0.004, "output_cost": 0.0002, "total_cost": 0.0042}'})),
    Stated("mlflow", made(MLFLOW | {"mlflow.spanOutputs": '{"usage": {"prompt_tokens": 1000, "cost": 0.0042}}'})),
    Stated("claude_code", record(CLAUDE | {"cost_usd": 0.0042}, scope=EVENTS)),
    Stated("claude_code", record(CLAUDE | {"cost_usd": "0.0042", "cost_usd_micros": 4200}, scope=EVENTS)),
    Stated("claude_code", record(CLAUDE | {"cost_usd_micros": "4200"}, scope=EVENTS)),
]  # fmt: skip


@pytest.mark.parametrize("stated", STATED, ids=lambda stated: stated.dialect)
def test_a_reckoning_is_an_estimate_where_no_price_is_known(stated: Stated) -> None:
    found = step(stated.item)
    assert found.dialect == stated.dialect
    assert PRICES.charge(found)[:2] == (Decimal("0.0042"), ESTIMATED)


BILLED = [
    # OpenRouter, in whatever repeats its response.
    Stated("openinference", made(oi(**{"output.value": json.dumps({"id": "gen-1", "usage": ROUTED}), "llm.cost.total": 0.1}))),
    Stated("mlflow", made(MLFLOW | {"mlflow.spanOutputs": json.dumps({"usage": ROUTED})})),
    Stated("haystack", made({"haystack.agent.step.llm.output": json.dumps({"replies": [{"role": "assistant", "meta": {"model": "house-model", "usage": ROUTED}, "content": [{"text": "Hi"}]}]})}, name="haystack.agent.step.llm")),
    Stated("logfire", made(gen(**{"gen_ai.system": "openai", "gen_ai.usage.raw": json.dumps(ROUTED)}), scope="logfire.openai")),
    Stated("litellm", made(gen(**{"metadata.usage_object": repr(ROUTED), "gen_ai.cost.total_cost": 0.1}), scope="litellm")),
    Stated("vercel_ai", made({"ai.operationId": "ai.generateText.doGenerate", **gen(**{META: '{"openrouter": {"usage": {"cost": 0.0042, "costDetails": {"upstreamInferenceCost": 0}}}}'})}, scope="ai")),
    # Vercel's gateway, xAI, Perplexity.
    Stated("vercel_ai", made({"ai.operationId": "ai.generateText.doGenerate", **gen(**{META: '{"openai": {"responseId": "r"}, "gateway": {"cost": "0.0042"}}'})}, scope="ai")),
    Stated("vercel_ai", made({"ai.operationId": "ai.generateText.doGenerate", **gen(**{META: '{"xai": {"costInUsdTicks": 42000000}}'})}, scope="ai")),
    Stated("logfire", made(gen(**{"gen_ai.system": "xai", "gen_ai.usage.raw": '{"cost_in_usd_ticks": 42000000}'}), scope="logfire.openai")),
    Stated("mlflow", made(MLFLOW | {"mlflow.spanOutputs": '{"usage": {"cost": {"request_cost": 0.004, "total_cost": 0.0042}}}'})),
]  # fmt: skip


@pytest.mark.parametrize("stated", BILLED, ids=lambda stated: stated.dialect)
@pytest.mark.parametrize("model", ["house-model", "gpt-4.1"])
def test_what_the_provider_charges_is_the_cost_whether_a_price_is_known_or_not(stated: Stated, model: str) -> None:
    assert isinstance(stated.item, Span)
    attributes = {
        key: value.replace("house-model", model) if isinstance(value, str) else value for key, value in stated.item.attributes.items()
    }
    found = step(made(attributes, name=stated.item.name, scope=stated.item.scope_name))
    assert (found.dialect, found.model) == (stated.dialect, model)
    assert PRICES.charge(found)[:2] == (Decimal("0.0042"), PROVIDER)


def test_a_reckoning_is_not_trusted_over_the_price_list() -> None:
    # gpt-4.1: 2 in, 8 out, whatever the sender makes of it.
    for stated in (0.0001, 0.0042, 5, 0):
        assert PRICES.charge(step(made(gen("gpt-4.1", **{"gen_ai.usage.cost": stated}))))[:2] == (Decimal("0.0028"), COMPUTED)


@pytest.mark.parametrize(
    ("stated", "cost"),
    [
        # 1,000 tokens in at 2 or, cached, at 0.50; 100 out at 8.
        ("0.0022", "0.0022"),
        ("0.0013", "0.0013"),
        ("0.0028", "0.0028"),
        ("0.0012", "0.0028"),
        ("0.003", "0.0028"),
    ],
)
def test_a_reckoning_that_is_possible_is_believed_where_a_count_is_missing(stated: str, cost: str) -> None:
    told = gen("gpt-4.1", **{"gen_ai.usage.cost": stated})
    del told[READ]
    assert PRICES.charge(step(made(told)))[:2] == (Decimal(cost), ESTIMATED)


def test_a_call_at_another_tier_or_without_counts_costs_what_the_sender_reckons() -> None:
    tier = gen("gpt-4.1", **{"openai.response.service_tier": "priority"})
    uncounted = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4.1"}
    for attributes in (tier, uncounted, gen() | {"gen_ai.request.model": None}):
        assert PRICES.charge(step(made(attributes)))[:2] == (None, UNMETERED)
        assert PRICES.charge(step(made(attributes | {"operation.cost": 0.1})))[:2] == (Decimal("0.1"), ESTIMATED)


NOT_COSTS: list[Any] = [None, True, -0.1, 0, 0.0, "", "0", "-1", "NaN", "Infinity", "-Infinity", float("nan"), float("inf"), 1e300, 10**5000, MAX_USD + 1, "1e999999999", "1e-999999999", "9" * 5_000, "free", "$1", [0.1], {"usd": 1}, b"1"]  # fmt: skip


@pytest.mark.parametrize(
    "value", NOT_COSTS, ids=lambda value: str(value)[:12] if not isinstance(value, int) else f"{type(value).__name__} {value > 1}"
)
def test_what_is_no_amount_is_not_a_cost(value: Any) -> None:
    items: list[Span | LogRecord] = [
        made(gen(**{"gen_ai.usage.cost": value})),
        made(oi(**{"llm.cost.total": value})),
        record(CLAUDE | {"cost_usd": value, "cost_usd_micros": value if value != MAX_USD + 1 else None}, scope=EVENTS),
        made(LANGFUSE | {"langfuse.observation.cost_details": {"total": value}}),
        made(LANGFUSE | {"langfuse.observation.cost_details": {"input": value}}),
        made(MLFLOW | {"mlflow.llm.cost": {"total_cost": value}}),
        made({"ai.operationId": "ai.generateText.doGenerate", **gen(**{META: {"gateway": {"cost": value}, "openrouter": value, "xai": {"costInUsdTicks": value if value != MAX_USD + 1 else None}}})}, scope="ai"),
    ]  # fmt: skip
    for item in items:
        assert PRICES.charge(step(item))[:2] == (None, UNMETERED)


@pytest.mark.parametrize("key", ["langfuse.observation.cost_details", "mlflow.llm.cost", META])
@pytest.mark.parametrize(
    "value", [None, "", "{", "[]", "[1]", "1", '"1"', "{}", '{"gateway": "x"}', '{"total": [1]}', '{"openrouter": {"usage": []}}']
)
def test_costs_in_json_that_is_none_are_ignored(key: str, value: Any) -> None:
    for item in (
        made(LANGFUSE | {key: value}),
        made(MLFLOW | {key: value}),
        made({"ai.operationId": "ai.x.doStream", **gen(**{key: value})}, scope="ai"),
    ):
        assert PRICES.charge(step(item))[:2] == (None, UNMETERED)


OPENROUTER: list[tuple[dict[str, Any], str | None]] = [
    ({"cost": 0.5, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.5}}, "0.5"),
    ({"cost": 0, "is_byok": False, "cost_details": {"upstream_inference_cost": 0}}, "0"),
    # The customer's own key: the vendor charges the rest.
    ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.19}}, "0.2"),
    ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.19}}, "0.19"),
    ({"cost": 0.01, "is_byok": True, "cost_details": {}}, None),
    # Older responses do not say whose key it was.
    ({"cost": 0.5, "cost_details": {"upstream_inference_cost": None}}, "0.5"),
    ({"cost": 0.01, "cost_details": {"upstream_inference_cost": 0.19}}, None),
    ({"cost": 0, "cost_details": {"upstream_inference_cost": None}}, None),
    ({"cost": 0.5}, None),
    ({"cost": -0.5, "is_byok": False}, None),
    ({"is_byok": False}, None),
    ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "charged"), OPENROUTER)
def test_what_openrouter_charges(usage: dict[str, Any], charged: str | None) -> None:
    assert billed_usd(usage) == (None if charged is None else Decimal(charged))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_an_amount_within_bounds_or_none(value: Any) -> None:
    for digits in (0, 6, 10):
        found = as_usd(value, digits=digits)
        assert found is None or 0 <= found <= MAX_USD


@given(st.integers(0, MAX_USD * 10**12))
def test_amounts_are_exact_to_a_millionth_of_a_micro_dollar(units: int) -> None:
    amount = Decimal(units).scaleb(-12)
    assert as_usd(str(amount)) == amount
    assert as_usd(units, digits=12) == amount


@given(st.integers(1, 10**9))
def test_floats_read_as_they_were_meant_to_the_micro_dollar(micros: int) -> None:
    assert as_usd(micros / 1e6) == as_usd(micros, digits=6) == Decimal(micros).scaleb(-6)


# One call, one cost


def test_the_costs_of_twins_are_one_and_a_charge_goes_before_a_reckoning() -> None:
    named = gen(**{"gen_ai.response.id": "r"})
    reckoned = made(named | {"gen_ai.usage.cost": 0.1}, scope="openlit.instrumentation.openai", span_id="a" * 16, lasts=1.1)
    other = made(named | {"gen_ai.usage.cost": 0.2}, scope="x", span_id="b" * 16)
    charged = made(named | {"gen_ai.system": "openai", "gen_ai.usage.raw": json.dumps(ROUTED)}, scope="logfire.openai", span_id="b" * 16)
    for order in ((reckoned, charged), (charged, reckoned)):
        (found,), _ = final(*order, price=PRICES.charge)
        assert (found.cost_usd, found.cost_basis) == (Decimal("0.0042"), PROVIDER)
    for order in ((reckoned, other), (other, reckoned)):
        (found,), _ = final(*order, price=PRICES.charge)
        assert found.cost_usd in {Decimal("0.1"), Decimal("0.2")}
        assert found.cost_basis is ESTIMATED


def test_a_reckoning_that_only_a_later_record_has_is_added_once() -> None:
    told = {
        "model": "house-model",
        "input_tokens": 1_000,
        "output_tokens": 100,
        "cache_read_tokens": 0,
        "request_id": "req-12345678",
        "session.id": "s-123456789",
    }
    traced = made(told, name="claude_code.llm_request", scope="com.anthropic.claude_code.tracing")
    logged = record(CLAUDE | told | {"cost_usd": 0.0042}, scope=EVENTS, at=1)
    for order in ((traced, logged), (logged, traced), (logged, logged), (traced, logged, traced)):
        (found,), _ = final(*order, price=PRICES.charge)
        assert (found.cost_usd, found.cost_basis) == (Decimal("0.0042"), ESTIMATED)


def test_totals_of_agents_are_no_cost() -> None:
    agent = said(made({"openinference.span.kind": "AGENT", "llm.cost.total": 1.5}, name="ClaudeAgentSDK.query")).step
    turn = said(made({"gen_ai.operation.name": "invoke_agent", "operation.cost": 1.5}, scope="pydantic-ai", name="invoke_agent a")).step
    assert agent is not None
    assert turn is not None
    assert [(one.kind, one.stated_usd, one.billed_usd) for one in (agent, turn)] == [(StepKind.AGENT, None, None)] * 2


# As recorded


def stated_in(attributes: dict[str, Any]) -> Any:
    return next((attributes[key] for key in ("cost_usd", "operation.cost", "gen_ai.cost.total_cost") if attributes.get(key)), None)


RECORDED = [folder for folder in SCENARIOS if any(stated_in(item.attributes) is not None for item in items(folder))]


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_recorded_costs_agree_with_the_price_list_or_are_taken(folder: Any) -> None:
    stated = {as_usd(found) for item in items(folder) if (found := stated_in(item.attributes)) is not None}
    charged = [one for one in steps(Run().send_each(*requests(folder))) if one.kind is StepKind.LLM and one.cost_usd is not None]
    assert charged
    assert {one.cost_usd for one in charged if one.stated_usd is not None} <= stated


def test_releases_of_pydantic_ai_that_leave_the_cached_count_out_tell_what_the_call_cost_all_the_same() -> None:
    folder = next(folder for folder in SCENARIOS if folder.parent.name == "pydantic-ai__old1.0-v2")
    found = [one for one in steps(Run().send_each(*requests(folder))) if one.kind is StepKind.LLM]
    assert {one.cached_input_tokens for one in found} == {None}
    true = [
        PRICES.price(
            "openai",
            "gpt-4o",
            **{key: call[key] for key in ("input_tokens", "cached_input_tokens", "output_tokens")},
            at_ns=found[0].started_ns,
        )[0]
        for call in facts(folder)["calls"]
    ]
    assert [one.cost_usd for one in found] == true
    assert {one.cost_basis for one in found} == {ESTIMATED}
