"""What partitions promise: blocks that hold all that was said, texts stored once, space given back, nothing lost between files."""

import contextlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from collector.errors import StoreUnavailable
from collector.store import packing
from collector.store.base import Commit
from collector.store.columns import log_columns, span_columns
from collector.store.duckdb import DuckDBStore
from collector.store.history import RecordedHistory
from collector.store.partitions import opened
from collector.telemetry_data import LogRecord, Span, SpanEvent
from detectors.model import SessionKey, SessionsMerged, Step, StepKind, Tick

DAY_NS = 86_400 * 10**9
NOW_NS = 1_700_000_000 * 10**9


def key(name: str) -> SessionKey:
    return SessionKey("default", "", name)


def step(seq: int, session: str = "s", **facts: Any) -> Step:
    return Step(
        **{
            "seq": seq,
            "session": key(session),
            "kind": StepKind.LLM,
            "started_ns": NOW_NS,
            "ended_ns": NOW_NS,
            "trace_id": session,
            **facts,
        }
    )


def span(number: int, trace: str = "s", **fields: Any) -> Span:
    return Span(trace_id=trace, span_id=f"{number:016x}", **fields)


def commit(seq: int, *events: Any, spans: list[Span] | None = None, arrival_ns: int | None = NOW_NS) -> Commit:
    return Commit(seq=seq, arrival_ns=arrival_ns, spans=[span_columns("default", spans)] if spans else [], events=events)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBStore]:
    made = DuckDBStore(tmp_path / "telemetry.duckdb")
    yield made
    made.close()


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "telemetry").glob("*.duckdb"))


def history(length: int) -> str:
    """A message history as a model call reports it."""
    return json.dumps([{"role": "user", "content": f"message {number} " + f"{number} and so on, " * 40} for number in range(length)])


def test_all_that_was_said_comes_back(store: DuckDBStore) -> None:
    attributes = {
        "history": history(9),
        "written oddly": history(9).replace(", {", ",{", 1),
        "no array": "x" * 5_000,
        "broken": "[" + "x" * 5_000,
        "small": 7,
        "list": ["y" * 3_000, 1],
        "bytes": b"\x00\xff",
        "huge": 2**70,
    }
    said = span(1, attributes=attributes, events=[SpanEvent(name="e", time_ns=3)], resource={"service.name": "a"}, status_message="no")
    store.append(commit(1, step(1), spans=[said, span(2, "other")]))
    [row] = store.spans("s")
    [sent] = span_columns("default", [said]).to_pylist()
    assert json.loads(row.pop("attributes")) == json.loads(sent.pop("attributes"))
    assert {name: row[name] for name in sent} == sent
    assert row["arrival_ns"] == NOW_NS
    assert [other["span_id"] for other in store.spans("other")] == [f"{2:016x}"]
    assert store.spans("nobody") == []


def test_log_records_come_back(store: DuckDBStore) -> None:
    records = [LogRecord(body={"n": n}, attributes={"text": "z" * 4_000, "n": n}, trace_id="t" if n else None) for n in range(3)]
    store.append(Commit(seq=1, arrival_ns=1, logs=[log_columns("default", records, [bytes([n]) for n in range(3)])]))
    assert [json.loads(row["body"]) for row in store.logs("t")] == [{"n": 1}, {"n": 2}]
    [alone] = store.logs()
    assert json.loads(alone["attributes"]) == {"text": "z" * 4_000, "n": 0}


def test_a_growing_history_is_stored_once(store: DuckDBStore) -> None:
    turns = 60
    for turn in range(1, turns + 1):
        said = history(turn)
        store.append(commit(turn, step(turn, result=said), spans=[span(turn, attributes={"gen_ai.input.messages": said})]))
    [(stored,)] = store._read(f"SELECT sum(octet_length(body)) FROM {store._partitions.current.alias}.blocks")  # noqa: S608 — names of ours
    assert stored < len(history(turns)) * 2 < sum(len(history(turn)) for turn in range(turns)) / 10
    assert [event.result for event in store.events([key("s")]) if isinstance(event, Step)] == [history(n) for n in range(1, turns + 1)]
    [last] = [row for row in store.spans("s") if row["span_id"] == f"{turns:016x}"]
    assert json.loads(last["attributes"]) == {"gen_ai.input.messages": history(turns)}


def test_a_text_of_a_commit_that_failed_is_not_referred_to(store: DuckDBStore) -> None:
    long = "once " * 1_000
    rows = span_columns("default", [span(1)])
    bad = rows.set_column(rows.schema.get_field_index("kind"), "kind", pa.array(["no number"]))
    with pytest.raises(ValueError, match="cannot be stored"):
        store.append(Commit(seq=1, arrival_ns=NOW_NS, spans=[bad], events=[step(1, result=long)]))
    store.append(commit(1, step(1, result=long)))
    assert [event.result for event in store.events([key("s")]) if isinstance(event, Step)] == [long]


def test_large_commits_are_divided_and_a_session_stays_together(store: DuckDBStore) -> None:
    count = 2 * packing.BLOCK_BYTES // 1_000
    names = [f"s{number % 8}" for number in range(count)]
    spans = [span(number, name, attributes={"text": "x" * 1_000, "number": number}) for number, name in enumerate(names)]
    store.append(commit(count, *(step(seq, name) for seq, name in enumerate(names, 1)), spans=spans))
    alias = store._partitions.current.alias
    assert store._scalar(f"SELECT count(*) FROM {alias}.blocks") in range(2, 6)  # noqa: S608 — names of ours
    for name in set(names):
        assert [event.seq for event in store.events([key(name)])] == [seq for seq, one in enumerate(names, 1) if one == name]
        assert {json.loads(row["attributes"])["number"] for row in store.spans(name)} == {n for n, one in enumerate(names) if one == name}
        assert store._scalar(f"SELECT count(DISTINCT block) FROM {alias}.spans WHERE trace_id = ?", [name]) == 1  # noqa: S608 — names of ours
    assert [event.seq for event in store.tail(5)] == list(range(count - 4, count + 1))


def test_each_day_has_a_file_and_questions_span_them(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    for day in range(4):
        seq = 10 * day
        arrival_ns = NOW_NS + day * DAY_NS
        store.append(commit(seq + 2, step(seq + 1), Tick(seq=seq + 2, at_ns=1), spans=[span(day)], arrival_ns=arrival_ns))
    assert len(files(tmp_path)) == 4
    for _ in range(2):
        assert [event.seq for event in store.events([key("s")])] == [1, 11, 21, 31]
        assert [event.seq for event in store.events([key("s")], after_seq=11)] == [21, 31]
        assert [event.seq for event in store.events([key("s")], limit=3)] == [1, 11, 21]
        assert [event.seq for event in store.tail(5)] == [12, 21, 22, 31, 32]
        assert [event.seq for event in store.of_kinds(["tick"], 3)] == [12, 22, 32]
        assert [event.seq for event in store.of_kinds(["step"], 3)] == [11, 21, 31]
        assert {span_id for _, _, span_id in store.span_keys(2)} == {f"{n:016x}" for n in (2, 3)}
        assert store.last_seq() == 32
        assert len(store.spans("s")) == 4
        store.close()
        store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.close()
    with opened(tmp_path / "telemetry.duckdb") as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT span_id) FROM spans").fetchall() == [(4, 4)]
        assert connection.execute("SELECT sum(steps) FROM blocks").fetchall() == [(4,)]


def test_a_day_that_ends_while_the_files_are_shut_begins_when_they_open(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_store: DuckDBStore) -> None:
        raise StoreUnavailable("the disk is full")

    store.append(commit(1, step(1)))
    with monkeypatch.context() as patch:
        patch.setattr(DuckDBStore, "_open", refuse)
        store._connection.close()  # as DuckDB does itself after a fatal error
        with pytest.raises(StoreUnavailable):
            store.append(commit(2, step(2)))
    with pytest.raises(StoreUnavailable):
        store.append(commit(2, step(2), arrival_ns=NOW_NS + DAY_NS))
    store.append(commit(2, step(2), arrival_ns=NOW_NS + DAY_NS))
    assert [event.seq for event in store.events([key("s")])] == [1, 2]


def test_retention_by_bytes_gives_space_back(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    for day in range(6):
        spans = [span(number, attributes={"text": f"{day} {number} " * 300}) for number in range(200)]
        store.append(commit(day + 1, step(day + 1), spans=spans, arrival_ns=NOW_NS + day * DAY_NS))
    sealing = store._partitions._sealing
    assert sealing is not None
    sealing.result()
    before = store.size()
    assert store.expire(0, max_bytes=before) == 0
    assert store.expire(0, max_bytes=before // 2) > 0
    assert store.size() <= before // 2
    on_disk = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert on_disk <= before // 2
    left = len(files(tmp_path))
    assert 1 <= left < 6
    assert [event.seq for event in store.tail(9)] == list(range(7 - left, 7))
    store.expire(0, max_bytes=1)
    assert len(files(tmp_path)) == 1  # the newest stays
    store.append(commit(7, step(7), arrival_ns=NOW_NS + 9 * DAY_NS))
    assert [event.seq for event in store.tail(9)] == [6, 7]
    store.close()


def test_nothing_goes_for_a_file_that_is_there_twice_while_it_is_compressed(store: DuckDBStore) -> None:
    for day in range(3):
        store.append(commit(day + 1, step(day + 1), arrival_ns=NOW_NS + day * DAY_NS))
    compressed: Future[None] = Future()
    store._partitions._sealing = compressed
    assert store.expire(0, max_bytes=1) == 0
    compressed.set_result(None)
    assert store.expire(0, max_bytes=1) > 0


def test_who_reads_a_file_that_is_dropped_may_finish_or_is_told(store: DuckDBStore) -> None:
    for day in range(3):
        store.append(commit(day + 1, step(day + 1), arrival_ns=NOW_NS + day * DAY_NS))
    blocks = store._blocks(store._partitions.held[0], "true", [])
    assert [event.seq for event in next(blocks).events()] == [1]
    store.expire(NOW_NS + 2 * DAY_NS)
    assert list(blocks) == []
    assert [event.seq for event in store.tail(9)] == [3]


def test_a_crash_before_a_full_file_was_compressed(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store._partitions._seal = lambda _: None  # type: ignore[method-assign]
    for day in range(3):
        store.append(commit(day + 1, step(day + 1), spans=[span(day)], arrival_ns=NOW_NS + day * DAY_NS))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("telemetry.duckdb*"):
        shutil.copy(file, copy)
    shutil.copytree(tmp_path / "telemetry", copy / "telemetry")
    assert len(list((copy / "telemetry").glob("*.wal"))) == 3
    store.close()
    again = DuckDBStore(copy / "telemetry.duckdb")
    assert [event.seq for event in again.tail(9)] == [1, 2, 3]
    again.close()
    assert not list((copy / "telemetry").glob("*.wal"))


def test_a_file_made_but_not_written_to_by_a_crash(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.append(commit(1, step(1)))
    store.close()
    (tmp_path / "telemetry" / f"{2:019d}.duckdb").touch()
    again = DuckDBStore(tmp_path / "telemetry.duckdb")
    assert again.last_seq() == 1
    again.append(commit(2, step(2)))
    assert [event.seq for event in again.tail(9)] == [1, 2]
    again.close()


def test_what_did_not_fit_into_memory_at_a_crash_is_removed(tmp_path: Path) -> None:
    DuckDBStore(tmp_path / "telemetry.duckdb").close()
    left = tmp_path / "telemetry.duckdb.tmp" / "duckdb_temp_1_0_storage_DEFAULT-0.tmp"
    left.parent.mkdir()
    left.write_bytes(b"x")
    DuckDBStore(tmp_path / "telemetry.duckdb").close()
    assert not left.exists()


@pytest.mark.slow
def test_two_partitions_that_are_not_compressed_fit_into_memory(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store._partitions._seal = lambda _: None  # type: ignore[method-assign]
    seq = 0
    while len(store._partitions.held) < 3:
        seq += 1
        store.append(commit(seq, step(seq), spans=[span(seq, attributes={"blob": random.Random(seq).randbytes(1_000_000).hex()})]))  # noqa: S311
    assert store.last_seq() == seq
    store.close()


def test_without_its_main_file_the_partitions_are_kept(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.append(commit(1, step(1), spans=[span(1)]))
    store.close()
    (tmp_path / "telemetry.duckdb").unlink()
    again = DuckDBStore(tmp_path / "telemetry.duckdb")
    assert [event.seq for event in again.tail(9)] == [1]
    assert len(again.spans("s")) == 1
    again.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.append(commit(1, step(1)))
    store.close()
    [file] = files(tmp_path)
    file.write_bytes(b"no database at all, though it has a length")
    with pytest.raises(StoreUnavailable, match=file.name):
        DuckDBStore(tmp_path / "telemetry.duckdb")


def test_only_files_since_a_session_began_are_read(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(5):
        merged = (
            [SessionsMerged(seq=4, session=key("s"), absorbed=key("early"), at_ns=1)]
            if day == 3
            else [step(day + 1, "s" if day else "early")]
        )
        store.append(commit(day + 1, *merged, arrival_ns=NOW_NS + day * DAY_NS))
    read: list[str] = []
    blocks = DuckDBStore._blocks

    def spied(self: DuckDBStore, partition: Any, *rest: Any) -> Any:
        read.append(partition.alias)
        return blocks(self, partition, *rest)

    monkeypatch.setattr(DuckDBStore, "_blocks", spied)
    begun = {key("s"): 3, key("early"): 0}
    past = RecordedHistory(store, known=set, since=lambda one: begun[one])
    assert [event.seq for event in past.events(key("s"))] == [1, 4, 5]
    assert read == ["p4", "p5", "p1", "p5"]  # the absorbed session began earlier; full files that hold nothing of it are left out
    read.clear()
    begun[key("early")] = 3
    assert [[event.seq for event in past.events(one)] for one in past.in_turn([key("s")])] == [[4, 5]]
    assert read == ["p4", "p5", "p5"]


@pytest.mark.parametrize("file", ["telemetry.duckdb", f"telemetry/{1:019d}.duckdb"])
def test_a_store_of_another_version_is_refused_and_left_as_it_is(tmp_path: Path, file: str) -> None:
    path = tmp_path / "telemetry.duckdb"
    with contextlib.closing(DuckDBStore(path)) as store:
        store.append(commit(1, spans=[span(1)]))
    with duckdb.connect(str(tmp_path / file)) as newer:
        newer.execute("INSERT INTO migrations VALUES ('9999_future.sql')")
    says = f"{tmp_path / file}: cannot open the telemetry store: it was written by another version"
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=re.escape(says)):
            DuckDBStore(path)
    with duckdb.connect(str(tmp_path / file)) as newer:
        newer.execute("DELETE FROM migrations WHERE name = '9999_future.sql'")
    with contextlib.closing(DuckDBStore(path)) as store:
        assert len(list(store.span_keys(9))) == 1
