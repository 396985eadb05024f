"""OpenAI Codex CLI."""

import re
from typing import ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.steps import SUCCESS, UNKNOWN_ENDING, failed, identity_only, inclusive, log_step
from collector.dialects.values import as_bool, as_int, as_text, first_id, json_text
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind

_EXIT: Final = re.compile(r"Process exited with code (-?\d+)")
_HEAD: Final = 400
"""The exit code stands in front of the command's own output, which may hold the same words."""


class CodexCLI:
    """Codex CLI: log records. Its hundreds of spans a turn say the same again and are not read.

    Recognises: log records whose `event.name` begins with `codex.`.
    Keys: `codex.sse_event` of kind `response.completed` with `input_token_count` (a second one, without, is noise);
    `codex.api_request` of a failed attempt; `codex.tool_result`. Counts are decimal text or numbers.
    A shell command that failed has `success` = true: the exit code stands in the text of its `output`.
    Tokens: input includes cached, output includes reasoning; `tool_token_count` is the total.
    Session: `conversation.id`.
    Turn: none in log records; spans, which are not read, have `turn.id`.
    Known gaps: no response id, so that a record sent twice with another time counts twice; no prompt or answer.
    Versions seen: 0.169.
    Switch: `[otel] exporter` in the configuration; logs are enough.
    """

    name: ClassVar[str] = "codex_cli"
    span_scopes: ClassVar[tuple[str, ...]] = ("codex_otel",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name.startswith("codex_otel")

    def translate(self, span: Span) -> Fragment | None:
        return identity_only(span, first_id(span.attributes, "conversation.id"))

    def recognises_log(self, record: LogRecord) -> bool:
        event = record.attributes.get("event.name")
        return isinstance(event, str) and event.startswith("codex.")

    def translate_log(self, record: LogRecord) -> Fragment | None:
        attributes = record.attributes
        get = attributes.get
        event, session = get("event.name"), first_id(attributes, "conversation.id")
        agent, model = as_text(get("agent_name")), as_text(get("model"))
        if event == "codex.sse_event" and get("event.kind") == "response.completed" and "input_token_count" in attributes:
            usage = inclusive(
                as_int(get("input_token_count")),
                as_int(get("output_token_count")),
                read=as_int(get("cached_token_count")),
                write=as_int(get("cache_write_token_count")),
                reasoning=as_int(get("reasoning_token_count")),
                total=as_int(get("tool_token_count")),
            )
            found = log_step(record, self.name, StepKind.LLM, name=model, model=model, agent=agent, **usage._asdict(), **SUCCESS._asdict())
            return Fragment(step=found, session_id=session, agent=agent)
        if event == "codex.api_request":
            status = as_int(get("http.response.status_code"))
            if status is not None and status < 400:
                return None
            message = as_text(get("error.message"))
            if status is None and message is None:
                return None
            ended = failed(None, message, status)
            found = log_step(
                record, self.name, StepKind.LLM, duration_ms=get("duration_ms"), name=model, model=model, agent=agent, **ended._asdict()
            )
            return Fragment(step=found, session_id=session, agent=agent)
        if event == "codex.tool_result":
            call_id = first_id(attributes, "call_id")
            result = as_text(get("output"))
            code = _EXIT.search(result[:_HEAD]) if result else None
            succeeded = as_bool(get("success"))
            ended = SUCCESS if succeeded else UNKNOWN_ENDING
            if succeeded is False or (code and int(code[1]) != 0):
                ended = failed(None, result)
            found = log_step(
                record,
                self.name,
                StepKind.TOOL,
                duration_ms=get("duration_ms"),
                name=as_text(get("tool_name")),
                agent=agent,
                call_id=call_id,
                arguments=json_text(get("arguments")),
                result=result,
                **ended._asdict(),
            )
            return Fragment(step=found, session_id=session, agent=agent, twin_key=call_id, joins=(call_id,) if call_id else ())
        return None
