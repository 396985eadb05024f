"""OpenClaw's gateway."""

from typing import Any, ClassVar, Final

import msgspec

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Ending, Usage, failed
from collector.dialects.values import as_int, as_text, first, first_int
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_PREFIX: Final = "openclaw."
_USAGE: Final = _PREFIX + "model.usage"


class OpenClaw(OtelGenAI):
    """OpenClaw: spans of its gateway.

    Recognises: span names that begin with `openclaw.`.
    Keys: `openclaw.model.usage` has the tokens of a run, of all its model calls together, and is told as one call;
    `openclaw.model.call` has none and is told where it failed only. `openclaw.tool.execution` with
    `openclaw.content.tool_input`, `.tool_output` (opt-in); `openclaw.outcome` = `blocked` is one that was not let run. A failure
    is `openclaw.errorCategory`.
    Tokens: `gen_ai.usage.input_tokens` includes cached, `openclaw.tokens.input` EXCLUDES what was read from and written to the cache.
    Session: `session.id`, `gen_ai.conversation.id`, `langfuse.session.id`: off by default; else the trace.
    Turn: `openclaw.run`.
    Known gaps: how many model calls a run made, the tokens of each, and how full the context was; read from its source and
    documentation only.
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

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        step = fragment.step
        if step is not None and span.name == _USAGE:
            fragment.step = msgspec.structs.replace(step, of_several=True)
        return fragment

    def translate(self, span: Span) -> Fragment | None:
        fragment = super().translate(span)
        step = None if fragment is None else fragment.step
        if fragment is not None and step is not None and step.kind is StepKind.LLM and step.input_tokens is None and not step.error:
            fragment.step = None
        return fragment

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        older = super().identity({"session.id": attributes.get("langfuse.session.id")})[0]
        return session or older, others

    def agent_name(self, span: Span) -> str | None:
        return super().agent_name(span) or as_text(span.attributes.get("openclaw.agent"))

    def usage(self, attributes: Attributes) -> Usage:
        read = first_int(attributes, "gen_ai.usage.cache_read.input_tokens", "openclaw.tokens.cache_read")
        write = first_int(
            attributes, "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_write.input_tokens", "openclaw.tokens.cache_write"
        )
        told = first_int(attributes, "gen_ai.usage.input_tokens")
        if told is None and (fresh := as_int(attributes.get("openclaw.tokens.input"))) is not None:
            told = fresh + (read or 0) + (write or 0)
        return Usage(told, first_int(attributes, "gen_ai.usage.output_tokens", "openclaw.tokens.output"), read, write)

    def call(self, span: Span) -> tuple[Any, Any]:
        arguments, result = super().call(span)
        get = span.attributes.get
        told = arguments if arguments is not None else get("openclaw.content.tool_input")
        return told, result if result is not None else get("openclaw.content.tool_output")

    def ending(self, span: Span) -> Ending:
        category = as_text(first(span.attributes, "openclaw.errorCategory", "openclaw.failureKind"))
        if span.attributes.get("openclaw.outcome") == "blocked":
            return failed("blocked", as_text(span.attributes.get("openclaw.deniedReason")))
        found = super().ending(span)
        return failed(category, None) if category is not None and found.error is not True else found
