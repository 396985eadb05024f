"""Alibaba's Qwen Code, a fork of Gemini CLI."""

from typing import Any, ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import SUCCESS, UNKNOWN_ENDING, failed, identity_only, inclusive, log_step
from collector.dialects.values import as_bool, as_int, as_text, as_texts, first, first_id, json_text
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_PREFIX: Final = "qwen-code."


class QwenCode(OtelGenAI):
    """Qwen Code: log records and spans of the same calls.

    Recognises: span names and `event.name` that begin with `qwen-code.`.
    Keys: spans `qwen-code.llm_request`, `.tool`, `.interaction` as `OtelGenAI`; records `.api_response`, `.api_error`,
    `.tool_call` under Gemini CLI's names. Both kinds of one call are twins: by tool-call id, else by tokens and time.
    Hooks have failed spans in healthy runs: their spans are no steps.
    Tokens: input includes cached; unlike Gemini CLI's the output INCLUDES thoughts.
    Session: `session.id`; `prompt_id` holds it too, with the turn's number behind.
    Turn: one `qwen-code.interaction`, a trace.
    Known gaps: a tool's result; calls that its loop guard cuts off have no record of a response, but a span.
    Versions seen: 0.24 (from its tables).
    Switch: telemetry with logs and traces on.
    """

    name: ClassVar[str] = "qwen_code"
    names: ClassVar[tuple[str, ...]] = (_PREFIX,)

    def recognises(self, span: Span) -> bool:
        return span.name.startswith(_PREFIX)

    def translate(self, span: Span) -> Fragment | None:
        name = span.name.removeprefix(_PREFIX)
        if name in {"llm_request", "tool", "interaction"}:
            fragment = {"llm_request": self.llm, "tool": self.tool, "interaction": self.agent}[name](span)
            if fragment is not None and fragment.step is not None and fragment.step.kind is StepKind.TOOL:
                fragment.twin_key = fragment.step.call_id
            return fragment
        return identity_only(span, *self.identity(span.attributes))

    def recognises_log(self, record: LogRecord) -> bool:
        event = record.attributes.get("event.name")
        return isinstance(event, str) and event.startswith(_PREFIX)

    def translate_log(self, record: LogRecord) -> Fragment | None:
        attributes = record.attributes
        event = (as_text(attributes.get("event.name")) or "").removeprefix(_PREFIX)
        session, others = self.identity(attributes)
        agent = as_text(first(attributes, "subagent_name", "gen_ai.agent.name"))
        facts = self._facts(event, attributes)
        if facts is None:
            return None
        kind = StepKind.TOOL if event == "tool_call" else StepKind.LLM
        found = log_step(record, self.name, kind, duration_ms=attributes.get("duration_ms"), agent=agent, **facts)
        call_id = found.call_id
        return Fragment(
            step=found,
            session_id=session,
            conversation_ids=others,
            agent=agent,
            twin_key=call_id or found.response_id,
            joins=(call_id,) if call_id else (),
        )

    def _facts(self, event: str, attributes: Attributes) -> dict[str, Any] | None:
        get = attributes.get
        model = as_text(first(attributes, "model", "model_name"))
        if event == "api_response":
            tokens = inclusive(
                as_int(get("input_token_count")),
                as_int(get("output_token_count")),
                read=as_int(get("cached_content_token_count")),
                reasoning=as_int(get("thoughts_token_count")),
            )
            return {
                "name": model,
                "model": model,
                "response_id": first_id(attributes, "response_id", "gen_ai.response.id"),
                "finish_reasons": as_texts(get("finish_reasons")),
                **tokens._asdict(),
                **SUCCESS._asdict(),
            }
        if event == "api_error":
            message = as_text(first(attributes, "error", "error_message", "error.message"))
            ended = failed(as_text(first(attributes, "error_type", "error.type")), message, as_int(get("status_code")))
            return {"name": model, "model": model, **ended._asdict()}
        if event != "tool_call":
            return None
        succeeded = as_bool(get("success"))
        ended = UNKNOWN_ENDING if succeeded is None else SUCCESS
        if succeeded is False:
            ended = failed(as_text(first(attributes, "error_type", "error.type")), as_text(first(attributes, "error", "error.message")))
        return {
            "name": as_text(get("function_name")),
            "call_id": first_id(attributes, "call_id", "gen_ai.tool.call.id"),
            "arguments": json_text(get("function_args")),
            "output_bytes": as_int(get("content_length")),
            **ended._asdict(),
        }
