"""Which dialects there are, and the facts that every span tells whatever its dialect."""

from collections.abc import Sequence
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


_MARKS: Final = frozenset(mark for dialect in DIALECTS for mark in getattr(dialect, "marks", ()))
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


@lru_cache(maxsize=1024)
def _of_unmarked(scope_name: str) -> tuple[Dialect, ...]:
    """The commonest case of `_candidates`: no marks, no name."""
    return _candidates(scope_name, frozenset(), named=False)


def _may_claim(dialect: Dialect, scope_name: str, marks: frozenset[str], named: bool) -> bool:
    wanted, names = getattr(dialect, "marks", ()), getattr(dialect, "names", ())
    free = not (wanted or names) or scope_name in getattr(dialect, "marked_scopes", ())
    return free or not marks.isdisjoint(wanted) or (named and bool(names))


def fragments_of(spans: Sequence[Span]) -> list[Fragment | None]:
    """What each span says, in their order: the same as `fragment_of` says of it.

    Every stage is gone through for all of them, those with equally many attributes in a row: a processor does the same thing
    again faster than something else.
    """
    alike = _alike(spans)
    ordered = [spans[place] for place in alike]
    dialects = [_dialect_of(span) for span in ordered]
    translated = [None if dialect is None else dialect.translate(span) for dialect, span in zip(dialects, ordered, strict=True)]
    found: list[Fragment | None] = [None] * len(spans)
    for place, span, dialect, fragment in zip(alike, ordered, dialects, translated, strict=True):
        if dialect is not None:
            found[place] = _completed(span, fragment)
    return found


def fragments_of_logs(records: Sequence[LogRecord]) -> list[Fragment | None]:
    """What each log record says, in their order: the same as `fragment_of_log` says of it."""
    found: list[Fragment | None] = [None] * len(records)
    for place in _alike(records):
        found[place] = fragment_of_log(records[place])
    return found


def _alike(items: Sequence[Span] | Sequence[LogRecord]) -> list[int]:
    """Places of the items in order of how many attributes each has. Requests mix model calls, tool calls and much else."""
    return sorted(range(len(items)), key=[len(item.attributes) for item in items].__getitem__)


def fragment_of(span: Span) -> Fragment | None:
    """What a span says; None where it neither is a step nor tells whose it is."""
    dialect = _dialect_of(span)
    return None if dialect is None else _completed(span, dialect.translate(span))


def _dialect_of(span: Span) -> Dialect | None:
    source = span.scope_name[:_SCOPE_CHARS]
    named = span.name.startswith(_NAMES)
    if named or not _MARKS.isdisjoint(span.attributes):
        candidates = _candidates(source, _MARKS.intersection(span.attributes), named)
    else:
        candidates = _of_unmarked(source)
    for dialect in candidates:
        if dialect.recognises(span):
            return dialect
    return None


def _completed(span: Span, fragment: Fragment | None) -> Fragment | None:
    """The fragment that a dialect made, or refused to make, with what every span tells."""
    judged = evaluations.of_span(span)
    if judged:
        fragment = fragment or Fragment()
        fragment.evaluations = judged
    if fragment is None:
        return None
    source, parent_span_id = span.scope_name[:_SCOPE_CHARS], span.parent_span_id
    fragment.source = source
    fragment.trace_id = span.trace_id
    fragment.span_id = span.span_id
    fragment.parent_span_id = parent_span_id
    fragment.at_ns = max(span.start_ns, span.end_ns)
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
