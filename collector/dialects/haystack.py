"""Haystack's own tracing."""

from typing import Any, ClassVar, Final

from collector.dialects import messages
from collector.dialects.base import Fragment
from collector.dialects.messages import Exchange
from collector.dialects.steps import ending, judged, model_call, step, tool_call, tool_kind
from collector.dialects.usage_json import usage_of
from collector.dialects.values import arguments_text, as_dict, as_id, as_list, as_text, as_texts, canonical, first, first_id
from collector.telemetry_data import LogRecord, Span
from detectors.model import StepKind

_LLM: Final = "haystack.agent.step.llm"
_TOOL: Final = "haystack.agent.step.tool"
_AGENTS: Final = frozenset({"haystack.pipeline.run", "haystack.async_pipeline.run", "haystack.agent.run", "haystack.component.run"})


class Haystack:
    """Haystack 2's spans, through whatever tracer the application hands it.

    Recognises: span names `haystack.…`, whatever the scope.
    Keys: model calls `haystack.agent.step.llm` with `….llm.input`, `….llm.output` (JSON of chat messages), or components
    whose type ends in `Generator` with `haystack.component.output`; tools `haystack.agent.step.tool` with
    `haystack.tool.name`, `….tool.input`, `….tool.output`. Pipelines, agents and other components are agents.
    Tokens: JSON in the reply's `meta.usage`, under the provider's names: input includes cached, output includes reasoning.
    Session: none; a run is a trace and a session.
    Turn: one `haystack.pipeline.run`.
    Known gaps: with content off there are neither tokens nor models; a tool's record has no call id.
    Versions seen: haystack-ai 2.
    Switch: HAYSTACK_CONTENT_TRACING_ENABLED=true.
    """

    name: ClassVar[str] = "haystack"
    names: ClassVar[tuple[str, ...]] = ("haystack.",)

    def recognises(self, span: Span) -> bool:
        return span.name.startswith("haystack.")

    def translate(self, span: Span) -> Fragment | None:
        attributes = span.attributes
        session = first_id(attributes, "session.id", "gen_ai.conversation.id")
        if span.name == _LLM:
            return self._llm(span, session, attributes.get(_LLM + ".input"), attributes.get(_LLM + ".output"))
        if span.name == _TOOL:
            return self._tool(span, session)
        if span.name not in _AGENTS:
            return Fragment(session_id=session) if session else None
        kind = as_text(attributes.get("haystack.component.type")) or ""
        if kind.endswith("Generator"):
            return self._llm(span, session, attributes.get("haystack.component.input"), attributes.get("haystack.component.output"))
        name = as_text(attributes.get("haystack.component.name"))
        agent = name if kind == "Agent" else None
        steps = StepKind.RETRIEVAL if kind.endswith(("Retriever", "Embedder", "Ranker")) else StepKind.AGENT
        found = step(span, self.name, steps, name=name or span.name, agent=agent, **ending(span)._asdict())
        return Fragment(step=found, session_id=session, agent=agent)

    def _llm(self, span: Span, session: str | None, told: Any, said: Any) -> Fragment:
        request, replies = as_dict(told), as_list(as_dict(said).get("replies"))
        meta = next((as_dict(reply.get("meta")) for reply in replies if isinstance(reply, dict)), {})
        if not meta:
            meta = next((found for found in as_list(as_dict(said).get("meta")) if isinstance(found, dict)), {})
        exchange = _exchange(request.get("messages"), replies)
        tokens = usage_of(meta.get("usage"))
        model = as_text(meta.get("model"))
        response_id = as_id(meta.get("id")) or as_id(meta.get("response_id"))
        reasons = as_texts(meta.get("finish_reason"))
        found = model_call(span, self.name, model, tokens, ending(span), said=exchange, response_id=response_id, finish_reasons=reasons)
        return Fragment(
            step=found,
            session_id=session,
            twin_key=response_id,
            asks=exchange.asks,
            answers=exchange.answers,
            joins=exchange.joins,
            tool_schemas=_schemas(request.get("tools")),
        )

    def _tool(self, span: Span, session: str | None) -> Fragment | None:
        attributes = span.attributes
        name = as_text(attributes.get("haystack.tool.name"))
        kind = tool_kind(name)
        if kind is None:
            return Fragment(session_id=session) if session else None
        result = messages.plain_content(attributes.get(_TOOL + ".output"))
        ended = judged(ending(span), result)
        arguments = arguments_text(attributes.get(_TOOL + ".input"))
        found = tool_call(span, self.name, kind, name, ended, arguments=arguments, result=result)
        return Fragment(step=found, session_id=session)

    def recognises_log(self, record: LogRecord) -> bool:
        del record
        return False

    def translate_log(self, record: LogRecord) -> Fragment | None:
        del record
        return None


def _exchange(told: Any, said: list[Any]) -> Exchange:
    history = [_message(item) for item in as_list(told)[-messages.MAX_TRAILING :]]
    return messages.exchange(messages.trailing(history), [messages.read(_message(item)) for item in said])


def _message(item: Any) -> Any:
    """A chat message with Haystack's content blocks as the conventions' parts."""
    if not isinstance(item, dict):
        return item
    parts: list[Any] = []
    for block in as_list(item.get("content", item.get("_content"))):
        if not isinstance(block, dict):
            parts.append(block)
        elif isinstance(call := block.get("tool_call"), dict):
            parts.append({"type": "tool_call", "id": call.get("id"), "name": call.get("tool_name"), "arguments": call.get("arguments")})
        elif isinstance(result := block.get("tool_call_result"), dict):
            origin = as_dict(result.get("origin"))
            parts.append(
                {
                    "type": "tool_call_response",
                    "id": origin.get("id"),
                    "name": origin.get("tool_name"),
                    "response": result.get("result"),
                    "is_error": True if result.get("error") is True else None,
                }
            )
        else:
            parts.append(block)
    return {"role": item.get("role", item.get("_role")), "parts": parts}


def _schemas(tools: Any) -> tuple[tuple[str, str], ...]:
    found = []
    for item in as_list(tools):
        function = as_dict(first(item, "data", "function")) or item if isinstance(item, dict) else {}
        name, schema = as_id(function.get("name")), canonical(as_dict(function.get("parameters")))
        if name and schema:
            found.append((name, schema))
    return tuple(found)
