"""Claude Code."""

import re
from typing import Any, ClassVar, Final

import msgspec

from collector.dialects.base import Fragment, ToolAnswer
from collector.dialects.genai_keys import other_tier
from collector.dialects.steps import (
    SUCCESS,
    UNKNOWN_ENDING,
    Ending,
    Usage,
    ending,
    failed,
    identity_only,
    lasting,
    log_step,
    step,
    tool_call,
)
from collector.dialects.values import answer, as_bool, as_int, as_text, as_texts, as_usd, first, first_id, first_int, json_text
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_SCOPE: Final = "com.anthropic.claude_code"
_PREFIX: Final = "claude_code."
_BETWEEN: Final = "\n\n---\n\n"
_REMINDER: Final = "\n\n<system-reminder>"
_RESULT: Final = re.compile(r"\[TOOL RESULT: (\w+)\]$")
_REJECTED: Final = "<tool_use_error>"
"""How the outcome of a call begins that validation rejected."""


class ClaudeCode:
    """Claude Code: log records by default, spans behind a flag, both at once where both are on.

    Recognises: scopes `com.anthropic.claude_code.events` and `….tracing`.
    Keys: records `api_request`, `api_error`, `tool_result` (`event.name`; the body has the prefix `claude_code.`); spans
    `claude_code.llm_request`, `.tool`, `.interaction`; `.tool.execution` and `.blocked_on_user` are parts of `.tool`.
    `request_id` is on the record and the span of one model call, `tool_use_id` on those of one tool call: twins.
    Figures in tool records are decimal text. Arguments (`tool_input`) and prompts need flags; sizes are always sent. Detailed
    tracing has what was newly said, and outcomes of tools, in `new_context` of the next model call.
    Tokens: input EXCLUDES what was read from and written to the cache; all three are added up here. Of what was written
    the records of 2.1.330 say how much is kept for an hour, spans do not. Output includes thinking, which is not told apart.
    `cost_usd` is the client's own reckoning, wherever the model is served: "approximations", as its documentation says.
    Session: `session.id` everywhere; a sub-agent's is its parent's.
    Turn: one `claude_code.interaction`, a trace; a sub-agent's result opens another. Records alone mark none.
    Known gaps: calls that validation rejects leave no record of the tool: detailed tracing tells that they were made and why
    they were rejected, not of which tool; retried HTTP errors are one span.
    Versions seen: 2.1.197 and 2.1.330.
    Switch: CLAUDE_CODE_ENABLE_TELEMETRY=1, OTEL_LOG_TOOL_DETAILS=1 for arguments.
    """

    name: ClassVar[str] = "claude_code"
    scopes: ClassVar[tuple[str, ...]] = ("com.anthropic.claude_code",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith(_SCOPE)

    def translate(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        session, agent = _session(attributes), _agent(attributes)
        request_id, tool_id = first_id(attributes, "request_id"), _tool_id(attributes)
        kind = span.name.removeprefix(_PREFIX)
        if kind == "llm_request":
            ended = ending(span, unset_is_ok=as_bool(attributes.get("success")) is True)
            if as_bool(attributes.get("success")) is False and ended.error is not True:
                ended = failed(
                    as_text(attributes.get("error.type")), as_text(attributes.get("error")), as_int(attributes.get("status_code"))
                )
            said, answers = _context(attributes)
            found = step(span, self.name, StepKind.LLM, agent=agent, input_text=said, **_call(attributes), **ended._asdict())
            return Fragment(step=found, session_id=session, agent=agent, twin_key=request_id, answers=answers)
        if kind == "tool":
            found = tool_call(
                span,
                self.name,
                StepKind.TOOL,
                as_text(first(attributes, "tool_name", "gen_ai.tool.name")),
                ending(span),
                agent=agent,
                call_id=tool_id,
                arguments=_arguments(attributes),
                result=next((_output(event.attributes) for event in span.events if event.name == "tool.output"), None),
            )
            return Fragment(step=found, session_id=session, agent=agent, twin_key=tool_id, joins=(tool_id,) if tool_id else ())
        if kind == "interaction":
            said = as_text(attributes.get("user_prompt"))
            found = step(
                span, self.name, StepKind.AGENT, name=agent or "interaction", agent=agent, input_text=said, **ending(span)._asdict()
            )
            return Fragment(step=found, session_id=session, agent=agent)
        return identity_only(span, session, agent=agent)

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name.startswith(_SCOPE)

    def translate_log(self, record: LogRecord) -> Fragment | None:
        attributes = record.attributes
        event = as_text(attributes.get("event.name"))
        session, agent = _session(attributes), _agent(attributes)
        duration = attributes.get("duration_ms")
        if event in {"api_request", "api_error"}:
            ended = SUCCESS if event == "api_request" else _error(attributes)
            found = log_step(
                record,
                self.name,
                StepKind.LLM,
                duration_ms=duration,
                agent=agent,
                provider="anthropic",
                **_call(attributes),
                **ended._asdict(),
            )
            return Fragment(step=found, session_id=session, agent=agent, twin_key=first_id(attributes, "request_id"))
        if event == "tool_result":
            tool_id = _tool_id(attributes)
            succeeded = as_bool(attributes.get("success"))
            ended = _error(attributes) if succeeded is False else SUCCESS if succeeded else UNKNOWN_ENDING
            found = log_step(
                record,
                self.name,
                StepKind.TOOL,
                duration_ms=duration,
                name=as_text(attributes.get("tool_name")),
                agent=agent,
                call_id=tool_id,
                arguments=_arguments(attributes),
                input_bytes=as_int(attributes.get("tool_input_size_bytes")),
                output_bytes=as_int(attributes.get("tool_result_size_bytes")),
                **ended._asdict(),
            )
            return Fragment(step=found, session_id=session, agent=agent, twin_key=tool_id, joins=(tool_id,) if tool_id else ())
        return None


def _session(attributes: Attributes) -> str | None:
    return first_id(attributes, "session.id", "gen_ai.conversation.id")


def _agent(attributes: Attributes) -> str | None:
    return as_text(first(attributes, "agent.name", "agent_id"))


def _tool_id(attributes: Attributes) -> str | None:
    return first_id(attributes, "tool_use_id", "gen_ai.tool.call.id")


def _arguments(attributes: Attributes) -> str | None:
    told = json_text(attributes.get("tool_input"))
    # Detailed tracing puts a heading line over the JSON.
    return told.partition("\n")[2] or None if told and told.startswith("[TOOL INPUT") else told


def _output(attributes: Attributes) -> str | None:
    # `Read` returns a file's content, the others their output.
    return as_text(first(attributes, "output", "content"))


def _context(attributes: Attributes) -> tuple[str | None, tuple[ToolAnswer, ...]]:
    """What was newly said in a request, and the outcomes of tools, of which detailed tracing writes both into one text."""
    text = as_text(attributes.get("new_context"))
    said, answers = None, []
    for part in text.split(_BETWEEN) if text else ():
        head, _, rest = part.partition("\n")
        told = rest.partition(_REMINDER)[0].rstrip("\n")
        if head.startswith("[USER"):
            said = told or said
        elif (outcome := _RESULT.match(head)) is not None:
            rejected = told.startswith(_REJECTED)
            found = answer(outcome[1], None, told, True if rejected else None)
            answers.append(msgspec.structs.replace(found, rejected=True) if rejected else found)
    return said, tuple(answers)


def _error(attributes: Attributes) -> Ending:
    return failed(
        as_text(first(attributes, "error_type", "error.type")),
        as_text(first(attributes, "error", "error.message")),
        as_int(attributes.get("status_code")),
    )


def _call(attributes: Attributes) -> dict[str, Any]:
    """What a record and a span of a model call have in common."""
    model = as_text(first(attributes, "model", "gen_ai.request.model"))
    return {
        "name": model,
        "model": model,
        "response_id": first_id(attributes, "request_id"),
        "finish_reasons": as_texts(first(attributes, "gen_ai.response.finish_reasons", "stop_reason")),
        "service_tier": other_tier(attributes.get("speed")),
        **_usage(attributes)._asdict(),
    }


def _usage(attributes: Attributes) -> Usage:
    fresh, read = as_int(attributes.get("input_tokens")), first_int(attributes, "cache_read_tokens")
    written = first_int(attributes, "cache_creation_tokens")
    hour = lasting(written, first_int(attributes, "cache_creation_1h_tokens"), first_int(attributes, "cache_creation_5m_tokens"))
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    stated = as_usd(attributes.get("cost_usd_micros"), digits=6) or as_usd(attributes.get("cost_usd")) or None
    return Usage(total, as_int(attributes.get("output_tokens")), read, written, cache_write_1h_tokens=hour, stated_usd=stated)
