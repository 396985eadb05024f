"""What live sessions come to: corrections, merges, eviction and return, halts."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from collector.model import SessionState
from collector.session_sums import add
from detectors.model import Finding, Halted, Released, SessionKey, Step, StepAmended, StepRetracted, Tick

from .agents import SECOND_NS, START_NS, Made, Run, agent, content_log, llm, loop, tool

KEY = SessionKey("default", "", "s")
HOUR_NS = 3600 * 10**9


def told(findings: list[Finding]) -> list[tuple[str, str, bool, int]]:
    return [(found.id, found.severity.value, found.halt_eligible, found.step_seq) for found in findings]


def known(findings: list[Finding]) -> set[tuple[str, str, bool]]:
    return {(found.detector, found.severity.value, found.halt_eligible) for found in findings}


def halt(run: Run, verb: str = "halt", generation: int = 1) -> None:
    run.pipeline.record(lambda seq: [Halted(seq=seq, session=KEY, generation=generation, verb=verb, halt_reason="operator", at_ns=1)])


def release(run: Run, *, generation: int = 2, grace: int = 5) -> None:
    run.pipeline.record(lambda seq: [Released(seq=seq, session=KEY, generation=generation, grace_steps=grace, at_ns=1)])


def passing(run: Run, seconds: int) -> None:
    run.pipeline.record(lambda seq: [Tick(seq=seq, at_ns=START_NS + seconds * SECOND_NS)])


# Corrections


def test_tokens_learned_late_are_added_once() -> None:
    run = Run().send(llm("a", session="s", response="r", tokens=(None, None)))
    assert run.by_id()["s"].input_tokens is None
    run.send(llm("b", session="s", response="r", tokens=(1_000, 100)))
    session = run.by_id()["s"]
    assert (session.steps, session.input_tokens, session.output_tokens) == (1, 1_000, 100)
    assert session.cost_usd == Decimal("0.00021")
    # Nobody tells what was read from a cache.
    assert session.cost_basis == "estimated"
    assert session.context_utilization == pytest.approx(1_000 / 128_000)


def test_a_wrapper_taken_back_takes_its_tokens_along() -> None:
    run = Run().send(llm("outer", session="s", lasts=3, tokens=(500, 50)), tool("x", session="s", failed="boom"))
    run.send(llm("inner", parent="outer", session="s", tokens=(400, 40)))
    session = run.by_id()["s"]
    assert (session.steps, session.llm_calls, session.input_tokens, session.output_tokens) == (2, 1, 400, 40)
    assert sum(session.cost_bases.values()) == 1


@pytest.mark.parametrize("made", [llm, lambda name, **where: tool(name, "x", {"q": 1}, "y", **where)])
def test_a_wrapper_is_taken_back_before_what_it_wraps_is_told(made: Callable[..., Made]) -> None:
    run = Run().send(made("outer", session="s", lasts=3)).send(made("inner", parent="outer", session="s"))
    wrapper, taken_back, inner = (event for event in run.events if isinstance(event, (Step, StepRetracted)))
    assert isinstance(taken_back, StepRetracted)
    assert (wrapper.seq, taken_back.was.seq) == (taken_back.was.seq, wrapper.seq)
    assert [step.seq for step in run.steps()] == [inner.seq]


def test_who_runs_it_may_be_learned_late() -> None:
    run = Run().send(llm("a", session="s", response="r", service=""))
    assert run.by_id()["s"].agents == []
    run.send(llm("b", session="s", response="r", agent="planner"))
    assert run.by_id()["s"].agents == ["planner"]


def test_detectors_see_corrected_steps_as_if_they_had_come_so() -> None:
    late, plain = Run(), Run()
    for number in range(6):
        where: dict[str, Any] = {"session": "s", "at": number * 10.0}
        plain.send(llm(f"l{number}", **where), content_log(f"l{number}", says="Again."), tool(f"t{number}", "x", {"q": 1}, "none", **where))
        late.send(llm(f"l{number}", **where), tool(f"t{number}", "x", {"q": 1}, "none", **where))
        late.send(content_log(f"l{number}", says="Again."))
    assert any(isinstance(event, StepAmended) for event in late.events)
    assert known(late.findings) == known(plain.findings)
    assert late.sums() == plain.sums()


def test_a_session_that_does_not_speak_again_is_judged_by_its_corrected_steps_too() -> None:
    run = Run()
    for number in range(6):
        run.send(llm(f"l{number}", session="s", at=number))
    run.send(*(content_log(f"l{number}", says="I will have to ask somebody for help with this.") for number in range(6)))
    passing(run, 30)
    assert not run.findings
    passing(run, 300)
    found = told(run.findings)
    assert ("soft_loop", "critical", False) in known(run.findings)
    assert run.sessions.catch_up() == []
    passing(run, 600)
    assert told(run.findings) == found


def test_an_unpriced_call_costs_nothing_known_and_says_so() -> None:
    run = Run().send(llm("a", session="s", model="nobody-knows-this-one"))
    assert run.by_id()["s"].cost_usd is None
    assert run.by_id()["s"].cost_basis == "unmetered"
    run.send(llm("b", session="s"))
    assert run.by_id()["s"].cost_basis == "mixed"


# Merges


def test_a_merge_sums_up() -> None:
    run = Run().send(llm("a", trace="t", parent="r", tokens=(10, 1)), tool("b", trace="t", parent="r", failed="no"))
    run.send(llm("c", trace="u", session="s", tokens=(20, 2), at=50)).send(agent("r", trace="t", session="s", lasts=60))
    session = run.by_id()["s"]
    assert (session.steps, session.llm_calls, session.tool_calls, session.tool_errors) == (3, 2, 1, 1)
    assert (session.input_tokens, session.output_tokens) == (30, 3)
    assert sorted(session.identifiers.trace_ids) == sorted({step.trace_id for step in run.steps()})


def test_findings_keep_their_ids_through_a_merge() -> None:
    run = Run()
    for made in loop("t", rounds=4):
        run.send(made)
    before = told(run.findings)
    assert before
    run.send(llm("x", trace="t", session="s", at=39))
    for made in loop("t", rounds=10, first=4):
        run.send(made)
    assert told(run.findings)[: len(before)] == before
    ids = {found.detector: found.id for found in run.findings[: len(before)]}
    later = [found for found in run.findings[len(before) :] if found.detector in ids]
    assert later
    assert {found.session for found in later} == {KEY}
    assert all(found.id == ids[found.detector] for found in later)


def test_after_a_merge_the_detectors_know_the_survivor_s_budget() -> None:
    run = Run()
    for made in loop("t", rounds=3):
        run.send(made)
    run.send(llm("x", trace="u", session="s", agent="named")).send(agent("t root", trace="t", session="s"))
    live = run.sessions.live[KEY]
    assert live.host.context.agent_type == live.session.agent_type == "named"


def test_a_halt_follows_a_merge() -> None:
    run = Run().send(llm("a", trace="t", parent="r"))
    (key,) = run.sessions.live
    run.pipeline.record(lambda seq: [Halted(seq=seq, session=key, generation=1, verb="halt", halt_reason="operator", at_ns=1)])
    run.send(agent("r", trace="t", session="s"))
    session = run.by_id()["s"]
    assert (session.state, session.halt_reason, session.generation) == (SessionState.HALTING, "operator", 1)


# Eviction and return


BOUNDS = {"count": {"max_live": 1}, "bytes": {"max_bytes": 1}, "recent": {"recent_bytes": 1}, "idle": {"idle_timeout_ns": 5 * 10**9}}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_evicted_and_returned_a_session_is_as_if_it_had_stayed(bounds: dict[str, int]) -> None:
    bounded, free = Run(**bounds), Run()
    others = [llm(f"o{number}", trace=f"o{number}", session=f"other{number}", at=number * 10) for number in range(40)]
    late = content_log("t llm 7", trace="t", says="A word that came late.")
    for run in (bounded, free):
        for number, made in enumerate(loop("t", session="s", rounds=14)):
            run.send(made).send(others[number])
            if number == 20:
                run.send(late)
    assert bounded.sums()["s"] == free.sums()["s"]
    assert told(bounded.findings) == told(free.findings)
    assert told(free.findings)
    if "recent_bytes" not in bounds:
        assert bounded.sessions.reloads > 10
    else:
        assert all(live.recent is None for live in bounded.sessions.live.values())


def test_a_session_that_merged_while_it_was_away_returns_whole() -> None:
    run = Run(max_live=1)
    run.send(llm("a", trace="t", parent="r")).send(llm("x", trace="x", session="x"))
    run.send(agent("r", trace="t", session="s")).send(llm("y", trace="x", session="x")).send(llm("b", trace="t", session="s"))
    assert run.by_id()["s"].llm_calls == 2


def test_a_silent_session_is_idle_and_runs_again_when_it_speaks() -> None:
    run = Run(idle_timeout_ns=HOUR_NS).send(llm("a", session="s")).send(llm("b", trace="u", session="u", at=9_000))
    assert run.by_id()["s"].state is SessionState.IDLE
    assert run.sessions.residence.evictions["idle"] == 1
    run.send(llm("c", session="s", at=9_001))
    assert run.sessions.live[KEY].session.state is SessionState.RUNNING
    assert run.sessions.live[KEY].session.llm_calls == 2


def test_memory_is_bounded_whatever_a_session_says() -> None:
    run = Run(recent_bytes=200_000)
    for number in range(400):
        run.send(
            tool(f"t{number}", "read", {"n": number}, "x" * 2_000, session="s", at=number, agent=f"agent {number}", instance=f"i{number}")
        )
        assert run.sessions.residence.recent.total <= 200_000
    live = run.sessions.live[KEY]
    assert live.recent is None or len(live.recent) <= 256
    ids = live.session.identifiers
    assert max(map(len, (live.session.agents, ids.service_instance_ids, ids.trace_ids))) <= 32


@pytest.mark.slow
def test_corrections_do_not_make_the_bound_drift() -> None:
    run = Run()
    for number in range(300):
        run.send(llm(f"a{number}", session="s", at=number * 2)).send(content_log(f"a{number}", says="z" * number))
    live = run.sessions.live[KEY]
    assert live.recent is not None
    assert len(live.recent) == 256
    assert run.sessions.residence.recent.total == live.recent_bytes
    assert live.recent_bytes == sum(700 + len(step.output_text or "") for step in live.recent)


def test_the_newest_ids_replace_the_oldest_but_the_first() -> None:
    ids: list[str] = []
    for number in range(100):
        add(ids, f"i{number}")
        add(ids, f"i{number}")
        add(ids, None)
    assert len(ids) == 32
    assert (ids[0], ids[-1]) == ("i0", "i99")


# Halts


def test_a_halt_sticks_through_steps_and_ends_and_eviction() -> None:
    run = Run(idle_timeout_ns=HOUR_NS).send(llm("a", session="s"))
    halt(run)
    run.send(llm("b", session="s", at=5), agent("r", session="s", at=6))
    assert run.by_id()["s"].state is SessionState.HALTING
    run.send(llm("x", trace="x", session="x", at=50_000))
    assert KEY not in run.sessions.live
    run.send(llm("c", session="s", at=50_001))
    session = run.by_id()["s"]
    assert (session.state, session.halt_reason, session.generation) == (SessionState.HALTING, "operator", 1)


def test_a_pause_gives_way_to_a_halt_and_not_the_other_way() -> None:
    run = Run().send(llm("a", session="s"))
    halt(run, "pause")
    assert run.by_id()["s"].state is SessionState.PAUSING
    halt(run, "halt", 2)
    halt(run, "pause", 3)
    assert run.by_id()["s"].state is SessionState.HALTING
    halt(run, "compact", 4)
    assert run.by_id()["s"].state is SessionState.HALTING


def test_a_session_not_seen_yet_is_born_halted() -> None:
    run = Run()
    halt(run)
    run.send(llm("a", session="s"))
    assert run.by_id()["s"].state is SessionState.HALTING
    assert run.by_id()["s"].llm_calls == 1


def test_a_release_lets_it_run_and_begins_a_new_episode() -> None:
    run = Run()
    spans = list(loop("t", session="s", rounds=40))
    for made in spans[:24]:
        run.send(made)
    first = {found.id for found in run.findings if found.detector == "exact_loop"}
    halt(run)
    release(run)
    session = run.by_id()["s"]
    assert (session.state, session.halt_reason, session.generation) == (SessionState.RUNNING, None, 2)
    assert not run.sessions.live[KEY].open_findings
    before = len(run.findings)
    for made in spans[24:29]:
        run.send(made)
    assert len(run.findings) == before
    for made in spans[29:]:
        run.send(made)
    again = {found.id for found in run.findings[before:] if found.detector == "exact_loop"}
    assert len(first) == len(again) == 1
    assert first != again


def test_a_finished_root_completes_the_session_until_it_goes_on() -> None:
    run = Run().send(llm("a", session="s", parent="r"), agent("r", session="s", lasts=2))
    assert run.by_id()["s"].state is SessionState.COMPLETED
    run.send(llm("b", session="s", at=60))
    assert run.by_id()["s"].state is SessionState.RUNNING


def test_ticks_are_no_steps() -> None:
    run = Run().send(llm("a", session="s"))
    run.pipeline.idle(10**18 * 2)
    assert run.sums()["s"].steps == 1
