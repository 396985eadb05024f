"""Objects written as Python's repr, and the two frameworks that write them."""

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.dialects.envelopes import tool_arguments, tool_outcome
from collector.dialects.python_repr import constructed, plain
from detectors.model import StepKind
from tests.dialects.spans import made, said
from tests.dialects.test_frameworks import final, of

SMOL = "openinference.instrumentation.smolagents"
HAYSTACK = "openinference.instrumentation.haystack"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("M(role=<R.USER: 'user'>, n=-1, x=None)", {"": "M", "role": "user", "n": -1, "x": None}),
        ("[T(a={'k': (1, 'two')})]", [{"": "T", "a": {"k": [1, "two"]}}]),
        ("M(x=open('/etc/passwd').read())", {"": "M", "x": {"": ""}}),
        ("M(x=a.b, y=lambda: 1)", {"": "M", "x": None, "y": None}),
        ("M(", None),
        ("(" * 5000, None),
        ("-" * 5000 + "1", None),
        (7, None),
    ],
)
def test_constructed(text: Any, value: Any) -> None:
    assert constructed(text) == value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def listed(value: Any) -> Any:
    """`value` with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: listed(one) for key, one in value.items()}
    return [listed(one) for one in value] if isinstance(value, list | tuple) else value


@given(VALUES)
def test_what_has_a_repr_is_read_from_it(value: Any) -> None:
    assert listed(plain(repr(value))) == listed(value)
    assert constructed(repr(value)) == listed(value)
    assert constructed(f"M(a={value!r}, _b=[T(c={value!r}), E()])") == {
        "": "M",
        "a": listed(value),
        "_b": [{"": "T", "c": listed(value)}, {"": "E"}],
    }


@given(VALUES, st.integers(0, 200), st.text(alphabet="'\"\\\\()[]{}=,:0.eb N\\0\n", max_size=3))
def test_a_damaged_repr_is_read_as_python_reads_it_or_not_at_all(value: Any, place: int, damage: str) -> None:
    text = repr(value)
    text = text[:place] + damage + text[place + 1 :]
    try:
        expected = listed(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        expected = None
    assert listed(plain(text)) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[true]", None),
        ("{'a': null}", None),
        ("[b'x']", [b"x"]),
        ("[12345678901234567890123]", [12345678901234567890123]),
        ("{1: 'a'}", {1: "a"}),
        ("['a' 'b']", ["ab"]),
        ("[None_]", None),
        ("[1)", None),
        ("['\\x00', '\x00']", None),
    ],
)
def test_plain(text: str, value: Any) -> None:
    assert plain(text) == value


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [
        ('{"args": [], "kwargs": {"q": 1}, "sanitize_inputs_outputs": true}', '{"q":1}'),
        ('{"sanitize_inputs_outputs": true}', '{"sanitize_inputs_outputs": true}'),
        ('{"tool_name": "x", "arguments": {"q": 1}}', '{"q":1}'),
        ('{"tool_name": "x", "arguments": {"q": 1}, "more": 2}', '{"tool_name": "x", "arguments": {"q": 1}, "more": 2}'),
    ],
)
def test_envelopes_are_opened(sent: str, arguments: str) -> None:
    assert tool_arguments(sent) == arguments


def test_mcps_result_says_how_the_call_ended() -> None:
    assert tool_outcome('{"result": "no", "is_error": true}')[:2] == ("no", True)
    assert tool_outcome('{"result": "42"}').error is None


def rejected_calls(count: int) -> list[Any]:
    """smolagents: a model call below each step, which ends because the call's arguments are not the tool's."""
    spans = []
    for number in range(count):
        llm = {
            "openinference.span.kind": "LLM",
            "llm.token_count.prompt": 100 + number,
            "llm.token_count.completion": 9,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.tool_calls.0.tool_call.id": f"call_1234567{number}",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "search",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"wrong": 1}',
            "output.value": json.dumps({"raw": f"ChatCompletion(id='chatcmpl-{number}', usage=U(prompt_tokens={100 + number}, "
                                               "completion_tokens=9, completion_tokens_details=D(reasoning_tokens=4), "
                                               "prompt_tokens_details=D(cached_tokens=64)))"}),
        }  # fmt: skip
        error = {"exception.type": "smolagents.utils.AgentToolCallError", "exception.message": "wrong is not in the schema"}
        spans.append(made(llm, scope=SMOL, span_id=f"a{number:015}", parent=f"b{number:015}", at=number))
        spans.append(made({"openinference.span.kind": "CHAIN"}, name=f"Step {number}", scope=SMOL, span_id=f"b{number:015}",
                          at=number, lasts=1.5, status_code=2, events=[_event(error)]))  # fmt: skip
    return spans


def _event(attributes: dict[str, Any]) -> Any:
    from collector.telemetry_data import SpanEvent  # noqa: PLC0415 - one use

    return SpanEvent(name="exception", attributes=attributes)


@pytest.mark.parametrize("turned", [False, True])
def test_calls_that_smolagents_rejects_are_seen_with_arguments_and_reason(turned: bool) -> None:
    spans = rejected_calls(3)
    steps, _ = final(*(reversed(spans) if turned else spans))
    tools = of(StepKind.TOOL, steps)
    assert [(one.name, one.arguments, one.error, one.error_message) for one in tools] == [
        ("search", '{"wrong": 1}', True, "wrong is not in the schema")
    ] * 3
    assert {(one.cached_input_tokens, one.reasoning_tokens) for one in of(StepKind.LLM, steps)} == {(64, 4)}


def test_a_call_that_ran_counts_once_beside_the_rejection_of_another() -> None:
    llm, outer = rejected_calls(1)
    ran = made({"openinference.span.kind": "TOOL", "tool.name": "search", "input.value": '{"wrong": 1}', "output.value": "found"},
               scope=SMOL, span_id="c" * 16, parent="b" + "0" * 15, at=1.1, lasts=0.1, status_code=1)  # fmt: skip
    for items in ([llm, ran, outer], [outer, ran, llm], [llm, outer, ran]):
        steps, _ = final(*items)
        assert [(one.result, one.error) for one in of(StepKind.TOOL, steps)] == [("found", False)]


def haystack_run(*, scope: str = HAYSTACK) -> Any:
    call = "ToolCall(tool_name='search', arguments={'q': 'a\\'b'}, id='call_12345678', extra=None)"
    usage = "{'model': 'gpt-4o', 'finish_reason': 'stop', 'usage': {'completion_tokens': 7, 'prompt_tokens': 50, 'total_tokens': 57}}"
    old = f"ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[TextContent(text='Hi')], _name=None, _meta={usage})"
    question = "ChatMessage(_role=<ChatRole.USER: 'user'>, _content=[TextContent(text='Find')], _name=None, _meta={})"
    asked = f"ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[{call}], _name=None, _meta={usage})"
    told = f"ChatMessage(_role=<ChatRole.TOOL: 'tool'>, _content=[ToolCallResult(result='no', origin={call}, error=True)], _meta={{}})"
    done = asked.replace(call, "TextContent(text='None')").replace("50", "80").replace("57", "87")
    attributes = {
        "openinference.span.kind": "CHAIN",
        "input.value": json.dumps({"messages": [old, question]}),
        "output.value": json.dumps({"messages": [old, question, asked, told, done, "ChatMessage(", 3]}),
    }
    return made(attributes, name="Agent.run", scope=scope, span_id="d" * 16, lasts=9)


def test_haystacks_calls_are_read_out_of_its_output() -> None:
    steps, _ = final(haystack_run())
    models, tools = of(StepKind.LLM, steps), of(StepKind.TOOL, steps)
    assert [(one.input_tokens, one.output_tokens, one.model) for one in models] == [(50, 7, "gpt-4o"), (80, 7, "gpt-4o")]
    assert [(one.name, one.arguments, one.result, one.error) for one in tools] == [("search", '{"q":"a\'b"}', "no", True)]
    assert models[1].output_text == "None"


@pytest.mark.parametrize("turned", [False, True])
def test_haystacks_calls_count_once_where_another_instrumentation_has_them_too(turned: bool) -> None:
    llm = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 80, "llm.token_count.completion": 7, "llm.model_name": "gpt-4o"}
    other = made(llm, scope="openinference.instrumentation.openai", span_id="e" * 16, parent="d" * 16, at=3)
    steps, _ = final(*([haystack_run(), other] if turned else [other, haystack_run()]))
    assert sorted(one.input_tokens or 0 for one in of(StepKind.LLM, steps)) == [50, 80]


def test_outcomes_one_by_one_behind_their_requests_are_all_told() -> None:
    """The Responses API has a message for each call; applications often append each outcome behind its own."""
    told: dict[str, Any] = {"openinference.span.kind": "LLM", "output.value": '{"id": "resp_123456789", "output": []}'}
    for number in (0, 1):
        ask, outcome = f"llm.input_messages.{number * 2}.message.", f"llm.input_messages.{number * 2 + 1}.message."
        told |= {
            ask + "role": "assistant",
            ask + "tool_calls.0.tool_call.id": f"call_1234567{number}",
            ask + "tool_calls.0.tool_call.function.name": "x",
            outcome + "role": "tool",
            outcome + "tool_call_id": f"call_1234567{number}",
            outcome + "content": str(number),
        }
    assert [one.result for one in said(made(told)).answers] == ["0", "1"]
