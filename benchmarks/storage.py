"""Whether a large store makes the service slower: cost a span and time to ready with millions of spans stored already.

The history is made with SQL: real steps of a short run, repeated under other ids over the past week. That is compact, since
texts repeat; what grows with it as with any history is the number of rows, of steps, and of sequence numbers.
"""

import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.load import Mix
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load
from benchmarks.service import Service
from benchmarks.throughput import run

SIZES: Final = (1_000_000, 10_000_000, 50_000_000)
_CHUNK: Final = 1_000_000
_TEMPLATES: Final = 500
_SPANS_PER_STEP: Final = 10
"""One step in so many spans of the history: traces of instrumented services are mostly not steps."""
_SPANS_PER_SESSION: Final = 500
_WEEK_NS: Final = 7 * 86_400 * 10**9


def _templates(service: Service) -> None:
    """Runs the service for a moment and keeps some of the steps it wrote, to be repeated."""
    with service:
        run(service, Mix(sessions=40), Load(endpoint="", seconds=2.0, connections=1))
    with duckdb.connect(str(service.data / "telemetry.duckdb")) as store:
        store.execute(
            f"CREATE TABLE template AS SELECT row_number() OVER () - 1 AS number, body FROM "  # noqa: S608 — a constant
            f"(SELECT body FROM events WHERE kind = 'step' AND length(body) < 8000 LIMIT {_TEMPLATES})"
        )


def _grow(data: Path, wanted: int) -> tuple[int, int]:
    """Adds history until `wanted` spans are stored; returns spans and steps then. The service must not run."""
    with duckdb.connect(str(data / "telemetry.duckdb"), config={"memory_limit": "4GB", "preserve_insertion_order": "false"}) as store:

        def number(sql: str) -> int:
            row = store.execute(sql).fetchone()
            return int(row[0]) if row is not None else 0

        now_ns, templates = time.time_ns(), number("SELECT count(*) FROM template")
        have = number("SELECT count(*) FROM spans")
        while have < wanted:
            count = min(_CHUNK, wanted - have)
            seq = number("SELECT greatest((SELECT max(commit_seq) FROM spans), (SELECT max(seq) FROM events))")
            at = f"({now_ns} - {_WEEK_NS} + ({have} + n) * {_WEEK_NS // max(1, wanted)})"
            trace, span = f"md5('t' || (({have} + n) // 50))", f"left(md5('s' || ({have} + n)), 16)"
            session = f"'history-' || (({have} + n) // {_SPANS_PER_SESSION})"
            store.execute(
                f"""
                INSERT INTO spans (commit_seq, arrival_ns, tenant, trace_id, span_id, name, kind, start_ns, end_ns, status_code,
                                   scope_name, scope_version, service_name, resource, attributes, dropped)
                SELECT {seq} + 1 + n // {_SPANS_PER_STEP}, {at}, 'default', {trace}, {span}, 'GET', 3, {at} - 5000000, {at}, 0,
                       'http', '1', 'tools', '{{"service.name":"tools"}}',
                       '{{"http.request.method":"GET","http.response.status_code":' || 200 + n % 3 || '}}', 0
                FROM range({count}) AS r(n)
                """  # noqa: S608 — numbers of ours
            )
            body = "body"
            for key, value in (("session_id", session), ("trace_id", trace), ("span_id", span)):
                body = f"""regexp_replace({body}, '"{key}":"[^"]*"', '"{key}":"' || {value} || '"')"""
            store.execute(
                f"""
                INSERT INTO events (seq, session, kind, body)
                SELECT {seq} + 1 + e, 'default//' || {session}, 'step', regexp_replace({body}, '"seq":[0-9]+', '"seq":' || {seq} + 1 + e)
                FROM (SELECT e, e * {_SPANS_PER_STEP} AS n FROM range({count // _SPANS_PER_STEP}) AS r(e))
                JOIN template ON number = e % {templates}
                """  # noqa: S608 — numbers of ours
            )
            have += count
            progress(f"storage: {have:,} spans of history")
        store.execute("CHECKPOINT")
        last = number("SELECT max(seq) FROM events")
        steps_now = number("SELECT count(*) FROM events WHERE kind = 'step'")
    with closing(sqlite3.connect(data / "control.sqlite")) as control, control:
        control.execute("UPDATE session_index_state SET seq = ?", (last,))  # the history counts as indexed
    return have, steps_now


def storage(sizes: Sequence[int], seconds: float, connections: int) -> list[Table]:
    """A row for each size of the store, the empty one first."""
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
        service = Service(Path(folder))
        _templates(service)
        for size in (0, *sizes):
            spans, steps = _grow(service.data, size)
            progress(f"storage: measuring with {spans:,} spans stored")
            with service:
                started, at_start = service.seconds_to_ready, service.usage().rss
                sent, cpu_s, watch = run(service, Mix(), Load(endpoint="", seconds=seconds, connections=connections))
                errors = service.log.count(" ERROR ")
            rows.append(
                {
                    "spans stored before": spans,
                    "steps": steps,
                    "files MiB": sum(file.stat().st_size for file in service.data.iterdir()) / 2**20,
                    "start to ready s": started,
                    "memory at start MiB": at_start / 2**20,
                    "spans/s": sent.spans_per_second,
                    "CPU µs/span": cpu_s / max(1, sent.acknowledged) * 1e6,
                    "ack p50 ms": sent.ack_ms_p50,
                    "ack p99 ms": sent.ack_ms_p99,
                    "peak MiB": max(watch.rss, default=0) / 2**20,
                    "errors": errors + sum(sent.errors.values()),
                }
            )
    notes = [f"one step in {_SPANS_PER_STEP} spans of the history, sessions of {_SPANS_PER_SESSION} spans, spread over a week"]
    return [Table("storage", f"With a history in the store, {seconds:g} s a row", rows, notes)]
