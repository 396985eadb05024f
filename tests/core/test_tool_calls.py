"""Tool calls from what the model asked and was told: each counts once, and what is remembered of them is bounded in bytes."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest

from collector.assembly import Assembler
from collector.dialects.base import UNASSIGNED, Fragment, ToolAnswer
from collector.pricing import Prices
from collector.session_sums import steps_of
from collector.tool_calls import ToolCalls
from detectors.model import SessionKey, Step, StepKind, StepRetracted, ToolAsk

from .agents import Run, content_log, llm, span_id, tool

ASK = [("call-1", "search", {"query": "x"})]
TEXT = "x" * 100_000


def test_a_rejected_call_shows_in_the_next_prompt() -> None:
    run = Run().send(llm("a", at=0, session="s", asks=ASK)).send(llm("b", at=5, session="s", told=[("call-1", "not in the schema")]))
    assert [step.kind for step in run.steps() if step.counts] == [StepKind.LLM, StepKind.LLM, StepKind.TOOL]
    made = run.steps()[-1]
    assert (made.name, made.arguments, made.result, made.call_id) == ("search", '{"query":"x"}', "not in the schema", "call-1")


def test_an_outcome_told_in_every_later_prompt_counts_once() -> None:
    run = Run().send(llm("a", session="s", asks=ASK))
    for number in range(4):
        run.send(llm(f"b{number}", at=5 + number, session="s", told=[("call-1", "no")]))
    assert run.sums()["s"].tool_calls == 1


def test_an_outcome_nobody_asked_for_is_no_step() -> None:
    assert Run().send(llm("b", session="s", told=[("call-9", "x")])).sums()["s"].tool_calls == 0


EXECUTED = {
    "in time": ((0, 1, 2), "call-1"),
    "late": ((0, 2, 1), "call-1"),
    "before it was asked": ((1, 0, 2), "call-1"),
    "in time, without its id": ((0, 1, 2), None),
    "late, without its id": ((0, 2, 1), None),
}


@pytest.mark.parametrize(("order", "call"), EXECUTED.values(), ids=EXECUTED)
def test_an_executed_call_counts_once_wherever_its_record_comes(order: Sequence[int], call: str | None) -> None:
    spans = [
        llm("a", at=0, session="s", asks=ASK),
        tool("x", "search", {"query": "x"}, "found", at=2, call=call, session="s"),
        llm("b", at=5, session="s", told=[("call-1", "found")]),
    ]
    run = Run().send_each(*(spans[place] for place in order))
    assert run.sums()["s"][:3] == (3, 2, 1)
    assert next(step.span_id for step in run.steps() if step.kind is StepKind.TOOL) == span_id("x")


def test_a_stand_in_is_taken_back_when_the_record_comes_late() -> None:
    run = Run().send(llm("a", at=0, session="s", asks=ASK)).send(llm("b", at=5, session="s", told=[("call-1", "found")]))
    run.send(tool("x", "search", {"query": "x"}, "found", at=2, call="call-1", session="s"))
    assert [event.was.call_id for event in run.events if isinstance(event, StepRetracted)] == ["call-1"]


@pytest.mark.parametrize("call", ["call-1", None])
def test_a_stand_in_is_taken_back_before_the_record_is_told_lest_it_look_like_a_call_made_twice(call: str | None) -> None:
    run = Run().send(llm("a", at=0, session="s", asks=ASK)).send(llm("b", at=5, session="s", told=[("call-1", "found")]))
    run.send(tool("x", "search", {"query": "x"}, "found", at=2, call=call, session="s"))
    *_, taken_back, told = (event for event in run.events if isinstance(event, (Step, StepRetracted)))
    assert isinstance(taken_back, StepRetracted)
    assert isinstance(told, Step)
    assert taken_back.seq < told.seq
    # Its number is the one that later facts are about.
    run.send(llm("c", at=7, session="s", told=[("call-1", "found")]))
    assert run.sums()["s"].tool_calls == 1


def test_records_without_call_ids_are_told_apart_by_their_arguments() -> None:
    first, second = {"query": "refund policy"}, {"query": "refund email"}
    run = Run().send(llm("a", at=0, session="s", asks=[("c1", "search", first)]))
    run.send(llm("b", at=5, session="s", told=[("c1", "found")], asks=[("c2", "search", second)]))
    run.send(tool("x", "search", first, "found", at=2, session="s"), tool("y", "search", second, "found", at=7, session="s"))
    run.send(llm("c", at=9, session="s", told=[("c2", "found")]))
    assert run.sums()["s"].tool_calls == 2


def test_a_quick_call_that_ended_before_the_model_call_that_asked_for_it_counts_once() -> None:
    run = Run().send(
        llm("a", at=0, lasts=2, session="s", asks=ASK), tool("x", "search", {"query": "x"}, "found", at=1.9, lasts=0, session="s")
    )
    run.send(llm("b", at=5, session="s", told=[("call-1", "found")]))
    assert run.sums()["s"].tool_calls == 1


def test_an_earlier_equal_call_is_not_the_one_that_was_asked_for_later() -> None:
    run = Run().send(tool("x", "search", {"query": "x"}, "found", at=1, session="s"))
    run.send(llm("a", at=5, session="s", asks=ASK)).send(llm("b", at=8, session="s", told=[("call-1", "rejected")]))
    assert run.sums()["s"].tool_calls == 2


def test_a_request_in_a_late_log_record_is_remembered_too() -> None:
    run = Run().send(llm("a", at=0, session="s")).send(content_log("a", asks=ASK))
    run.send(llm("b", at=5, session="s", told=[("call-1", "rejected")]))
    assert run.sums()["s"].tool_calls == 1


def test_arguments_the_record_lacks_come_from_the_request() -> None:
    run = Run().send(llm("a", at=0, session="s", asks=ASK)).send(tool("x", "search", call="call-1", at=2, session="s"))
    assert run.steps()[-1].arguments == '{"query":"x"}'


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_equal_calls_that_only_prompts_tell_of_are_each_matched_with_what_was_told_next(order: Sequence[int]) -> None:
    session = SessionKey("t", "", "s")

    def record(seq: int) -> Fragment:
        return Fragment(session_id="s", step=msgspec.structs.replace(call(seq, "x"), call_id=None, seq=0, session=UNASSIGNED))

    def prompt(at_ns: int, call_id: str) -> Fragment:
        said = ToolAnswer(call_id=call_id, name="f", arguments="x", result=f"told at {at_ns}", error=False)
        return Fragment(session_id="s", at_ns=at_ns, answers=(said,))

    fragments = [record(10), prompt(15, "first"), record(20), prompt(25, "second")]
    assembler = Assembler(price=Prices().charge)
    for place in order:
        assembler.add("t", fragments[place])
    found = steps_of(assembler.take())
    assert sorted((step.started_ns, step.call_id) for step in found) == [(10, "first"), (20, "second")]
    assert {step.session for step in found} == {session}


# Bounds


def call(seq: int, arguments: str = TEXT) -> Step:
    session = SessionKey("t", "", "s")
    return Step(
        seq=seq, session=session, kind=StepKind.TOOL, name="f", started_ns=seq, ended_ns=seq + 1, call_id=f"c{seq}", arguments=arguments
    )


def model(seq: int, *asks: ToolAsk) -> Step:
    return Step(seq=seq, session=SessionKey("t", "", "s"), kind=StepKind.LLM, started_ns=0, ended_ns=1, asks=asks)


def test_sessions_whose_tools_were_heard_of_longest_ago_are_forgotten_beyond_so_many_bytes() -> None:
    calls = ToolCalls(10_000, 2**20)
    for number in range(200):
        calls.executed(SessionKey("t", "", f"s{number}"), call(number + 1))
        assert calls.size <= 2**20
    assert 5 <= len(calls) <= 11


def test_a_session_of_long_arguments_keeps_those_of_its_newest_records() -> None:
    calls, key = ToolCalls(10_000, 2**30), SessionKey("t", "", "s")
    for seq in range(1, 251):
        calls.executed(key, call(seq))
    assert calls.size < 130 * len(TEXT)


def test_a_late_request_leaves_arguments_alone_that_were_forgotten() -> None:
    for executed, changed in ((1, True), (250, False)):
        calls, key = ToolCalls(10_000, 2**30), SessionKey("t", "", "s")
        for seq in range(1, executed + 1):
            calls.executed(key, call(seq, '{"q":  1}' if seq == 1 else TEXT))
        changes = calls.asked(key, model(999, ToolAsk(call_id="c1", name="f", arguments='{"q": 1}')))
        assert [change.facts for change in changes] == ([{"arguments": '{"q": 1}'}] if changed else [])


def test_what_a_session_no_longer_holds_is_not_counted() -> None:
    calls = ToolCalls(10_000, 2**30)
    one, other = (SessionKey("t", "", name) for name in "ab")
    for seq in range(1, 6):
        calls.executed(one, call(seq))
        calls.executed(other, call(seq + 100))
    before = calls.size
    calls.merge(other, one)
    assert 9 * len(TEXT) < calls.size <= before
    assert len(calls) == 1
