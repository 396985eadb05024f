"""Anthropic's own SDK."""

from typing import ClassVar, Final

import msgspec

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.values import as_texts
from collector.telemetry_data import LogRecord, Span

_SCOPE: Final = "com.anthropic.sdk"


class AnthropicSDK(OtelGenAI):
    """Anthropic's SDK, which emits spans of its own as soon as a tracer provider is set.

    Recognises: scopes `com.anthropic.sdk.…`.
    Keys: as `OtelGenAI`; the stop reason in `anthropic.message.stop_reason`. Beside any other instrumentation of
    Anthropic these spans are a second copy: the response id, or for failed calls time and error, make the two one, and
    where figures differ these are believed.
    Tokens: input includes what was read from and written to the cache; reasoning is not told apart.
    Session: none; tool-call ids join the calls where content is sent.
    Turn: none; every call is a trace of its own.
    Known gaps: tools are not traced.
    Versions seen: the Python SDK of 2026.
    Switch: ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE=content.
    """

    name: ClassVar[str] = "anthropic_sdk"
    scopes: ClassVar[tuple[str, ...]] = (_SCOPE,)

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith(_SCOPE) and super().recognises(span)

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith(_SCOPE) and super().recognises_log(record)

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        fragment.authority = 1
        step = fragment.step
        if step is not None and not step.finish_reasons and (reasons := as_texts(span.attributes.get("anthropic.message.stop_reason"))):
            fragment.step = msgspec.structs.replace(step, finish_reasons=reasons)
        return fragment
