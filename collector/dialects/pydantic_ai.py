"""Pydantic AI's own instrumentation, with or without Logfire."""

import re
from typing import Any, ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.messages import Exchange, Message
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.values import as_list, as_text, first, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_TELLS_CACHED: Final = (1, 3)
"""The first release that tells what was read from a cache."""
_RELEASE: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")


class PydanticAI(OtelGenAI):
    """Pydantic AI, instrumentation formats 1 to 6. The format is not in the payload; keys tell.

    Recognises: scope `pydantic-ai`.
    Keys: as `OtelGenAI`. Formats 1 and 2 name tool spans `running tool` with `tool_arguments`, `tool_response`, and agent
    spans `agent run` with `agent_name`, `final_result`; format 1 keeps messages as JSON in the attribute `events`, or as
    log records. A failed tool is marked by status ERROR, so that UNSET means success.
    Tokens: input includes cached (absent where 0; before 1.3 never sent); reasoning (`gen_ai.usage.details.reasoning_tokens`)
    is inside the output. Agent spans repeat totals, as `gen_ai.aggregated_usage.*` or under the names of the calls: never
    read. `operation.cost` is reckoned by its own price list.
    Session: `gen_ai.conversation.id` on all spans; a generated one where the application names none.
    `gen_ai.agent.call.id` is the run's id.
    Turn: one `invoke_agent` or `agent run`.
    Known gaps: format 1 has no conversation id, and no agent name below the agent's span.
    Versions seen: pydantic-ai 1.0 and 2.68.
    Switch: `InstrumentationSettings(include_content=True)` and `conversation_id`.
    """

    name: ClassVar[str] = "pydantic_ai"
    scopes: ClassVar[tuple[str, ...]] = ("pydantic-ai",)
    unset_is_ok: ClassVar[bool] = True

    def recognises(self, span: Span) -> bool:
        return span.scope_name == "pydantic-ai"

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == "pydantic-ai" and super().recognises_log(record)

    def leaves_out_zeros(self, span: Span) -> bool:
        release = _RELEASE.match(span.scope_version)
        return release is not None and (int(release[1]), int(release[2])) >= _TELLS_CACHED

    def kind(self, span: Span) -> StepKind | None:
        found = super().kind(span)
        if found is None or "gen_ai.operation.name" not in span.attributes:
            if "agent_name" in span.attributes or "model_name" in span.attributes:
                return StepKind.AGENT
            if "tool_arguments" in span.attributes:
                return StepKind.TOOL
        return found

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        run = first_id(attributes, "gen_ai.agent.call.id")
        return session, (*others, run) if run and run != session else others

    def agent_name(self, span: Span) -> str | None:
        return super().agent_name(span) or as_text(span.attributes.get("agent_name"))

    def call(self, span: Span) -> tuple[Any, Any]:
        arguments, result = super().call(span)
        get = span.attributes.get
        return arguments if arguments is not None else get("tool_arguments"), result if result is not None else get("tool_response")

    def content(self, span: Span) -> Exchange:
        attributes = span.attributes
        if "gen_ai.input.messages" in attributes or "gen_ai.output.messages" in attributes:
            return super().content(span)
        events = first(attributes, "events", "all_messages_events")
        return _of_events(as_list(events)) if events is not None else super().content(span)

    def agent(self, span: Span) -> Fragment:
        fragment = super().agent(span)
        result = as_text(span.attributes.get("final_result"))
        if result is not None and fragment.step is not None and fragment.step.output_text is None:
            fragment.step = msgspec.structs.replace(fragment.step, output_text=result)
        return fragment


def _of_events(events: list[Any]) -> Exchange:
    """Format 1: OTel log events as one JSON array, the choice last."""
    told: list[Message] = []
    said: list[Message] = []
    for event in events:
        if not isinstance(event, dict):
            continue
        if event.get("event.name") == "gen_ai.choice" or "message" in event:
            said.append(messages.read(event.get("message")))
        elif event.get("role") == "assistant":
            told = []
        else:
            told.append(messages.read(event))
    return messages.exchange(told, said)
