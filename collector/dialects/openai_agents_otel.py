"""OpenTelemetry's contributed instrumentation of OpenAI Agents."""

from typing import ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.messages import Exchange
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import identity_only
from collector.dialects.values import as_text, first, from_repr
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind

_SCOPE: Final = "opentelemetry.instrumentation.openai_agents"
_NO_NAME: Final = "OpenAI Agent"


class OpenAIAgentsOtel(OtelGenAI):
    """The contributed `openai-agents-v2` instrumentation.

    Recognises: scope `opentelemetry.instrumentation.openai_agents` without Traceloop's keys.
    Keys: as `OtelGenAI`. The constant `OpenAI Agent` is no agent's name; operation `unknown` marks turns and tasks;
    `agent_handoff` is a hand-off. Tool calls asked for are a Python repr inside a text part of the output.
    Tokens: input includes cached, output includes reasoning; neither part is sent.
    Session: none: the SDK's group id is dropped.
    Turn: the root span, one run.
    Known gaps: cached and reasoning tokens, session, why a tool failed (redacted by the SDK), outcomes in prompts.
    Versions seen: openai-agents-v2 of 2026.
    Switch: none; content is on unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT turns it off.
    """

    name: ClassVar[str] = "openai_agents_otel"
    scopes: ClassVar[tuple[str, ...]] = (_SCOPE,)

    def recognises(self, span: Span) -> bool:
        return span.scope_name == _SCOPE and "gen_ai.operation.name" in span.attributes and "traceloop.span.kind" not in span.attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == _SCOPE and super().recognises_log(record)

    def agent_name(self, span: Span) -> str | None:
        found = super().agent_name(span)
        return None if found == _NO_NAME else found

    def translate(self, span: Span) -> Fragment | None:
        operation = span.attributes.get("gen_ai.operation.name")
        if operation == "unknown":
            return identity_only(span, *self.identity(span.attributes))
        fragment = super().translate(span)
        if operation == "agent_handoff" and fragment is not None and fragment.step is not None:
            target = as_text(first(span.attributes, "gen_ai.handoff.to_agent", "gen_ai.agent.handoff.to"))
            target = target or span.name.removeprefix("agent_handoff").strip() or None
            fragment.step = msgspec.structs.replace(fragment.step, kind=StepKind.HANDOFF, name=f"handoff to {target}" if target else None)
        return fragment

    def content(self, span: Span) -> Exchange:
        said = super().content(span)
        if said.asks or said.output_text is None:
            return said
        calls = []
        for line in said.output_text.splitlines():
            found = from_repr(line) if line.startswith(("{'", "[{'")) else None
            calls += [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]
        asks = messages.exchange((), [messages.read(item) for item in calls]).asks
        return msgspec.structs.replace(said, asks=asks, joins=messages.joined(asks, said.answers)) if asks else said
