"""Google's Gemini CLI."""

from typing import ClassVar

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment, ToolAnswer
from collector.dialects.steps import SUCCESS, UNKNOWN_ENDING, failed, identity_only, log_step
from collector.dialects.values import as_bool, as_dict, as_int, as_list, as_text, as_texts, first, first_id, json_text
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind


class GeminiCLI:
    """Gemini CLI: its own log records. Its spans and GenAI records say less about the same calls and are not read.

    Recognises: scope `gemini-cli`.
    Keys: records `gemini_cli.api_response`, `.api_error` (one an attempt), `.tool_call`; what the model said stands in
    `response_text`, Gemini's raw response. Results of tools stand in `.api_request`, whose `request_text` is the history.
    Tokens: input includes cached; `output_token_count` EXCLUDES thoughts, which are added here. Spans and
    `gen_ai.client.inference.operation.details` carry no thoughts: a price from them would be too low.
    Session: `session.id` in attributes and resource; every model call is a trace of its own.
    Turn: none as a span; `prompt_id` names it.
    Known gaps: records of tools have neither call id nor result: both come with the next request, if there is one. Calls
    that its loop guard cuts off have no response.
    Versions seen: 0.61.
    Switch: telemetry with `logs` on, and with `logPrompts` (the default) for results; `traces` adds nothing that is read.
    """

    name: ClassVar[str] = "gemini_cli"
    scopes: ClassVar[tuple[str, ...]] = ("gemini-cli",)

    def recognises(self, span: Span) -> bool:
        return span.scope_name == "gemini-cli"

    def translate(self, span: Span) -> Fragment | None:
        return identity_only(span, first_id(span.attributes, "session.id", "gen_ai.conversation.id"))

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == "gemini-cli"

    def translate_log(self, record: LogRecord) -> Fragment | None:
        attributes = record.attributes
        get = attributes.get
        event, session = get("event.name"), first_id(attributes, "session.id")
        duration = get("duration_ms")
        model = as_text(first(attributes, "model", "model_name"))
        if event == "gemini_cli.api_response":
            output, thoughts = as_int(get("output_token_count")), as_int(get("thoughts_token_count"))
            said = messages.exchange((), _said(get("response_text")))
            found = log_step(
                record,
                self.name,
                StepKind.LLM,
                duration_ms=duration,
                name=model,
                model=model,
                provider="google",
                input_tokens=as_int(get("input_token_count")),
                output_tokens=None if output is None else output + (thoughts or 0),
                cached_input_tokens=as_int(get("cached_content_token_count")),
                reasoning_tokens=thoughts,
                finish_reasons=as_texts(get("finish_reasons")),
                output_text=said.output_text,
                **SUCCESS._asdict(),
            )
            return Fragment(step=found, session_id=session)
        if event == "gemini_cli.api_request":
            answers = _answers(get("request_text"))
            return Fragment(session_id=session, answers=answers) if answers else None
        if event == "gemini_cli.api_error":
            ended = failed(
                as_text(get("error.type")), as_text(first(attributes, "error", "error.message")), as_int(first(attributes, "status_code"))
            )
            found = log_step(
                record, self.name, StepKind.LLM, duration_ms=duration, name=model, model=model, provider="google", **ended._asdict()
            )
            return Fragment(step=found, session_id=session)
        if event == "gemini_cli.tool_call":
            succeeded = as_bool(get("success"))
            ended = UNKNOWN_ENDING if succeeded is None else SUCCESS
            if succeeded is False:
                ended = failed(as_text(first(attributes, "error_type", "error.type")), as_text(first(attributes, "error", "error.message")))
            found = log_step(
                record,
                self.name,
                StepKind.TOOL,
                duration_ms=duration,
                name=as_text(get("function_name")),
                arguments=json_text(get("function_args")),
                output_bytes=as_int(get("content_length")),
                **ended._asdict(),
            )
            return Fragment(step=found, session_id=session)
        return None


def _said(response: object) -> list[messages.Message]:
    """The contents of Gemini's raw response, a list of chunks with candidates."""
    found = []
    for chunk in as_list(response):
        candidates = chunk.get("candidates") if isinstance(chunk, dict) else None
        for candidate in candidates if isinstance(candidates, list) else ():
            content = as_dict(candidate.get("content")) if isinstance(candidate, dict) else {}
            if content:
                found.append(messages.read(content))
    return found


def _answers(history: object) -> tuple[ToolAnswer, ...]:
    """The outcomes that end a history, with the arguments of the calls before them: these come in the same order, their ids may differ."""
    contents = [content for content in as_list(history)[-2:] if isinstance(content, dict)]
    if len(contents) < 2:
        return ()
    asks, answers = messages.read(contents[0]).asks, messages.read(contents[1]).answers
    if len(asks) != len(answers):
        return answers
    pairs = zip(asks, answers, strict=True)
    return tuple(msgspec.structs.replace(told, arguments=asked.arguments) if asked.name == told.name else told for asked, told in pairs)
