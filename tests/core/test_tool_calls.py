"""What is remembered of tool calls is bounded in bytes, and what is forgotten changes nothing that stands."""

from collector.tool_calls import ToolCalls
from detectors.model import SessionKey, Step, StepKind, ToolAsk

TEXT = "x" * 100_000


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
