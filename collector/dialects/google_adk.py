"""Google's Agent Development Kit."""

import re
from typing import Any, ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.messages import Exchange
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Usage, identity_only
from collector.dialects.values import as_dict, as_int, as_text, first, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_OWN: Final = "gcp.vertex.agent."
_INVOCATION: Final = "invocation"
_AGENT_RUN: Final = re.compile(r"agent_run \[(.+)\]$")
"""Releases of 2025 name the agent in the span's name and give the span no attributes."""
_NOT_SENT: Final = frozenset({"N/A", "{}", "<not serializable>"})


class GoogleADK(OtelGenAI):
    """Google ADK 1 and 2: GenAI conventions, and its own keys of before.

    Recognises: scope `gcp.vertex.agent`.
    Keys: as `OtelGenAI`; 2025 releases have `call_llm` without an operation, with `gcp.vertex.agent.llm_request` and
    `.llm_response` as JSON, and tools with `.tool_call_args`, `.tool_response`. By default content comes in log records
    only, if at all. For parallel calls there is one more tool span, `(merged tools)`: no call. `TOOL_ERROR` is all that
    a tool's failure says.
    Tokens: input includes cached. Releases of 2025 tell neither what was cached nor what was thought, and of Gemini the output
    EXCLUDES thoughts: both stand in the raw response, where content is sent, and are taken from there. Later, through LiteLLM,
    the output has the reasoning added a second time: it is taken off where the model is none of Google's.
    Session: `gen_ai.conversation.id`, or `gcp.vertex.agent.session_id` on model calls only.
    Turn: one `invocation`, `invoke_workflow` or `invoke_agent` root.
    Known gaps: thoughts in releases of 2025 without content; finish reason is `stop` even where tools were called; with
    default flags tools have no arguments.
    Versions seen: google-adk 1.14 and 2.13.
    Switch: OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT and OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental.
    """

    name: ClassVar[str] = "google_adk"
    scopes: ClassVar[tuple[str, ...]] = ("gcp.vertex.agent",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith("gcp.vertex.agent")

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith("gcp.vertex.agent") and super().recognises_log(record)

    def kind(self, span: Span) -> StepKind | None:
        attributes = span.attributes
        if not attributes and (span.name == _INVOCATION or _AGENT_RUN.match(span.name)):
            return StepKind.AGENT
        if "gen_ai.operation.name" not in attributes and "gen_ai.usage.output_tokens" not in attributes:
            # `call_llm` of a failed call, or one of the newer releases' wrappers around `generate_content`.
            return StepKind.LLM if "gen_ai.request.model" in attributes and _OWN + "llm_request" in attributes else super().kind(span)
        return super().kind(span)

    def agent_name(self, span: Span) -> str | None:
        run = _AGENT_RUN.match(span.name) if not span.attributes else None
        return super().agent_name(span) if run is None else run[1]

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        own = first_id(attributes, _OWN + "session_id")
        invocation = first_id(attributes, _OWN + "invocation_id")
        return session or own, (*others, invocation) if invocation else others

    def usage(self, attributes: Attributes) -> Usage:
        found = super().usage(attributes)
        if found.cached_input_tokens is not None or _OWN + "llm_response" not in attributes:
            return found
        model = as_text(attributes.get("gen_ai.request.model")) or ""
        told = as_dict(as_dict(attributes[_OWN + "llm_response"]).get("usage_metadata")) if "gemini" in model else {}
        read, thoughts, total = (
            as_int(told.get(key)) for key in ("cached_content_token_count", "thoughts_token_count", "total_token_count")
        )
        said = found.output_tokens
        if said is not None and thoughts and total == (found.input_tokens or 0) + said + thoughts:
            said += thoughts
        return found._replace(cached_input_tokens=read, reasoning_tokens=thoughts or found.reasoning_tokens, output_tokens=said)

    def content(self, span: Span) -> Exchange:
        request, response = (as_dict(span.attributes.get(_OWN + key)) for key in ("llm_request", "llm_response"))
        if not request and not response:
            return super().content(span)
        content = response.get("content")
        return messages.exchange(
            messages.trailing(request.get("contents")), messages.messages(content) if isinstance(content, dict) else ()
        )

    def call(self, span: Span) -> tuple[Any, Any]:
        told, result = super().call(span)
        own = (as_text(span.attributes.get(_OWN + key)) for key in ("tool_call_args", "tool_response"))
        own_told, own_result = (None if text in _NOT_SENT else text for text in own)
        found = result if result is not None else own_result
        answer = as_dict(found)
        # Functions that return no dict have their value wrapped into one.
        return told if told is not None else own_told, answer["result"] if answer.keys() == {"result"} else found

    def tool(self, span: Span) -> Fragment | None:
        if as_text(first(span.attributes, "gen_ai.tool.name")) == "(merged tools)" or span.name == "execute_tool (merged)":
            return identity_only(span, *self.identity(span.attributes))
        return super().tool(span)

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        step = fragment.step
        if step is not None and step.output_tokens and step.reasoning_tokens and "gemini" not in (step.model or "gemini"):
            fragment.step = msgspec.structs.replace(step, output_tokens=max(step.output_tokens - step.reasoning_tokens, 0))
        return fragment
