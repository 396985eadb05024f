"""OpenLIT."""

from typing import ClassVar

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.values import as_text, ask
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import ToolAsk


class OpenLIT(OtelGenAI):
    """OpenLIT's instrumentations: GenAI conventions with one exception.

    Recognises: scope `openlit.…`.
    Keys: as `OtelGenAI`. Of the tools asked for the first one's `gen_ai.tool.name`, `.call.id` and `.args` stand on the model
    call, even with content off: no tool span.
    Tokens: for Anthropic the input EXCLUDES everything cached, which is added here; elsewhere it includes it.
    Session: none.
    Turn: none; calls are traces of their own unless the application has a span around them.
    Known gaps: tools are not traced.
    Versions seen: openlit 1.45.
    Switch: `capture_message_content=True`.
    """

    name: ClassVar[str] = "openlit"
    scopes: ClassVar[tuple[str, ...]] = ("openlit",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith("openlit") and super().recognises(span)

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("openlit") and super().recognises_log(record)

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        step = fragment.step
        if not fragment.asks and (requested := _requested(span.attributes)) is not None:
            fragment.asks, fragment.joins = (requested,), messages.joined((requested,), ())
        if step is None or step.input_tokens is None or step.provider != "anthropic":
            return fragment
        cached = (step.cached_input_tokens or 0) + (step.cache_write_tokens or 0)
        sent = span.attributes.get("gen_ai.usage.input_tokens")
        if cached and step.input_tokens == sent:
            fragment.step = msgspec.structs.replace(step, input_tokens=step.input_tokens + cached)
        return fragment


def _requested(attributes: Attributes) -> ToolAsk | None:
    """The call that the attributes of a model call name."""
    name = as_text(attributes.get("gen_ai.tool.name"))
    return ask(attributes.get("gen_ai.tool.call.id"), name, attributes.get("gen_ai.tool.args")) if name else None
