"""Judgements, whoever wrote them, and nothing where nobody judged."""

from typing import Any

import pytest

from collector.dialects import fragment_of, fragment_of_log
from collector.dialects.base import Judgement
from collector.telemetry_data import SpanEvent

from .spans import made, record, said

RESULT = {"gen_ai.evaluation.name": "goal", "gen_ai.evaluation.score.value": 0.5, "gen_ai.evaluation.score.label": "fail"}
GOAL = Judgement(name="goal", score=0.5, label="fail")


@pytest.mark.parametrize("named", [{"event_name": "gen_ai.evaluation.result"}, {}], ids=["event name", "attribute"])
def test_a_log_record_judges_a_span_a_session_or_a_response(named: dict[str, str]) -> None:
    attribute = {} if named else {"event.name": "gen_ai.evaluation.result"}
    of_span = said(record(RESULT | attribute, trace="1" * 32, span_id="b" * 16, **named))
    assert (of_span.evaluations, of_span.span_id, of_span.parent_span_id, of_span.step) == ((GOAL,), None, "b" * 16, None)
    of_session = said(record(RESULT | attribute | {"gen_ai.conversation.id": "c-1"}, **named))
    assert of_session.session_id == "c-1"
    (one,) = said(record(RESULT | attribute | {"gen_ai.response.id": "r-1"}, **named)).evaluations
    assert one.response_id == "r-1"


def test_a_span_event_judges_its_span() -> None:
    span = made({"gen_ai.operation.name": "chat"}, events=[SpanEvent(name="gen_ai.evaluation.result", attributes=RESULT)])
    assert said(span).evaluations == (GOAL,)
    assert said(span).step is not None


def test_a_span_may_be_nothing_but_a_judgement() -> None:
    assert said(made(RESULT, name="gen_ai.evaluation.result")).evaluations == (GOAL,)


@pytest.mark.parametrize("scope", ["", "trace.", "session."])
@pytest.mark.parametrize("kind", ["annotation", "evaluation"])
def test_openinference_lists_them(scope: str, kind: str) -> None:
    path = f"{scope}{kind}s"
    attributes = {
        "openinference.span.kind": "LLM",
        f"{path}.0.{kind}.name": "correctness",
        f"{path}.0.{kind}.score": 1,
        f"{path}.1.{kind}.name": "tone",
        f"{path}.1.{kind}.label": "formal",
        f"{path}.2.{kind}.name": "explained only",
        f"{path}.2.{kind}.explanation": "because",
    }
    assert said(made(attributes)).evaluations == (Judgement(name="correctness", score=1.0), Judgement(name="tone", label="formal"))


@pytest.mark.parametrize(
    ("value", "judged"),
    [
        (0.1, Judgement(name="factuality", score=0.1)),
        ("bad", Judgement(name="factuality", label="bad")),
        (True, Judgement(name="factuality", score=1.0)),
    ],
)
def test_logfire_feedback_is_a_span_below_the_one_it_is_about(value: Any, judged: Judgement) -> None:
    span = made({"logfire.feedback.name": "factuality", "factuality": value}, name="feedback: factuality", scope="logfire", parent="b" * 16)
    assert said(span).evaluations == (judged,)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "0.9", None, [1], b"1"])
def test_what_is_no_score_judges_nothing(score: object) -> None:
    attributes: dict[str, Any] = {"gen_ai.evaluation.name": "goal", "gen_ai.evaluation.score.value": score}
    found = fragment_of_log(record(attributes, event_name="gen_ai.evaluation.result"))
    assert found is None or not found.evaluations
    fragment = fragment_of(made(attributes))
    assert fragment is None or not fragment.evaluations


def test_no_more_than_a_few_are_taken_from_one_span() -> None:
    attributes: dict[str, Any] = {"openinference.span.kind": "LLM"}
    for index in range(500):
        attributes |= {f"evaluations.{index}.evaluation.name": "n" * 1_000, f"evaluations.{index}.evaluation.score": 1.0}
    found = said(made(attributes)).evaluations
    assert len(found) == 32
    assert len(found[0].name) == 120
