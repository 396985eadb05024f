"""Pydantic Logfire's integrations for the OpenAI and Anthropic SDKs and for OpenAI Agents."""

from typing import Any, ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.genai_keys import usage
from collector.dialects.messages import ASSISTANT, Exchange, Message
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Ending, Usage, failed
from collector.dialects.usage_json import completed, usage_of
from collector.dialects.values import as_dict, as_list, as_text, first, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_TEMPLATE: Final = "logfire.msg_template"


class Logfire(OtelGenAI):
    """Logfire's own integrations; Pydantic AI under Logfire has its own scope and dialect.

    Recognises: scopes `logfire.openai`, `logfire.anthropic`, `logfire.openai_agents` ….
    Keys: a span's NAME is a template; what it is follows from `logfire.msg_template`, `sdk_span_type` and the GenAI
    operation. Functions of OpenAI Agents: `name`, `input`, `output`, and `error` as JSON; messages in `events`.
    Tokens: input includes cached, output includes reasoning; both in the JSON of `gen_ai.usage.raw` and `usage`. Turn and
    task spans repeat totals in `usage`: never read.
    Session: `group_id` on the root of OpenAI Agents, else as `OtelGenAI`. Scrubbing replaces `session.id` always, and any
    value with certain words: what begins with `[Scrubbed` is refused.
    Turn: the root span of a run of OpenAI Agents, whose own `Turn` spans are one model call each; plain SDKs have none.
    Known gaps: why a tool of OpenAI Agents failed is redacted by that SDK.
    Versions seen: 5.2.
    Switch: keep `session.id` from scrubbing with a scrubbing callback.
    """

    name: ClassVar[str] = "logfire"
    scopes: ClassVar[tuple[str, ...]] = ("logfire",)

    def recognises(self, span: Span) -> bool:
        return (span.scope_name.startswith("logfire.") and "gen_ai.system" in span.attributes) or _is_trace(span)

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("logfire") and super().recognises_log(record)

    def kind(self, span: Span) -> StepKind | None:
        template = as_text(span.attributes.get(_TEMPLATE)) or span.name
        if template.startswith("Function:"):
            return StepKind.TOOL
        if template.startswith("Handoff:"):
            return StepKind.HANDOFF
        if span.scope_name == "logfire.openai_agents" and "gen_ai.operation.name" not in span.attributes:
            return StepKind.LLM if "response_id" in span.attributes else StepKind.AGENT
        return super().kind(span)

    def translate(self, span: Span) -> Fragment | None:
        if self.kind(span) is StepKind.HANDOFF:
            return self._handoff(span)
        return super().translate(span)

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        group = first_id(attributes, "group_id")
        return (group, (session, *others) if session else others) if group else (session, others)

    def agent_name(self, span: Span) -> str | None:
        attributes = span.attributes
        found = super().agent_name(span) or as_text(attributes.get("agent_name"))
        return as_text(attributes.get("name")) if found is None and "handoffs" in attributes else found

    def usage(self, attributes: Attributes) -> Usage:
        return completed(usage(attributes), usage_of(first(attributes, "gen_ai.usage.raw", "usage")))

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        fragment.twin_key = fragment.twin_key or first_id(span.attributes, "response_id")
        return fragment

    def content(self, span: Span) -> Exchange:
        attributes = span.attributes
        if "events" not in attributes or "gen_ai.output.messages" in attributes:
            return super().content(span)
        found: list[Message] = [
            messages.read(event.get("message") or event) for event in as_list(attributes["events"]) if isinstance(event, dict)
        ]
        end = len(found)
        while end and (found[end - 1].role in ASSISTANT or found[end - 1].asks):
            end -= 1
        start = max((i + 1 for i, message in enumerate(found[:end]) if message.role in ASSISTANT or message.asks), default=0)
        return messages.exchange(found[start:end], found[end:])

    def call(self, span: Span) -> tuple[Any, Any]:
        told, result = super().call(span)
        get = span.attributes.get
        return told if told is not None else get("input"), result if result is not None else get("output")

    def tool(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        if "gen_ai.tool.name" in attributes or "name" not in attributes:
            return super().tool(span)
        fields = {field: getattr(span, field) for field in span.__struct_fields__ if field != "attributes"}
        return super().tool(Span(**fields, attributes={**attributes, "gen_ai.tool.name": attributes["name"]}))

    def ending(self, span: Span) -> Ending:
        found = super().ending(span)
        error = as_dict(span.attributes.get("error"))
        if error and found.error_message is None:
            detail = as_dict(error.get("data")).get("error")
            return failed(found.error_type, as_text(detail) or as_text(error.get("message")))
        return found

    def _handoff(self, span: Span) -> Fragment:
        fragment = super().agent(span)
        if fragment.step is not None:
            target, origin = as_text(span.attributes.get("to_agent")), as_text(span.attributes.get("from_agent"))
            name = f"handoff to {target}" if target else None
            fragment.step = msgspec.structs.replace(fragment.step, kind=StepKind.HANDOFF, name=name, agent=origin)
        return fragment


def _is_trace(span: Span) -> bool:
    """The root of a run of OpenAI Agents, which alone carries the group."""
    return span.scope_name == "logfire.openai_agents" and "agent_trace_id" in span.attributes
