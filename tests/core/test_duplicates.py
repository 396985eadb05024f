from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.duplicates import RecentKeys, log_key
from collector.telemetry_data import LogRecord


def record(**fields: Any) -> LogRecord:
    return LogRecord(**{"time_ns": 5, "event_name": "api_request", "scope_name": "s", "resource": {"service.name": "a"}, **fields})


@given(st.integers(1, 50), st.lists(st.lists(st.integers(-200, 200), max_size=20), max_size=60))
def test_at_least_the_horizon_and_little_more_is_remembered(horizon: int, groups: list[list[int]]) -> None:
    recent = RecentKeys(horizon)
    added: list[int] = []
    for keys in groups:
        fresh = [key for key, new in zip(keys, recent.add(keys), strict=True) if new]
        for key in fresh:
            assert key not in added[-horizon:]
            added.append(key)
        assert len(recent) <= horizon * 5 / 4 + 5 * 20
        assert not any(recent.add(fresh))


@given(st.integers(1, 50), st.integers(0, 50))
def test_what_is_learned_counts_from_the_newest_on(horizon: int, more: int) -> None:
    recent = RecentKeys(horizon)
    recent.learn(range(horizon))  # 0 is the newest
    recent.add([f"later {n}" for n in range(min(more, horizon))])
    assert not any(recent.add(list(range(horizon - min(more, horizon)))))


def test_a_key_whose_commit_failed_is_new_again() -> None:
    for horizon in (10, 3):  # in the second they are of the old generation at once
        recent = RecentKeys(horizon)
        assert recent.add(["a", "b", "c"]) == [True] * 3
        recent.discard(["a", "c", "never seen"])
        assert recent.add(["a", "c", "b", "a"]) == [True, True, False, False]


SAME = {
    "observed later": record(observed_ns=99),
    "counted elsewhere": record(dropped=3, severity_text="INFO"),
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME)
def test_a_record_sent_again_is_recognised(other: LogRecord) -> None:
    assert log_key("t", other) == log_key("t", record())


DIFFERENT = {
    "another time": record(time_ns=6),
    "another body": record(body="x"),
    "another attribute": record(attributes={"n": 1}),
    "another service": record(resource={"service.name": "b"}),
    "another instance": record(resource={"service.name": "a", "service.instance.id": "2"}),
    "another span": record(span_id="1"),
    "another scope": record(scope_name="z"),
    "another event": record(event_name="tool_result"),
}


def test_records_that_differ_are_told_apart() -> None:
    keys = [log_key("t", record()), log_key("u", record()), *(log_key("t", other) for other in DIFFERENT.values())]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {16}


def test_numbered_events_of_a_session_are_told_by_their_number() -> None:
    def numbered(sequence: int, **fields: Any) -> bytes:
        return log_key("t", record(attributes={"session.id": "s", "event.sequence": sequence, "event.name": "e", **fields}))

    assert numbered(1) != numbered(2)
    assert numbered(1, duration=1) == numbered(1, duration=2)


def test_a_request_id_tells_a_request_s_events_apart_by_name() -> None:
    def named(name: str, request: str = "r1") -> bytes:
        return log_key("t", record(event_name=name, attributes={"request_id": request}))

    assert named("api_request") != named("api_error")
    assert named("api_request") != named("api_request", "r2")
    assert named("api_request") == named("api_request")


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text()))
def test_any_record_has_a_key(attributes: dict[str, Any]) -> None:
    assert log_key("t", record(attributes=attributes, body=attributes)) == log_key(
        "t", record(attributes=dict(attributes), body=attributes)
    )
