"""LiteLLM's proxy."""

from typing import Any, ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.genai_keys import usage
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Usage, step
from collector.dialects.usage_json import completed, usage_of
from collector.dialects.values import as_id, as_text, first_id, from_repr
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_RAW: Final = "llm."
_RETRIEVALS: Final = frozenset({"embedding", "aembedding", "embeddings", "rerank", "arerank"})


class LiteLLM(OtelGenAI):
    """LiteLLM proxy's `otel` callback: a gateway between agents and models.

    Recognises: scope `litellm`.
    Keys: model calls as `OtelGenAI`, under any span name, with operation `acompletion` or `chat`. Tool calls asked for
    are left out of `gen_ai.output.messages`; they stand in the child span with the raw answer (`llm.<vendor>.choices`, a
    Python repr), else in the next request's history. Spans of the gateway's own work are none of an agent's.
    Tokens: input includes cached, output includes reasoning; both only in `metadata.usage_object`, a Python repr.
    `gen_ai.cost.total_cost` is the gateway's reckoning.
    Session: `session_id`, else `thread_id`, `conversation_id`, in `metadata.requester_metadata`, a Python repr; without one
    each request is a trace, and tool-call ids join them.
    Turn: none that the gateway sees.
    Known gaps: tools run elsewhere: their calls show through the next request only.
    Versions seen: litellm otel callback of 2026, older and latest conventions.
    Switch: send `metadata.session_id` with each request.
    """

    name: ClassVar[str] = "litellm"
    scopes: ClassVar[tuple[str, ...]] = ("litellm",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith("litellm")

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("litellm")

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None

    def translate(self, span: Span) -> Fragment | None:
        if "gen_ai.request.model" in span.attributes:
            return super().translate(span)
        return self._raw(span)

    def kind(self, span: Span) -> StepKind | None:
        if as_text(span.attributes.get("gen_ai.operation.name")) in _RETRIEVALS:
            return StepKind.RETRIEVAL
        return StepKind.LLM

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        told = from_repr(attributes.get("metadata.requester_metadata"))
        asked = told if isinstance(told, dict) else {}
        named = (first_id(asked, key) for key in ("session_id", "litellm_session_id", "thread_id", "conversation_id"))
        known = list(dict.fromkeys(found for found in (*named, session, *others) if found))
        return (known[0] if known else None), tuple(known[1:])

    def usage(self, attributes: Attributes) -> Usage:
        return completed(usage(attributes), usage_of(from_repr(attributes.get("metadata.usage_object"))))

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        asked = {ask.call_id: ask for ask in messages.last_asks(span.attributes.get("gen_ai.input.messages")) if ask.call_id}
        fragment.answers = tuple(
            msgspec.structs.replace(one, name=one.name or asked[one.call_id].name, arguments=asked[one.call_id].arguments)
            if one.call_id in asked
            else one
            for one in fragment.answers
        )
        return fragment

    def _raw(self, span: Span) -> Fragment | None:
        """The provider's answer as it came: it completes the call above it."""
        if span.parent_span_id is None:
            return None
        found = {key.rpartition(".")[2]: value for key, value in span.attributes.items() if key.startswith(_RAW) and key.count(".") == 2}
        choices: Any = from_repr(found.get("choices"))
        if not isinstance(choices, list):
            return None
        said = messages.exchange((), [messages.read(item.get("message")) for item in choices if isinstance(item, dict)])
        tokens = usage_of(from_repr(found.get("usage")))
        facts = step(span, self.name, StepKind.LLM, output_text=said.output_text, asks=said.asks, **tokens._asdict())
        response_id = as_id(found.get("id"))
        return Fragment(step=facts, supplements=span.parent_span_id, asks=said.asks, joins=said.joins, twin_key=response_id)
