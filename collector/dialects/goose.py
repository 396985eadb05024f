"""Block's Goose."""

from typing import Any, ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import identity_only
from collector.dialects.values import as_text, first
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind

_KINDS: Final = {
    "reply": StepKind.AGENT,
    "complete": StepKind.LLM,
    "stream_response_from_provider": StepKind.LLM,
    "dispatch_tool_call": StepKind.TOOL,
}


class Goose(OtelGenAI):
    """Goose: spans of its Rust core.

    Recognises: resource `service.name` = `goose`, or scope `goose`.
    Keys: `complete` and `stream_response_from_provider` are model calls with `gen_ai.request.model`;
    `dispatch_tool_call` has `input` and `output`; `reply` is a turn. Other spans are its own work.
    Tokens: none on spans.
    Session: `session.id` on `reply` and `dispatch_tool_call`.
    Turn: one `reply`.
    Known gaps: tokens; read from its documentation only.
    Versions seen: none.
    Switch: OTEL_EXPORTER_OTLP_ENDPOINT.
    """

    name: ClassVar[str] = "goose"

    names: ClassVar[tuple[str, ...]] = tuple(_KINDS)
    marked_scopes: ClassVar[frozenset[str]] = frozenset({"goose"})

    def recognises(self, span: Span) -> bool:
        return span.scope_name == "goose" or (span.name in _KINDS and span.resource.get("service.name") == "goose")

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == "goose" and super().recognises_log(record)

    def kind(self, span: Span) -> StepKind | None:
        return _KINDS.get(span.name)

    def translate(self, span: Span) -> Fragment | None:
        return super().translate(span) if span.name in _KINDS else identity_only(span, *self.identity(span.attributes))

    def call(self, span: Span) -> tuple[Any, Any]:
        get = span.attributes.get
        arguments, result = super().call(span)
        return arguments if arguments is not None else get("input"), result if result is not None else get("output")

    def tool_name(self, span: Span) -> str | None:
        return as_text(first(span.attributes, "gen_ai.tool.name", "tool_name", "tool_call.name", "tool.name"))
