"""OpenTelemetry's GenAI conventions, before and after their break at 1.37."""

from typing import Any, ClassVar, Final

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.genai_keys import conversation_of, provider, service_tier, tool_schemas, usage
from collector.dialects.messages import NOTHING, Exchange, Message
from collector.dialects.steps import Ending, Usage, ending, identity_only, judged, log_step, model_call, step, tool_call, tool_kind
from collector.dialects.values import (
    arguments_text,
    as_dict,
    as_id,
    as_json,
    as_text,
    as_texts,
    first,
    first_id,
)
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind

LLM_OPERATIONS: Final = frozenset(
    {"chat", "text_completion", "completion", "generate_content", "acompletion", "responses", "generate", "inference", "message"},
)
_OPERATIONS: Final = {
    **dict.fromkeys(LLM_OPERATIONS, StepKind.LLM),
    "execute_tool": StepKind.TOOL,
    "embeddings": StepKind.RETRIEVAL,
    "embedding": StepKind.RETRIEVAL,
    "retrieval": StepKind.RETRIEVAL,
    "rerank": StepKind.RETRIEVAL,
}
_NO_STEP: Final = frozenset({"create_agent", "create_thread", "fetch_response"})
"""Operations in which nothing is thought or done: an agent object is made, a stored answer is read again."""
DETAILS: Final = "gen_ai.client.inference.operation.details"
_PROMPT_EVENTS: Final = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_CHOICE: Final = "gen_ai.choice"


class OtelGenAI:
    """`gen_ai.*` as the conventions say, in span attributes, span events and log records.

    Recognises: `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.system` or `gen_ai.request.model`; log records
    named `gen_ai.*.message`, `gen_ai.choice`, `gen_ai.client.inference.operation.details`.
    Keys: `gen_ai.input.messages` and `gen_ai.output.messages` (JSON text or structured), the same in a span event or
    log record `…operation.details`, or one `gen_ai.*.message` event or record per message; a tool's `gen_ai.tool.name`,
    `.call.id`, `.call.arguments`, `.call.result`. Status UNSET says nothing here.
    Tokens: input includes cached (1.40), output includes reasoning (1.41). Senders of older versions that pass
    Anthropic's disjoint figures through are noticed where the cached part exceeds the input.
    Session: `session.id`, else `gen_ai.conversation.id`.
    Turn: the outermost span, often `invoke_agent`; plain SDKs have none.
    Known gaps: the older log records carry no order within a call, so that the last user message is not told from
    earlier ones; message text of such calls stays unknown on the prompt's side.
    Versions seen: conventions 1.26 to 1.41 and the state after; contrib openai-v2 2.4b0.
    Switch: OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true.
    """

    name: ClassVar[str] = "otel_genai"
    ok_tells: ClassVar[bool] = True
    unset_is_ok: ClassVar[bool] = False

    def recognises(self, span: Span) -> bool:
        attributes = span.attributes
        return (
            "gen_ai.operation.name" in attributes
            or "gen_ai.provider.name" in attributes
            or "gen_ai.system" in attributes
            or "gen_ai.request.model" in attributes
        )

    def translate(self, span: Span) -> Fragment | None:
        kind = self.kind(span)
        if kind is StepKind.LLM:
            return self.llm(span)
        if kind is StepKind.TOOL:
            return self.tool(span)
        if kind is StepKind.RETRIEVAL:
            return self.retrieval(span)
        if kind is StepKind.AGENT:
            return self.agent(span)
        return identity_only(span, *self.identity(span.attributes), agent=self.agent_name(span))

    def kind(self, span: Span) -> StepKind | None:
        """What the span is; None for one that is no step."""
        attributes = span.attributes
        operation = attributes.get("gen_ai.operation.name")
        if isinstance(operation, str):
            known = _OPERATIONS.get(operation)
            if known is not None:
                return known
            return None if operation in _NO_STEP else _OPERATIONS.get(operation.lower(), StepKind.AGENT)
        if "gen_ai.tool.name" in attributes and "gen_ai.request.model" not in attributes:
            return StepKind.TOOL
        if first(attributes, "gen_ai.request.model", "gen_ai.response.model") is not None:
            return StepKind.LLM
        return StepKind.AGENT if "gen_ai.agent.name" in attributes else None

    def identity(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        """Session id, and the other ids of the same conversation."""
        session = as_id(attributes.get("session.id"))
        conversation = conversation_of(attributes)
        if session is None or session == conversation:
            return conversation, ()
        return session, (conversation,) if conversation else ()

    def agent_name(self, span: Span) -> str | None:
        """Agent in whose name the span runs."""
        return as_text(span.attributes.get("gen_ai.agent.name"))

    def ending(self, span: Span) -> Ending:
        """How the span ended."""
        return ending(span, ok_tells=self.ok_tells, unset_is_ok=self.unset_is_ok)

    def usage(self, attributes: Attributes) -> Usage:
        """Tokens of a model call."""
        return usage(attributes)

    def leaves_out_zeros(self, span: Span) -> bool:
        """Whether no count of cached tokens means that there were none; else it means that nobody says."""
        del span
        return False

    def provider(self, attributes: Attributes) -> str | None:
        """Vendor of the model."""
        return provider(attributes)

    def service_tier(self, attributes: Attributes) -> str | None:
        """At which tier the call was served, if not at the usual."""
        return service_tier(attributes)

    def content(self, span: Span) -> Exchange:
        """What was said in a model call: from attributes, else from the details event, else from one event per message."""
        attributes = span.attributes
        told, said = attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.output.messages")
        if told is None and said is None and span.events:
            for event in span.events:
                if event.name == DETAILS:
                    told = first(event.attributes, "gen_ai.input.messages") or told
                    said = first(event.attributes, "gen_ai.output.messages") or said
            if told is None and said is None:
                return _of_events(span)
        if told is None and said is None:
            told, said = as_json(attributes.get("gen_ai.prompt")), as_json(attributes.get("gen_ai.completion"))
            if not isinstance(told, list) and not isinstance(said, list):
                return NOTHING
        return messages.exchange(messages.trailing(told), messages.messages(said))

    def llm(self, span: Span) -> Fragment:
        """One model call."""
        attributes = span.attributes
        said = self.content(span)
        model = attributes.get("gen_ai.response.model")
        model = as_text(attributes.get("gen_ai.request.model") if model is None else model)
        response_id = as_id(attributes.get("gen_ai.response.id"))
        agent = self.agent_name(span)
        session, conversations = self.identity(attributes)
        usage = self.usage(attributes)
        if usage.cached_input_tokens is None and usage.input_tokens is not None and self.leaves_out_zeros(span):
            usage = usage._replace(zeros_left_out=True)
        reasons = attributes.get("gen_ai.response.finish_reasons")
        if reasons is None:
            reasons = attributes.get("gen_ai.response.finish_reason")
        return Fragment(
            step=model_call(
                span,
                self.name,
                model,
                usage,
                self.ending(span),
                said=said,
                agent=agent,
                provider=self.provider(attributes),
                response_id=response_id,
                finish_reasons=as_texts(reasons),
                service_tier=self.service_tier(attributes),
            ),
            session_id=session,
            conversation_ids=conversations,
            twin_key=response_id,
            agent=agent,
            asks=said.asks,
            answers=said.answers,
            joins=said.joins,
            tool_schemas=tool_schemas(attributes.get("gen_ai.tool.definitions")),
        )

    def call(self, span: Span) -> tuple[Any, Any]:
        """Arguments and result of a tool call, as sent."""
        get = span.attributes.get
        return get("gen_ai.tool.call.arguments"), get("gen_ai.tool.call.result")

    def tool_name(self, span: Span) -> str | None:
        """Name of the tool called."""
        name = as_text(span.attributes.get("gen_ai.tool.name"))
        if name is None and span.name.startswith("execute_tool "):
            name = span.name[len("execute_tool ") :] or None
        return name

    def tool(self, span: Span) -> Fragment | None:
        """One tool call; identity only where it is a control tool."""
        attributes = span.attributes
        name = self.tool_name(span)
        arguments, outcome = self.call(span)
        result = messages.plain_content(outcome)
        kind = tool_kind(name, result)
        session, conversations = self.identity(attributes)
        agent = self.agent_name(span)
        if kind is None:
            return identity_only(span, session, conversations, agent)
        ended = judged(self.ending(span), result)
        call_id = first_id(attributes, "gen_ai.tool.call.id", "gen_ai.tool.call_id")
        asked = arguments_text(arguments)
        return Fragment(
            step=tool_call(span, self.name, kind, name, ended, agent=agent, call_id=call_id, arguments=asked, result=result),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
            joins=(call_id,) if call_id else (),
        )

    def retrieval(self, span: Span) -> Fragment:
        """An embedding or a search in a data source."""
        attributes = span.attributes
        ended = self.ending(span)
        session, conversations = self.identity(attributes)
        agent = self.agent_name(span)
        model = as_text(first(attributes, "gen_ai.response.model", "gen_ai.request.model"))
        name = model or as_text(attributes.get("gen_ai.data_source.id"))
        return Fragment(
            step=step(span, self.name, StepKind.RETRIEVAL, name=name, agent=agent, model=model, **ended._asdict()),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
        )

    def agent(self, span: Span) -> Fragment:
        """An agent's, workflow's or turn's span: never tokens, its children have them."""
        attributes = span.attributes
        said = self.content(span)
        session, conversations = self.identity(attributes)
        agent = self.agent_name(span)
        name = agent or as_text(attributes.get("gen_ai.workflow.name")) or as_text(span.name)
        ended = self.ending(span)
        return Fragment(
            step=step(
                span,
                self.name,
                StepKind.AGENT,
                name=name,
                agent=agent,
                input_text=said.input_text,
                output_text=said.output_text,
                **ended._asdict(),
            ),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
        )

    def recognises_log(self, record: LogRecord) -> bool:
        event = record.event_name or as_text(record.attributes.get("event.name")) or ""
        return event in _PROMPT_EVENTS or event in {_CHOICE, DETAILS}

    def translate_log(self, record: LogRecord) -> Fragment | None:
        """The content of a model call. It completes the call's span, or is the call where no span is named."""
        event = record.event_name or as_text(record.attributes.get("event.name")) or ""
        if event == DETAILS:
            return self._details(record)
        body = record.body if isinstance(record.body, dict) else as_dict(record.body)
        if event == _CHOICE:
            said = messages.exchange((), [_choice(body)])
            reasons = as_texts(body.get("finish_reason"))
        elif event == "gen_ai.tool.message":
            said, reasons = messages.exchange([messages.read({"role": "tool", **body})], ()), ()
        else:
            return None
        if record.span_id is None or record.trace_id is None:
            return None
        session, conversations = self.identity(record.attributes)
        return Fragment(
            step=log_step(record, self.name, StepKind.LLM, output_text=said.output_text, finish_reasons=reasons, asks=said.asks),
            supplements=record.span_id,
            session_id=session,
            conversation_ids=conversations,
            asks=said.asks,
            answers=said.answers,
            joins=said.joins,
        )

    def _details(self, record: LogRecord) -> Fragment | None:
        span = Span(
            trace_id=record.trace_id or "",
            span_id=record.span_id or "",
            attributes=record.attributes,
            start_ns=record.time_ns or record.observed_ns,
            end_ns=record.time_ns or record.observed_ns,
            resource=record.resource,
        )
        fragment = self.llm(span)
        if record.trace_id and record.span_id:
            fragment.supplements = record.span_id
            if fragment.step is not None and fragment.asks:
                fragment.step = log_step(
                    record,
                    self.name,
                    StepKind.LLM,
                    **{field: getattr(fragment.step, field) for field in _SUPPLEMENTED},
                    asks=fragment.asks,
                )
            return fragment
        # A request is announced without usage before its response is: only the response is a call.
        known = fragment.step
        return fragment if known is not None and (known.input_tokens is not None or known.response_id or known.error) else None


_SUPPLEMENTED: Final = (
    "name",
    "agent",
    "provider",
    "model",
    "response_id",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "zeros_left_out",
    "billed_usd",
    "stated_usd",
    "service_tier",
    "finish_reasons",
    "input_text",
    "output_text",
    "error",
)


def _of_events(span: Span) -> Exchange:
    """One span event per message. The choice comes last; what it answers stands after the last assistant message.

    Conventions 1.26 and 1.27 have one event for the whole prompt and one for what was answered.
    """
    told: list[Message] = []
    said: list[Message] = []
    for event in span.events:
        role = _PROMPT_EVENTS.get(event.name)
        if event.name == "gen_ai.content.prompt":
            told = list(messages.trailing(as_json(event.attributes.get("gen_ai.prompt"))))
        elif event.name == "gen_ai.content.completion":
            said += messages.messages(as_json(event.attributes.get("gen_ai.completion")))
        elif role is not None:
            message = messages.read({"role": role, **event.attributes})
            told = [] if role == "assistant" else [*told[-63:], message]
        elif event.name == _CHOICE:
            said.append(_choice(event.attributes))
    return messages.exchange(told, said)


def _choice(body: dict[str, Any]) -> Message:
    message = body.get("message", body)
    content = as_json(message)
    if isinstance(content, dict):
        return messages.read({"role": "assistant", **content})
    return messages.read({"role": "assistant", "content": message, "tool_calls": as_json(body.get("tool_calls"))})
