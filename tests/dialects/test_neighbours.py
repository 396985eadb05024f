"""Rows of the measured tables that no recording shows, as they are described: steps, tokens, tools and session."""
# ruff: noqa: E501 - one row of a table a line

import json
from typing import Any

import pytest

from collector.dialects import fragment_of
from collector.telemetry_data import SpanEvent
from detectors.model import StepKind
from tests.dialects.spans import made, record, said, step
from tests.dialects.test_frameworks import TOKENS, TRACE, final, of

CLAUDE = "com.anthropic.claude_code.tracing"


def test_claude_codes_detailed_tracing_tells_what_tools_returned() -> None:
    session = {"session.id": "s"}
    told = "[TOOL RESULT: toolu_1]\nREADME.md\n\nconfig.yml\n\n---\n\n[TOOL RESULT: toolu_2]\n<tool_use_error>No such tool</tool_use_error>\n\n---\n\n[USER]\nGo on.\n\n<system-reminder>\nx\n</system-reminder>"
    steps, _ = final(
        made({**session, "tool_name": "Bash", "tool_use_id": "toolu_1"}, name="claude_code.tool", scope=CLAUDE, span_id="b" * 16),
        made({**session, "tool_name": "Edit", "tool_use_id": "toolu_2"}, name="claude_code.tool", scope=CLAUDE, span_id="c" * 16),
        made({**session, "model": "claude-sonnet-4-5", "new_context": told}, name="claude_code.llm_request", scope=CLAUDE, at=2),
    )
    assert [(step.name, step.result, step.error) for step in of(StepKind.TOOL, steps)] == [
        ("Bash", "README.md\n\nconfig.yml", None),
        ("Edit", "<tool_use_error>No such tool</tool_use_error>", True),
    ]
    assert of(StepKind.LLM, steps)[0].input_text == "Go on."


@pytest.mark.parametrize("turned", [False, True])
def test_calls_that_claude_code_rejects_are_seen_without_their_names_and_count_once_beside_records(turned: bool) -> None:
    session = {"session.id": "s"}
    told = "\n\n---\n\n".join(
        f"[TOOL RESULT: toolu_{number}]\n<tool_use_error>File has not been read yet.</tool_use_error>" for number in (1, 2)
    )
    items = [
        made(
            {**session, "tool_name": "Bash", "tool_use_id": "toolu_2"},
            name="claude_code.tool",
            scope=CLAUDE,
            span_id="b" * 16,
            status_code=2,
        ),
        made({**session, "model": "claude-sonnet-4-5", "new_context": told}, name="claude_code.llm_request", scope=CLAUDE, at=2),
    ]
    steps, _ = final(*(reversed(items) if turned else items))
    tools = sorted(of(StepKind.TOOL, steps), key=lambda one: one.call_id or "")
    assert [(one.call_id, one.name, one.error) for one in tools] == [("toolu_1", None, True), ("toolu_2", "Bash", True)]


def test_what_claude_code_read() -> None:
    event = SpanEvent(name="tool.output", attributes={"file_path": "a", "content": "# Demo"}, time_ns=0)
    steps, _ = final(made({"session.id": "s", "tool_name": "Read", **TOKENS}, name="claude_code.tool", scope=CLAUDE, events=[event]))
    assert steps[0].result == "# Demo"


def message(content: str, status: str, name: str) -> str:
    kwargs = {"status": status, "content": content, "tool_call_id": "call_abc123", "name": name}
    return json.dumps({"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "ToolMessage"], "kwargs": kwargs})


def test_langgraph_js_through_traceloop_names_tools_after_their_class() -> None:
    sent: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "gen_ai.provider.name": "langchain", "traceloop.span.kind": "task",
                            "traceloop.entity.name": "DynamicStructuredTool"}  # fmt: skip
    content: dict[str, Any] = {"traceloop.entity.input": json.dumps({"args": ['{"city":"Paris"}']}),
                               "traceloop.entity.output": message("no such city", "error", "get_weather")}  # fmt: skip
    where: dict[str, Any] = {"name": "execute_tool DynamicStructuredTool", "scope": "@traceloop/instrumentation-langchain"}
    found = step(made(sent | content, status_code=1, **where))
    assert (found.kind, found.name, found.arguments, found.result) == (StepKind.TOOL, "get_weather", '{"city":"Paris"}', "no such city")
    assert (found.call_id, found.error) == ("call_abc123", True)
    assert (step(made(sent, **where)).kind, step(made(sent, **where)).name) == (StepKind.TOOL, None)


LANGSMITH: dict[str, Any] = {"langsmith.metadata.thread_id": "thread-12345", "langsmith.trace.session_id": "project-1234"}


def test_langsmiths_javascript_sdk() -> None:
    call = made({**LANGSMITH, **TOKENS, "langsmith.span.kind": "llm", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o",
                 "gen_ai.usage.total_tokens": 120, "gen_ai.usage.input_token_details": '{"cache_read": 40}', "gen_ai.usage.output_token_details": '{"reasoning": 5}',
                 "gen_ai.prompt": json.dumps({"messages": [{"role": "user", "content": "Look."}]}),
                 "gen_ai.completion": json.dumps({"choices": [{"message": {"role": "assistant", "tool_calls": [
                     {"id": "call_abc123", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}}]}}]})},
                name="ChatOpenAI", scope="langsmith")  # fmt: skip
    tool = made({**LANGSMITH, "langsmith.span.kind": "tool", "gen_ai.operation.name": "execute_tool", "langsmith.trace.name": "search",
                 "gen_ai.prompt": json.dumps({"input": '{"q": 1}'}), "gen_ai.completion": json.dumps({"output": json.loads(message("none", "error", "search"))})},
                name="search", scope="langsmith", span_id="b" * 16, at=2)  # fmt: skip
    steps, assembler = final(call, tool)
    llm, found = of(StepKind.LLM, steps)[0], of(StepKind.TOOL, steps)[0]
    assert (llm.input_tokens, llm.cached_input_tokens, llm.output_tokens, llm.reasoning_tokens) == (100, 40, 20, 5)
    assert (llm.input_text, [ask.name for ask in llm.asks]) == ("Look.", ["search"])
    assert (found.name, found.arguments, found.result, found.error) == ("search", '{"q": 1}', "none", True)
    assert {assembler.survivor(one.session).session_id for one in steps} == {"thread-12345"}


def test_a_prompt_that_langsmith_saw_filled_in_is_no_model_call() -> None:
    template = {**LANGSMITH, "langsmith.span.kind": "prompt", "gen_ai.operation.name": "chat"}
    fragment = fragment_of(made(template, name="ChatPromptTemplate", scope="langsmith"))
    assert fragment is not None
    assert (fragment.step, fragment.session_id) == (None, "thread-12345")


ASKED = [{"role": "user", "content": "Look."}]
SAID = [
    {
        "role": "assistant",
        "content": "Well.",
        "tool_calls": [{"id": "call_abc123", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
    }
]
OLD: dict[str, Any] = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"}
EARLY = {
    "1.26": made({**OLD, "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20, "gen_ai.prompt": json.dumps(ASKED), "gen_ai.completion": json.dumps(SAID)}),
    "1.27": made({**OLD, **TOKENS, "gen_ai.operation.name": "chat"}, events=[
        SpanEvent(name="gen_ai.content.prompt", attributes={"gen_ai.prompt": json.dumps(ASKED)}),
        SpanEvent(name="gen_ai.content.completion", attributes={"gen_ai.completion": json.dumps(SAID)})]),
    "pydantic-ai 1, attributes": made({**OLD, **TOKENS, "gen_ai.operation.name": "chat", "events": json.dumps([
        {"role": "user", "content": "Look.", "event.name": "gen_ai.user.message"}, {"message": SAID[0], "event.name": "gen_ai.choice"}])}, scope="pydantic-ai"),
    "OpenLLMetry of 2025, Anthropic": made({"llm.request.type": "completion", **OLD, "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20,
        "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Look.", "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Well.",
        "gen_ai.completion.0.tool_calls.0.id": "toolu_1234", "gen_ai.completion.0.tool_calls.0.name": "search", "gen_ai.completion.0.tool_calls.0.arguments": "{}"},
        name="anthropic.chat", scope="opentelemetry.instrumentation.anthropic"),
}  # fmt: skip


@pytest.mark.parametrize("version", EARLY)
def test_content_of_early_conventions(version: str) -> None:
    fragment, found = said(EARLY[version]), step(EARLY[version])
    assert (found.input_tokens, found.output_tokens, found.input_text, found.output_text) == (100, 20, "Look.", "Well.")
    assert [ask.name for ask in fragment.asks] == ["search"]


def test_openai_v2_with_content_in_events_only() -> None:
    chat: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", **TOKENS}
    output = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "call_abc123", "name": "search", "arguments": {"q": 1}}]}]
    told = [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_abc123", "result": "found"}]}]
    steps, assembler = final(
        made(chat, scope="opentelemetry.instrumentation.openai_v2"),
        record(
            {**chat, "gen_ai.output.messages": output},
            event_name="gen_ai.client.inference.operation.details",
            trace=TRACE,
            span_id="a" * 16,
        ),
        made(chat, scope="opentelemetry.instrumentation.openai_v2", trace="2" * 32, span_id="b" * 16, at=3),
        record(
            {**chat, "gen_ai.input.messages": told},
            event_name="gen_ai.client.inference.operation.details",
            trace="2" * 32,
            span_id="b" * 16,
            at=4,
        ),
    )
    assert [(one.name, one.arguments, one.result) for one in of(StepKind.TOOL, steps)] == [("search", '{"q":1}', "found")]
    assert len(of(StepKind.LLM, steps)) == 2
    assert len({assembler.survivor(one.session) for one in steps}) == 1


def test_openai_agents_js_seen_by_two_instrumentations_counts_once() -> None:
    call = {
        "openinference.span.kind": "LLM",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
        "output.value": '{"id": "resp_abc123456"}',
    }
    agents = made(call, name="response", scope="@arizeai/openinference-instrumentation-openai-agents", trace="2" * 32)
    vendor = made(
        call, name="OpenAI Responses", scope="@arizeai/openinference-instrumentation-openai", trace="3" * 32, span_id="c" * 16, at=0.01
    )
    for items in ([agents, vendor], [vendor, agents]):
        assert [one.input_tokens for one in final(*items)[0]] == [100]


def test_openai_agents_through_openllmetry_of_2025_has_arguments_in_the_request_only() -> None:
    scope = "opentelemetry.instrumentation.openai_agents"
    steps, _ = final(
        made({"llm.request.type": "chat", **OLD, "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.tool_calls.0.id": "call_abc123",
              "gen_ai.completion.0.tool_calls.0.name": "search", "gen_ai.completion.0.tool_calls.0.arguments": '{"q":1}'}, name="openai.response", scope=scope),
        made({"traceloop.span.kind": "tool", "gen_ai.tool.name": "search"}, name="search.tool", scope=scope, span_id="b" * 16, at=2),
    )  # fmt: skip
    assert [(one.name, one.arguments, one.call_id) for one in of(StepKind.TOOL, steps)] == [("search", '{"q":1}', "call_abc123")]


def test_langfuse_3_names_the_session_on_its_root_only() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    below: dict[str, Any] = {"scope": "langfuse-sdk", "parent": "c" * 16}
    steps, assembler = final(
        made(
            {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": json.dumps(usage)},
            name="g",
            span_id="b" * 16,
            **below,
        ),
        made(
            {"langfuse.observation.type": "tool", "langfuse.observation.input": '{"args": [], "kwargs": {"q": 1}}'},
            name="search",
            span_id="d" * 16,
            **below,
        ),
        made(
            {"langfuse.observation.type": "span", "session.id": "session-v3"}, name="root", scope="langfuse-sdk", span_id="c" * 16, lasts=5
        ),
    )
    assert [one.input_tokens for one in of(StepKind.LLM, steps)] == [100]
    assert [(one.name, one.arguments) for one in of(StepKind.TOOL, steps)] == [("search", '{"q":1}')]
    assert {assembler.survivor(one.session).session_id for one in steps} == {"session-v3"}


def test_strands_with_details_in_events() -> None:
    parts = [{"type": "tool_call", "id": "tooluse_1234", "name": "search", "arguments": {"q": 1}}]
    answer = [{"type": "tool_call_response", "id": "tooluse_1234", "response": "found"}]
    event = SpanEvent(name="gen_ai.client.inference.operation.details", attributes={
        "gen_ai.input.messages": json.dumps([{"role": "tool", "parts": parts}]), "gen_ai.output.messages": json.dumps([{"role": "tool", "parts": answer}])})  # fmt: skip
    strands: dict[str, Any] = {"gen_ai.provider.name": "strands-agents", "session.id": "session-1234"}
    steps, assembler = final(
        made({**strands, "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "gen_ai.tool.status": "success"},
             scope="strands.telemetry.tracer", span_id="b" * 16, parent="a" * 16, events=[event]),
        made({**strands, **TOKENS, "gen_ai.operation.name": "invoke_swarm"}, name="invoke_swarm", scope="strands.telemetry.tracer", lasts=2),
    )  # fmt: skip
    assert [(one.kind, one.input_tokens, one.arguments, one.result, one.error) for one in steps] == [
        (StepKind.TOOL, None, '{"q":1}', "found", False),
        (StepKind.AGENT, None, None, None, None),
    ]
    assert {assembler.survivor(one.session).session_id for one in steps} == {"session-1234"}


def test_goose_and_openclaw_as_a_whole() -> None:
    goose: dict[str, Any] = {"resource": {"service.name": "goose"}, "parent": "c" * 16}
    steps, assembler = final(
        made({"gen_ai.request.model": "claude-sonnet-4-5"}, name="complete", span_id="b" * 16, **goose),
        made(
            {"session.id": "goose-12345", "tool_name": "shell", "input": '{"c": "ls"}', "output": "a"},
            name="dispatch_tool_call",
            span_id="d" * 16,
            at=1,
            **goose,
        ),
        made({"session.id": "goose-12345"}, name="reply", span_id="c" * 16, lasts=5, resource={"service.name": "goose"}),
    )
    assert [one.kind for one in steps] == [StepKind.LLM, StepKind.TOOL, StepKind.AGENT]
    assert {assembler.survivor(one.session).session_id for one in steps} == {"goose-12345"}

    counts = {
        "gen_ai.request.model": "gpt-4o",
        "openclaw.tokens.input": 60,
        "openclaw.tokens.cache_read": 40,
        "openclaw.tokens.output": 20,
        "openclaw.tokens.total": 120,
    }
    claw: dict[str, Any] = {"resource": {"service.name": "openclaw-gateway"}}
    steps, assembler = final(
        made(counts, name="openclaw.model.usage", span_id="b" * 16, parent="c" * 16, **claw),
        made(counts, name="openclaw.model.call", span_id="c" * 16, parent="d" * 16, lasts=1.1, **claw),
        made(
            {"gen_ai.tool.name": "x", "openclaw.content.tool_input": '{"q": 1}', "openclaw.content.tool_output": "r"},
            name="openclaw.tool.execution",
            span_id="e" * 16,
            parent="d" * 16,
            **claw,
        ),
        made({"session.id": "claw-12345"}, name="openclaw.run", span_id="d" * 16, lasts=4, **claw),
    )
    assert [(one.input_tokens, one.cached_input_tokens) for one in of(StepKind.LLM, steps)] == [(100, 40)]
    assert [(one.arguments, one.result) for one in of(StepKind.TOOL, steps)] == [('{"q": 1}', "r")]
    assert {assembler.survivor(one.session).session_id for one in steps} == {"claw-12345"}


def test_mlflow_where_it_exports_the_session() -> None:
    steps, assembler = final(
        made(
            {"mlflow.spanType": '"TOOL"', "mlflow.spanInputs": '{"q": 1}'},
            name="search",
            scope="mlflow.tracing.provider",
            span_id="b" * 16,
            parent="c" * 16,
        ),
        made(
            {"mlflow.spanType": '"AGENT"', "mlflow.trace.session": '"session-mlf"'},
            name="agent",
            scope="mlflow.tracing.provider",
            span_id="c" * 16,
            lasts=3,
        ),
    )
    assert {assembler.survivor(one.session).session_id for one in steps} == {"session-mlf"}
