"""Whose a judgement is: of a span, a session, a response; told before, between and after the steps; and what it comes to."""

import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.model import Request
from collector.store.base import FindingQuery
from detectors.model import Evaluation

from .agents import START_NS, Made, Run, agent, llm, pairs, request, span, span_id, tool, trace_id
from .services import core, crash, drop


def verdict(name: str, score: float, *, at: float = 0, trace: str | None = None, of: str | None = None, **ids: Any) -> Request:
    """A log record as the conventions have it."""
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.event_name, record.time_unix_nano = "gen_ai.evaluation.result", START_NS + int(at * 1e9)
    if trace is not None:
        record.trace_id = bytes.fromhex(trace_id(trace))
    if of is not None:
        record.span_id = bytes.fromhex(span_id(of))
    attributes = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score, **ids}
    record.attributes.extend(pairs(attributes))
    return Request(signal="logs", encoding="protobuf", body=message.SerializeToString())


def judgements(run: Run) -> list[tuple[str, str, float | None]]:
    found = [event for event in run.events if isinstance(event, Evaluation)]
    return [(run.assembler.survivor(event.session).session_id, event.name, event.score) for event in found]


TWO = (llm("a", session="one", at=1), llm("b", session="two", at=2, response="resp-b"))
"""One trace, two sessions."""


@pytest.mark.parametrize(
    ("judged", "session"),
    [
        (verdict("goal", 1.0, trace="t", of="b", at=3), "two"),
        (verdict("goal", 1.0, trace="t", at=3), "one"),
        (verdict("goal", 1.0, at=3, **{"gen_ai.response.id": "resp-b"}), "two"),
        (verdict("goal", 1.0, at=3, **{"gen_ai.conversation.id": "two"}), "two"),
    ],
    ids=["span", "trace", "response", "session"],
)
def test_it_belongs_to_what_it_names(judged: Request, session: str) -> None:
    assert judgements(Run().send_each(*TWO, judged)) == [(session, "goal", 1.0)]


def test_it_waits_for_a_trace_that_was_not_heard_of() -> None:
    run = Run().send(verdict("goal", 1.0, trace="t", of="a"))
    assert (judgements(run), run.sessions.live) == ([], {})
    run.send(llm("a", at=1)).send(agent("root", "planner", session="late", at=0, lasts=5))
    assert judgements(run) == [("late", "goal", 1.0)]


def test_a_judge_with_a_trace_of_its_own_does_not_become_part_of_the_session() -> None:
    judged = verdict("goal", 0.0, trace="judge", at=9, **{"gen_ai.conversation.id": "one"})
    run = Run().send_each(*TWO, judged, llm("thinks", trace="judge", at=10))
    assert judgements(run) == [("one", "goal", 0.0)]
    assert run.by_id()["one"].llm_calls == 1


def test_a_span_that_is_judged_is_a_step_and_charged_once() -> None:
    annotated = {"openinference.span.kind": "LLM", "evaluations.0.evaluation.name": "goal", "evaluations.0.evaluation.score": 0.0}
    run = Run().send(span("a", annotated, session=None, trace="t"), llm("b", session="s", at=2))
    assert judgements(run) == [("s", "goal", 0.0)]
    assert run.by_id()["s"].llm_calls == 2


def test_it_is_recorded_once_however_often_it_is_sent() -> None:
    judged = verdict("goal", 1.0, trace="t", of="a", at=3)
    assert len(judgements(Run().send_each(*TWO, judged, judged))) == 1


def test_several_judgements_of_one_response_are_no_duplicates() -> None:
    ids = {"gen_ai.response.id": "resp-b"}
    run = Run().send_each(*TWO, verdict("goal", 1.0, at=3, **ids), verdict("tone", 1.0, at=3, **ids), verdict("goal", 0.0, at=3, **ids))
    assert judgements(run) == [("two", "goal", 1.0), ("two", "tone", 1.0), ("two", "goal", 0.0)]


def test_nobody_to_judge_is_no_session() -> None:
    run = Run().send(verdict("goal", 1.0))
    assert (judgements(run), run.by_id(), run.assembler.unplaced) == ([], {}, 1)


def story(seed: int) -> list[Made | Request]:
    """A hundred sessions that reach their goals nine times in ten, then sixty that do four times; all calls succeed."""
    dice, made = random.Random(seed), []  # noqa: S311 — a sample, not a secret
    for number in range(160):
        name, at = f"s{number}", number * 60.0
        made += [
            llm(f"{name} llm", session=name, trace=name, agent="planner", at=at),
            tool(f"{name} tool", "search", {"q": number}, f"page {number}", session=name, trace=name, agent="planner", at=at + 2),
            verdict("goal", float(dice.random() < (0.9 if number < 100 else 0.4)), trace=name, of=f"{name} llm", at=at + 5),
        ]
    return made


def requests(items: list[Made | Request]) -> list[list[Request]]:
    """In groups, as they are committed."""
    each = [item if isinstance(item, Request) else request(item) for item in items]
    return [each[place : place + 30] for place in range(0, len(each), 30)]


def test_a_crash_forgets_no_judgement(tmp_path: Path) -> None:
    items = story(3)

    def told(cut: int | None) -> list[tuple[str, str, int]]:
        running = core(tmp_path / f"{cut}a")
        for group in requests(items[:cut]):
            running.process(group)
        if cut is not None:
            crash(running, tmp_path / f"{cut}b")
            drop(running)
            running = core(tmp_path / f"{cut}b")
            for group in requests(items[cut:]):
                running.process(group)
        found = running.store.findings(FindingQuery(detector="semantic_regression"))
        drop(running)
        return sorted((one.id, one.severity.value, one.at_ns) for one in found)

    whole = told(None)
    assert len(whole) == 1
    assert told(330) == told(470) == whole
