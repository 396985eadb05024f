"""OpenClaw's gateway."""

from typing import Any, ClassVar, Final

from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Ending, Usage, failed, inclusive
from collector.dialects.values import as_int, as_text, first, first_int
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_PREFIX: Final = "openclaw."


class OpenClaw(OtelGenAI):
    """OpenClaw: spans of its gateway.

    Recognises: span names that begin with `openclaw.`.
    Keys: `openclaw.model.call`, `openclaw.tool.execution` with `openclaw.content.tool_input`, `.tool_output` (opt-in);
    `openclaw.model.usage` repeats a call's tokens: the inner of the two counts. A failure is `openclaw.errorCategory`.
    Tokens: input EXCLUDES what was read from and written to the cache where a total says so, else as sent.
    Session: `session.id`, `gen_ai.conversation.id`, `langfuse.session.id`: off by default.
    Turn: `openclaw.run`.
    Known gaps: read from its documentation only.
    Versions seen: none.
    Switch: session ids and content are opt-in of its OpenTelemetry settings.
    """

    name: ClassVar[str] = "openclaw"
    names: ClassVar[tuple[str, ...]] = (_PREFIX,)

    def recognises(self, span: Span) -> bool:
        return span.name.startswith(_PREFIX)

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("openclaw") and super().recognises_log(record)

    def kind(self, span: Span) -> StepKind | None:
        kinds = {"model.call": StepKind.LLM, "model.usage": StepKind.LLM, "tool.execution": StepKind.TOOL, "run": StepKind.AGENT}
        return kinds.get(span.name.removeprefix(_PREFIX))

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        older = super().identity({"session.id": attributes.get("langfuse.session.id")})[0]
        return session or older, others

    def agent_name(self, span: Span) -> str | None:
        return super().agent_name(span) or as_text(span.attributes.get("openclaw.agent"))

    def usage(self, attributes: Attributes) -> Usage:
        return inclusive(
            first_int(attributes, "gen_ai.usage.input_tokens", "openclaw.tokens.input"),
            first_int(attributes, "gen_ai.usage.output_tokens", "openclaw.tokens.output"),
            read=first_int(attributes, "gen_ai.usage.cache_read.input_tokens", "openclaw.tokens.cache_read"),
            write=first_int(attributes, "gen_ai.usage.cache_write.input_tokens", "openclaw.tokens.cache_write"),
            total=as_int(attributes.get("openclaw.tokens.total")),
        )

    def call(self, span: Span) -> tuple[Any, Any]:
        arguments, result = super().call(span)
        get = span.attributes.get
        told = arguments if arguments is not None else get("openclaw.content.tool_input")
        return told, result if result is not None else get("openclaw.content.tool_output")

    def ending(self, span: Span) -> Ending:
        category = as_text(first(span.attributes, "openclaw.errorCategory", "openclaw.failureKind"))
        found = super().ending(span)
        return failed(category, None) if category is not None and found.error is not True else found
