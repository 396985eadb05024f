"""Microsoft AutoGen's own instrumentation."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec

from collector.decode_limits import MAX_TIME
from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import SUCCESS, model_call
from collector.dialects.usage_json import usage_of
from collector.dialects.values import answer, as_bool, as_dict, as_id, as_list, as_text
from collector.telemetry_data import LogRecord, Span

_HOPS: Final = "autogen "
_MAX_INNER: Final = 64


class AutoGen(OtelGenAI):
    """AutoGen 0.7: agents, tools, and every message between agents as a span of its own.

    Recognises: scopes `autogen-core`, `autogen SingleThreadedAgentRuntime` and others that begin with `autogen`.
    Keys: agents and tools as `OtelGenAI`, tools without arguments and results. A model call has no span: what it said and
    used stands in the JSON of `message` of `autogen process …` spans, whose `models_usage` is not null. The same message
    reaches several agents: its id makes its records one. Requests and outcomes of tool calls stand there too.
    Tokens: `models_usage`: input includes cached, output includes reasoning; neither part is told apart.
    Session: none. Every hop of a message is a trace of its own; links and tool-call ids join them.
    Turn: one `invoke_agent` for each agent that speaks; one `GroupChatStart` begins the task, nothing marks its end.
    Known gaps: model, cached and reasoning tokens; how long a model call took.
    Versions seen: autogen-agentchat 0.7.
    Switch: none; add an instrumentation of the model client for models and cached tokens.
    """

    name: ClassVar[str] = "autogen"
    scopes: ClassVar[tuple[str, ...]] = ("autogen",)
    unset_is_ok: ClassVar[bool] = False

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith("autogen")

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("autogen") and super().recognises_log(record)

    def translate(self, span: Span) -> Fragment | None:
        if "gen_ai.operation.name" in span.attributes:
            return super().translate(span)
        found = as_dict(span.attributes.get("message")) if span.name.startswith(_HOPS) else {}
        response = as_dict(found.get("response"))
        told = [found.get("message"), *as_list(response.get("inner_messages"))[-_MAX_INNER:], response.get("chat_message")]
        parts = tuple(part for message in told if isinstance(message, dict) and (part := self._part(span, message)) is not None)
        # Even a span that says nothing holds the chain of links together.
        return Fragment(parts=parts)

    def _part(self, span: Span, message: dict[str, Any]) -> Fragment | None:
        label = as_text(message.get("type"))
        if label == "ToolCallExecutionEvent":
            return _outcomes(message)
        tokens = usage_of(message.get("models_usage"))
        message_id = as_id(message.get("id"))
        if tokens.input_tokens is None or message_id is None:
            return None
        content = message.get("content")
        calls = {"role": "assistant", "tool_calls": content} if isinstance(content, list) else {"role": "assistant", "content": content}
        said = messages.exchange((), [messages.read(calls)])
        agent = as_text(message.get("source"))
        found = model_call(span, self.name, None, tokens, SUCCESS, said=said, agent=agent, response_id=message_id)
        at_ns = _time(message.get("created_at")) or span.start_ns
        found = msgspec.structs.replace(found, started_ns=at_ns, ended_ns=at_ns)
        return Fragment(step=found, twin_key=message_id, agent=agent, asks=said.asks, joins=said.joins, at_ns=at_ns)


def _outcomes(message: dict[str, Any]) -> Fragment | None:
    found = [item for item in as_list(message.get("content")) if isinstance(item, dict)]
    answers = tuple(answer(item.get("call_id"), item.get("name"), item.get("content"), as_bool(item.get("is_error"))) for item in found)
    return Fragment(answers=answers, joins=messages.joined((), answers), at_ns=_time(message.get("created_at")) or 0) if answers else None


def _time(value: Any) -> int | None:
    text = as_text(value)
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if at is None:
        return None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    at_ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    return at_ns if 0 <= at_ns <= MAX_TIME else None
