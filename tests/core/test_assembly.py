"""Whose a step is, and that every call counts once, in whatever order its records come."""

import itertools
from collections.abc import Sequence

import pytest

from collector.model import Identifiers
from detectors.model import SessionKey, SessionsMerged

from .agents import Made, Run, agent, content_log, llm, loop, plumbing, request, tool, trace_id

# Whose it is


def test_the_id_on_a_root_that_comes_last_claims_its_children() -> None:
    run = Run().send(llm("a", parent="root"), tool("b", parent="root")).send(agent("root", session="s", lasts=9))
    assert list(run.by_id()) == ["s"]
    assert run.sums()["s"][:3] == (2, 1, 1)
    session = run.by_id()["s"]
    assert session.merged_from == [str(SessionKey("default", "", trace_id("t")))]
    assert session.identifiers.trace_ids == [trace_id("t")]


def test_children_that_come_after_their_root_are_its_session_s() -> None:
    run = Run().send(agent("root", session="s")).send(llm("a", parent="root")).send(tool("b", parent="a"))
    assert run.sums()["s"][:3] == (2, 1, 1)
    assert not any(isinstance(event, SessionsMerged) for event in run.events)


def test_an_id_on_the_model_calls_alone_is_enough() -> None:
    run = Run().send(tool("b", parent="root")).send(llm("a", parent="root", session="s")).send(tool("c", parent="root"), agent("root"))
    assert list(run.by_id()) == ["s"]
    assert run.sums()["s"][:3] == (3, 1, 2)


def test_a_trace_without_any_id_is_a_session_of_its_own() -> None:
    run = Run().send(llm("a", trace="t"), llm("b", trace="u", parent="r"), agent("r", trace="u"))
    assert {name: one.steps for name, one in run.sums().items()} == {trace_id("t"): 1, trace_id("u"): 1}


def test_several_sessions_in_one_request_stay_apart() -> None:
    spans = [llm(f"{name} {n}", trace=name, session=name) for n in range(3) for name in ("s1", "s2", "s3")]
    assert {name: one.llm_calls for name, one in Run().send(spans).sums().items()} == {"s1": 3, "s2": 3, "s3": 3}


def test_the_same_id_elsewhere_is_another_session() -> None:
    run = Run().send(llm("a", trace="t", session="s"), llm("b", trace="u", session="s", namespace="dev"))
    run.send(request(llm("c", trace="v", session="s"), tenant="acme"))
    assert [str(key) for key in run.sessions.live] == ["default//s", "default/dev/s", "acme//s"]


def test_tenants_that_chose_the_same_trace_id_share_nothing() -> None:
    run = Run()
    for tenant in ("acme", "default"):
        run.send(request(llm("a", parent="root"), tenant=tenant))
    run.send(request(agent("root", session="s"), tenant="acme"))
    assert {str(key) for key in run.sessions.live} == {"acme//s", f"default//{trace_id('t')}"}


def test_many_traces_of_one_session_add_up() -> None:
    run = Run()
    for turn in range(5):
        run.send(llm(f"a{turn}", trace=f"t{turn}", parent=f"r{turn}")).send(agent(f"r{turn}", trace=f"t{turn}", session="s"))
    assert run.sums()["s"].llm_calls == 5
    assert len(run.by_id()["s"].merged_from) == 5


def test_a_session_names_the_first_and_the_newest_that_were_merged_into_it() -> None:
    run, turns = Run(), Identifiers.LIMIT + 8
    for turn in range(turns):
        run.send(llm(f"a{turn}", trace=f"t{turn}", parent=f"r{turn}")).send(agent(f"r{turn}", trace=f"t{turn}", session="s"))
    kept = [0, *range(turns - Identifiers.LIMIT + 1, turns)]
    assert run.by_id()["s"].merged_from == [str(SessionKey("default", "", trace_id(f"t{turn}"))) for turn in kept]
    assert run.sums()["s"].llm_calls == turns


def test_an_agent_s_own_id_holds_for_what_runs_below_it() -> None:
    run = Run().send(agent("root", session="outer"), agent("sub", parent="root", session="inner"))
    run.send(llm("a", parent="root")).send(llm("b", parent="sub"), tool("c", parent="b"))
    assert {name: one.steps for name, one in run.sums().items()} == {"outer": 1, "inner": 2}


def test_looping_sessions_are_found_under_their_final_name() -> None:
    run = Run()
    for made in loop("t"):
        run.send(made)
    run.send(agent("t root", trace="t", session="s", lasts=999))
    assert {found.detector for found in run.findings} >= {"exact_loop"}
    assert list(run.by_id()) == ["s"]


# Joined by what they share


def test_a_tool_call_id_joins_traces_that_say_nothing() -> None:
    ask = [("call-1", "search", {"q": 1})]
    run = (
        Run()
        .send(llm("a", trace="t", asks=ask))
        .send(tool("b", trace="u", call="call-1"))
        .send(llm("c", trace="v", told=[("call-1", "x")]))
    )
    assert [one[:3] for one in run.sums().values()] == [(3, 2, 1)]


def test_a_tool_call_id_gives_a_nameless_trace_to_the_session_that_has_a_name() -> None:
    run = Run().send(tool("b", trace="u", call="call-1")).send(llm("a", trace="t", session="s", asks=[("call-1", "search", {})]))
    assert {name: one[:3] for name, one in run.sums().items()} == {"s": (2, 1, 1)}


def test_a_shared_id_never_makes_one_of_two_named_sessions() -> None:
    ask = [("call-1", "search", {})]
    run = Run().send(llm("a", trace="t", session="s1", asks=ask)).send(tool("b", trace="u", parent="root", call="call-1"))
    run.send(agent("root", trace="u", session="s2"))
    assert set(run.by_id()) == {"s1", "s2"}
    assert run.by_id()["s1"].workflow_id == run.by_id()["s2"].workflow_id is not None


def test_a_link_joins_nameless_traces_and_nothing_is_left_behind() -> None:
    run = Run().send(llm("a", trace="t")).send(llm("b", trace="u", links=(("t", "a"),)), tool("c", trace="u"))
    assert [one[:3] for one in run.sums().values()] == [(3, 2, 1)]
    assert len(run.sessions.live) == 1


# Workflows


def test_two_sessions_of_one_trace_are_one_workflow() -> None:
    run = Run().send(agent("root", session="s1"), llm("a", parent="root", session="s1"), llm("b", parent="root", session="s2"))
    assert run.by_id()["s1"].workflow_id == run.by_id()["s2"].workflow_id == "wf-s1"


def test_links_between_sessions_connect_workflows_whoever_comes_first() -> None:
    run = Run()
    for name in ("s1", "s2", "s3", "s4"):
        run.send(llm(f"{name} a", trace=name, session=name))
    run.send(llm("s2 b", trace="s2", session="s2", links=(("s1", "s1 a"),)), llm("s4 b", trace="s4", session="s4", links=(("s3", "s3 a"),)))
    assert len({session.workflow_id for session in run.by_id().values()}) == 2
    run.send(llm("s3 b", trace="s3", session="s3", links=(("s2", "s2 a"),)))
    assert len({session.workflow_id for session in run.by_id().values()}) == 1


def test_a_merge_keeps_both_workflows_together() -> None:
    run = Run().send(llm("a", trace="t"), llm("x", trace="x", session="x"), llm("y", trace="y", session="y"))
    run.send(llm("z", trace="z", session="s", links=(("y", "y"),)), llm("b", trace="t", links=(("x", "x"),)))
    run.send(agent("root", trace="t", session="s"))
    assert len({session.workflow_id for session in run.by_id().values()}) == 1


# Counted once


def test_a_batch_sent_twice_counts_once() -> None:
    spans = [agent("root", session="s"), llm("a", parent="root"), tool("b", parent="root")]
    run = Run().send(spans)
    before = (run.sums(), len(run.events))
    run.send(spans).send(spans, spans)
    assert (run.sums(), len(run.events)) == before


def test_a_batch_that_holds_a_span_twice_counts_it_once() -> None:
    assert Run().send(llm("a", session="s"), llm("a", session="s")).sums()["s"].llm_calls == 1


def test_two_records_of_one_response_at_one_time_are_one_call() -> None:
    run = Run().send(llm("a", session="s", response="r1", tokens=(100, None))).send(llm("b", session="s", response="r1", tokens=(100, 7)))
    assert run.sums()["s"][:6] == (1, 1, 0, 0, 100, 7)


def test_one_response_id_at_two_times_is_two_calls() -> None:
    run = Run().send(llm("a", session="s", response="r1", at=0), llm("b", session="s", response="r1", at=60))
    assert run.sums()["s"].llm_calls == 2


def test_twins_in_two_traces_bring_the_nameless_one_home() -> None:
    run = Run().send(llm("a", trace="t", response="r1")).send(llm("b", trace="u", session="s", response="r1"))
    assert {name: one.llm_calls for name, one in run.sums().items()} == {"s": 1}


def wrapped(session: str | None = "s") -> list[Made]:
    """A model call that three instrumentations saw, and a span between them that is no step."""
    return [
        llm("inner", parent="plumbing", lasts=1, tokens=(100, None), session=session),
        plumbing("plumbing", parent="middle", lasts=2),
        llm("middle", parent="outer", lasts=3, tokens=(100, 10)),
        llm("outer", parent="root", lasts=4, tokens=(None, None)),
        agent("root", lasts=5, session=session),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_wrappers_of_a_model_call_are_that_call_in_any_order(order: Sequence[int]) -> None:
    spans = wrapped()
    run = Run().send_each(*(spans[place] for place in order), spans[4])
    assert run.sums()["s"][:6] == (1, 1, 0, 0, 100, 10)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_wrappers_that_share_the_response_id_count_once_in_any_order(order: Sequence[int]) -> None:
    spans = [
        llm("inner", parent="middle", lasts=1, response="r", session="s"),
        llm("middle", parent="outer", lasts=2, response="r", session="s"),
        llm("outer", lasts=3, session="s"),
    ]
    run = Run().send_each(*(spans[place] for place in order))
    assert run.sums()["s"][:6] == (1, 1, 0, 0, 100, 10)


def test_a_wrapper_of_two_attempts_is_neither() -> None:
    attempts = [llm("first", parent="outer", at=0, session="s"), llm("second", parent="outer", at=2, session="s", tokens=(200, 20))]
    outer = llm("outer", at=0, lasts=4, session="s", tokens=(300, 30))
    for spans in ([*attempts, outer], [outer, *attempts]):
        assert Run().send_each(*spans).sums()["s"][:6] == (2, 2, 0, 0, 300, 30)


def test_a_model_call_below_an_agent_below_a_tool_is_no_wrapper() -> None:
    run = Run().send(
        llm("deep", parent="sub", session="s"), agent("sub", parent="t1"), tool("t1", "research", parent="top"), llm("top", lasts=9)
    )
    assert run.sums()["s"][:3] == (3, 2, 1)


@pytest.mark.parametrize("first", [0, 1])
def test_a_tool_in_a_tool_of_the_same_name_is_one_call(first: int) -> None:
    spans = [tool("in", "search", {"q": 1}, parent="out", session="s"), tool("out", "search", result="found", lasts=2, session="s")]
    run = Run().send_each(spans[first], spans[1 - first])
    assert run.sums()["s"][:3] == (1, 0, 1)
    (step,) = run.steps()
    assert (step.arguments, step.result) == ('{"q": 1}', "found")


def test_a_tool_in_a_tool_of_another_name_is_two_calls() -> None:
    assert Run().send(tool("in", "fetch", parent="out", session="s"), tool("out", "search", session="s")).sums()["s"].tool_calls == 2


# Completed by what comes beside


@pytest.mark.parametrize("order", ["before", "after", "together"])
def test_content_in_a_log_record_completes_its_span(order: str) -> None:
    call, content = llm("a", session="s"), content_log("a", says="I looked.")
    run = Run()
    if order == "together":
        run.send(call, content)
    else:
        run.send_each(*([content, call] if order == "before" else [call, content]))
    (step,) = run.steps()
    assert step.output_text == "I looked."
    assert run.sums()["s"][:2] == (1, 1)


@pytest.mark.parametrize("first", [0, 1])
def test_content_of_a_record_that_was_folded_goes_to_the_call_that_counts(first: int) -> None:
    spans = [llm("inner", parent="outer", session="s"), llm("outer", lasts=2, session="s")]
    for late in (False, True):
        run = Run()
        content = content_log("outer", says="I looked.")
        run.send_each(*([] if late else [content]), spans[first], spans[1 - first], *([content] if late else []))
        assert [step.output_text for step in run.steps()] == ["I looked."]


def test_content_whose_span_never_comes_is_no_step() -> None:
    assert Run().send(content_log("a", says="hello")).sums() == {}
