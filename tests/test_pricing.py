"""Prices exact to the micro-dollar, worked out by hand from the vendors' price lists."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigError
from collector.pricing import Prices
from collector.tariffs import Rates, Tokens, cost, possible, tariff
from detectors.model import CostBasis, SessionKey, Step, StepKind

AT = int(dt.datetime(2025, 11, 20, tzinfo=dt.UTC).timestamp()) * 10**9
prices = Prices()

HAND_PRICED = [
    # OpenAI gpt-4o: 2.50 in, 1.25 cached, 10 out.
    ("openai", "gpt-4o", {"input_tokens": 412, "output_tokens": 28}, "0.00131"),
    ("openai", "gpt-4o", {"input_tokens": 663, "cached_input_tokens": 384, "output_tokens": 35}, "0.0015275"),
    # gpt-5-mini: 0.25 in, 0.025 cached, 2 out; reasoning is output like any other.
    ("openai", "gpt-5-mini", {"input_tokens": 2500, "cached_input_tokens": 1400, "output_tokens": 57, "reasoning_tokens": 11}, "0.000424"),
    # Anthropic Sonnet 4.5: 3 in, 0.30 read, 3.75 written, 15 out; twice that, and 22.50 out, past 200,000 tokens of input.
    ("anthropic", "claude-sonnet-4-5", {"input_tokens": 1000, "output_tokens": 100}, "0.0045"),
    (
        "anthropic",
        "claude-sonnet-4-5",
        {
            "input_tokens": 1000,
            "cached_input_tokens": 600,
            "cache_write_tokens": 300,
            "cache_write_1h_tokens": 0,
            "output_tokens": 100,
        },
        "0.003105",
    ),
    # An hour in the cache: 6.
    (
        "anthropic",
        "claude-sonnet-4-5",
        {"input_tokens": 1000, "cache_write_tokens": 300, "cache_write_1h_tokens": 200, "output_tokens": 100},
        "0.005175",
    ),
    # The same where the table has no price for an hour, on Google's cloud: twice the input's.
    (
        "google",
        "claude-4-sonnet",
        {"input_tokens": 1000, "cache_write_tokens": 300, "cache_write_1h_tokens": 200, "output_tokens": 0},
        "0.003675",
    ),
    # gpt-realtime: 4 in, 16 out; audio 32 in, 64 out.
    (
        "openai",
        "gpt-realtime",
        {"input_tokens": 1000, "input_audio_tokens": 900, "output_tokens": 100, "output_audio_tokens": 80},
        "0.03464",
    ),
    ("anthropic", "claude-sonnet-4-5", {"input_tokens": 200_000, "output_tokens": 0}, "0.6"),
    ("anthropic", "claude-sonnet-4-5", {"input_tokens": 200_001, "output_tokens": 10}, "1.200231"),
    # Gemini 2.5 Pro: 1.25 in, 0.125 cached, 10 out; 2.50, 0.25 and 15 past 200,000.
    ("google", "gemini-2.5-pro", {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 50}, "0.0013"),
    ("google", "gemini-2.5-pro", {"input_tokens": 300_000, "cached_input_tokens": 100_000, "output_tokens": 1000}, "0.54"),
]


NO_PARTS = {"cached_input_tokens": 0, "cache_write_tokens": 0, "input_audio_tokens": 0, "output_audio_tokens": 0}


def usd(provider: str | None, model: str | None, at_ns: int = AT, own: Prices = prices, **tokens: Any) -> Decimal | None:
    return own.price(provider, model, at_ns=at_ns, **tokens)[0]


@pytest.mark.parametrize(("provider", "model", "tokens", "cost"), HAND_PRICED)
def test_hand_priced(provider: str, model: str, tokens: dict[str, int], cost: str) -> None:
    found, basis = prices.price(provider, model, at_ns=AT, **(NO_PARTS | tokens))  # type: ignore[arg-type]
    assert str(found) == cost
    assert basis is CostBasis.COMPUTED


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "GPT-4o",
        "gpt-4o-2024-11-20",
        "gpt-4o-2099-01-01",
        "openai/gpt-4o",
        "azure/gpt-4o",
        "litellm/openai/gpt-4o",
    ],
)
@pytest.mark.parametrize("provider", ["openai", "OpenAI", "langchain", "strands-agents", None, ""])
def test_the_models_name_says_what_it_costs(provider: str | None, model: str) -> None:
    assert usd(provider, model, input_tokens=1000, output_tokens=100) == Decimal("0.0035")


@pytest.mark.parametrize(
    "model", ["claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5-latest"]
)
def test_dates_and_aliases_of_anthropic(model: str) -> None:
    assert usd("gateway", model, input_tokens=1000, output_tokens=100) == Decimal("0.0045")


def test_a_cloud_that_names_the_model_its_own_way() -> None:
    assert usd("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", input_tokens=1000, output_tokens=100) is not None
    assert prices.context_window(None, "models/gemini-2.5-pro") == 1_048_576


@pytest.mark.parametrize("provider", [None, "strands-agents", "aws.bedrock", "langchain"])
def test_a_model_named_as_amazon_names_it_costs_what_amazon_takes(provider: str | None) -> None:
    # Haiku 4.5 on Bedrock: 1 in from the global endpoint, as at Anthropic's; 1.10 from those of regions.
    told: dict[str, Any] = {"input_tokens": 1_000_000, "output_tokens": 0}
    assert usd(provider, "us.anthropic.claude-haiku-4-5-20251001-v1:0", **told) == Decimal("1.1")
    assert usd(provider, "global.anthropic.claude-haiku-4-5-20251001-v1:0", **told) == Decimal(1)
    assert usd(provider, "claude-haiku-4-5-20251001", **told) == Decimal(1)


def test_a_price_changes_on_its_day() -> None:
    # Sonnet 4.6 has no dearer tier for long contexts from 13 March 2026 on.
    before, after = (int(dt.datetime(2026, 3, day, tzinfo=dt.UTC).timestamp()) * 10**9 for day in (12, 13))
    tokens = {"input_tokens": 300_000, "output_tokens": 0}
    assert usd("anthropic", "claude-sonnet-4-6", before, **tokens) == Decimal("1.8")
    assert usd("anthropic", "claude-sonnet-4-6", after, **tokens) == Decimal("0.9")


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("no-such-model", {"input_tokens": 1, "output_tokens": 1}),
        ("gpt-4o", {"input_tokens": None, "output_tokens": 1}),
        ("gpt-4o", {"input_tokens": 1, "output_tokens": None}),
        (None, {"input_tokens": 1, "output_tokens": 1}),
        ("", {"input_tokens": 1, "output_tokens": 1}),
        ("x" * 5000, {"input_tokens": 1, "output_tokens": 1}),
        # The table has no price for its audio, or nobody says how much of it came from the cache.
        ("gpt-4o", {"input_tokens": 10, "input_audio_tokens": 5, "output_tokens": 1}),
        ("gpt-4o", {"input_tokens": 10, "output_audio_tokens": 1, "output_tokens": 1}),
        ("gpt-realtime", {"input_tokens": 10, "input_audio_tokens": 5, "cached_input_tokens": 5, "output_tokens": 1}),
    ],
)
def test_what_is_unknown_is_unmetered(model: str | None, tokens: dict[str, Any]) -> None:
    assert prices.price("openai", model, at_ns=AT, **tokens) == (None, CostBasis.UNMETERED)


def test_what_is_written_for_nobody_knows_how_long_is_an_estimate_by_the_default() -> None:
    tokens: dict[str, Any] = {"input_tokens": 1000, "cached_input_tokens": 0, "cache_write_tokens": 300, "output_tokens": 0}
    found, basis = prices.price("anthropic", "claude-sonnet-4-5", at_ns=AT, **tokens)
    assert found == usd("anthropic", "claude-sonnet-4-5", cache_write_1h_tokens=0, **tokens)
    assert basis is CostBasis.ESTIMATED
    # OpenAI has one duration only: nothing is assumed.
    assert prices.price("openai", "gpt-5.6-cyber", at_ns=AT, **tokens)[1] is CostBasis.COMPUTED


def test_an_override_prices_parts_as_it_says_else_as_their_whole() -> None:
    told: dict[str, Any] = {"input_tokens": 100, "output_tokens": 10}
    whole = {"input_per_million": 1, "output_per_million": 2}
    dear = {"cache_write_per_million": 3, "cache_write_1h_per_million": 5, "input_audio_per_million": 7, "output_audio_per_million": 9}
    parts: dict[str, Any] = {"cache_write_tokens": 10, "cache_write_1h_tokens": 4}
    heard: dict[str, Any] = {"input_audio_tokens": 10, "output_audio_tokens": 5}
    plain, own = Prices({"m": whole}), Prices({"m": whole | dear})
    assert {usd(None, "m", own=plain, **told, **more) for more in ({}, parts, heard)} == {Decimal("0.00012")}
    assert usd(None, "m", own=own, **told, **parts) == Decimal("0.000148")
    assert usd(None, "m", own=own, **told, **heard) == Decimal("0.000215")


def test_overrides_win_and_reach_dated_names() -> None:
    own = Prices(
        {
            "GPT-4o": {"input_per_million": 1.1, "output_per_million": "2"},
            "ours": {"input_per_million": 1, "output_per_million": 1, "cached_input_per_million": 0},
        },
        {"gpt-4o": 1000, "ours": 5},
    )
    assert usd("openai", "openai/gpt-4o-2024-11-20", own=own, input_tokens=10, cached_input_tokens=5, output_tokens=1) == Decimal(
        "0.000013"
    )
    assert usd(None, "ours", own=own, input_tokens=10, cached_input_tokens=4, output_tokens=1) == Decimal("0.000007")
    assert own.context_window("openai", "gpt-4o-2024-11-20") == 1000
    assert own.context_window(None, "ours") == 5
    assert own.context_window(None, "gpt-5") == prices.context_window(None, "gpt-5")


def test_parts_larger_than_the_whole_are_never_charged_twice() -> None:
    assert usd("openai", "gpt-4o", input_tokens=100, cached_input_tokens=500, output_tokens=0) == Decimal("0.000125")
    assert usd("anthropic", "claude-sonnet-4-5", input_tokens=10, cached_input_tokens=8, cache_write_tokens=9, output_tokens=0) == Decimal(
        "0.0000099"
    )


@pytest.mark.parametrize(
    ("overrides", "windows", "says"),
    [
        ({"m": {"input_per_million": 1}}, {}, "prices.overrides.m.output_per_million is missing"),
        ({"m": {"input_per_million": -1, "output_per_million": 1}}, {}, "prices.overrides.m.input_per_million is -1"),
        ({"m": {"input_per_million": "x", "output_per_million": 1}}, {}, "is 'x'"),
        ({"m": {"input_per_million": True, "output_per_million": 1}}, {}, "is True"),
        ({"m": {"input_per_million": 1, "output_per_million": 1, "inptu": 1}}, {}, "inptu is not a price"),
        ({}, {"m": 0}, "prices.context_windows.m is 0"),
    ],
)
def test_wrong_configuration_says_where(overrides: Any, windows: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Prices(overrides, windows)


def test_the_version_names_the_prices() -> None:
    own = {"m": {"input_per_million": 1, "output_per_million": 2}}
    assert prices.version == Prices().version
    assert Prices(own).version == Prices(dict(own)).version
    assert len({prices.version, Prices(own).version, Prices(None, {"m": 3}).version}) == 3


def test_a_step_is_charged_with_its_cost_and_window() -> None:
    step = Step(
        seq=1,
        session=SessionKey("t", "", "s"),
        kind=StepKind.LLM,
        started_ns=AT,
        ended_ns=AT,
        model="gpt-4o",
        input_tokens=64_000,
        cached_input_tokens=0,
        output_tokens=0,
    )
    assert prices.charge(step) == (Decimal("0.16"), CostBasis.COMPUTED, 128_000)


def test_where_the_cached_count_is_missing_the_cost_is_the_most_it_can_be() -> None:
    # gpt-4o: 2.50 in, 1.25 cached.
    told: dict[str, Any] = {"input_tokens": 1_000, "output_tokens": 0}
    assert prices.price("openai", "gpt-4o", at_ns=AT, **told) == (Decimal("0.0025"), CostBasis.ESTIMATED)
    assert prices.price("openai", "gpt-4o", at_ns=AT, cached_input_tokens=0, **told) == (Decimal("0.0025"), CostBasis.COMPUTED)
    rates = tariff(Rates(input=Decimal("2.5"), output=Decimal(10), read=Decimal("1.25")))
    assert possible(rates, Tokens(1_000, 0)) == (Decimal("0.00125"), Decimal("0.0025"))
    # Where nobody says what was written either, it may have been dearer: Haiku 4.5 costs 1, 0.10 read, 1.25 written, 2 for an hour.
    rates = tariff(Rates(input=Decimal(1), output=Decimal(5), read=Decimal("0.1"), write=Decimal("1.25"), write_1h=Decimal(2)))
    assert possible(rates, Tokens(1_000, 0)) == (Decimal("0.0001"), Decimal("0.002"))
    assert possible(rates, Tokens(1_000, 0, 0, 0)) == (Decimal("0.001"), Decimal("0.001"))
    assert possible(tariff(Rates(input=None, output=None)), Tokens(1, 1)) is None


@given(
    st.lists(st.integers(0, 50), min_size=6, max_size=6),
    st.integers(0, 10_000),
    st.tuples(*[st.none() | st.integers(0, 10_000)] * 4),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_whatever_the_missing_counts_are_the_cost_lies_between_the_least_and_the_most(
    prices_of_parts: list[int], told: int, known: tuple[int | None, ...], shares: tuple[float, ...]
) -> None:
    by = tariff(Rates(*map(Decimal, prices_of_parts)))
    read, write, hour, thought = known
    # Who tells for how long something was written tells how much it was.
    hour = None if write is None else hour
    band = possible(by, Tokens(told, told, read, write, hour, thought))
    assert band is not None
    real_read = int((told - min(write or 0, told)) * shares[0]) if read is None else read
    real_write = int(max(told - real_read, 0) * shares[1]) if write is None else write
    real_hour = int(real_write * shares[2]) if hour is None else hour
    real_thought = int(told * shares[3]) if thought is None else thought
    found, _ = cost(by, Tokens(told, told, real_read, real_write, real_hour, real_thought))
    assert found is not None
    assert band[0] <= found <= band[1]


@given(
    st.sampled_from(["gpt-4o", "gpt-5-mini", "claude-sonnet-4-5", "claude-haiku-4-5", "gemini-2.5-pro", "deepseek-chat"]),
    st.integers(0, 400_000),
    st.integers(0, 50_000),
    st.floats(0, 1),
    st.integers(1_700_000_000, 1_900_000_000),
)
def test_agrees_with_the_tables_own_arithmetic(model: str, told: int, said: int, share: float, at: int) -> None:
    read = int(told * share)
    usage = Usage(input_tokens=told, output_tokens=said, cache_read_tokens=read)
    expected = calc_price(usage, model, genai_request_timestamp=dt.datetime.fromtimestamp(at, dt.UTC)).total_price
    assert usd(None, model, at * 10**9, input_tokens=told, output_tokens=said, cached_input_tokens=read) == expected
