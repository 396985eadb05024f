"""Mastra."""

from typing import ClassVar, Final

import msgspec

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.values import first_id
from collector.telemetry_data import Attributes, LogRecord, Span

_META: Final = "mastra.metadata."


class Mastra(OtelGenAI):
    """Mastra's OpenTelemetry exporter: GenAI conventions in layers.

    Recognises: `mastra.span.type`.
    Keys: as `OtelGenAI`; the truth about a model call is on `chat` (`model_inference`); `model_generation`,
    `agent_step` and `model_chunk` wrap it and are agents. A failed tool has status OK and `{"error": true, …}` as its
    result; a failed model call has status OK and `error` as its finish reason.
    Tokens: input includes cached, output includes reasoning.
    Session: `mastra.metadata.sessionId`, `.threadId`; `.runId` names one run of it.
    Turn: one agent run.
    Known gaps: tool calls asked for stand on `agent_step` only, not on the model call.
    Versions seen: otel-exporter 1.4.
    Switch: none.
    """

    name: ClassVar[str] = "mastra"
    marks: ClassVar[tuple[str, ...]] = ("mastra.span.type",)
    ok_tells: ClassVar[bool] = False

    def recognises(self, span: Span) -> bool:
        return "mastra.span.type" in span.attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("@mastra/") and super().recognises_log(record)

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        named = (first_id(attributes, _META + key) for key in ("sessionId", "session_id", "threadId", "thread_id"))
        known = list(dict.fromkeys(found for found in (*named, session, *others) if found))
        run = first_id(attributes, _META + "runId")
        return (known[0] if known else None), (*known[1:], run) if run else tuple(known[1:])

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        step = fragment.step
        if step is not None and step.error is not True and "error" in step.finish_reasons:
            fragment.step = msgspec.structs.replace(step, error=True)
        return fragment
