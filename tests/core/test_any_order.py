"""The order and grouping in which telemetry comes does not decide what sessions come to."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects.captures import SCENARIOS, name_of, requests

from .agents import Made, Run, Sums, agent, llm, plumbing, tool


@st.composite
def traces(draw: st.DrawFn) -> list[list[Made]]:
    """Traces of agents that say who they are in different places, seen by one or more instrumentations."""
    return [list(_trace(draw, f"t{number}")) for number in range(draw(st.integers(1, 4)))]


def _trace(draw: st.DrawFn, name: str) -> Iterator[Made]:
    session = draw(st.sampled_from(["s1", "s2", None]))
    said = draw(st.sampled_from(["root", "calls", "everywhere"])) if session is not None else "nowhere"
    on_root = session if said in {"root", "everywhere"} else None
    on_calls = session if said in {"calls", "everywhere"} else None
    calls = draw(st.integers(1, 4))
    for number in range(calls):
        at = 10.0 * number
        where = {"trace": name, "at": at}
        tokens = (draw(st.integers(0, 10_000)), draw(st.integers(0, 1_000)))
        shape = draw(st.sampled_from(["plain", "wrapped", "wrapped twice", "twin", "tool in tool"]))
        inner = f"{name} llm {number}"
        parent = f"{name} root"
        if shape == "wrapped":
            yield llm(f"{inner} outer", parent=parent, lasts=3, tokens=tokens, **where)
            parent = f"{inner} outer"
        elif shape == "wrapped twice":
            yield llm(f"{inner} outermost", parent=parent, lasts=4, tokens=(None, None), **where)
            yield plumbing(f"{inner} between", parent=f"{inner} outermost", lasts=3, **where)
            yield llm(f"{inner} outer", parent=f"{inner} between", lasts=2, tokens=tokens, **where)
            parent = f"{inner} outer"
        elif shape == "twin":
            yield llm(f"{inner} twin", parent=parent, tokens=tokens, response=inner, session=on_calls, **where)
        yield llm(inner, parent=parent, tokens=tokens, response=inner if shape == "twin" else None, session=on_calls, **where)
        failed = draw(st.sampled_from([None, "boom"]))
        outer = f"{name} tool {number}"
        if shape == "tool in tool":
            yield tool(f"{outer} inner", "search", {"q": number}, parent=outer, failed=failed, **where)
        yield tool(outer, "search", {"q": number}, "found", parent=f"{name} root", lasts=2, failed=failed, **where)
    yield agent(f"{name} root", trace=name, session=on_root, lasts=10.0 * calls)


def _batches(draw: st.DrawFn, spans: list[Made]) -> list[list[Made]]:
    cuts = sorted(draw(st.lists(st.integers(0, len(spans)), max_size=6)))
    edges = [0, *cuts, len(spans)]
    return [spans[low:high] for low, high in itertools.pairwise(edges) if low < high]


def _result(batches: list[list[Made]]) -> dict[str, Sums]:
    run = Run()
    for batch in batches:
        run.send(batch)
    return run.sums()


@settings(max_examples=120, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_shuffled_and_regrouped_it_comes_to_the_same(data: st.DataObject) -> None:
    spans = [made for trace in data.draw(traces()) for made in trace]
    expected = _result([spans])
    shuffled = data.draw(st.permutations(spans))
    assert _result(_batches(data.draw, shuffled)) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_sent_twice_in_any_grouping_it_changes_nothing(data: st.DataObject) -> None:
    spans = [made for trace in data.draw(traces()) for made in trace]
    run = Run()
    for batch in _batches(data.draw, spans):
        run.send(batch)
    before = (run.sums(), run.findings, [event for event in run.events if event.__struct_config__.tag != "tick"])
    for batch in _batches(data.draw, data.draw(st.permutations(spans))):
        run.send(batch)
    assert (run.sums(), run.findings, [event for event in run.events if event.__struct_config__.tag != "tick"]) == before


@pytest.mark.slow
@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_recordings_come_to_the_same_request_by_request_and_at_once(folder: object) -> None:
    recorded = list(requests(folder))  # type: ignore[arg-type]
    one_by_one = Run().send_each(*recorded).sums()
    assert Run().send(*recorded).sums() == one_by_one
    assert Run().send_each(*recorded).send(*recorded).sums() == one_by_one
