"""Whether a large store makes the service slower: cost a span, time to ready, and reads, with millions of spans stored already.

The history goes through the store's own way of writing. It is compact, since what the spans say is short; what grows with it as
with any history is the number of rows, blocks, files, sessions, steps, and sequence numbers.
"""

import http.client
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa

from benchmarks.load import Mix
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, percentiles_ms
from benchmarks.service import Service
from benchmarks.throughput import run
from collector.enforcement.control import ControlStore
from collector.model import Session, SessionState
from collector.store.base import Commit
from collector.store.columns import span_columns
from collector.store.duckdb import DuckDBStore
from collector.store.history import RecordedHistory
from collector.store.session_index import SessionIndex
from collector.telemetry_data import Span
from detectors.model import SessionKey, Step, StepKind

SIZES: Final = (1_000_000, 10_000_000, 50_000_000)
_COMMIT: Final = 20_000
_SPANS_PER_STEP: Final = 10
"""One step in so many spans of the history: traces of instrumented services are mostly not steps."""
_SPANS_PER_SESSION: Final = 500
_WEEK_NS: Final = 7 * 86_400 * 10**9
_ASKED: Final = 40
_PAUSE_S: Final = 0.05
_MAX_BYTES: Final = "200GiB"
"""Raised, so that nothing of the history goes early."""


def _key(session: int) -> SessionKey:
    return SessionKey("default", "", f"history-{session}")


class History:
    """Writes spans, steps and sessions of the past week."""

    def __init__(self, data: Path, wanted: int) -> None:
        self._store = DuckDBStore(data / "telemetry.duckdb", max_bytes=200 * 2**30)
        self._control = ControlStore(data / "control.sqlite")
        self._index = SessionIndex(self._control.database)
        self._wanted = max(1, wanted)
        self.seq = self._store.last_seq()
        template = span_columns("default", [Span(trace_id="", span_id="", name="GET", kind=3, resource={"service.name": "tools"})])
        self._same = template.take(np.zeros(_COMMIT, dtype=np.int64))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._control.close()

    def add(self, first: int) -> None:
        """Spans `first` to `first + _COMMIT`, with the steps among them, in whole sessions."""
        now_ns = time.time_ns() - _WEEK_NS
        numbers = range(first, first + _COMMIT)
        times = np.array([now_ns + number * _WEEK_NS // self._wanted for number in numbers], dtype=np.uint64)
        columns = dict(zip(self._same.schema.names, self._same.columns, strict=True)) | {
            "trace_id": pa.array([f"{number // _SPANS_PER_SESSION:032x}" for number in numbers]),
            "span_id": pa.array([f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in numbers]),
            "start_ns": pa.array(times),
            "end_ns": pa.array(times + np.uint64(5_000_000)),
            "attributes": pa.array(
                [f'{{"http.request.method":"GET","http.response.status_code":{200 + number % 3}}}' for number in numbers]
            ),
        }
        events = []
        sessions: dict[int, Session] = {}
        for number in numbers[::_SPANS_PER_STEP]:
            self.seq += 1
            place, at_ns = number // _SPANS_PER_SESSION, int(times[number - first])
            events.append(
                Step(
                    seq=self.seq,
                    session=_key(place),
                    kind=StepKind.TOOL,
                    name="search",
                    started_ns=at_ns,
                    ended_ns=at_ns + 5_000_000,
                    trace_id=f"{place:032x}",
                    span_id=f"{number:016x}",
                    arguments=f'{{"query":"{number}"}}',
                    result=f"found {number % 97}",
                )
            )
            known = sessions.setdefault(place, Session(key=_key(place), first_seq=self.seq, state=SessionState.COMPLETED))
            known.last_seq, known.last_seen_ns, known.steps = self.seq, at_ns, known.steps + 1
        batch = pa.record_batch([columns[name] for name in self._same.schema.names], schema=self._same.schema)
        self._store.append(Commit(seq=self.seq, arrival_ns=int(times[-1]), spans=[batch], events=events))
        self._index.write([(one, 0) for one in sessions.values()], {}, self.seq)

    def reload_ms(self, sessions: int) -> tuple[float, float]:
        """Milliseconds to read back a session that was let go of: median and the slowest of some, anywhere in the history."""
        past = RecordedHistory(self._store, self._index.known, self._index.since, self._index.get)
        dice = random.Random(1)  # noqa: S311 — a choice of sessions
        took = []
        for place in dice.sample(range(sessions), min(_ASKED, sessions)):
            started = time.perf_counter()
            events = past.events(_key(place))
            took.append((time.perf_counter() - started) * 1e3)
            if len(events) != _SPANS_PER_SESSION // _SPANS_PER_STEP:
                raise RuntimeError(f"session {place} came back with {len(events)} events")
        return sorted(took)[len(took) // 2] if took else 0.0, max(took, default=0.0)


class Readers:
    """Asks the API for sessions and their steps while there is load."""

    def __init__(self, address: str, sessions: int) -> None:
        self._address = address
        self._paths: list[Callable[[], str]] = [lambda: "/api/v1/sessions?limit=50"]
        if sessions:
            self._paths.append(lambda: f"/api/v1/sessions/history-{random.randrange(sessions)}/steps")  # noqa: S311 — a choice
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.took: list[float] = []
        self.failures = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        host, _, port = self._address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        while not self._done.wait(_PAUSE_S):
            for path in self._paths:
                started = time.perf_counter()
                try:
                    connection.request("GET", path())
                    response = connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException):
                    connection.close()
                    self.failures += 1
                else:
                    self.took.append(time.perf_counter() - started)
                    self.failures += response.status != 200
        connection.close()


def _grow(data: Path, have: int, wanted: int) -> tuple[int, float, float]:
    """Adds history until `wanted` spans are stored; returns how many there are and what a reload takes. The service must not run."""
    with History(data, wanted) as history:
        while have < wanted:
            history.add(have)
            have += _COMMIT
            if have % 1_000_000 == 0:
                progress(f"storage: {have:,} spans of history")
        return (have, *history.reload_ms(have // _SPANS_PER_SESSION))


def storage(sizes: Sequence[int], seconds: float, connections: int) -> list[Table]:
    """Two rows for each size of the store, the empty one first: load alone, and with reads beside it."""
    rows: list[dict[str, Cell]] = []
    have = 0
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
        service = Service(Path(folder), {"storage": {"max_bytes": _MAX_BYTES}})
        service.data.mkdir(parents=True)
        for size in (0, *sizes):
            have, reload_p50, reload_max = _grow(service.data, have, size)
            progress(f"storage: measuring with {have:,} spans stored")
            for reading in (False, True):
                with service:
                    started, at_start = service.seconds_to_ready, service.usage()
                    load = Load(endpoint="", seconds=seconds, connections=connections)
                    readers = Readers(service.web, have // _SPANS_PER_SESSION)
                    if reading:
                        with readers:
                            sent, cpu_s, watch = run(service, Mix(), load)
                    else:
                        sent, cpu_s, watch = run(service, Mix(), load)
                    errors = service.log.count(" ERROR ")
                files = [file for file in service.data.rglob("*") if file.is_file()]
                read_p50, read_p99 = percentiles_ms(readers.took) if readers.took else (None, None)
                rows.append(
                    {
                        "spans stored before": have,
                        "reads beside": reading,
                        "files": len(files),
                        "MiB": sum(file.stat().st_size for file in files) / 2**20,
                        "start to ready s": started,
                        "start CPU s": at_start.cpu_s,
                        "memory at start MiB": at_start.rss / 2**20,
                        "spans/s": sent.spans_per_second,
                        "CPU µs/span": cpu_s / max(1, sent.acknowledged) * 1e6,
                        "ack p50 ms": sent.ack_ms_p50,
                        "ack p99 ms": sent.ack_ms_p99,
                        "read p50 ms": read_p50,
                        "read p99 ms": read_p99,
                        "reload p50 ms": reload_p50,
                        "reload slowest ms": reload_max,
                        "peak MiB": max(watch.rss, default=0) / 2**20,
                        "errors": errors + sum(sent.errors.values()) + readers.failures,
                    }
                )
    notes = [
        f"one step in {_SPANS_PER_STEP} spans of the history, sessions of {_SPANS_PER_SESSION} spans, spread over a week",
        "a read is a page of 50 sessions, or the steps of one session anywhere in the history, in turn, with pauses of 50 ms",
    ]
    return [Table("storage", f"With a history in the store, {seconds:g} s a row", rows, notes)]
