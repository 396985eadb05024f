"""What detectors are told beside the steps: halts, schemas, baselines, and that time passed."""

import json
from typing import Any

from detectors.model import BaselineSnapshot, Halted, Released, SchemaRegistered, SessionKey

from .agents import SECOND_NS, START_NS, Run, llm, tool

KEY = SessionKey("default", "", "s")
SEARCH = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
MINUTE_NS = 60 * SECOND_NS


def offering(name: str, schema: dict[str, Any], **where: Any) -> Any:
    made = llm(name, **{"session": "s", "agent": "planner", **where})
    made.attributes["gen_ai.tool.definitions"] = json.dumps([{"type": "function", "name": "search", "parameters": schema}])
    return made


def registered(run: Run) -> list[tuple[int, str, str]]:
    return [(event.seq, event.agent_type, event.tool) for event in run.events if isinstance(event, SchemaRegistered)]


def test_a_definition_is_told_of_once_and_before_the_step_that_offers_it() -> None:
    run = Run().send(*(offering(f"l{number}", SEARCH, at=number) for number in range(3)))
    assert registered(run) == [(1, "planner", "search")]
    assert [step.seq for step in run.steps()] == [3, 4, 5]
    schemas = run.sessions.live[KEY].host.context.schemas
    assert json.loads(schemas["search"]) == SEARCH


def test_a_changed_definition_is_told_of_whatever_the_grouping() -> None:
    other = {**SEARCH, "required": []}
    spans = [offering("a", SEARCH), offering("b", other, at=60), offering("c", other, at=120)]
    together, apart = Run().send(*spans), Run().send_each(*spans)
    told = [[e.fingerprint for e in run.events if isinstance(e, SchemaRegistered)] for run in (together, apart)]
    assert told[0] == told[1]
    assert len(registered(together)) == 2
    assert json.loads(together.sessions.live[KEY].host.context.schemas["search"]) == other


def test_a_definition_made_anew_for_every_call_does_not_flood_the_stream() -> None:
    run = Run().send(*(offering(f"l{number}", {**SEARCH, "title": str(number)}, at=number) for number in range(100)))
    assert 5 <= len(registered(run)) <= 11


def test_a_session_with_several_agents_knows_the_tools_of_each() -> None:
    run = Run().send(llm("a", session="s", agent="boss"), offering("b", SEARCH, at=5))
    assert "search" in run.sessions.live[KEY].host.context.schemas


def test_a_session_made_again_meets_what_was_known_then() -> None:
    run = Run(max_live=1).send(offering("a", SEARCH)).send(llm("x", session="other", trace="o", at=60))
    other = {**SEARCH, "required": []}
    past = run.sessions.knowledge.as_of()
    run.send(offering("b", other, session="third", trace="3", at=120))
    past.seq = 2
    assert json.loads(past.schemas(("planner",))["search"]) == SEARCH
    past.seq = 1_000
    assert json.loads(past.schemas(("planner",))["search"]) == other
    run.send(tool("t", session="s", at=180))
    assert json.loads(run.sessions.live[KEY].host.context.schemas["search"]) == other


def test_a_baseline_reaches_sessions_that_are_at_work() -> None:
    run = Run().send(llm("a", session="s", agent="planner"))
    spread = {"p50": 5.0, "p95": 9.0, "p99": 10.0}
    snapshot = {"agent_type": "planner", "version": "planner-1", "sessions": 40, "measures": {"steps": spread}}
    run.pipeline.record(lambda seq: [BaselineSnapshot(seq=seq, at_ns=1, **snapshot)])  # type: ignore[arg-type]  # as configured
    run.send(llm("b", session="s", agent="planner", at=5))
    context = run.sessions.live[KEY].host.context
    assert context.baseline is not None
    assert context.baseline.sessions == 40
    usual = context.baseline.of("steps")
    assert usual is not None
    assert usual.p99 == 10
    assert run.sessions.live[KEY].host.versions.baselines == "planner-1"


def test_steps_after_a_halt_are_those_of_a_zombie_until_it_is_released() -> None:
    run = Run().send(llm("a", session="s"))
    halted_ns = START_NS + 10 * SECOND_NS
    run.pipeline.record(lambda seq: [Halted(seq=seq, session=KEY, generation=1, verb="halt", at_ns=halted_ns)])
    run.send(*(llm(f"b{number}", session="s", at=100 + number) for number in range(4)))
    assert [(f.detector, f.severity.value) for f in run.findings] == [("zombie", "warning"), ("zombie", "critical")]
    run.pipeline.record(lambda seq: [Released(seq=seq, session=KEY, generation=2, grace_steps=0, at_ns=halted_ns)])
    run.send(*(llm(f"c{number}", session="s", at=200 + number) for number in range(4)))
    assert len(run.findings) == 2


def test_silence_in_the_middle_of_something_is_noticed_while_others_speak() -> None:
    run = Run().send(llm("a", session="s", asks=[("c", "build", {})]))
    for minute in range(1, 25):
        run.send(llm(f"o{minute}", session="other", trace="o", at=minute * 60))
    assert [(f.detector, f.session) for f in run.findings] == [("abandoned", KEY)]
    assert run.findings[0].at_ns < START_NS + 18 * MINUTE_NS
    run.send(tool("t", "build", session="s", call="c", at=1_500))
    assert not run.sessions.live[KEY].open_findings


def test_a_silence_of_the_past_is_seen_again_when_the_session_is_made_again() -> None:
    run = Run(max_live=2).send(llm("a", session="s", asks=[("c", "build", {})]))
    for minute in range(1, 25):
        run.send(llm(f"o{minute}", session="other", trace="o", at=minute * 60))
    run.send(tool("t", "build", session="s", call="c", at=1_500))
    for number in range(3):
        run.send(llm(f"x{number}", session=f"x{number}", trace=f"x{number}", at=1_510 + number))
    assert KEY not in run.sessions.live
    run.send(llm("b", session="s", asks=[("d", "build", {})], at=1_520))
    for minute in range(26, 50):
        run.send(llm(f"p{minute}", session="other", trace="o", at=minute * 60))
    found = [f for f in run.findings if f.session == KEY]
    assert [f.episode for f in found] == [1, 2]
    assert len({f.id for f in found}) == 2
