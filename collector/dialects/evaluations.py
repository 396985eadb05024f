"""Judgements that telemetry carries, whoever wrote it: evaluation results, annotations, feedback.

Three ways to say them are known. OpenTelemetry: a log record or span event `gen_ai.evaluation.result` (conventions 1.38 and
after), or a span with its attributes. OpenInference: span attributes `annotations.N.annotation.*` and
`evaluations.N.evaluation.*`, also of the trace (`trace.…`) or session (`session.…`). Logfire: a span with
`logfire.feedback.name`, whose value stands under that name. Langfuse's scores and MLflow's assessments go to
their own servers' APIs and are not in OTLP.
"""

import math
from typing import Any, Final

from collector.dialects.base import Fragment, Judgement
from collector.dialects.genai_keys import conversation_of
from collector.dialects.values import as_text, first_id
from collector.telemetry_data import Attributes, LogRecord, Span

EVENT: Final = "gen_ai.evaluation.result"
_NAME: Final = "gen_ai.evaluation.name"
_FEEDBACK: Final = "logfire.feedback.name"
_LISTS: Final = tuple((f"{scope}{one}s", one) for scope in ("", "trace.", "session.") for one in ("annotation", "evaluation"))
_MARKS: Final = frozenset({_NAME, _FEEDBACK, *(f"{many}.0.{one}.name" for many, one in _LISTS)})
"""Attributes one of which stands on every span that is judged, or is a judgement."""
_MOST: Final = 32
"""Judgements taken from one span or record."""
_MAX_NAME: Final = 120


def of_span(span: Span) -> tuple[Judgement, ...]:
    """The judgements a span carries."""
    unmarked = span.attributes.keys().isdisjoint(_MARKS)
    if unmarked and not span.events:
        return ()
    found = [] if unmarked else _of_attributes(span.attributes)
    for event in span.events:
        if event.name == EVENT and (one := _of_convention(event.attributes)) is not None:
            found.append(one)
    return tuple(found[:_MOST])


def of_log(record: LogRecord) -> Fragment | None:
    """The judgement that a log record is, with the ids that say what it is about; None where it is none."""
    if record.event_name != EVENT and record.attributes.get("event.name") != EVENT:
        return None
    one = _of_convention(record.attributes)
    if one is None:
        return None
    session, conversation = first_id(record.attributes, "session.id"), conversation_of(record.attributes)
    return Fragment(session_id=session or conversation, evaluations=(one,))


def _of_attributes(attributes: Attributes) -> list[Judgement]:
    found: list[Judgement] = []
    for many, one in _LISTS:
        for index in range(_MOST):
            name = as_text(attributes.get(f"{many}.{index}.{one}.name"))
            if name is None:
                break
            path = f"{many}.{index}.{one}"
            _add(found, name, attributes.get(f"{path}.score"), attributes.get(f"{path}.label"))
    convention = _of_convention(attributes)
    if convention is not None:
        found.append(convention)
    feedback = as_text(attributes.get(_FEEDBACK))
    if feedback is not None:
        value = attributes.get(feedback)
        _add(found, feedback, value, value)
    return found


def _of_convention(attributes: Attributes) -> Judgement | None:
    name = as_text(attributes.get(_NAME))
    if name is None:
        return None
    found: list[Judgement] = []
    response_id = first_id(attributes, "gen_ai.response.id")
    _add(found, name, attributes.get("gen_ai.evaluation.score.value"), attributes.get("gen_ai.evaluation.score.label"), response_id)
    return found[0] if found else None


def _add(found: list[Judgement], name: str, score: Any, label: Any, response_id: str | None = None) -> None:
    """An explanation alone judges nothing."""
    number, text = _number(score), as_text(label)
    if number is not None or text is not None:
        found.append(
            Judgement(name=name[:_MAX_NAME], score=number, label=None if text is None else text[:_MAX_NAME], response_id=response_id)
        )


def _number(value: Any) -> float | None:
    """A finite number, or a truth value as 1 or 0."""
    return float(value) if isinstance(value, (bool, int, float)) and math.isfinite(value) else None
