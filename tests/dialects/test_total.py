"""No payload makes a dialect raise: not random ones, not recorded ones with values swapped for other types."""

import contextlib
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.dialects import DIALECTS, fragment_of, fragment_of_log
from collector.dialects.base import Dialect
from collector.telemetry_data import LogRecord, Span, SpanEvent
from tests.dialects.captures import SCENARIOS, items

RECORDED = [item for folder in SCENARIOS for item in items(folder)]
KEYS = sorted(
    {key for item in RECORDED for key in item.attributes} | {"gen_ai.prompt.0.role", "gen_ai.completion.0.content", "llm.request.type"}
)
TEXTS = [
    "", "{", "[", "[[", "[]", "{}", "null", '"x"', "[1,2]", "\x00", "𝕏" * 50, "Error: no", "resp_1", "[Scrubbed due to 'session']",
    "[" * 2000, '{"a":' * 900 + "1" + "}" * 900, '{"parts": 3}', '[{"role": 1}]', '{"lc":1,"kwargs":[]}',
    '[{"role":"tool","parts":[{"type":"tool_call_response"}]}]', '{"input_str": "{(", "inputs": []}', '[{"toolUse": {"toolUseId": {}}}]',
    '{"output": {"update": {"messages": [{"tool_call_id": []}]}, "graph": 1}}',
]  # fmt: skip
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=8), st.text(max_size=20), st.sampled_from(TEXTS)
)
NAMES = [
    "role", "type", "parts", "content", "text", "tool_calls", "tool_call_id", "id", "name", "arguments", "input", "output", "args",
    "kwargs", "lc", "data", "status", "function", "toolUse", "toolResult", "functionCall", "response", "result", "value", "messages",
    "outputs", "update", "generations", "message", "response_metadata", "usage_metadata", "usage", "choices", "error", "event.name",
]  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=4))
trees = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=5)), max_leaves=20
)
values = st.one_of(trees, trees.map(lambda tree: json.dumps(tree, default=str)))
attributes = st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=12)), values, max_size=12)
scopes = st.sampled_from(["", "pydantic-ai", "agent_framework", "github.copilot", "strands.telemetry.tracer", "traceloop.tracer"])
events = st.builds(
    SpanEvent,
    name=st.sampled_from(
        ["exception", "gen_ai.choice", "gen_ai.user.message", "gen_ai.tool.message", "gen_ai.client.inference.operation.details"]
    ),
    attributes=attributes,
)


def survives(item: Span | LogRecord) -> None:
    for dialect in DIALECTS:
        if isinstance(item, Span):
            dialect.recognises(item)
            dialect.translate(item)
        else:
            dialect.recognises_log(item)
            dialect.translate_log(item)
    if isinstance(item, Span):
        fragment_of(item)
    else:
        fragment_of_log(item)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(attributes, attributes, scopes, st.lists(events, max_size=3), st.integers(0, 2))
def test_random_spans(found: dict[str, Any], resource: dict[str, Any], scope: str, said: list[SpanEvent], status: int) -> None:
    survives(
        Span(
            trace_id="0" * 32,
            span_id="0" * 16,
            name="x",
            attributes=found,
            resource=resource,
            scope_name=scope,
            events=said,
            status_code=status,
        )
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    attributes, values, scopes, st.sampled_from(["", "gen_ai.choice", "gen_ai.tool.message", "gen_ai.client.inference.operation.details"])
)
def test_random_log_records(found: dict[str, Any], body: Any, scope: str, event: str) -> None:
    survives(LogRecord(body=body, attributes=found, scope_name=scope, event_name=event, trace_id="0" * 32, span_id="0" * 16))


@pytest.mark.parametrize("seed", range(6))
def test_recorded_items_with_values_of_other_types(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    strange: list[Any] = [None, True, -1, 1.5, float("nan"), b"\xff", [], {}, [None], {"": None}, 2**70, *TEXTS]

    def shaken(value: Any) -> Any:
        """The same tree with some of its nodes replaced."""
        if source.random() < 0.05:
            return source.choice(strange[:9])
        if isinstance(value, dict):
            return {key: shaken(inner) for key, inner in value.items()}
        return [shaken(inner) for inner in value] if isinstance(value, list) else value

    def mutated(value: Any) -> Any:
        if isinstance(value, str) and value[:1] in {"{", "["} and source.random() < 0.7:
            with contextlib.suppress(ValueError):
                return json.dumps(shaken(json.loads(value)), default=str)
        if isinstance(value, str) and value and source.random() < 0.3:
            return value[: source.randrange(len(value))]
        return source.choice(strange)

    for item in RECORDED:
        changed = {key: mutated(value) if source.random() < 0.3 else value for key, value in item.attributes.items()}
        if isinstance(item, Span):
            said = [
                SpanEvent(name=event.name, attributes={key: mutated(value) for key, value in event.attributes.items()})
                for event in item.events
            ]
            fragment_of(
                Span(trace_id="0" * 32, span_id="0" * 16, name=item.name, scope_name=item.scope_name, attributes=changed, events=said)
            )
        else:
            body = mutated(item.body)
            fragment_of_log(
                LogRecord(body=body, attributes=changed, event_name=item.event_name, scope_name=item.scope_name, trace_id="a", span_id="b")
            )


def test_translating_changes_nothing_of_the_span() -> None:
    for item in RECORDED:
        before = repr(item)
        survives(item)
        assert repr(item) == before


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_dialects_say_what_they_know(dialect: Dialect) -> None:
    text = type(dialect).__doc__ or ""
    for heading in ("Recognises:", "Keys:", "Tokens:", "Known gaps:"):
        assert heading in text
    if dialect.name != "unknown":
        assert "Versions seen:" in text


def test_names_are_unique_and_the_one_for_everything_is_last() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert len(set(names)) == len(names)
    assert names[-1] == "unknown"
