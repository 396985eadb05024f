"""Microsoft Agent Framework's own instrumentation."""

from typing import ClassVar

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.values import first_id
from collector.telemetry_data import LogRecord, Span

_PREVIOUS = "resp_"


class AgentFramework(OtelGenAI):
    """Microsoft Agent Framework: current GenAI conventions, content on spans and once more in log records.

    Recognises: scope `agent_framework`.
    Keys: as `OtelGenAI`; finish reasons are a JSON string. A failed function is marked by status ERROR, so that UNSET
    means success; arguments that the framework rejects before the call leave no tool span.
    Tokens: input includes cached, output includes reasoning. `invoke_agent` repeats the totals: never read.
    Session: none with chat completions. With the Responses API `gen_ai.conversation.id` is the id of the previous
    response: no session id, but it joins one call to the next.
    Turn: one `invoke_agent` root.
    Known gaps: argument values on the tool's span are those after coercion to the function's types (50 becomes 50.0).
    Versions seen: agent-framework 1.23.
    Switch: `enable_instrumentation(enable_sensitive_data=True)`.
    """

    name: ClassVar[str] = "agent_framework"
    scopes: ClassVar[tuple[str, ...]] = ("agent_framework",)
    unset_is_ok: ClassVar[bool] = True

    def recognises(self, span: Span) -> bool:
        return span.scope_name == "agent_framework" and "gen_ai.operation.name" in span.attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == "agent_framework" and super().recognises_log(record)

    def llm(self, span: Span) -> Fragment:
        fragment = super().llm(span)
        chain = (first_id(span.attributes, "gen_ai.conversation.id"), fragment.twin_key)
        fragment.joins += tuple(link for link in chain if link is not None and link.startswith(_PREVIOUS))
        return fragment
