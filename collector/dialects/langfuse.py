"""Langfuse SDKs."""

from decimal import Decimal
from typing import Any, ClassVar, Final

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.envelopes import tool_arguments, tool_outcome
from collector.dialects.messages import Exchange
from collector.dialects.steps import Ending, ending, failed, identity_only, model_call, step, tool_call, tool_kind
from collector.dialects.usage_json import usage_of
from collector.dialects.values import as_dict, as_id, as_json, as_text, as_usd, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_OBS: Final = "langfuse.observation."
_KINDS: Final = {
    "generation": StepKind.LLM,
    "tool": StepKind.TOOL,
    "embedding": StepKind.RETRIEVAL,
    "retriever": StepKind.RETRIEVAL,
    "agent": StepKind.AGENT,
    "chain": StepKind.AGENT,
    "span": StepKind.AGENT,
}


class Langfuse:
    """Langfuse SDKs, Python and JavaScript, and their integrations for LangChain and OpenAI.

    Recognises: `langfuse.observation.type`.
    Keys: `langfuse.observation.input`, `.output` as JSON, `.model.name`, `.usage_details`; a tool's name is the span's.
    A failure is `.level` = ERROR with `.status_message`; OTel's status stays UNSET in JavaScript.
    Tokens: JSON of `usage_details`. Integrations write either the provider's own figures, or disjoint buckets in which
    the input EXCLUDES cached and the output EXCLUDES reasoning: the total tells which. `cost_details` is what the
    application states, or the OpenAI integration read in the response: which of the two, nobody says.
    Session: `session.id`, older `langfuse.session.id`; version 3 sets it on the root only.
    Turn: the root observation.
    Known gaps: no response id.
    Versions seen: Python 5.0, JavaScript 5.11.
    Switch: none; set a session id.
    """

    name: ClassVar[str] = "langfuse"
    marks: ClassVar[tuple[str, ...]] = ("langfuse.observation.type",)

    def recognises(self, span: Span) -> bool:
        return _OBS + "type" in span.attributes

    def translate(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        get = attributes.get
        label = get(_OBS + "type")
        session, others = _identity(attributes)
        kind = _KINDS.get(label) if isinstance(label, str) else None
        name = as_text(span.name)
        agent = (name if label == "agent" else None) or as_text(get(_OBS + "metadata.lc_agent_name"))
        if kind is StepKind.LLM:
            said = _exchange(attributes)
            model = as_text(get(_OBS + "model.name"))
            usage = usage_of(get(_OBS + "usage_details"))
            if _OBS + "cost_details" in attributes:
                usage = usage._replace(stated_usd=_stated(as_dict(get(_OBS + "cost_details"))))
            found = model_call(span, self.name, model, usage, _ending(span), said=said, agent=agent)
            return Fragment(step=found, session_id=session, conversation_ids=others, agent=agent, **_calls(said))
        if kind is StepKind.TOOL:
            return self._tool(span, name, agent)
        if kind is None:
            return identity_only(span, session, others)
        found = step(span, self.name, kind, name=name, agent=agent, **_ending(span)._asdict())
        return Fragment(step=found, session_id=session, conversation_ids=others, agent=agent)

    def _tool(self, span: Span, name: str | None, agent: str | None) -> Fragment | None:
        attributes = span.attributes
        session, others = _identity(attributes)
        outcome = tool_outcome(attributes.get(_OBS + "output"))
        kind = tool_kind(name, outcome.text)
        if kind is None:
            return identity_only(span, session, others, agent)
        call_id = outcome.call_id or first_id(attributes, _OBS + "metadata.tool_call_id")
        arguments, ended = tool_arguments(attributes.get(_OBS + "input")), outcome.ending(_ending(span))
        found = tool_call(span, self.name, kind, name, ended, agent=agent, call_id=call_id, arguments=arguments, result=outcome.text)
        joins = (call_id,) if call_id else ()
        return Fragment(step=found, session_id=session, conversation_ids=others, agent=agent, joins=joins)

    def recognises_log(self, record: LogRecord) -> bool:
        del record
        return False

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None


def _identity(attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
    named = first_id(attributes, "session.id", "langfuse.session.id")
    # Values of metadata are JSON: an id stands there in quotes.
    threads = (attributes.get(_OBS + "metadata." + key) for key in ("session_id", "thread_id"))
    named_there = (as_id(value.strip('"')) for value in threads if isinstance(value, str))
    known = list(dict.fromkeys(found for found in (named, *named_there) if found))
    return (known[0] if known else None), tuple(known[1:])


def _stated(details: dict[str, Any]) -> Decimal | None:
    """The total, else the sum of all parts, as Langfuse has it; None where a part is no amount."""
    parts = [as_usd(details["total"])] if "total" in details else [as_usd(part) for part in details.values()]
    known = [part for part in parts if part is not None]
    return (sum(known, Decimal(0)) or None) if len(known) == len(parts) else None


def _ending(span: Span) -> Ending:
    if span.attributes.get(_OBS + "level") == "ERROR" and span.status_code != 2:
        return failed(None, as_text(span.attributes.get(_OBS + "status_message")))
    found = ending(span)
    if found.error is True and found.error_message is None:
        return failed(found.error_type, as_text(span.attributes.get(_OBS + "status_message")))
    return found


def _exchange(attributes: Attributes) -> Exchange:
    told = as_json(attributes.get(_OBS + "input"))
    if isinstance(told, dict):
        told = told.get("messages", told.get("input", told))
    if isinstance(told, list):
        # The LangChain integration appends the tools' definitions as if they were messages.
        told = [item for item in told if not (isinstance(item, dict) and "function" in as_dict(item.get("content")))]
    said = as_json(attributes.get(_OBS + "output"))
    if isinstance(said, dict) and isinstance(said.get("output"), list):
        said = said["output"]
    return messages.exchange(messages.trailing(told), messages.messages(said if said is not None else attributes.get(_OBS + "output")))


def _calls(said: Exchange) -> dict[str, Any]:
    return {"asks": said.asks, "answers": said.answers, "joins": said.joins}
