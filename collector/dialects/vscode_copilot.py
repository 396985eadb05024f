"""GitHub Copilot Chat in Visual Studio Code."""

from typing import ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.copilot_cli import CopilotCLI
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import identity_only
from collector.dialects.values import as_text, first_id
from collector.telemetry_data import Attributes, LogRecord, Span

_OPERATION: Final = "gen_ai.operation.name"
_NO_STEP: Final = frozenset({"execute_hook", "user_message", "content_event"})
_PREFIX: Final = "copilot_chat."
_SERVICE: Final = "copilot-chat"
_FIRST_TOKEN: Final = _PREFIX + "time_to_first_token"
_KEYS: Final = frozenset(
    _PREFIX + key
    for key in (
        "chat_session_id",
        "session_id",
        "turn.index",
        "turn_count",
        "debug_name",
        "request.max_prompt_tokens",
        "time_to_first_token",
    )
)
"""Each of its spans but a tool's has one of these, whatever the service is called."""


class VSCodeCopilot(CopilotCLI):
    """Copilot Chat in VS Code: GenAI conventions in spans, and log records of the same calls.

    Recognises: one of its keys `copilot_chat.…` beside a GenAI operation, or resource `service.name` = `copilot-chat`; log records
    named `copilot_chat.…`.
    Keys: as `OtelGenAI`, and `CopilotCLI` for shell commands. Spans are the source of tokens and tools; the record
    `gen_ai.client.inference.operation.details` is a second one of its call. `copilot_chat.tool.call` names no call and
    repeats a tool's span: not read. `execute_hook`, `user_message` and `content_event` are no steps.
    Tokens: input includes cached, output includes reasoning (`gen_ai.usage.reasoning_tokens`); both parts are absent where 0,
    and in log records. `invoke_agent` repeats them: never read.
    Session: `copilot_chat.chat_session_id`, else `copilot_chat.session_id`, else `gen_ai.conversation.id`, which on model calls
    is the id of a request: not read there. Tools have theirs from the spans above. The resource's `session.id` names a
    window with many conversations: never read. A sub-agent's session names its parent's in `….parent_chat_session_id`: one
    workflow.
    Turn: one `invoke_agent`.
    Known gaps: read from its source (of March 2026) and documentation only.
    Versions seen: none.
    Switch: `github.copilot.chat.otel.enabled` and `….captureContent`.
    """

    name: ClassVar[str] = "vscode_copilot"
    scopes: ClassVar[tuple[str, ...]] = ("",)

    def recognises(self, span: Span) -> bool:
        attributes = span.attributes
        if _OPERATION not in attributes:
            return False
        return span.resource.get("service.name") == _SERVICE or not attributes.keys().isdisjoint(_KEYS)

    def recognises_log(self, record: LogRecord) -> bool:
        event = record.event_name or as_text(record.attributes.get("event.name")) or ""
        if event.startswith(_PREFIX):
            return True
        return record.resource.get("service.name") == _SERVICE and OtelGenAI.recognises_log(self, record)

    def translate(self, span: Span) -> Fragment | None:
        if as_text(span.attributes.get(_OPERATION)) in _NO_STEP:
            fragment = identity_only(span, *self.identity(span.attributes))
        else:
            fragment = super().translate(span)
        if fragment is not None:
            fragment.of_resource = False
        return fragment

    def translate_log(self, record: LogRecord) -> Fragment | None:
        event = record.event_name or as_text(record.attributes.get("event.name")) or ""
        fragment = None if event.startswith(_PREFIX) else super().translate_log(record)
        if fragment is not None:
            fragment.of_resource = False
        return fragment

    def leaves_out_zeros(self, span: Span) -> bool:
        # Log records of a call have none of the parts, and not this.
        return _FIRST_TOKEN in span.attributes

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        session, others = super().identity(attributes)
        if attributes.get(_OPERATION) == "chat":
            # Its conversation is that of one request, which changes with each.
            session, others = None, ()
        own = (first_id(attributes, _PREFIX + key) for key in ("chat_session_id", "session_id"))
        parent = first_id(attributes, _PREFIX + "parent_chat_session_id", "gen_ai.agent.parent_chat_session_id")
        known = list(dict.fromkeys(found for found in (*own, session) if found))
        return (known[0] if known else None), tuple(dict.fromkeys(found for found in (*known[1:], *others, parent) if found))
