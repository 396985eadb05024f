"""OpenLLMetry (Traceloop), current and older releases."""

from typing import Any, ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.envelopes import decoded, dispatched, mcp_result, returned_call, tool_arguments, tool_outcome
from collector.dialects.messages import Exchange, Message
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import SUCCESS, identity_only, model_call, tool_call, tool_kind
from collector.dialects.values import as_dict, as_text, ask, first, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_SPAN_KIND: Final = "traceloop.span.kind"
_PROPERTIES: Final = "traceloop.association.properties."
_SCOPES: Final = tuple(
    f"opentelemetry.instrumentation.{name}" for name in ("langchain", "openai.v1", "openai.v0", "anthropic", "crewai", "mcp", "llamaindex")
)
_ITEM: Final = "fc_"
"""With the Responses API some releases name a call by its item in the output, by which nothing else names it."""
_MCP: Final = "opentelemetry.instrumentation.mcp"
_JAVASCRIPT: Final = "@traceloop/instrumentation-langchain"
"""Names a tool's span after its class (`DynamicStructuredTool`): the tool's own name stands in its ToolMessage."""
_DECORATORS: Final = "traceloop.tracer"
_MARKS: Final = (
    _SPAN_KIND,
    "traceloop.workflow.name",
    "traceloop.entity.path",
    "llm.request.type",
    "gen_ai.prompt.0.role",
    "gen_ai.completion.0.role",
    _PROPERTIES + "session_id",
)


class OpenLLMetry(OtelGenAI):
    """OpenLLMetry's instrumentations and the Traceloop SDK's decorators.

    Recognises: a `traceloop.*` key, `llm.request.type`, or an indexed `gen_ai.prompt.0.…`.
    Keys: model calls as `OtelGenAI`; older releases `gen_ai.prompt.N.*`, `gen_ai.completion.N.*` and `llm.request.type`.
    Tools: `traceloop.span.kind` = tool or operation `execute_tool`; name `gen_ai.tool.name` or `traceloop.entity.name`,
    arguments `gen_ai.tool.call.arguments` or `traceloop.entity.input`, result likewise. LangChain's envelope (`input_str` as
    Python's repr beside the real `inputs`, a serialised ToolMessage), the decorators' (`args`, `kwargs`) and MCP's
    (`tool_name`, `arguments`; `result`, `is_error`) are opened. A handled failure has status UNSET and `gen_ai.task.status`
    = success: only the ToolMessage tells.
    Tokens: input includes cached, output includes reasoning.
    Session: `traceloop.association.properties.session_id`, else `.thread_id`, `.conversation_id`; `session.id`.
    LangGraph nodes (`execute_task`) that return one model message are twins of that model call.
    `create_agent` is a trace of its own in which nothing ran.
    A decorated function that is given a name and JSON arguments dispatches to the tool of that name.
    Turn: one `….workflow` or `….agent`, whichever is outermost; plain SDKs without decorators have none.
    Known gaps: other positional arguments have no names; 2025 releases of the OpenAI Agents instrumentation send
    neither arguments nor results; LangChain's calls have reasoning tokens only while content is sent.
    Versions seen: instrumentation 0.47 and 0.62.
    Switch: TRACELOOP_TRACE_CONTENT=true; `Traceloop.set_association_properties({"session_id": …})`.
    """

    name: ClassVar[str] = "openllmetry"
    marks: ClassVar[tuple[str, ...]] = _MARKS
    marked_scopes: ClassVar[frozenset[str]] = frozenset({_DECORATORS, *_SCOPES})

    def recognises(self, span: Span) -> bool:
        if span.scope_name == _DECORATORS or not span.attributes.keys().isdisjoint(_MARKS):
            return True
        return span.scope_name in _SCOPES and "gen_ai.operation.name" in span.attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name in _SCOPES and super().recognises_log(record)

    def translate(self, span: Span) -> Fragment | None:
        if self.kind(span) is None and _SPAN_KIND not in span.attributes:
            return identity_only(span, *self.identity(span.attributes), agent=self.agent_name(span))
        return super().translate(span)

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        if any(ask.call_id and ask.call_id.startswith(_ITEM) for ask in fragment.asks):
            fragment.asks = tuple(
                msgspec.structs.replace(ask, call_id=None) if ask.call_id and ask.call_id.startswith(_ITEM) else ask
                for ask in fragment.asks
            )
            fragment.joins = messages.joined(fragment.asks, fragment.answers)
        return fragment

    def agent(self, span: Span) -> Fragment:
        return self._reported(span) or super().agent(span)

    def _reported(self, span: Span) -> Fragment | None:
        """A graph's node that ran a model and returned its message alone: a second, richer record of that call.

        The message has what the call's own span lacks, reasoning tokens above all. Only releases that name the operation
        put the response id on both, by which the two are known as one.
        """
        attributes = span.attributes
        if attributes.get("gen_ai.operation.name") != "execute_task":
            return None
        call = returned_call(first(attributes, "gen_ai.task.output", "traceloop.entity.output"))
        if call is None:
            return None
        session, conversations = self.identity(attributes)
        agent = self.agent_name(span)
        return Fragment(
            step=model_call(span, self.name, call.model, call.usage, SUCCESS, agent=agent, response_id=call.response_id),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
            twin_key=call.response_id,
        )

    def kind(self, span: Span) -> StepKind | None:
        attributes = span.attributes
        label = attributes.get(_SPAN_KIND)
        if label == "tool" or attributes.get("gen_ai.operation.name") == "execute_tool":
            return StepKind.TOOL
        if isinstance(label, str):
            return StepKind.AGENT
        request = attributes.get("llm.request.type")
        if "gen_ai.operation.name" not in attributes and isinstance(request, str):
            return StepKind.RETRIEVAL if request in {"embedding", "rerank"} else StepKind.LLM
        return super().kind(span)

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        named = (first_id(attributes, _PROPERTIES + key) for key in ("session_id", "thread_id", "conversation_id", "chat_id"))
        # The application's own word goes before a conversation id that the framework made up.
        known = list(dict.fromkeys(found for found in (first_id(attributes, "session.id"), *named, session, *others) if found))
        return (known[0] if known else None), tuple(known[1:])

    def agent_name(self, span: Span) -> str | None:
        attributes = span.attributes
        found = as_text(first(attributes, "gen_ai.agent.name", _PROPERTIES + "lc_agent_name"))
        if found is None and attributes.get(_SPAN_KIND) == "agent":
            return as_text(attributes.get("traceloop.entity.name"))
        return found

    def content(self, span: Span) -> Exchange:
        attributes = span.attributes
        if "gen_ai.input.messages" in attributes or "gen_ai.output.messages" in attributes:
            return super().content(span)
        told = messages.numbered(attributes, "gen_ai.prompt.", ".")
        said = messages.numbered(attributes, "gen_ai.completion.", ".")
        if not told and not said:
            return super().content(span)
        return messages.exchange(messages.new(told, _message), [_message(fields) for fields in said])

    def tool(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        name = as_text(first(attributes, "gen_ai.tool.name", "traceloop.entity.name"))
        told = first(attributes, "gen_ai.tool.call.arguments", "traceloop.entity.input")
        if told is None and span.scope_name == _DECORATORS:
            # A decorated function may be a tool or dispatch to tools: only what it was given tells.
            name = None
        in_javascript = span.scope_name == _JAVASCRIPT
        name, arguments = (None, _only_argument(told)) if in_javascript else dispatched(told) or (name, tool_arguments(told))
        session, conversations = self.identity(attributes)
        agent = self.agent_name(span)
        said = decoded(first(attributes, "gen_ai.tool.call.result", "traceloop.entity.output"))
        outcome = tool_outcome(mcp_result(said) if span.scope_name.startswith(_MCP) else said)
        name = outcome.name if in_javascript else name
        kind = tool_kind(name, outcome.text, arguments)
        if kind is None:
            return identity_only(span, session, conversations, agent)
        ended = outcome.ending(self.ending(span))
        call_id = outcome.call_id or first_id(attributes, "gen_ai.tool.call.id")
        return Fragment(
            step=tool_call(span, self.name, kind, name, ended, agent=agent, call_id=call_id, arguments=arguments, result=outcome.text),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
            joins=(call_id,) if call_id else (),
        )


def _only_argument(value: Any) -> str | None:
    """What LangChain.js gives to its callbacks: all of a tool's arguments as one text."""
    args = as_dict(value).get("args")
    return tool_arguments(args[0]) if isinstance(args, list) and len(args) == 1 else None


def _message(fields: dict[str, Any]) -> Message:
    calls: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        if key.startswith("tool_calls."):
            number, _, rest = key[len("tool_calls.") :].partition(".")
            calls.setdefault(number, {})[rest] = value
    read = messages.read({key: fields.get(key) for key in ("role", "content", "tool_call_id")})
    asks = tuple(ask(call.get("id"), call.get("name"), call.get("arguments")) for call in calls.values())
    return Message(read.role, read.text, asks or read.asks, read.answers)
