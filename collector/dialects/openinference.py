"""OpenInference (Arize): `openinference.span.kind` and flattened messages."""

import re
from typing import Any, ClassVar, Final

from collector.dialects import messages
from collector.dialects.base import Fragment, ToolAnswer
from collector.dialects.envelopes import tool_arguments, tool_outcome
from collector.dialects.genai_keys import other_tier
from collector.dialects.messages import Exchange, Message
from collector.dialects.steps import Usage, ending, identity_only, inclusive, model_call, step, tool_call, tool_kind
from collector.dialects.usage_json import billed_usd, written
from collector.dialects.values import (
    answer,
    as_dict,
    as_id,
    as_json,
    as_text,
    as_texts,
    as_usd,
    ask,
    canonical,
    first,
    first_id,
    first_int,
)
from collector.telemetry_data import Attributes, LogRecord, Span
from detectors.model import StepKind, ToolAsk

_TIER: Final = re.compile(r'"service_tier": ?"(\w+)"')
_KIND: Final = "openinference.span.kind"
_KINDS: Final = {
    "LLM": StepKind.LLM,
    "TOOL": StepKind.TOOL,
    "RETRIEVER": StepKind.RETRIEVAL,
    "EMBEDDING": StepKind.RETRIEVAL,
    "RERANKER": StepKind.RETRIEVAL,
    "AGENT": StepKind.AGENT,
    "CHAIN": StepKind.AGENT,
    "WORKFLOW": StepKind.AGENT,
    "TASK": StepKind.AGENT,
}
_NO_STEP: Final = frozenset({"EVALUATOR", "GUARDRAIL", "PROMPT", "UNKNOWN"})
_IN: Final = "llm.input_messages."
_OUT: Final = "llm.output_messages."
_LEAVE_OUT_ZEROS: Final = frozenset(
    {
        *(f"openinference.instrumentation.{name}" for name in ("agno", "anthropic", "crewai", "google_genai", "langchain")),
        "openinference.instrumentation.crewai._event_listener",
        "@arizeai/openinference-instrumentation-langchain",
        "@arizeai/openinference-instrumentation-langchain-v0",
    }
)
"""Instrumentations that send the cached count wherever it is not 0, by their source; Anthropic's and LangChain's as recorded too."""
_METHOD: Final = re.compile(r"\.(__call__|run|_run|call|acall|invoke|ainvoke)$")
"""Where a tool has no `tool.name`, the span is named after the method that was traced."""


class OpenInference:
    """OpenInference instrumentations, of any framework.

    Recognises: `openinference.span.kind`.
    Keys: LLM: `llm.input_messages.N.message.*`, `llm.output_messages.N.message.*`, `llm.token_count.*`, `llm.model_name`;
    the response id stands only inside the JSON of `output.value`. TOOL: `tool.name` or the span's name, `input.value`,
    `output.value`: envelopes (`{"args", "kwargs"}`, a serialised LangChain ToolMessage) are opened. A LangChain tool of one
    argument has that argument's bare text as `input.value`; its name stands in the model's request only.
    `tool.parameters` is the schema, except where it repeats the arguments: not read.
    LangChain marks hand-off tools as AGENT, with `tool.name`. A failure that LangChain handles has status OK: only the
    ToolMessage's `status` tells. Hidden content is `__REDACTED__`.
    Tokens: input includes cached (absent where 0 with agno, Anthropic, CrewAI, Google GenAI and LangChain; never sent of OpenAI
    Agents' chat completions), output includes reasoning. AGENT and CHAIN spans may repeat totals: never read. `llm.cost.total`
    is the instrumentation's reckoning; what OpenRouter, Perplexity and xAI charge stands in their responses in `output.value`.
    Session: `session.id`, else `session_id`, `thread_id` in the JSON of `metadata`.
    Turn: the root AGENT or CHAIN span; plain SDKs have none.
    Known gaps: no tokens where LlamaIndex or DSPy stream; hand-offs of OpenAI Agents have no call id.
    Versions seen: langchain 0.1.80, openai-agents 2.6.0, LangChain JS 4.1, OpenAI Agents JS 0.2.
    Switch: `using_attributes(session_id=…)`; content is on.
    """

    name: ClassVar[str] = "openinference"
    marks: ClassVar[tuple[str, ...]] = (_KIND,)

    def recognises(self, span: Span) -> bool:
        return _KIND in span.attributes

    def translate(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        label = attributes.get(_KIND)
        label = label.upper() if isinstance(label, str) else ""
        if label in _NO_STEP:
            return identity_only(span, *_identity(attributes), agent=None)
        kind = _KINDS.get(label, StepKind.AGENT)
        if kind is StepKind.LLM:
            if "._prepare_" in span.name:  # LlamaIndex traces how a request is put together as one more model call
                return identity_only(span, *_identity(attributes), agent=None)
            return self._llm(span)
        tool = as_text(attributes.get("tool.name"))
        if kind is StepKind.TOOL or (label == "AGENT" and tool is not None):
            return self._tool(span, tool or as_text(_METHOD.sub("", span.name)))
        return self._other(span, kind)

    def _llm(self, span: Span) -> Fragment:
        attributes = span.attributes
        session, conversations = _identity(attributes)
        response_id, reasons = self.response(attributes)
        said = _exchange(attributes, alternating=response_id is not None and response_id.startswith("resp_"))
        model = as_text(
            first(
                attributes,
                "llm.output_model_name",
                "llm.response.model_name",
                "llm.model_name",
                "llm.input_model_name",
                "llm.request.model_name",
            )
        )
        agent = _agent(span)
        usage = self.usage(attributes)
        if usage.cached_input_tokens is None and usage.input_tokens is not None and span.scope_name in _LEAVE_OUT_ZEROS:
            usage = usage._replace(zeros_left_out=True)
        return Fragment(
            step=model_call(
                span,
                self.name,
                model,
                usage,
                ending(span),
                said=said,
                agent=agent,
                provider=as_text(first(attributes, "llm.provider", "llm.system")),
                response_id=response_id,
                finish_reasons=reasons,
                service_tier=_tier(attributes),
            ),
            session_id=session,
            conversation_ids=conversations,
            twin_key=response_id,
            agent=agent,
            asks=said.asks,
            answers=said.answers,
            joins=said.joins,
            tool_schemas=_schemas(attributes),
        )

    def usage(self, attributes: Attributes) -> Usage:
        """Tokens of a model call."""
        return _usage(attributes)

    def response(self, attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
        """Id of the vendor's response, and why it ended."""
        return _response(attributes)

    def _tool(self, span: Span, name: str | None) -> Fragment | None:
        attributes = span.attributes
        session, conversations = _identity(attributes)
        agent = _agent(span)
        outcome = tool_outcome(attributes.get("output.value"))
        kind = tool_kind(name, outcome.text, as_text(attributes.get("input.value")))
        if kind is None:
            return identity_only(span, session, conversations, agent)
        if kind is StepKind.TOOL and attributes.get(_KIND) == "AGENT":
            kind = StepKind.HANDOFF
        # Only a tool's own message tells whether a handled failure stands behind status OK.
        ended = outcome.ending(ending(span, ok_tells=not outcome.enveloped))
        call_id = outcome.call_id or first_id(attributes, "tool_call.id", "tool.id")
        return Fragment(
            step=tool_call(
                span,
                self.name,
                kind,
                name,
                ended,
                agent=agent,
                call_id=call_id,
                arguments=None
                if kind is StepKind.HANDOFF and "tool.name" not in attributes
                else tool_arguments(attributes.get("input.value")),
                result=outcome.text,
            ),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
            joins=(call_id,) if call_id else (),
        )

    def _other(self, span: Span, kind: StepKind) -> Fragment:
        attributes = span.attributes
        session, conversations = _identity(attributes)
        agent = _agent(span)
        ended = ending(span)
        model = as_text(first(attributes, "embedding.model_name", "reranker.model_name"))
        return Fragment(
            step=step(span, self.name, kind, name=model or agent or as_text(span.name), agent=agent, model=model, **ended._asdict()),
            session_id=session,
            conversation_ids=conversations,
            agent=agent,
        )

    def recognises_log(self, record: LogRecord) -> bool:
        del record
        return False

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None


def _identity(attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
    metadata = as_dict(attributes.get("metadata")) if "metadata" in attributes else {}
    named = (first_id(metadata, key) for key in ("session_id", "thread_id", "conversation_id"))
    candidates = [first_id(attributes, "session.id", "gen_ai.conversation.id"), *named, first_id(metadata, "run_id")]
    known = list(dict.fromkeys(found for found in candidates[:-1] if found))
    others = dict.fromkeys(found for found in (*known[1:], candidates[-1]) if found)
    return (known[0] if known else None), tuple(others)


def _agent(span: Span) -> str | None:
    attributes = span.attributes
    named = as_text(first(attributes, "agent.name", "agno.agent", "gen_ai.agent.name"))
    if named is None and "metadata" in attributes:
        named = as_text(as_dict(attributes.get("metadata")).get("lc_agent_name"))
    if named is None and attributes.get(_KIND) == "AGENT":
        named = as_text(first(attributes, "graph.node.id")) or as_text(span.name)
    return named


def _usage(attributes: Attributes) -> Usage:
    write = first_int(attributes, "llm.token_count.prompt_details.cache_write")
    usage = inclusive(
        first_int(attributes, "llm.token_count.prompt"),
        first_int(attributes, "llm.token_count.completion"),
        read=first_int(attributes, "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input"),
        write=write,
        reasoning=first_int(attributes, "llm.token_count.completion_details.reasoning"),
        total=first_int(attributes, "llm.token_count.total"),
        write_1h=_lasting(attributes) if write else None,
        input_audio=first_int(attributes, "llm.token_count.prompt_details.audio"),
        output_audio=first_int(attributes, "llm.token_count.completion_details.audio"),
    )
    answered = attributes.get("output.value")
    if isinstance(answered, str) and '"cost' in answered and (billed := billed_usd(as_dict(as_dict(answered).get("usage")))) is not None:
        usage = usage._replace(billed_usd=billed)
    if "llm.cost.total" in attributes and (stated := as_usd(attributes["llm.cost.total"])):
        usage = usage._replace(stated_usd=stated)
    return usage


def _tier(attributes: Attributes) -> str | None:
    """The tier in the vendor's response, which is kept as sent; in what was said its quotes are escaped."""
    text = attributes.get("output.value")
    found = _TIER.search(text) if isinstance(text, str) else None
    return other_tier(found[1]) if found is not None else None


def _lasting(attributes: Attributes) -> int | None:
    """Of what was written to a cache that for an hour, which stands in the response only: Anthropic's, or LangChain's of it."""
    value = as_dict(attributes.get("output.value"))
    message = messages.unwrapped(as_dict(_generation(value).get("message")))
    return next((hour for usage in (value.get("usage"), message.get("usage_metadata")) if (hour := written(usage)) is not None), None)


def _response(attributes: Attributes) -> tuple[str | None, tuple[str, ...]]:
    """Response id and finish reasons: attributes, else what the provider's or LangChain's response says."""
    reasons = as_texts(attributes.get("llm.finish_reason"))
    found = first_id(attributes, "gen_ai.response.id")
    if found:
        return found, reasons
    value = as_json(attributes.get("output.value"))
    if not isinstance(value, dict):
        return None, reasons
    if not reasons:
        choices = value.get("choices")
        if isinstance(choices, list):
            reasons = tuple(text for item in choices if isinstance(item, dict) and (text := as_text(item.get("finish_reason"))))
        reasons = reasons or as_texts(value.get("stop_reason"))
    generation = _generation(value)
    message = messages.unwrapped(as_dict(generation.get("message")))
    metadata = as_dict(message.get("response_metadata"))
    reasons = reasons or as_texts(metadata.get("finish_reason"))
    own = as_id(metadata.get("id")) or as_id(message.get("id")) or as_id(value.get("id"))
    # LangChain gives a message an id of its own making where the provider's is elsewhere.
    return None if own is None or own.startswith(("run-", "lc_run-", "run--")) else own, reasons


def _exchange(attributes: Attributes, *, alternating: bool) -> Exchange:
    output = [_message(fields) for fields in messages.numbered(attributes, _OUT, ".message.")]
    told = messages.new(messages.numbered(attributes, _IN, ".message."), _message, alternating=alternating)
    told = [message for message in told if not message.asks]
    # The JavaScript instrumentation for LangChain flattens messages without their tool-call ids.
    if any(ask.call_id is None for message in output for ask in message.asks):
        generation = _generation(as_dict(attributes.get("output.value")))
        output = [messages.read(generation["message"])] if isinstance(generation.get("message"), dict) else output
    if any(answer.call_id is None for message in told for answer in message.answers):
        told = messages.trailing(as_dict(attributes.get("input.value")).get("messages")) or told
    return messages.exchange(told, output)


def _generation(value: dict[str, Any]) -> dict[str, Any]:
    """The one generation of LangChain's list of lists."""
    generations = value.get("generations")
    while isinstance(generations, list) and generations:
        generations = generations[0]
    return generations if isinstance(generations, dict) else {}


def _message(fields: dict[str, Any]) -> Message:
    role = fields.get("role")
    role = role.lower() if isinstance(role, str) else ""
    texts: list[str] = []
    content = as_text(fields.get("content"))
    if content:
        texts.append(content)
    calls: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        if key.startswith("contents.") and key.endswith((".message_content.text", ".message_content.content")):
            text = as_text(value)
            if text:
                texts.append(text)
        elif key.startswith("tool_calls."):
            number, _, rest = key[len("tool_calls.") :].partition(".tool_call.")
            if rest:
                calls.setdefault(number, {})[rest] = value
    asks = tuple(_ask(call) for call in calls.values())
    answers: tuple[ToolAnswer, ...] = ()
    if role in {"tool", "function"} or "tool_call_id" in fields:
        text = messages.plain_content("\n".join(texts)) if texts else None
        answers = (answer(fields.get("tool_call_id"), fields.get("name"), text, None),)
    return Message(role, "\n".join(texts) or None, asks, answers)


def _ask(call: dict[str, Any]) -> ToolAsk:
    arguments = call.get("function.arguments")
    if isinstance(arguments, str) and arguments.startswith('"'):
        # One JavaScript exporter encodes the JSON text as JSON once more.
        inner = as_json(f"[{arguments}]")
        arguments = inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], str) else arguments
    return ask(call.get("id"), call.get("function.name"), "{}" if arguments is None and call.get("function.name") else arguments)


def _schemas(attributes: Attributes) -> tuple[tuple[str, str], ...]:
    found = []
    for key, value in attributes.items():
        if key.startswith("llm.tools.") and key.endswith(".tool.json_schema"):
            definition = as_dict(value)
            function = as_dict(definition.get("function")) or definition
            name, schema = as_id(function.get("name")), canonical(as_dict(first(function, "parameters", "input_schema")))
            if name and schema:
                found.append((name, schema))
    return tuple(found)
