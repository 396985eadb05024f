"""Block's Goose."""

from typing import Any, ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import identity_only
from collector.dialects.values import as_dict, as_text, first
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind

_KINDS: Final = {
    "reply": StepKind.AGENT,
    "complete": StepKind.LLM,
    "stream_response_from_provider": StepKind.LLM,
    "dispatch_tool_call": StepKind.TOOL,
}
_CALL: Final = frozenset({"tool", "arguments"})
_OUTCOME: Final = frozenset({"status", "value"})


class Goose(OtelGenAI):
    """Goose: spans of its Rust core.

    Recognises: resource `service.name` = `goose`, or scope `goose`.
    Keys: model calls are `complete`, `stream_response_from_provider` or, in later releases, `chat`: where one is within another,
    they are one call. `dispatch_tool_call` has `input` (JSON of `tool` and `arguments`) and `output` (`status` and `value`),
    later `gen_ai.tool.*` as `OtelGenAI`. `reply` and `reply_stream` are a turn. Other spans are its own work.
    Tokens: as `OtelGenAI`, of later releases; earlier ones send none. `reply_stream` repeats the turn's: never read.
    Session: `session.id`.
    Turn: one `reply`.
    Known gaps: tokens of earlier releases; read from its source and documentation only.
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
        known = _KINDS.get(span.name)
        return super().kind(span) if known is None and "gen_ai.operation.name" in span.attributes else known

    def translate(self, span: Span) -> Fragment | None:
        return super().translate(span) if self.kind(span) is not None else identity_only(span, *self.identity(span.attributes))

    def call(self, span: Span) -> tuple[Any, Any]:
        get = span.attributes.get
        arguments, result = super().call(span)
        told, outcome = as_dict(get("input")), as_dict(get("output"))
        if arguments is None:
            arguments = told["arguments"] if told.keys() == _CALL else get("input")
        if result is None:
            # What failed stays as it is: its status tells.
            succeeded = outcome.keys() == _OUTCOME and outcome["status"] == "success"
            result = as_dict(outcome["value"]).get("content", outcome["value"]) if succeeded else get("output")
        return arguments, result

    def tool_name(self, span: Span) -> str | None:
        named = as_text(first(span.attributes, "gen_ai.tool.name", "tool_name", "tool_call.name", "tool.name"))
        told = as_dict(span.attributes.get("input")) if named is None else {}
        return as_text(told["tool"]) if told.keys() == _CALL else named
