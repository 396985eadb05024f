"""Spans that nobody claims: they may still say whose they are."""

from typing import ClassVar

from collector.dialects.base import Fragment
from collector.dialects.genai_keys import conversation_of
from collector.dialects.steps import identity_only
from collector.dialects.values import first_id
from collector.telemetry_data import LogRecord, Span


class Unknown:
    """Everything else: never a step, at most an identity.

    Recognises: every span and log record.
    Keys: `session.id`, `gen_ai.conversation.id`.
    Tokens: never.
    Session: `session.id`, else `gen_ai.conversation.id`.
    Turn: none.
    Known gaps: all content.
    Versions seen: none.
    Switch: none.
    """

    name: ClassVar[str] = "unknown"

    def recognises(self, span: Span) -> bool:
        del span
        return True

    def translate(self, span: Span) -> Fragment | None:
        session, conversation = first_id(span.attributes, "session.id"), conversation_of(span.attributes)
        others = (conversation,) if conversation and session and conversation != session else ()
        return identity_only(span, session or conversation, others)

    def recognises_log(self, record: LogRecord) -> bool:
        del record
        return True

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None
