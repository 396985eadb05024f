import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.event_time import JUMP_NS, SKEW_NS, Watermark

from .agents import START_NS, Run, agent, llm, request

Y2100_NS = 4_102_444_800 * 10**9
HOUR_NS = 3600 * 10**9
YEARS = 365 * 86_400


def test_with_arrival_times_a_span_from_2100_moves_nothing() -> None:
    mark = Watermark()
    mark.advance([START_NS], START_NS)
    assert mark.advance([Y2100_NS], START_NS + 1) == START_NS
    assert mark.advance([Y2100_NS, START_NS + 5], START_NS + 10) == START_NS + 5
    assert mark.clamped == 2


def test_a_clock_a_little_ahead_is_believed() -> None:
    assert Watermark().advance([START_NS + SKEW_NS], START_NS) == START_NS + SKEW_NS


def test_without_arrival_times_a_span_from_2100_moves_nothing() -> None:
    mark = Watermark()
    mark.advance([START_NS], None)
    assert mark.advance([START_NS + 7, Y2100_NS], None) == START_NS + 7
    assert mark.advance([START_NS + 8], None) == START_NS + 8


def test_a_span_from_2100_that_comes_first_among_others_moves_nothing() -> None:
    assert Watermark().advance([Y2100_NS, START_NS, START_NS + 1], None) < START_NS + HOUR_NS


def test_a_recording_that_goes_on_after_a_week_is_followed() -> None:
    mark = Watermark()
    mark.advance([START_NS], None)
    later = START_NS + 7 * 24 * HOUR_NS
    mark.advance([later], None)
    assert mark.advance([later + HOUR_NS], None) >= later


@pytest.mark.parametrize("arrival_ns", [None, START_NS])
def test_a_span_from_1970_takes_nothing_back(arrival_ns: int | None) -> None:
    mark = Watermark()
    mark.advance([START_NS], arrival_ns)
    assert mark.advance([0], arrival_ns) == START_NS
    assert mark.advance([], arrival_ns) == START_NS


@given(st.lists(st.tuples(st.lists(st.integers(0, 2**63 - 1), max_size=5), st.none() | st.integers(0, 2**63 - 1)), max_size=20))
def test_time_never_goes_back_and_never_beyond_what_arrived(commits: list[tuple[list[int], int | None]]) -> None:
    mark, last = Watermark(), 0
    for times, arrival_ns in commits:
        now = mark.advance(times, arrival_ns)
        assert now >= last
        if arrival_ns is not None and now > last:
            assert now <= arrival_ns + SKEW_NS
        last = now


@given(st.lists(st.integers(START_NS, START_NS + JUMP_NS // 2), min_size=1, max_size=20), st.integers(0, 20))
def test_one_lonely_future_span_changes_nothing(times: list[int], place: int) -> None:
    plain, disturbed = Watermark(), Watermark()
    place = 1 + place % len(times)
    for number, time in enumerate(times, 1):
        plain.advance([time], None)
        disturbed.advance([time, Y2100_NS] if number == place and number > 1 else [time], None)
    assert disturbed.at_ns == plain.at_ns


@pytest.mark.parametrize("live", [True, False], ids=["live", "replay"])
def test_a_sender_from_2100_does_not_keep_others_from_expiring(live: bool) -> None:
    def at(seconds: float) -> int | None:
        return START_NS + int(seconds * 10**9) if live else None

    run = Run(idle_timeout_ns=HOUR_NS)
    run.send(request(llm("future", trace="f", session="future", at=77 * YEARS), llm("old", trace="o", session="old"), arrival_ns=at(1)))
    assert set(run.by_id()) == {"future", "old"}
    for minute in range(0, 300, 10):
        run.send(request(llm(f"new {minute}", trace="n", session="new", at=minute * 60), arrival_ns=at(minute * 60 + 1)))
    assert [str(key.session_id) for key in run.sessions.live] == ["new"]
    assert run.sums()["future"].llm_calls == 1


def test_a_sender_from_1970_is_a_session_like_any_other() -> None:
    run = Run(idle_timeout_ns=HOUR_NS)
    run.send(request(llm("a", trace="n", session="new"), arrival_ns=START_NS))
    for number in range(4):
        old = llm(f"old {number}", trace="o", session="old", at=number - START_NS / 1e9)
        run.send(request(old, llm(f"b{number}", trace="n", session="new", at=number * 60), arrival_ns=START_NS + number * 60 * 10**9))
    run.send(request(agent("end", trace="o", session="old", at=-START_NS / 1e9), arrival_ns=START_NS + 300 * 10**9))
    assert run.sums()["old"].llm_calls == 4
    assert run.by_id()["old"].started_ns < HOUR_NS
