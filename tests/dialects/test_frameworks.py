"""Frameworks that no recording shows, and behaviour that recordings show too rarely, from what they are known to send."""
# ruff: noqa: E501 - one row of a table a line

import json
from decimal import Decimal
from typing import Any

import pytest

from collector.dialects import fragment_of
from collector.pricing import Prices
from collector.telemetry_data import LogRecord, Span
from detectors.model import CostBasis, Step, StepKind
from tests.dialects.spans import final, made, record, said, step

TRACE = "1" * 32
TOKENS = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}


def of(kind: StepKind, steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.kind is kind]


# Double counting


def langgraph_js() -> list[Span]:
    chat: dict[str, Any] = {"gen_ai.operation.name": "chat", **TOKENS}
    chain = made({**chat, "gen_ai.request.model": "gpt-4o", "traceloop.workflow.name": "a"}, name="ChatOpenAI.chat",
                 scope="@traceloop/instrumentation-langchain", span_id="b" * 16, parent="f" * 16, lasts=1.02)  # fmt: skip
    vendor = made({**chat, "gen_ai.response.model": "gpt-4o-2024-11-20", "gen_ai.response.id": "chatcmpl-1", "traceloop.workflow.name": "b"},
                  name="openai.chat", scope="@traceloop/instrumentation-openai", span_id="c" * 16, parent="f" * 16, at=0.01)  # fmt: skip
    return [chain, vendor]


@pytest.mark.parametrize("turned", [False, True])
def test_two_instrumentations_of_one_call_that_share_no_id_count_once(turned: bool) -> None:
    spans = langgraph_js()
    steps, _ = final(*(reversed(spans) if turned else spans))
    assert [(one.input_tokens, one.response_id) for one in steps] == [(100, "chatcmpl-1")]


def test_like_calls_of_one_instrumentation_are_two() -> None:
    attributes: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **TOKENS}
    steps, _ = final(made(attributes, scope="x", span_id="b" * 16), made(attributes, scope="x", span_id="c" * 16))
    assert len(steps) == 2


@pytest.mark.parametrize("turned", [False, True])
def test_a_failed_call_seen_by_the_sdk_and_an_instrumentation_in_other_traces_counts_once(turned: bool) -> None:
    shared: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
    }
    outer = made({**shared, "error.type": "AuthenticationError"}, scope="opentelemetry.instrumentation.anthropic", status_code=2, lasts=1.1,
                 trace="2" * 32)  # fmt: skip
    inner = made({**shared, "error.type": "authentication_error"}, scope="com.anthropic.sdk.python", status_code=2, at=0.05)
    other = made({**shared, "error.type": "overloaded_error"}, scope="com.anthropic.sdk.python", status_code=2, at=0.05, span_id="d" * 16)
    steps, _ = final(*([inner, outer] if turned else [outer, inner]))
    assert len(steps) == 1
    assert len(final(outer, other)[0]) == 2


def test_mcp_client_and_server_are_one_call() -> None:
    server = made({"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"}, name="tools/call search", scope="mcp-python-sdk",
                  span_id="b" * 16, parent="c" * 16, resource={"service.name": "tools"})  # fmt: skip
    client = made({}, name="MCP send tools/call search", scope="mcp-python-sdk", span_id="c" * 16, lasts=1.2)
    for items in ([server, client], [client, server]):
        steps, _ = final(*items)
        assert [(one.kind, one.name, one.service_name) for one in steps] == [(StepKind.TOOL, "search", "tools")]


def test_mcp_connections_are_no_sessions() -> None:
    assert said(made({"mcp.method.name": "tools/call", "mcp.session.id": "c-1234567890"}, name="tools/call x")).session_id is None


@pytest.mark.parametrize("turned", [False, True])
def test_qwen_codes_records_and_spans_are_one_call(turned: bool) -> None:
    usage: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "qwen3", "session.id": "session-1234", **TOKENS}
    span = made(usage, name="qwen-code.llm_request", scope="qwen-code")
    log = record({"event.name": "qwen-code.api_response", "model": "qwen3", "session.id": "session-1234", "input_token_count": 100,
                  "output_token_count": 20, "thoughts_token_count": 5, "duration_ms": 990}, scope="qwen-code.logs", at=1.01, trace=TRACE)  # fmt: skip
    items: list[Span | LogRecord] = [log, span] if turned else [span, log]
    steps, _ = final(*items)
    assert [(one.input_tokens, one.output_tokens, one.reasoning_tokens) for one in steps] == [(100, 20, 5)]


def test_qwen_codes_hooks_do_not_fail() -> None:
    assert fragment_of(made({}, name="qwen-code.hook", scope="qwen-code", status_code=2, status_message="no output")) is None


def test_agno_names_the_session_on_its_root_which_comes_last() -> None:
    llm = made({"openinference.span.kind": "LLM", "llm.token_count.prompt": 9}, name="OpenAIChat.invoke", scope="openinference.instrumentation.agno",
               span_id="b" * 16, parent="c" * 16)  # fmt: skip
    root = made({"openinference.span.kind": "AGENT", "session.id": "session-1234", "llm.token_count.prompt": 9}, name="A.run",
                scope="openinference.instrumentation.agno", span_id="c" * 16, lasts=2)  # fmt: skip
    steps, assembler = final(llm, root)
    assert {assembler.survivor(one.session).session_id for one in steps} == {"session-1234"}
    assert [one.input_tokens for one in steps] == [9, None]


def test_dspy_tools_are_named_after_their_spans_and_finish_is_none() -> None:
    scope = "openinference.instrumentation.dspy"
    called: dict[str, Any] = {"openinference.span.kind": "TOOL", "input.value": '{"kwargs": {"q": 1}}'}
    found = step(made(called, name="search.__call__", scope=scope))
    assert (found.name, found.arguments) == ("search", '{"q":1}')
    assert fragment_of(made({"openinference.span.kind": "TOOL"}, name="finish.__call__", scope=scope)) is None


def test_autogen_messages_count_once_however_many_agents_get_them() -> None:
    content = [{"id": "call_1234567", "name": "search", "arguments": '{"q": 1}'}]
    message = {"id": "message-1", "source": "helper", "models_usage": {"prompt_tokens": 7, "completion_tokens": 3}, "content": content,
               "created_at": "2026-01-01T00:00:00Z", "type": "ToolCallRequestEvent"}  # fmt: skip
    scope = "autogen SingleThreadedAgentRuntime"
    hops = [made({"message": json.dumps({"message": message})}, name="autogen process x", scope=scope, trace=f"{n}" * 32) for n in (2, 3)]
    steps, _ = final(*hops)
    assert [(one.input_tokens, one.agent, one.asks[0].name) for one in steps] == [(7, "helper", "search")]


def test_openclaw_and_goose() -> None:
    tool = step(
        made(
            {"openclaw.content.tool_input": '{"q": 1}', "gen_ai.tool.name": "x", "openclaw.errorCategory": "timeout"},
            name="openclaw.tool.execution",
        )
    )
    assert (tool.kind, tool.arguments, tool.error, tool.error_class) == (StepKind.TOOL, '{"q": 1}', True, "timeout")
    goose: dict[str, Any] = {"service.name": "goose"}
    call = step(made({"tool_name": "shell", "input": '{"c": "ls"}', "output": "a"}, name="dispatch_tool_call", resource=goose))
    assert (call.dialect, call.name, call.arguments, call.result) == ("goose", "shell", '{"c": "ls"}', "a")
    assert step(made({"gen_ai.request.model": "m"}, name="complete", resource=goose)).kind is StepKind.LLM


def test_gooses_tool_calls_stand_in_envelopes() -> None:
    told = {"input": '{"tool": "developer__shell", "arguments": {"command": "ls"}}', "session.id": "20260101_1"}
    good = '{"status": "success", "value": {"content": [{"type": "text", "text": "a.txt"}], "isError": false}}'
    bad = '{"status": "error", "error": "no such tool"}'
    calls = [step(made(told | {"output": output}, name="dispatch_tool_call", scope="goose")) for output in (good, bad)]
    assert {(one.name, one.arguments) for one in calls} == {("developer__shell", '{"command":"ls"}')}
    assert [(one.result, one.error) for one in calls] == [("a.txt", None), (bad, True)]


def test_later_releases_of_goose_follow_the_conventions() -> None:
    where: dict[str, Any] = {"scope": "goose", "resource": {"service.name": "goose"}}
    session = {"session.id": "20260101_1", "gen_ai.conversation.id": "20260101_1"}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "goose.chat.purpose": "reply", **session, **TOKENS}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "shell", "gen_ai.tool.call.id": "call_12345678",
            "gen_ai.tool.call.arguments": '{"c": 1}', "input": '{"tool": "shell", "arguments": {"c": 1}}', **session}  # fmt: skip
    turn = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "goose", **session, **TOKENS}
    steps, assembler = final(
        made({"gen_ai.request.model": "gpt-4o", **session}, name="complete", span_id="b" * 16, parent="c" * 16, lasts=0.5, **where),
        made(chat, name="chat", span_id="c" * 16, parent="e" * 16, **where),
        made(tool, name="dispatch_tool_call", span_id="d" * 16, parent="e" * 16, at=2, **where),
        made(turn, name="reply_stream", span_id="e" * 16, parent="f" * 16, lasts=4, **where),
        made(session, name="reply", span_id="f" * 16, lasts=5, **where),
    )
    assert [(one.kind, one.input_tokens) for one in steps if one.kind is not StepKind.AGENT] == [(StepKind.LLM, 100), (StepKind.TOOL, None)]
    assert [(one.name, one.arguments, one.call_id) for one in of(StepKind.TOOL, steps)] == [("shell", '{"c": 1}', "call_12345678")]
    assert {assembler.survivor(one.session).session_id for one in steps} == {"20260101_1"}


def test_openclaw_tells_the_tokens_of_a_run_and_not_of_its_calls() -> None:
    prices = Prices()
    called = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gemini-2.5-pro", "gen_ai.system": "google"}
    used = {"openclaw.tokens.input": 150_000, "openclaw.tokens.cache_read": 150_000, "openclaw.tokens.cache_write": 0, "openclaw.tokens.output": 1_000,
            "openclaw.tokens.total": 301_000, "gen_ai.usage.input_tokens": 300_000, "gen_ai.usage.cache_read.input_tokens": 150_000,
            "gen_ai.usage.output_tokens": 1_000}  # fmt: skip
    steps, _ = final(
        *(made(called, name="openclaw.model.call", span_id=one * 16, parent="d" * 16, at=at) for at, one in enumerate("abc")),
        made(called | {"openclaw.errorCategory": "rate_limit", "error.type": "rate_limit"}, name="openclaw.model.call", span_id="e" * 16,
             parent="d" * 16, at=4, status_code=2),
        made(called | used, name="openclaw.model.usage", span_id="f" * 16, parent="9" * 16, lasts=6),
        price=prices.charge,
    )  # fmt: skip
    failed, whole = of(StepKind.LLM, steps)
    assert (failed.error, failed.error_class, failed.cost_usd) == (True, "rate_limit", None)
    # None of the three calls need have been above 200,000 tokens, from which on all costs twice: 1.25 in, 0.125 cached, 10 out.
    assert (whole.input_tokens, whole.cached_input_tokens, whole.output_tokens) == (300_000, 150_000, 1_000)
    assert (whole.cost_usd, whole.cost_basis, whole.context_utilization) == (Decimal("0.21625"), CostBasis.ESTIMATED, None)
    older = {key: value for key, value in used.items() if key.startswith("openclaw.")}
    assert step(made(called | older, name="openclaw.model.usage")).input_tokens == 300_000
    blocked = step(
        made({"gen_ai.tool.name": "exec", "openclaw.outcome": "blocked", "openclaw.deniedReason": "policy"}, name="openclaw.tool.execution")
    )
    assert (blocked.error, blocked.error_type, blocked.error_message) == (True, "blocked", "policy")


# Hand-offs


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transfer_to_agent", StepKind.HANDOFF),
        ("transfer_to_billing_agent", StepKind.HANDOFF),
        ("transfer_back_to_agent", StepKind.HANDOFF),
        ("handoff_to_agent", StepKind.HANDOFF),
        ("handoff to billing", StepKind.HANDOFF),
        ("transfer_to_savings", StepKind.TOOL),
        ("transfer_to_account", StepKind.TOOL),
        ("delegate_to_human", StepKind.TOOL),
        ("transfer_to_agents_report", StepKind.TOOL),
    ],
)
def test_a_verb_alone_makes_no_handoff(name: str, kind: StepKind) -> None:
    assert step(made({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name})).kind is kind


def test_a_tool_that_jumps_in_the_graph_is_a_handoff() -> None:
    jump = {"output.value": json.dumps({"output": {"graph": "__parent__", "goto": "b"}}), "tool.name": "transfer_to_b"}
    assert step(made({"openinference.span.kind": "TOOL", **jump})).kind is StepKind.HANDOFF


# How things ended


TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
ENDINGS: list[tuple[str, dict[str, Any], dict[str, Any], bool | None]] = [
    ("status error", TOOL, {"status_code": 2}, True),
    ("status ok with an error in the result", {**TOOL, "gen_ai.tool.call.result": '{"isError": true}'}, {"status_code": 1}, True),
    ("result says error", {**TOOL, "gen_ai.tool.call.result": '{"error": "no"}'}, {}, True),
    ("result that only speaks of errors", {**TOOL, "gen_ai.tool.call.result": "No errors found in 3 files"}, {"status_code": 1}, False),
    ("result with an empty error", {**TOOL, "gen_ai.tool.call.result": '{"error": null, "rows": 3}'}, {"status_code": 1}, False),
    ("exit code in the text", {**TOOL, "gen_ai.tool.call.result": "…\nProcess exited with code 2"}, {}, True),
    ("exit code 0", {**TOOL, "gen_ai.tool.call.result": "Process exited with code 0"}, {"status_code": 1}, False),
    ("shell of Copilot CLI", {**TOOL, "process.exit.code": 1}, {"scope": "github.copilot"}, True),
    ("Langfuse JS", {"langfuse.observation.type": "tool", "langfuse.observation.level": "ERROR"}, {}, True),
    ("LangChain's handled error", {"openinference.span.kind": "TOOL", "output.value": json.dumps(
        {"output": {"type": "tool", "data": {"content": "no", "tool_call_id": "call_12345678", "status": "error"}}})}, {"status_code": 1}, True),
    ("Mastra", {**TOOL, "mastra.span.type": "tool_call", "gen_ai.tool.call.result": '{"error": true, "message": "no"}'}, {"status_code": 1}, True),
    ("MCP", {"mcp.method.name": "tools/call", "error.type": "tool_error"}, {"name": "tools/call x"}, True),
    ("nothing says", TOOL, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "rest", "error"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
def test_ending(attributes: dict[str, Any], rest: dict[str, Any], error: bool | None) -> None:
    assert step(made(attributes, **rest)).error is error


# Sessions


@pytest.mark.parametrize("value", ["[Scrubbed due to 'session']", "None", "null", "", "   ", "x" * 600, None, {}, True])
def test_what_is_no_session_id(value: Any) -> None:
    assert said(made({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "session.id": value})).session_id is None


def test_a_session_id_in_pythons_repr() -> None:
    told = repr({"session_id": "session-1234", "headers": {"a": None, "b": ("c",)}})
    assert said(made({"gen_ai.request.model": "m", "metadata.requester_metadata": told}, scope="litellm")).session_id == "session-1234"
    assert said(made({"gen_ai.request.model": "m", "metadata.requester_metadata": told[:-9]}, scope="litellm")).session_id is None


# VS Code Copilot Chat, from its documentation


def vscode() -> list[Span]:
    """A window's resource names a session that is none; tools bear no conversation."""
    window = {"service.name": "copilot-chat", "session.id": "window-1234567"}
    ids = {"gen_ai.conversation.id": "conversation-1", "gen_ai.provider.name": "github"}
    chat = made({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "copilot_chat.debug_name": "agent", **ids, **TOKENS,
                 "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.usage.reasoning_tokens": 5, "gen_ai.response.id": "chatcmpl-123456"},
                name="chat gpt-4o", span_id="b" * 16, parent="a" * 16, resource=window)  # fmt: skip
    tool = made({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "readFile", "gen_ai.tool.call.id": "call_12345678",
                 "error.type": "FileNotFound"}, name="execute_tool readFile", span_id="c" * 16, parent="a" * 16, resource=window, at=2)  # fmt: skip
    hook = made(
        {"gen_ai.operation.name": "execute_hook"}, name="execute_hook", span_id="d" * 16, parent="a" * 16, resource=window, status_code=2
    )
    agent = made({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "copilot", "copilot_chat.turn_count": 1, **ids,
                  "gen_ai.usage.input_tokens": 100}, name="invoke_agent copilot", resource=window, lasts=9)  # fmt: skip
    return [chat, tool, hook, agent]


@pytest.mark.parametrize("turned", [False, True])
def test_vscode_copilot(turned: bool) -> None:
    window = {"service.name": "copilot-chat", "session.id": "window-1234567"}
    details: dict[str, Any] = {"event.name": "gen_ai.client.inference.operation.details", "gen_ai.operation.name": "chat", **TOKENS,
                               "gen_ai.request.model": "gpt-4o", "gen_ai.response.id": "chatcmpl-123456"}  # fmt: skip
    logs = [
        record(details, at=1, resource=window),
        record({"event.name": "copilot_chat.tool.call", "gen_ai.tool.name": "readFile", "success": False}, at=3, resource=window),
        record({"event.name": "copilot_chat.session.start", "session.id": "window-1234567"}, resource=window),
    ]
    items: list[Span | LogRecord] = [*vscode(), *logs]
    steps, assembler = final(*(reversed(items) if turned else items))
    assert {one.dialect for one in steps} == {"vscode_copilot"}
    assert [(one.input_tokens, one.cached_input_tokens, one.reasoning_tokens) for one in of(StepKind.LLM, steps)] == [(100, 40, 5)]
    assert [(one.name, one.error, one.error_type) for one in of(StepKind.TOOL, steps)] == [("readFile", True, "FileNotFound")]
    assert {assembler.survivor(one.session).session_id for one in steps} == {"conversation-1"}


@pytest.mark.parametrize("turned", [False, True])
def test_vscode_copilots_model_calls_name_requests_where_others_name_the_conversation(turned: bool) -> None:
    window: dict[str, Any] = {"resource": {"service.name": "copilot-chat"}, "scope": "copilot-chat"}
    own = {"copilot_chat.session_id": "conversation-1", "copilot_chat.chat_session_id": "chat-session-1"}

    def turn(number: int) -> list[Span]:
        trace: dict[str, Any] = {"trace": str(number) * 32, "at": 10 * number, **window}
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "copilot", "gen_ai.conversation.id": "conversation-1", **own}
        calls = [
            made({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": f"request-{number}",
                  "gen_ai.response.id": f"request-{number}", "copilot_chat.time_to_first_token": 1, **own, **TOKENS},
                 span_id=name * 16, parent="a" * 16, **trace | {"at": 10 * number + at})
            for name, at in (("b", 0), ("c", 2))
        ]  # fmt: skip
        prompt = {"gen_ai.operation.name": "user_message", "copilot_chat.chat_session_id": "chat-session-1"}
        return [*calls, made(prompt, name="user_message", span_id="d" * 16, **trace), made(agent, lasts=5, **trace)]

    spans = [*turn(1), *turn(2)]
    steps, assembler = final(*(reversed(spans) if turned else spans))
    assert {assembler.survivor(one.session).session_id for one in steps} == {"chat-session-1"}
    assert (len(of(StepKind.LLM, steps)), len(of(StepKind.AGENT, steps)), len(steps)) == (4, 2, 6)
