"""Which dialects there are, and the facts that every span tells whatever its dialect."""

from functools import lru_cache
from typing import Final

from collector.dialects import evaluations
from collector.dialects.agent_framework import AgentFramework
from collector.dialects.anthropic_sdk import AnthropicSDK
from collector.dialects.autogen import AutoGen
from collector.dialects.base import Dialect, Fragment
from collector.dialects.claude_code import ClaudeCode
from collector.dialects.codex_cli import CodexCLI
from collector.dialects.copilot_cli import CopilotCLI
from collector.dialects.gemini_cli import GeminiCLI
from collector.dialects.google_adk import GoogleADK
from collector.dialects.goose import Goose
from collector.dialects.haystack import Haystack
from collector.dialects.haystack_openinference import HaystackOpenInference
from collector.dialects.langfuse import Langfuse
from collector.dialects.langsmith import LangSmith
from collector.dialects.litellm import LiteLLM
from collector.dialects.logfire import Logfire
from collector.dialects.mastra import Mastra
from collector.dialects.mcp import MCP
from collector.dialects.mlflow import MLflow
from collector.dialects.openai_agents_otel import OpenAIAgentsOtel
from collector.dialects.openclaw import OpenClaw
from collector.dialects.opencode import OpenCode
from collector.dialects.openinference import OpenInference
from collector.dialects.openlit import OpenLIT
from collector.dialects.openllmetry import OpenLLMetry
from collector.dialects.otel_genai import OtelGenAI
from collector.dialects.pydantic_ai import PydanticAI
from collector.dialects.qwen_code import QwenCode
from collector.dialects.smolagents import SmolAgents
from collector.dialects.strands import Strands
from collector.dialects.unknown import Unknown
from collector.dialects.values import as_text, first_id
from collector.dialects.vercel_ai import VercelAI
from collector.dialects.vscode_copilot import VSCodeCopilot
from collector.telemetry_data import LogRecord, Span

DIALECTS: Final[tuple[Dialect, ...]] = (
    PydanticAI(),
    AgentFramework(),
    AnthropicSDK(),
    AutoGen(),
    LiteLLM(),
    OpenCode(),
    QwenCode(),
    Haystack(),
    OpenClaw(),
    Goose(),
    ClaudeCode(),
    CodexCLI(),
    CopilotCLI(),
    GeminiCLI(),
    GoogleADK(),
    OpenLIT(),
    Langfuse(),
    LangSmith(),
    MLflow(),
    Logfire(),
    VercelAI(),
    Mastra(),
    SmolAgents(),
    HaystackOpenInference(),
    OpenInference(),
    OpenLLMetry(),
    OpenAIAgentsOtel(),
    VSCodeCopilot(),
    MCP(),
    Strands(),
    OtelGenAI(),
    Unknown(),
)
"""Most specific first: the first that recognises a span or log record translates it."""


_SCOPE_CHARS: Final = 256
"""Of a scope's name are looked at and remembered: a sender may put anything there."""


_MARKS: Final = frozenset(mark for dialect in DIALECTS for mark in getattr(dialect, "marks", ())) | evaluations.MARKS
_NAMES: Final = tuple(name for dialect in DIALECTS for name in getattr(dialect, "names", ()))


@lru_cache(maxsize=1024)
def _of_scope(scope_name: str) -> tuple[Dialect, ...]:
    return tuple(dialect for dialect in DIALECTS if scope_name.startswith(getattr(dialect, "scopes", "")))


@lru_cache(maxsize=1024)
def _candidates(scope_name: str, marks: frozenset[str], named: bool) -> tuple[Dialect, ...]:
    """The dialects that may claim a span of this scope which bears these marks; `named`: its name begins as one wants it.

    Most frameworks are known by their scope, and most spans bear no mark: then few need to be asked.
    """
    return tuple(
        dialect
        for dialect in _of_scope(scope_name)
        if scope_name.startswith(getattr(dialect, "span_scopes", "")) and _may_claim(dialect, scope_name, marks, named)
    )


def _may_claim(dialect: Dialect, scope_name: str, marks: frozenset[str], named: bool) -> bool:
    wanted, names = getattr(dialect, "marks", ()), getattr(dialect, "names", ())
    free = not (wanted or names) or scope_name in getattr(dialect, "marked_scopes", ())
    return free or not marks.isdisjoint(wanted) or (named and bool(names))


def fragment_of(span: Span) -> Fragment | None:
    """What a span says; None where it neither is a step nor tells whose it is."""
    source = span.scope_name[:_SCOPE_CHARS]
    marks = _MARKS.intersection(span.attributes)
    for dialect in _candidates(source, marks, span.name.startswith(_NAMES)):
        if dialect.recognises(span):
            fragment = dialect.translate(span)
            break
    else:
        return None
    if span.events or marks:
        judged = evaluations.of_span(span)
        if judged:
            fragment = fragment or Fragment()
            fragment.evaluations = judged
    if fragment is None:
        return None
    parent_span_id, started_ns, ended_ns = span.parent_span_id, span.start_ns, span.end_ns
    fragment.source = source
    fragment.trace_id = span.trace_id
    fragment.span_id = span.span_id
    fragment.parent_span_id = parent_span_id
    fragment.at_ns = max(started_ns, ended_ns)
    fragment.is_root = parent_span_id is None
    resource = span.resource
    if "service.namespace" in resource:
        fragment.namespace = as_text(resource["service.namespace"]) or ""
    if fragment.session_id is None and fragment.of_resource:
        fragment.session_id = first_id(resource, "session.id")
    for part in fragment.parts:
        part.source, part.trace_id, part.namespace = source, span.trace_id, fragment.namespace
        part.at_ns = part.at_ns or fragment.at_ns
        part.session_id = part.session_id or fragment.session_id
    if span.links:
        fragment.links = tuple((link.trace_id, link.span_id) for link in span.links)
    return fragment


def fragment_of_log(record: LogRecord) -> Fragment | None:
    """What a log record says; None where it says nothing about a step."""
    fragment = evaluations.of_log(record)
    for dialect in _of_scope(record.scope_name[:_SCOPE_CHARS]) if fragment is None else ():
        if dialect.recognises_log(record):
            fragment = dialect.translate_log(record)
            break
    if fragment is None:
        return None
    fragment.source = record.scope_name[:_SCOPE_CHARS]
    fragment.trace_id = record.trace_id
    fragment.parent_span_id = None if fragment.supplements else record.span_id
    fragment.at_ns = record.time_ns or record.observed_ns
    fragment.namespace = as_text(record.resource.get("service.namespace")) or ""
    if fragment.session_id is None and fragment.of_resource:
        fragment.session_id = first_id(record.resource, "session.id")
    return fragment
