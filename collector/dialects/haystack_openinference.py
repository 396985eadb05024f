"""Haystack, as OpenInference instruments it: two spans a run, and all that happened in the text of their output."""

from typing import Any, ClassVar, Final

import msgspec

from collector.dialects import messages
from collector.dialects.base import Fragment, ToolAnswer
from collector.dialects.openinference import OpenInference
from collector.dialects.python_repr import KIND, constructed
from collector.dialects.steps import SUCCESS, model_call
from collector.dialects.usage_json import usage_of
from collector.dialects.values import answer, as_bool, as_dict, as_id, as_list, as_text, as_texts, ask
from collector.telemetry_data import Span
from detectors.model import StepKind, ToolAsk

_SCOPE: Final = "openinference.instrumentation.haystack"
_MAX_MESSAGES: Final = 512


class HaystackOpenInference(OpenInference):
    """Haystack's agents through OpenInference.

    Recognises: scope `openinference.instrumentation.haystack`.
    Keys: components as `OpenInference`. An agent's model and tool calls have no spans: they stand as Python reprs of chat
    messages in `output.value` of `Agent.run`, behind those that were in its input. `Pipeline.run` repeats them: not read.
    Where another instrumentation has spans of the model calls too, equal tokens in one trace make the two one.
    Tokens: `usage` in a message's `_meta`, under the vendor's names: input includes cached, output includes reasoning.
    Session: `session.id`.
    Turn: the root, one `Pipeline.run`.
    Known gaps: when each call was made, only that it was within the run; calls show when the run has ended; none of a run that
    failed.
    Versions seen: haystack-ai 3.4 with instrumentation 0.1.46.
    Switch: `using_attributes(session_id=…)`; Haystack's own tracing says more, and sooner.
    """

    name: ClassVar[str] = "haystack_openinference"
    scopes: ClassVar[tuple[str, ...]] = (_SCOPE,)

    def recognises(self, span: Span) -> bool:
        return span.scope_name == _SCOPE and super().recognises(span)

    def translate(self, span: Span) -> Fragment | None:
        fragment = super().translate(span)
        if fragment is None or fragment.step is None or fragment.step.kind is not StepKind.AGENT:
            return fragment
        said = as_list(as_dict(span.attributes.get("output.value")).get("messages"))
        if not said:
            return fragment
        told = {item for item in as_list(as_dict(span.attributes.get("input.value")).get("messages")) if isinstance(item, str)}
        fragment.parts = self._calls(span, [item for item in said if isinstance(item, str) and item not in told][-_MAX_MESSAGES:])
        return fragment

    def _calls(self, span: Span, said: list[str]) -> tuple[Fragment, ...]:
        """Model calls in their order, each with the outcomes that its prompt held."""
        parts: list[Fragment] = []
        told: str | None = None
        answers: list[ToolAnswer] = []
        for item in said:
            found = constructed(item)
            message = found if isinstance(found, dict) else {}
            blocks = [block for block in as_list(message.get("_content")) if isinstance(block, dict)]
            text = "\n".join(line for block in blocks if (line := as_text(block.get("text")))) or None
            if message.get("_role") == "assistant":
                part = self._call(span, as_dict(message.get("_meta")), blocks, tuple(answers), place=len(parts))
                if part.step is not None:
                    part.step = msgspec.structs.replace(part.step, input_text=told, output_text=text)
                parts.append(part)
                told, answers = None, []
            else:
                answers += [_outcome(block) for block in blocks if block.get(KIND) == "ToolCallResult"]
                told = answers[-1].result if answers else text
        if answers:
            ids = messages.joined((), answers)
            parts.append(Fragment(answers=tuple(answers), joins=ids, span_id=None, at_ns=span.end_ns))
        return tuple(parts)

    def _call(
        self, span: Span, meta: dict[str, Any], blocks: list[dict[str, Any]], answers: tuple[ToolAnswer, ...], *, place: int
    ) -> Fragment:
        asks = tuple(_ask(block) for block in blocks if block.get(KIND) == "ToolCall")
        joins = messages.joined(asks, answers)
        usage = usage_of(meta.get("usage"))
        if usage.input_tokens is None and usage.output_tokens is None:
            # The application's own message, or one that an earlier run was told.
            return Fragment(answers=answers, joins=joins, at_ns=span.end_ns)
        reasons = as_texts(meta.get("finish_reason"))
        found = model_call(span, self.name, as_text(meta.get("model")), usage, SUCCESS, finish_reasons=reasons)
        # It ran somewhere within the run, after the calls before it.
        found = msgspec.structs.replace(
            found, span_id="", parent_span_id=span.span_id, started_ns=min(span.start_ns + place, found.ended_ns)
        )
        return Fragment(step=found, asks=asks, answers=answers, joins=joins)


def _ask(block: dict[str, Any]) -> ToolAsk:
    return ask(block.get("id"), block.get("tool_name"), block.get("arguments"))


def _outcome(block: dict[str, Any]) -> ToolAnswer:
    origin = as_dict(block.get("origin"))
    request = _ask(origin)
    told = answer(as_id(origin.get("id")), request.name, messages.plain_content(block.get("result")), as_bool(block.get("error")))
    return msgspec.structs.replace(told, arguments=request.arguments)
