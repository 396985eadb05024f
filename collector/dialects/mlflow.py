"""MLflow Tracing."""

from typing import Any, ClassVar, Final

import orjson

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.envelopes import ReturnedCall, returned_call, tool_arguments, tool_outcome
from collector.dialects.messages import Exchange
from collector.dialects.steps import ending, identity_only, model_call, step, tool_call, tool_kind
from collector.dialects.usage_json import completed, usage_of
from collector.dialects.values import as_dict, as_id, as_json, as_text, as_texts, as_usd, first_id
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

_KINDS: Final = {
    "CHAT_MODEL": StepKind.LLM,
    "LLM": StepKind.LLM,
    "TOOL": StepKind.TOOL,
    "EMBEDDING": StepKind.RETRIEVAL,
    "RETRIEVER": StepKind.RETRIEVAL,
    "RERANKER": StepKind.RETRIEVAL,
}


class MLflow:
    """MLflow's tracing SDK and its autologging.

    Recognises: `mlflow.spanType`. Every value is JSON, text with its quotes.
    Keys: `mlflow.spanInputs`, `.spanOutputs`, `mlflow.llm.model`, `mlflow.chat.tokenUsage`; a tool's name is the span's.
    LangChain's tools have `tool_call_id` and a ToolMessage as output, whose `status` alone tells a handled failure.
    Tokens: input includes cached, output includes reasoning; the latter only where the provider's response is kept whole, or
    the message that LangGraph's node returned, which is read as a second record of the call. `mlflow.llm.cost` is
    reckoned by its own price list.
    Session: lost over OTLP with most releases; `session.id`, `mlflow.trace.session` where they are sent.
    Turn: the root span, one run.
    Known gaps: session and user.
    Versions seen: 3.17.
    Switch: name the session in LangChain's metadata: MLflow's own is not exported.
    """

    name: ClassVar[str] = "mlflow"
    marks: ClassVar[tuple[str, ...]] = ("mlflow.spanType",)

    def recognises(self, span: Span) -> bool:
        return "mlflow.spanType" in span.attributes

    def translate(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        # LangChain's metadata, and the trace's own where it is sent.
        metadata = as_dict(attributes.get("metadata"))
        session = as_id(_value(attributes, "session.id")) or as_id(_value(attributes, "mlflow.trace.session"))
        session = session or first_id(metadata, "session_id", "thread_id", "conversation_id")
        label = _value(attributes, "mlflow.spanType")
        kind = _KINDS.get(label, StepKind.AGENT) if isinstance(label, str) else StepKind.AGENT
        told, said = _value(attributes, "mlflow.spanInputs"), _value(attributes, "mlflow.spanOutputs")
        if kind is StepKind.LLM:
            return self._llm(span, session, told, said)
        if kind is StepKind.TOOL:
            return self._tool(span, session, told, said)
        name = as_text(span.name)
        if label == "CHAIN" and (call := returned_call({"outputs": said})) is not None:
            return self._reported(span, session, call)
        agent = name if label == "AGENT" else None
        return Fragment(step=step(span, self.name, kind, name=name, agent=agent, **ending(span)._asdict()), session_id=session, agent=agent)

    def _reported(self, span: Span, session: str | None, call: ReturnedCall) -> Fragment:
        """A graph's node around one model call: its message has the reasoning tokens that the call's own span lacks."""
        found = model_call(span, self.name, call.model, call.usage, ending(span), response_id=call.response_id)
        return Fragment(step=found, session_id=session, twin_key=call.response_id)

    def _llm(self, span: Span, session: str | None, told: Any, said: Any) -> Fragment:
        exchange, reasons = _exchange(told, said)
        response = as_dict(said)
        tokens = completed(usage_of(_value(span.attributes, "mlflow.chat.tokenUsage")), usage_of(response.get("usage")))
        if "mlflow.llm.cost" in span.attributes and (stated := as_usd(as_dict(span.attributes["mlflow.llm.cost"]).get("total_cost"))):
            tokens = tokens._replace(stated_usd=stated)
        model = as_text(_value(span.attributes, "mlflow.llm.model")) or as_text(_value(span.attributes, "model"))
        response_id = as_id(response.get("id"))
        provider = as_text(_value(span.attributes, "mlflow.llm.provider"))
        ended = ending(span)
        found = model_call(
            span, self.name, model, tokens, ended, said=exchange, provider=provider, response_id=response_id, finish_reasons=reasons
        )
        return Fragment(
            step=found, session_id=session, twin_key=response_id, asks=exchange.asks, answers=exchange.answers, joins=exchange.joins
        )

    def _tool(self, span: Span, session: str | None, told: Any, said: Any) -> Fragment | None:
        name = as_text(span.name)
        outcome = tool_outcome(said)
        kind = tool_kind(name, outcome.text)
        if kind is None:
            return identity_only(span, session)
        ended = outcome.ending(ending(span, ok_tells=not outcome.enveloped))
        call_id = outcome.call_id or as_id(_value(span.attributes, "tool_call_id"))
        found = tool_call(span, self.name, kind, name, ended, call_id=call_id, arguments=tool_arguments(told), result=outcome.text)
        return Fragment(step=found, session_id=session, joins=(call_id,) if call_id else ())

    def recognises_log(self, record: LogRecord) -> bool:
        del record
        return False

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None


def _value(attributes: Attributes, key: str) -> Any:
    value = attributes.get(key)
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _exchange(told: Any, said: Any) -> tuple[Exchange, tuple[str, ...]]:
    """Messages of a chat request and its response, and why the response ended."""
    request, response = as_dict(told), as_dict(said)
    before = messages.trailing(request.get("messages", request.get("input")))
    choices = response.get("choices")
    if isinstance(choices, list):
        found = [item for item in choices if isinstance(item, dict)]
        reasons = tuple(reason for item in found for reason in as_texts(item.get("finish_reason")))
        return messages.exchange(before, [messages.read(item.get("message")) for item in found]), reasons
    output = response.get("output", response.get("messages"))
    return messages.exchange(before, messages.messages(output if as_json(output) is not None else said)), ()
