"""OpenCode."""

from typing import ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.steps import identity_only
from collector.dialects.vercel_ai import VercelAI
from collector.telemetry_data import LogRecord, Span

_SCOPE: Final = "opencode"


class OpenCode(VercelAI):
    """OpenCode: the AI SDK's spans among more than a thousand of its own a session.

    Recognises: scope `opencode`.
    Keys: model and tool calls as `VercelAI` (version 6). `Tool.execute` repeats a tool call, and everything else is
    OpenCode's own work: not read.
    Tokens: as `VercelAI`; `ai.streamText` repeats those of `.doStream`: never read.
    Session: `session.id`, the same as `ai.telemetry.metadata.sessionId`. A first, short model call makes the title.
    Turn: none; each model call and its tools are below a `session.llm` of their own.
    Known gaps: a call in flight when the process ends is lost.
    Versions seen: 1.18.
    Switch: `"experimental": {"openTelemetry": true}`.
    """

    name: ClassVar[str] = "opencode"
    scopes: ClassVar[tuple[str, ...]] = (_SCOPE,)

    def recognises(self, span: Span) -> bool:
        return span.scope_name == _SCOPE

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == _SCOPE

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None

    def translate(self, span: Span) -> Fragment | None:
        if "ai.operationId" in span.attributes:
            return super().translate(span)
        return identity_only(span, *self.identity(span.attributes))
