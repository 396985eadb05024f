"""LangSmith's OpenTelemetry exporter."""

from typing import Any, ClassVar, Final

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.envelopes import tool_arguments, tool_outcome
from collector.dialects.genai_keys import usage
from collector.dialects.messages import Exchange
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Ending, Usage, failed
from collector.dialects.usage_json import completed, usage_of
from collector.dialects.values import as_dict, as_id, as_text, first, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_META: Final = "langsmith.metadata."
_KIND: Final = "langsmith.span.kind"
_DETAILS: Final = ("input_token_details", "output_token_details")


class LangSmith(OtelGenAI):
    """LangSmith SDK's export of LangChain runs.

    Recognises: `langsmith.span.kind`.
    Keys: operation and tool names as `OtelGenAI`; `gen_ai.prompt` and `gen_ai.completion` are JSON in LangChain's
    serialisation, on tools their arguments and their ToolMessage, whose `status` alone tells a handled failure.
    Tokens: input includes cached, output includes reasoning; both only in the JSON of `langsmith.metadata.usage_metadata`, or
    with the JavaScript SDK of `gen_ai.usage.input_token_details` and `.output_token_details`.
    Session: `langsmith.metadata.session_id`, else `.thread_id`, `.conversation_id`. `langsmith.trace.session_name` is the
    project: never read.
    Turn: the root run.
    Known gaps: none known.
    Versions seen: 0.15; the JavaScript SDK's source.
    Switch: LANGSMITH_OTEL_ENABLED=true; pass `session_id` or `thread_id` as metadata.
    """

    name: ClassVar[str] = "langsmith"
    marks: ClassVar[tuple[str, ...]] = ("langsmith.span.kind",)

    def recognises(self, span: Span) -> bool:
        return "langsmith.span.kind" in span.attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == "langsmith" and super().recognises_log(record)

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        named = (first_id(attributes, _META + key) for key in ("session_id", "thread_id", "conversation_id"))
        known = list(dict.fromkeys(found for found in (*named, session, *others) if found))
        return (known[0] if known else None), tuple(known[1:])

    def agent_name(self, span: Span) -> str | None:
        return super().agent_name(span) or as_text(span.attributes.get(_META + "lc_agent_name"))

    def kind(self, span: Span) -> StepKind | None:
        # A prompt template that is filled in has the operation `chat` too.
        return None if span.attributes.get(_KIND) == "prompt" else super().kind(span)

    def usage(self, attributes: Attributes) -> Usage:
        known = completed(usage(attributes), usage_of(attributes.get(_META + "usage_metadata")))
        details = {key: attributes[f"gen_ai.usage.{key}"] for key in _DETAILS if f"gen_ai.usage.{key}" in attributes}
        return completed(known, usage_of(details)) if details else known

    def tool_name(self, span: Span) -> str | None:
        return super().tool_name(span) or as_text(span.attributes.get("langsmith.trace.name")) or as_text(span.name)

    def content(self, span: Span) -> Exchange:
        told = as_dict(span.attributes.get("gen_ai.prompt")).get("messages")
        said = _message(span.attributes)
        return messages.exchange(messages.trailing(told), [messages.read(said)] if said else ())

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        metadata = as_dict(messages.unwrapped(_message(span.attributes)).get("response_metadata"))
        fragment.twin_key = fragment.twin_key or as_id(metadata.get("id"))
        return fragment

    def call(self, span: Span) -> tuple[Any, Any]:
        attributes = span.attributes
        told = first(attributes, "gen_ai.tool.call.arguments", "gen_ai.prompt")
        wrapped = as_dict(told)
        # The JavaScript SDK keeps all arguments as one text.
        inner = wrapped["input"] if wrapped.keys() == {"input"} else None
        told = inner if isinstance(inner, str) and as_dict(inner) else told
        return tool_arguments(told), tool_outcome(first(attributes, "gen_ai.tool.call.result", "gen_ai.completion")).text

    def ending(self, span: Span) -> Ending:
        found = super().ending(span)
        if found.error is True or span.attributes.get(_KIND) != "tool":
            return found
        outcome = tool_outcome(first(span.attributes, "gen_ai.tool.call.result", "gen_ai.completion"))
        return failed(None, outcome.text) if outcome.error else Ending(error=outcome.error)


def _message(attributes: Attributes) -> dict[str, Any]:
    """The model's message out of LangChain's list of lists of generations, or of OpenAI's response."""
    response = as_dict(attributes.get("gen_ai.completion"))
    choices = response.get("choices")
    if isinstance(choices, list) and choices:
        return as_dict(as_dict(choices[0]).get("message"))
    generations = response.get("generations")
    while isinstance(generations, list) and generations:
        generations = generations[0]
    return as_dict(generations.get("message")) if isinstance(generations, dict) else {}
