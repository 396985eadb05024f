"""Telemetry in DuckDB: bulk appends by the one writer thread, reads through cursors of their own.

There is no unique index (docs/adr/005): the pipeline recognises repeated deliveries before they get here.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import orjson
import pyarrow as pa

from collector.errors import StoreUnavailable
from collector.store.base import Commit, FindingQuery
from collector.telemetry_data import LogRecord
from detectors.model import Event, Finding, SessionKey

_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_finding = msgspec.json.Decoder(Finding).decode
CHECKPOINT_BYTES = "256MB"
"""Size of the write-ahead log at which DuckDB compresses it into the file. The default of 16 MB compresses the same row
groups over and over, for half of the ingest's CPU; more makes a start after a crash longer."""
_UNSTORABLE = (duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError, pa.ArrowInvalid, pa.ArrowTypeError)
"""The rows are at fault and not the disk: the same rows would fail again."""


class DuckDBStore:
    """One DuckDB file. `append` and `append_findings` belong to one thread; every other method is safe from any."""

    def __init__(self, path: Path, *, memory_limit: str = "512MB", threads: int = 1) -> None:
        """Opens or creates `path`. Raises StoreUnavailable where the file cannot be opened."""
        self._path = path
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "threads": str(threads),
            "preserve_insertion_order": "false",
            "checkpoint_threshold": CHECKPOINT_BYTES,
        }
        self._lock = threading.Lock()
        self._connection = self._open()
        self._emission = self._scalar("SELECT coalesce(max(emission), 0) FROM findings")

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            if self._path.exists() and not self._path.stat().st_size:
                self._path.unlink()  # a crash at the very first start left it; DuckDB takes it for somebody else's
            connection = duckdb.connect(str(self._path), config=self._settings)
            try:
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
        except (duckdb.Error, OSError) as error:
            raise StoreUnavailable(
                f"{self._path}: cannot open the telemetry store: {_first_line(error)}; docs/operations.md says what to do"
            ) from error
        return connection

    def _scalar(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        row = self._read(sql, parameters)
        return int(row[0][0]) if row else 0

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                cursor = self._connection.cursor()
            with cursor:
                return cursor.execute(sql, list(parameters)).fetchall()
        except (duckdb.Error, OSError) as error:
            raise StoreUnavailable(f"{self._path}: cannot read: {_first_line(error)}") from error

    def append(self, commit: Commit) -> None:
        tables = {name: _numbered(commit, rows) for name, rows in (("spans", commit.spans), ("logs", commit.logs)) if rows}
        if commit.events:
            tables["events"] = _event_table(commit.events)
        self._write(tables)

    def append_findings(self, findings: Sequence[Finding]) -> None:
        first = self._emission + 1
        self._write({"findings": _finding_table(findings, first)} if findings else {})
        self._emission += len(findings)

    def _write(self, tables: dict[str, pa.Table]) -> None:
        if not tables:
            return
        connection = self._connection
        try:
            connection.execute("BEGIN")
            for name, table in tables.items():
                connection.register("incoming", table)
                connection.execute(f"INSERT INTO {name} SELECT * FROM incoming")  # noqa: S608 — `name` is one of four literals above
                connection.unregister("incoming")
            connection.execute("COMMIT")
        except _UNSTORABLE as error:
            self._recover()
            # What DuckDB says of a value quotes it.
            raise ValueError(f"{self._path}: a row cannot be stored as it is ({type(error).__name__})") from None
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            self._recover()
            raise StoreUnavailable(f"{self._path}: nothing was stored: {_first_line(error)}") from error

    def _recover(self) -> None:
        """Rolls back; after an error that invalidated the database instance, opens the file anew."""
        with contextlib.suppress(duckdb.Error):  # no transaction is open where a failed COMMIT closed it
            self._connection.execute("ROLLBACK")
        try:
            self._connection.execute("SELECT 1")
        except duckdb.Error:
            with self._lock:
                self._connection.close()
                try:
                    self._connection = self._open()
                except StoreUnavailable:
                    # The next write tries again; until then every call answers StoreUnavailable.
                    self._connection = duckdb.connect(":memory:")
                    self._connection.close()

    def last_seq(self) -> int:
        return max(
            self._scalar("SELECT coalesce(max(seq), 0) FROM events"),
            self._scalar("SELECT coalesce(max(commit_seq), 0) FROM spans"),
            self._scalar("SELECT coalesce(max(commit_seq), 0) FROM logs"),
        )

    def span_keys(self, limit: int) -> Iterator[tuple[str, str, str]]:
        rows = self._read("SELECT tenant, trace_id, span_id FROM spans ORDER BY commit_seq DESC LIMIT ?", [limit])
        yield from ((str(tenant), str(trace), str(span)) for tenant, trace, span in rows)

    def parents(self, limit: int) -> Iterator[tuple[str, str, str, str]]:
        rows = self._read(
            "SELECT tenant, trace_id, span_id, parent_span_id FROM spans WHERE parent_span_id IS NOT NULL ORDER BY commit_seq DESC LIMIT ?",
            [limit],
        )
        yield from ((str(tenant), str(trace), str(span), str(parent)) for tenant, trace, span, parent in rows)

    def log_keys(self, limit: int) -> Iterator[bytes]:
        yield from (bytes(row[0]) for row in self._read("SELECT log_key FROM logs ORDER BY commit_seq DESC LIMIT ?", [limit]))

    def logs_without_span(self, limit: int) -> list[tuple[str, LogRecord]]:
        rows = self._read(
            """WITH newest AS (SELECT * FROM logs WHERE span_id IS NOT NULL ORDER BY commit_seq DESC LIMIT ?),
            known AS (SELECT tenant, trace_id, span_id FROM spans WHERE commit_seq >= (SELECT min(commit_seq) FROM newest))
            SELECT tenant, time_ns, severity, event_name, body, attributes, trace_id, span_id, scope_name, resource
            FROM newest ANTI JOIN known USING (tenant, trace_id, span_id) ORDER BY commit_seq""",
            [limit],
        )
        return [
            (
                str(tenant),
                LogRecord(
                    time_ns=time_ns,
                    severity=severity,
                    event_name=event_name or "",
                    body=orjson.loads(body),
                    attributes=orjson.loads(attributes),
                    trace_id=trace_id,
                    span_id=span_id,
                    scope_name=scope_name,
                    resource=orjson.loads(resource),
                ),
            )
            for tenant, time_ns, severity, event_name, body, attributes, trace_id, span_id, scope_name, resource in rows
        ]

    def events(self, sessions: Iterable[SessionKey], *, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        keys = [str(key) for key in sessions]
        if not keys:
            return []
        rows = self._read(
            f"SELECT body FROM events WHERE session IN ({_marks(keys)}) AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 — question marks
            [*keys, after_seq, limit if limit is not None else 2**62],
        )
        return [_decode_event(row[0]) for row in rows]

    def tail(self, limit: int) -> list[Event]:
        # Numbers are left out where a commit made no events, so that the newest so many reach further back than that many numbers.
        first = self._scalar("SELECT coalesce(min(seq), 0) FROM (SELECT seq FROM events ORDER BY seq DESC LIMIT ?)", [limit])
        rows = self._read("SELECT body FROM events WHERE seq >= ? ORDER BY seq", [first]) if limit else []
        return [_decode_event(row[0]) for row in rows]

    def of_kinds(self, kinds: Iterable[str], limit: int) -> list[Event]:
        wanted = list(kinds)
        rows = self._read(
            f"SELECT body FROM events WHERE kind IN ({_marks(wanted)}) ORDER BY seq DESC LIMIT ?",  # noqa: S608 — question marks
            [*wanted, limit],
        )
        return [_decode_event(row[0]) for row in reversed(rows)]

    def sessions_after(self, seq: int) -> list[SessionKey]:
        rows = self._read("SELECT session FROM events WHERE seq > ? AND session IS NOT NULL GROUP BY session ORDER BY min(seq)", [seq])
        return [SessionKey.parse(row[0]) for row in rows]

    def findings(self, query: FindingQuery) -> list[Finding]:
        where: list[str] = ["place = 1"]
        parameters: list[Any] = []
        if query.sessions is not None:
            where.append(f"session IN ({_marks(query.sessions)})" if query.sessions else "false")
            parameters += [str(key) for key in query.sessions]
        for condition, value in (
            ("body->>'workflow_id' = ?", query.workflow_id),
            ("detector = ?", query.detector),
            ("severity = ?", query.severity),
            ("at_ns >= ?", query.since_ns),
        ):
            if value is not None:
                where.append(condition)
                parameters.append(value)
        rows = self._read(
            "SELECT body FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY emission DESC) AS place FROM findings) "  # noqa: S608 — conditions are literals, values are parameters
            f"WHERE {' AND '.join(where)} ORDER BY emission DESC LIMIT ?",
            [*parameters, query.limit],
        )
        return [_decode_finding(row[0]) for row in rows]

    def emissions(self, sessions: Iterable[SessionKey]) -> set[tuple[str, str, bool]]:
        keys = [str(key) for key in sessions]
        if not keys:
            return set()
        rows = self._read(
            "SELECT DISTINCT id, severity, coalesce(CAST(body->>'halt_eligible' AS BOOLEAN), false) "  # noqa: S608 — only question marks
            f"FROM findings WHERE session IN ({_marks(keys)})",
            keys,
        )
        return {(str(id_), str(severity), bool(eligible)) for id_, severity, eligible in rows}

    def expire(self, before_ns: int) -> int:
        # Sequence numbers grow with arrival, so one number divides the old from the rest in every table: the last before the first
        # commit that is to stay, so that a clock that was wrong for a while takes nothing away. The newest of all stays: numbers
        # never start anew. A finding goes with the step it was made at, whatever time its sender's clock showed.
        keep = self.last_seq()
        for table in ("spans", "logs"):
            newer = f"SELECT coalesce(min(commit_seq), {keep}) FROM {table} WHERE arrival_ns >= ?"  # noqa: S608 — a number and literals
            keep = min(keep, self._scalar(newer, [before_ns]))
        last = max(
            self._scalar(f"SELECT coalesce(max(commit_seq), 0) FROM {table} WHERE commit_seq < ?", [keep])  # noqa: S608 — literals
            for table in ("spans", "logs")
        )
        if not last:
            return 0
        gone = 0
        try:
            for table, column in (("spans", "commit_seq"), ("logs", "commit_seq"), ("events", "seq")):
                row = self._connection.execute(f"DELETE FROM {table} WHERE {column} <= ?", [last]).fetchone()  # noqa: S608 — literals
                gone += int(row[0]) if row else 0
            self._connection.execute("DELETE FROM findings WHERE CAST(body->>'step_seq' AS BIGINT) <= ?", [last])
            self._connection.execute("CHECKPOINT")
        except (duckdb.Error, OSError) as error:
            self._recover()
            raise StoreUnavailable(f"{self._path}: old data was not let go: {_first_line(error)}") from error
        return gone

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Brings the schema up to date: each numbered file and the record of it in one transaction."""
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR NOT NULL)")
    done = {row[0] for row in connection.execute("SELECT name FROM migrations").fetchall()}
    folder = resources.files("collector.store") / "migrations"
    for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql")):
        if name not in done:
            connection.execute("BEGIN")
            connection.execute((folder / name).read_text(encoding="utf8"))
            connection.execute("INSERT INTO migrations VALUES (?)", [name])
            connection.execute("COMMIT")


def _text(values: Iterable[Any]) -> "pa.Array[Any]":
    return pa.array(values, type=pa.string())


def _numbered(commit: Commit, rows: Sequence[pa.RecordBatch]) -> pa.Table:
    """The raw rows with number and time of the commit before them."""
    table = pa.Table.from_batches(rows)
    arrivals = pa.repeat(pa.scalar(commit.arrival_ns, type=pa.int64()), table.num_rows)
    table = table.add_column(0, "arrival_ns", arrivals)
    return table.add_column(0, "commit_seq", pa.repeat(pa.scalar(commit.seq, type=pa.int64()), table.num_rows))


def _event_table(events: Sequence[Event]) -> pa.Table:
    sessions = [getattr(event, "session", None) for event in events]
    return pa.table(
        {
            "seq": pa.array([event.seq for event in events], type=pa.int64()),
            "session": _text([None if key is None else str(key) for key in sessions]),
            "kind": _text([event.__struct_config__.tag for event in events]),
            "body": _text([_encode(event) for event in events]),
        }
    )


def _finding_table(findings: Sequence[Finding], first: int) -> pa.Table:
    return pa.table(
        {
            "emission": pa.array(range(first, first + len(findings)), type=pa.int64()),
            "id": _text([f.id for f in findings]),
            "session": _text([None if f.session is None else str(f.session) for f in findings]),
            "detector": _text([f.detector for f in findings]),
            "severity": _text([f.severity for f in findings]),
            "at_ns": pa.array([f.at_ns for f in findings], type=pa.int64()),
            "body": _text([_encode(f) for f in findings]),
        }
    )
