"""One suite for every store. What only a file can do stands at the end."""

import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collector.errors import StoreUnavailable
from collector.store.base import Commit, FindingQuery, Store
from collector.store.columns import log_columns, span_columns
from collector.store.duckdb import DuckDBStore
from collector.store.memory import MemoryStore
from collector.telemetry_data import LogRecord, Span, SpanEvent, SpanLink
from detectors.model import (
    CostBasis,
    Event,
    EvidenceLevel,
    Finding,
    Halted,
    SessionKey,
    SessionsMerged,
    Severity,
    Step,
    StepAmended,
    StepKind,
    StepRetracted,
    Tick,
    ToolAsk,
    Versions,
)

A, B, C = (SessionKey("default", "prod", name) for name in ("a", "b/with slash", "ç\0"))
DAY_NS = 86_400 * 10**9
NOW_NS = 1_700_000_000 * 10**9


def step(seq: int, session: SessionKey = A, **facts: Any) -> Step:
    facts = {"kind": StepKind.TOOL, "started_ns": NOW_NS + seq, "ended_ns": NOW_NS + seq + 1, **facts}
    return Step(seq=seq, session=session, **facts)


def span(number: int = 1, **fields: Any) -> Span:
    return Span(trace_id=f"{number:032x}", span_id=f"{number:016x}", **fields)


def commit(
    *events: Event, spans: list[Span] | None = None, logs: dict[bytes, LogRecord] | None = None, seq: int = 0, **fields: Any
) -> Commit:
    spans, logs = spans or [], logs or {}
    fields = {"arrival_ns": NOW_NS, **fields}
    return Commit(
        seq=max([seq, *(event.seq for event in events)]),
        spans=[span_columns("default", spans)] if spans else [],
        logs=[log_columns("default", list(logs.values()), list(logs))] if logs else [],
        events=events,
        **fields,
    )


def finding(identifier: str, session: SessionKey | None = A, *, at_ns: int = NOW_NS, **fields: Any) -> Finding:
    return Finding(
        **{
            "id": identifier,
            "session": session,
            "detector": "d",
            "halt_reason": None,
            "severity": Severity.WARNING,
            "halt_eligible": False,
            "score": 0.5,
            "step_seq": 2,
            "first_step_seq": 1,
            "span_id": "s",
            "trace_id": "t",
            "at_ns": at_ns,
            "evidence_level": EvidenceLevel.CONTENT,
            "summary": "three times the same",
            "evidence": {"seqs": [1, 2], "quoted": "ä\0"},
            "threshold": {"calls": 3.0},
            **fields,
        }
    )


@pytest.fixture(params=["memory", "duckdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else DuckDBStore(tmp_path / "telemetry.duckdb")
    yield made
    made.close()


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[DuckDBStore]:
    made = DuckDBStore(tmp_path / "telemetry.duckdb")
    yield made
    made.close()


def test_an_empty_store_answers_every_question(store: Store) -> None:
    assert store.last_seq() == 0
    assert store.events([A]) == []
    assert store.tail(10) == []
    assert store.sessions_after(0) == []
    assert store.findings(FindingQuery()) == []
    assert store.emissions([A]) == set()
    assert list(store.span_keys(10)) == list(store.log_keys(10)) == list(store.parents(10)) == []


def test_no_session_has_no_events_and_no_findings(store: Store) -> None:
    store.append(commit(step(1)))
    store.append_findings([finding("f")])
    assert store.events([]) == []
    assert store.emissions([]) == set()
    assert store.findings(FindingQuery(sessions=())) == []


def test_events_come_back_as_they_were_in_commit_order(store: Store) -> None:
    first = [step(1), step(2, B), Tick(seq=3, at_ns=NOW_NS), step(4)]
    later = [
        StepAmended(seq=5, session=A, step=step(1, result="late"), was=step(1)),
        SessionsMerged(seq=6, session=A, absorbed=B, at_ns=NOW_NS),
        StepRetracted(seq=7, session=A, was=step(4), reason="a twin"),
        Halted(seq=8, session=A, generation=1, verb="halt", halt_reason="operator", at_ns=NOW_NS),
    ]
    store.append(commit(*first))
    store.append(commit(*later))
    assert store.events([A]) == [first[0], first[3], *later]
    assert store.events([B, A]) == [first[0], first[1], first[3], *later]
    assert store.events([A], after_seq=4, limit=2) == later[:2]
    assert store.last_seq() == 8


def test_the_tail_is_the_newest_events_of_all_sessions(store: Store) -> None:
    events = [step(1), step(2, B), Tick(seq=3, at_ns=NOW_NS), step(9)]
    store.append(commit(*events))
    assert store.tail(2) == events[2:]
    assert store.tail(0) == []
    assert store.tail(99) == events


def test_numbers_left_out_do_not_shorten_the_tail(store: Store) -> None:
    store.append(commit(step(1), step(2)))
    store.append(commit(spans=[span()], seq=40))
    store.append(commit(step(100)))
    assert [event.seq for event in store.tail(3)] == [1, 2, 100]


def test_sessions_after_are_in_order_of_their_first_event_after(store: Store) -> None:
    store.append(commit(step(1, A), step(2, B), step(3, C), step(4, B), step(5, A)))
    assert store.sessions_after(0) == [A, B, C]
    assert store.sessions_after(2) == [C, B, A]
    assert store.sessions_after(5) == []


def test_telemetry_without_events_takes_a_number_too(store: Store) -> None:
    store.append(commit(spans=[span()], seq=7))
    assert store.last_seq() == 7
    store.append(commit(logs={b"k": LogRecord()}, seq=9))
    assert store.last_seq() == 9


def test_keys_of_the_newest_telemetry_recognise_repetitions(store: Store) -> None:
    for number in range(1, 6):
        store.append(commit(spans=[span(number)], logs={bytes([number, 0]): LogRecord()}, seq=number))
    assert set(store.span_keys(2)) == {("default", f"{n:032x}", f"{n:016x}") for n in (4, 5)}
    assert set(store.log_keys(2)) == {bytes([4, 0]), bytes([5, 0])}
    assert len(list(store.span_keys(100))) == 5


def test_parents_tell_how_the_newest_spans_hang_together(store: Store) -> None:
    store.append(commit(spans=[span(1), span(2, parent_span_id="p2")], seq=1))
    store.append(commit(spans=[span(3, parent_span_id="p3")], seq=2))
    assert set(store.parents(9)) == {("default", f"{n:032x}", f"{n:016x}", f"p{n}") for n in (2, 3)}
    assert [parent for *_, parent in store.parents(1)] == ["p3"]


ODD_STEPS = {
    "huge tokens": {"kind": StepKind.LLM, "input_tokens": 2**63 - 1, "output_tokens": 0},
    "tiny money": {"kind": StepKind.LLM, "cost_usd": Decimal("0.000000000000000001"), "cost_basis": CostBasis.COMPUTED},
    "large money": {"kind": StepKind.LLM, "cost_usd": Decimal("123456789012345678901234.5"), "cost_basis": CostBasis.PROVIDER},
    "empty texts": {"arguments": "", "result": "", "name": ""},
    "NUL and emoji": {"arguments": "a\0b", "result": "🔥\u2028\u202e", "name": "tøøl"},
    "quotes": {"arguments": """'"; DROP TABLE events; --\\ {"a": "b"}"""},
    "asks": {"kind": StepKind.LLM, "asks": (ToolAsk(call_id="c", name="n", arguments="{}"), ToolAsk())},
    "the end of time": {"started_ns": 0, "ended_ns": 2**63 - 1},
    "long": {"result": "ü" * 300_000},
}


@pytest.mark.parametrize("facts", ODD_STEPS.values(), ids=ODD_STEPS)
def test_odd_steps_come_back_as_they_were(store: Store, facts: dict[str, Any]) -> None:
    store.append(commit(step(1, C, **facts)))
    assert store.events([C]) == [step(1, C, **facts)]
    assert store.sessions_after(0) == [C]


def nested(depth: int) -> Any:
    return {"k": nested(depth - 1)} if depth else [1, None, {}]


ODD_ATTRIBUTES = {
    "numbers": {"huge": 2**64, "negative": -(2**63), "float": 1.7976931348623157e308, "small": 5e-324, "zero": -0.0},
    "not numbers": {"nan": float("nan"), "inf": float("-inf")},
    "bytes": {"b": b"\x00\xff", "empty": b""},
    "nested": {"n": nested(30)},
    "names": {"": "", "ключ": "значение", "a\0b": "\0", "'": '"'},
}


@pytest.mark.parametrize("attributes", ODD_ATTRIBUTES.values(), ids=ODD_ATTRIBUTES)
def test_odd_telemetry_is_no_reason_to_refuse_a_commit(store: Store, attributes: dict[str, Any]) -> None:
    odd = span(
        name="\0",
        kind=300,
        start_ns=2**63 - 1,
        end_ns=0,
        attributes=attributes,
        events=[SpanEvent(name="", time_ns=2**63 - 1, attributes=attributes)],
        links=[SpanLink(trace_id="", span_id="", attributes=attributes)],
        status_code=-1,
        resource={"service.name": 7, **attributes},
        dropped=2**40,
    )
    record = LogRecord(body=attributes, attributes=attributes, severity=-3, time_ns=2**63 - 1, resource=attributes)
    store.append(commit(step(1), spans=[odd], logs={b"\0": record}))
    assert store.last_seq() == 1
    assert list(store.span_keys(1)) == [("default", odd.trace_id, odd.span_id)]


def test_a_finding_is_its_newest_emission(store: Store) -> None:
    warning, critical = finding("f"), finding("f", severity=Severity.CRITICAL, halt_eligible=True)
    store.append_findings([warning, finding("g", B, detector="e")])
    store.append_findings([critical])
    assert store.findings(FindingQuery()) == [critical, finding("g", B, detector="e")]
    assert store.findings(FindingQuery(limit=1)) == [critical]
    assert store.emissions([A]) == {("f", "warning", False), ("f", "critical", True)}
    assert store.emissions([A], after_seq=2) == set()
    assert store.emissions([A], after_seq=1) == store.emissions([A])
    assert store.emissions([B, A]) == {("f", "warning", False), ("f", "critical", True), ("g", "warning", False)}


def test_findings_are_chosen_by_what_they_are_now(store: Store) -> None:
    store.append_findings([finding("f"), finding("g", None, at_ns=NOW_NS + 5, detector="e")])
    store.append_findings([finding("f", severity=Severity.CRITICAL, at_ns=NOW_NS + 9)])

    def ids(**query: Any) -> list[str]:
        return [found.id for found in store.findings(FindingQuery(**query))]

    assert ids(severity="warning") == ["g"]  # f has become critical
    assert ids(severity="critical") == ["f"]
    assert ids(detector="e") == ["g"]
    assert ids(sessions=(A, B)) == ["f"]
    assert ids(since_ns=NOW_NS + 5) == ["f", "g"]
    assert ids(since_ns=NOW_NS + 6) == ["f"]
    assert ids(sessions=(A,), detector="e") == []


def test_no_findings_are_nothing_to_write(store: Store) -> None:
    store.append_findings([])
    assert store.findings(FindingQuery()) == []


def test_closing_twice_is_harmless(store: Store) -> None:
    store.close()
    store.close()


# Files


def test_a_file_opened_again_holds_everything(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.duckdb"
    events = [step(seq, C, **facts) for seq, facts in enumerate(ODD_STEPS.values(), 1)]
    odd = finding("f", C, evidence={"d": "0.1", "n": None}, versions=Versions(policy="p", prices="q"))
    first = DuckDBStore(path)
    first.append(commit(*events, spans=[span(1)], logs={b"\0k": LogRecord(body="b")}))
    first.append_findings([odd])
    first.close()
    again = DuckDBStore(path)
    assert again.tail(100) == events
    assert again.findings(FindingQuery()) == [odd]
    assert list(again.span_keys(10)) == [("default", f"{1:032x}", f"{1:016x}")]
    assert list(again.log_keys(10)) == [b"\0k"]
    worse = finding("f", C, severity=Severity.CRITICAL)
    again.append_findings([worse])
    assert again.findings(FindingQuery()) == [worse]
    again.close()


def test_an_acknowledged_commit_needs_no_close(duck: DuckDBStore, tmp_path: Path) -> None:
    duck.append(commit(step(1), spans=[span()]))
    duck.append_findings([finding("f")])
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("telemetry.duckdb*"):
        shutil.copy(file, copy)
    shutil.copytree(tmp_path / "telemetry", copy / "telemetry")
    again = DuckDBStore(copy / "telemetry.duckdb")
    assert again.tail(9) == [step(1)]
    assert [found.id for found in again.findings(FindingQuery())] == ["f"]
    again.close()


def test_half_a_commit_is_never_stored(duck: DuckDBStore) -> None:
    duck.append(commit(step(1), spans=[span(1)]))
    alias = duck._partitions.current.alias
    duck._connection.execute(f"ALTER TABLE {alias}.logs RENAME TO elsewhere")
    with pytest.raises(StoreUnavailable, match="nothing was stored"):
        duck.append(commit(step(2), spans=[span(2)], logs={b"k": LogRecord()}))
    duck._connection.execute(f"ALTER TABLE {alias}.elsewhere RENAME TO logs")
    assert list(duck.span_keys(9)) == [("default", f"{1:032x}", f"{1:016x}")]
    assert list(duck.log_keys(9)) == []
    duck.append(commit(step(2), spans=[span(2)]))
    assert [event.seq for event in duck.tail(9)] == [1, 2]


def test_a_lost_connection_refuses_once_and_is_made_anew(duck: DuckDBStore) -> None:
    duck.append(commit(step(1)))
    duck._connection.close()
    with pytest.raises(StoreUnavailable):
        duck.append(commit(step(2)))
    duck.append(commit(step(2)))
    assert [event.seq for event in duck.tail(9)] == [1, 2]


READS: dict[str, Callable[[Store], object]] = {
    "last_seq": lambda store: store.last_seq(),
    "span_keys": lambda store: list(store.span_keys(1)),
    "parents": lambda store: list(store.parents(1)),
    "log_keys": lambda store: list(store.log_keys(1)),
    "events": lambda store: store.events([A]),
    "tail": lambda store: store.tail(1),
    "sessions_after": lambda store: store.sessions_after(0),
    "findings": lambda store: store.findings(FindingQuery()),
    "emissions": lambda store: store.emissions([A]),
    "append_findings": lambda store: store.append_findings([finding("f")]),
    "append": lambda store: store.append(commit(step(1))),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_closed_store_is_unavailable_not_broken(duck: DuckDBStore, read: Callable[[Store], object]) -> None:
    duck.close()
    with pytest.raises(StoreUnavailable):
        read(duck)


@pytest.mark.parametrize("content", [b"not a database", bytes(20_000)], ids=["text", "zeroes"])
def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "telemetry.duckdb"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="cannot open the telemetry store"):
        DuckDBStore(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_first_start_that_crashed(tmp_path: Path) -> None:
    (tmp_path / "telemetry.duckdb").touch()
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.append(commit(step(1)))
    store.close()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        DuckDBStore(tmp_path / "missing" / "telemetry.duckdb")


def test_a_second_start_on_the_same_file_is_refused(duck: DuckDBStore, tmp_path: Path) -> None:
    duck.append(commit(step(1)))
    with pytest.raises(StoreUnavailable, match="cannot open"):
        DuckDBStore(tmp_path / "telemetry.duckdb", threads=2)  # settings of its own, or DuckDB shares the one that is open in this process


def test_old_data_goes_and_numbers_go_on(duck: DuckDBStore) -> None:
    duck.append(commit(step(1), spans=[span(1)], arrival_ns=NOW_NS - 9 * DAY_NS))
    duck.append(commit(step(2), logs={b"k": LogRecord()}, arrival_ns=NOW_NS - 8 * DAY_NS))
    duck.append(commit(step(3), step(4), step(5), spans=[span(3)], arrival_ns=NOW_NS))
    duck.append_findings([finding("old", step_seq=2), finding("new", step_seq=3, at_ns=5)])
    assert duck.expire(NOW_NS - 7 * DAY_NS) == 4
    assert [event.seq for event in duck.tail(9)] == [3, 4, 5]
    assert list(duck.log_keys(9)) == []
    assert [found.id for found in duck.findings(FindingQuery())] == ["new"]
    assert duck.expire(NOW_NS - 7 * DAY_NS) == 0
    duck.expire(NOW_NS + 99 * DAY_NS)
    assert duck.last_seq() == 5


def test_a_clock_that_was_wrong_for_a_while_takes_nothing_away(duck: DuckDBStore) -> None:
    for seq, arrival_ns in enumerate((NOW_NS, NOW_NS + 1, 5, NOW_NS + 2), 1):
        duck.append(commit(step(seq), spans=[span(seq)], arrival_ns=arrival_ns))
    assert duck.expire(NOW_NS - DAY_NS) == 0
    assert len(duck.tail(9)) == 4
