"""The Model Context Protocol: client and server."""

from typing import Any, ClassVar, Final

from collector.dialects.base import Fragment
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.steps import Ending, failed, identity_only
from collector.dialects.values import as_text, first
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind

_CALL: Final = "tools/call"
_SCOPE: Final = "mcp-python-sdk"


class MCP(OtelGenAI):
    """MCP's own spans, and those of others that follow the MCP conventions.

    Recognises: scope `mcp-python-sdk`, or `mcp.method.name` where no other vocabulary is used.
    Keys: `mcp.method.name` = `tools/call`, else a span name `[MCP send ]tools/call T`; the tool is `gen_ai.tool.name` or
    the rest of the name. Client's and server's spans are one call: the server's stands below the client's and counts.
    A tool that answers `isError` has `error.type` = `tool_error`.
    Tokens: never.
    Session: as `OtelGenAI`. `mcp.session.id` names a connection, which agents share: never read.
    Turn: none.
    Known gaps: arguments and results are not sent; the model's request has the arguments.
    Versions seen: mcp Python SDK of 2026, conventions 1.39.
    Switch: none.
    """

    name: ClassVar[str] = "mcp"
    marks: ClassVar[tuple[str, ...]] = ("mcp.method.name",)
    marked_scopes: ClassVar[frozenset[str]] = frozenset({_SCOPE})

    def recognises(self, span: Span) -> bool:
        if span.scope_name == _SCOPE:
            return True
        attributes = span.attributes
        return "mcp.method.name" in attributes and "traceloop.span.kind" not in attributes and "openinference.span.kind" not in attributes

    def recognises_log(self, record: LogRecord) -> bool:
        return record.scope_name == _SCOPE and super().recognises_log(record)

    def kind(self, span: Span) -> StepKind | None:
        method = as_text(span.attributes.get("mcp.method.name"))
        return StepKind.TOOL if method == _CALL or (method is None and _CALL in span.name) else None

    def translate(self, span: Span) -> Fragment | None:
        if self.kind(span) is StepKind.TOOL:
            return self.tool(span)
        return identity_only(span, *self.identity(span.attributes))

    def tool_name(self, span: Span) -> str | None:
        if "gen_ai.tool.name" in span.attributes:
            return super().tool_name(span)
        return as_text(span.name.rpartition(_CALL)[2].strip())

    def call(self, span: Span) -> tuple[Any, Any]:
        arguments, result = super().call(span)
        get = span.attributes.get
        told = arguments if arguments is not None else get("mcp.request.argument")
        return told, result if result is not None else get("mcp.response.value")

    def ending(self, span: Span) -> Ending:
        found = super().ending(span)
        kind = as_text(first(span.attributes, "error.type"))
        return failed(kind, None) if found.error is None and kind is not None else found
