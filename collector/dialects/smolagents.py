"""smolagents, as OpenInference instruments it."""

from typing import Any, ClassVar, Final

from collector.dialects.base import Fragment, ToolAnswer
from collector.dialects.openinference import OpenInference
from collector.dialects.python_repr import constructed
from collector.dialects.steps import Usage
from collector.dialects.usage_json import completed, usage_of
from collector.dialects.values import as_dict, as_id, as_text
from collector.telemetry_data import Attributes, Span

_SCOPE: Final = "openinference.instrumentation.smolagents"
_REJECTED: Final = "AgentToolCallError"


class SmolAgents(OpenInference):
    """smolagents through OpenInference.

    Recognises: scope `openinference.instrumentation.smolagents`.
    Keys: as `OpenInference`. A tool's arguments stand in an envelope (`args`, `kwargs`, `sanitize_inputs_outputs`). A call
    whose arguments the framework rejects has no span: the `Step N` around the model call ends in `AgentToolCallError`, and
    its message is the outcome of what that model call asked for. `final_answer` is a control tool.
    Tokens: input includes cached, output includes reasoning; both parts, and the response id, stand only in the repr of the
    vendor's response in `output.value`. The AGENT span repeats the totals: never read.
    Session: `session.id`.
    Turn: the AGENT root, one run; `Step N` is one model call and its tools.
    Known gaps: a code agent's calls are Python inside the answer: only the tools that it ran are seen.
    Versions seen: smolagents 1.26 with instrumentation 0.1.
    Switch: `using_attributes(session_id=…)`; content is on.
    """

    name: ClassVar[str] = "smolagents"
    scopes: ClassVar[tuple[str, ...]] = (_SCOPE,)

    def recognises(self, span: Span) -> bool:
        return span.scope_name == _SCOPE and super().recognises(span)

    def translate(self, span: Span) -> Fragment | None:
        fragment = super().translate(span)
        if fragment is not None and span.status_code == 2 and (reason := _rejection(span)) is not None:
            fragment.answers += (ToolAnswer(call_id=None, result=reason, error=True, below=span.span_id),)
        return fragment

    def usage(self, attributes: Attributes) -> Usage:
        return completed(super().usage(attributes), usage_of(_answered(attributes).get("usage")))

    def response(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        response_id, reasons = super().response(attributes)
        answered = _answered(attributes)
        choices = answered.get("choices")
        if not reasons and isinstance(choices, list):
            reasons = tuple(reason for item in choices if isinstance(item, dict) and (reason := as_text(item.get("finish_reason"))))
        return response_id or as_id(answered.get("id")), reasons


def _answered(attributes: Attributes) -> dict[str, Any]:
    """The vendor's response out of its repr; empty where the message holds none."""
    found = constructed(as_dict(attributes.get("output.value")).get("raw"))
    return found if isinstance(found, dict) else {}


def _rejection(span: Span) -> str | None:
    """Why a call was rejected before it ran."""
    for event in span.events:
        kind = as_text(event.attributes.get("exception.type")) if event.name == "exception" else None
        if kind is not None and kind.rpartition(".")[2] == _REJECTED:
            return as_text(event.attributes.get("exception.message")) or _REJECTED
    return None
