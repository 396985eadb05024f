"""Telemetry in DuckDB: bulk appends by the one writer thread, reads through cursors of their own.

Findings are in the main file, everything else in partitions (`collector.store.partitions`). There is no unique index
(docs/adr/005): the pipeline recognises repeated deliveries before they get here.
"""

import contextlib
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from collector.errors import StoreUnavailable
from collector.store import findings, received
from collector.store.base import Commit, FindingQuery
from collector.store.blocks import Block, notes_of
from collector.store.packing import LONG_KINDS, Packer, between
from collector.store.partitions import Partition, Partitions, folder_of, limit_bytes, memory_bytes, migrate, sync_folder, unmade, unopened
from collector.telemetry_data import LogRecord
from detectors.model import Event, Finding, SessionKey

_FETCHED: Final = 64
"""Blocks read at a time: some megabytes."""

_UNSTORABLE: Final = (duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError, pa.ArrowInvalid, pa.ArrowTypeError)
"""The rows are at fault and not the disk: the same rows would fail again."""


class _Incoming:
    """The table that an INSERT reads: registered and prepared once, since both cost more than inserting a thousand rows."""

    def __init__(self) -> None:
        self.table = pa.table({})

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        stream: object = self.table.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]
        return stream


class DuckDBStore:
    """A DuckDB file and a folder of partitions beside it.

    `append`, `append_findings`, `expire` and `recover` belong to one thread; every other method is safe from any.
    """

    def __init__(self, path: Path, *, threads: int = 1, max_bytes: int = 50 * 2**30) -> None:
        """Opens or creates `path` and its partitions, which are so large that `max_bytes` is some hundreds of them.

        Raises StoreUnavailable where a file cannot be opened.
        """
        self._path = path
        self._partition_bytes = partition_bytes = limit_bytes(max_bytes)
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes(partition_bytes)}B",
            "threads": str(threads),
            "preserve_insertion_order": "false",
            # Partitions are compressed when they are full, which is well before this.
            "checkpoint_threshold": f"{max(256 * 2**20, 4 * partition_bytes)}B",
        }
        self._lock = threading.Lock()
        self._incoming = {name: _Incoming() for name in ("blocks", "spans", "logs")}
        self._prepared: set[str] = set()
        self._connection, self._partitions, self._packer = self._open()
        self._emission = self._scalar("SELECT coalesce(max(emission), 0) FROM findings")

    def _open(self) -> tuple[duckdb.DuckDBPyConnection, Partitions, Packer]:
        self._prepared.clear()
        try:
            unmade(self._path)
            connection = duckdb.connect(str(self._path), config=self._settings)
            # What did not fit into memory when a process was killed: DuckDB leaves it there for good.
            shutil.rmtree(self._path.with_name(self._path.name + ".tmp"), ignore_errors=True)
            try:
                migrate(connection)
                partitions = Partitions(connection, folder_of(self._path), limit_bytes=self._partition_bytes)
                sync_folder(self._path.parent)
            except BaseException:
                connection.close()
                raise
        except (duckdb.Error, OSError) as error:
            raise unopened(self._path, error) from error
        return connection, partitions, Packer(partitions.current.blocks)

    def _scalar(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        row = self._read(sql, parameters)
        return int(row[0][0]) if row else 0

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            return cursor.execute(sql, list(parameters)).fetchall()

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with self._lock:
                cursor = self._connection.cursor()
            with cursor:
                yield cursor
        except (duckdb.Error, OSError) as error:
            raise StoreUnavailable(f"{self._path}: cannot read: {_first_line(error)}") from error

    def append(self, commit: Commit) -> None:
        try:
            if self._partitions.full(commit.arrival_ns):
                self._partitions.roll()
                self._packer = Packer()
            self._insert(commit)
        except StoreUnavailable:
            self.recover()
            raise
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> Exception:
        """Leaves the store as it was before the transaction; returns what to raise."""
        self.recover()
        if isinstance(error, _UNSTORABLE):  # what DuckDB says of a value quotes it
            return ValueError(f"{self._path}: a row cannot be stored as it is ({type(error).__name__})")
        return StoreUnavailable(f"{self._path}: nothing was stored: {_first_line(error)}")

    def _insert(self, commit: Commit) -> None:
        """One commit into the current partition, durably."""
        connection, packer, partition = self._connection, self._packer, self._partitions.current
        packed = packer.pack(commit)
        connection.execute("BEGIN")
        for name, table in packed.tables.items():
            statement = f"insert_{name}_{partition.alias}"
            self._incoming[name].table = table
            if statement not in self._prepared:
                connection.register(f"incoming_{name}", self._incoming[name])
                connection.execute(f"PREPARE {statement} AS INSERT INTO {partition.alias}.{name} SELECT * FROM incoming_{name}")  # noqa: S608 — names of ours
                self._prepared.add(statement)
            connection.execute(f"EXECUTE {statement}")
        connection.execute("COMMIT")
        self._partitions.sync()
        packer.keep(packed)
        partition.blocks = packer.next_block
        partition.last_seq = commit.seq
        if commit.arrival_ns is not None:
            partition.newest_ns = max(partition.newest_ns or 0, commit.arrival_ns)

    def append_findings(self, found: Sequence[Finding]) -> None:
        if not found:
            return
        connection = self._connection
        try:
            connection.execute("BEGIN")
            connection.register("incoming", findings.table(found, self._emission + 1))
            connection.execute("INSERT INTO findings SELECT * FROM incoming")
            connection.unregister("incoming")
            connection.execute("COMMIT")
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            raise self._refused(error) from None
        self._emission += len(found)

    def recover(self) -> None:
        """Rolls back; after an error that invalidated a database, opens the files anew, or leaves that to the next call."""
        with contextlib.suppress(duckdb.Error):  # no transaction is open where a failed COMMIT closed it
            self._connection.execute("ROLLBACK")
        try:
            self._connection.execute(f"SELECT max(block) FROM {self._partitions.current.alias}.blocks")  # noqa: S608 — digits
            self._connection.execute("SELECT max(emission) FROM findings")
        except duckdb.Error:
            with self._lock:
                self._partitions.close()
                self._connection.close()
                try:
                    self._connection, self._partitions, self._packer = self._open()
                except StoreUnavailable:
                    # Until then every other call answers StoreUnavailable.
                    self._connection = duckdb.connect(":memory:")
                    self._connection.close()

    def last_seq(self) -> int:
        return max(self._scalar(f"SELECT coalesce(max(commit_seq), 0) FROM {one.alias}.blocks") for one in self._newest_two())  # noqa: S608

    def _newest_two(self) -> list[Partition]:
        """The newest may be empty still; the one before never is."""
        return list(self._partitions.held)[-2:]

    def span_keys(self, limit: int) -> Iterator[tuple[str, str, str]]:
        return self._newest_rows("tenant, trace_id, span_id FROM {}.spans", limit)

    def parents(self, limit: int) -> Iterator[tuple[str, str, str, str]]:
        return self._newest_rows("tenant, trace_id, span_id, parent_span_id FROM {}.spans WHERE parent_span_id IS NOT NULL", limit)

    def log_keys(self, limit: int) -> Iterator[bytes]:
        return (key for (key,) in self._newest_rows("log_key FROM {}.logs", limit))

    def _newest_rows(self, select: str, limit: int) -> Iterator[Any]:
        """Rows of the newest commits, partition by partition back in time."""
        for partition in reversed(self._partitions.held):
            if limit <= 0:
                return
            rows = self._read(f"SELECT {select.format(partition.alias)} ORDER BY commit_seq DESC LIMIT ?", [limit])
            limit -= len(rows)
            yield from rows

    def logs_without_span(self, limit: int) -> list[tuple[str, LogRecord]]:
        return received.without_span(self._read, self._blocks, list(self._partitions.held), limit)

    # Events

    def events(self, sessions: Iterable[SessionKey], *, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        keys = set(sessions)
        if not keys:
            return []
        where = f"last_seq > ? AND ({' OR '.join(['contains(sessions, ?)'] * len(keys))})"
        parameters = [after_seq, *(between([str(key)]) for key in keys)]
        found: list[Event] = []
        for partition in self._after(after_seq):
            if partition is not self._partitions.current and not self._holds(partition, keys):
                continue
            for block in self._blocks(partition, where, parameters):
                found += [event for event in block.events(keys) if event.seq > after_seq]
            if limit is not None and len(found) >= limit:
                break  # what later partitions hold is later
        found.sort(key=_seq)
        return found[:limit]

    def tail(self, limit: int) -> list[Event]:
        found: list[Event] = []
        for partition in reversed(self._partitions.held):
            wanted = limit - len(found)
            if wanted <= 0:
                break
            # Commits are read whole: their blocks are in order of sessions. Numbers are left out where a commit made no events.
            first = self._scalar(
                "SELECT coalesce(max(commit_seq), 0) FROM (SELECT commit_seq, sum(sum(events)) OVER (ORDER BY commit_seq DESC) AS newer "  # noqa: S608 — digits
                f"FROM {partition.alias}.blocks GROUP BY commit_seq) WHERE newer >= ?",
                [wanted],
            )
            for block in self._blocks(partition, "commit_seq >= ?", [first]):
                found += block.events()
        found.sort(key=_seq)
        return found[-limit:] if limit else []

    def of_kinds(self, kinds: Iterable[str], limit: int) -> list[Event]:
        wanted = set(kinds)
        clause = f"({' OR '.join(['contains(kinds, ?)'] * len(wanted))})"
        parameters = [between([kind]) for kind in wanted]
        unpack = bool(wanted & LONG_KINDS)
        found: list[Event] = []
        for partition in reversed(self._partitions.held):
            if len(found) >= limit:
                break
            if unpack:
                told = [event for block in self._blocks(partition, clause, parameters) for event in block.events()]
            else:
                rows = self._read(f"SELECT notes FROM {partition.alias}.blocks WHERE {clause}", parameters)  # noqa: S608 — digits, question marks
                told = [event for (notes,) in rows for event in notes_of(notes)]
            found += [event for event in told if event.__struct_config__.tag in wanted]
        found.sort(key=_seq)
        return found[-limit:] if limit else []

    def sessions_after(self, seq: int) -> list[SessionKey]:
        firsts: dict[SessionKey, int] = {}
        for partition in self._after(seq):
            for block in self._blocks(partition, "last_seq > ?", [seq]):
                for at, key in block.placed():
                    if at > seq:
                        firsts[key] = min(at, firsts.get(key, at))
        return sorted(firsts, key=lambda key: firsts[key])

    def _holds(self, partition: Partition, keys: Collection[SessionKey]) -> bool:
        """Whether a full partition holds anything of these sessions; asked once, it remembers 8 bytes a session."""
        if partition.sessions is None:
            rows = self._read(f"SELECT sessions FROM {partition.alias}.blocks")  # noqa: S608 — digits
            partition.sessions = np.array(sorted({hash(name) for (names,) in rows for name in names.split("\n")}), dtype=np.int64)
        wanted = np.array([hash(str(key)) for key in keys], dtype=np.int64)
        places = np.searchsorted(partition.sessions, wanted)
        return any(
            place < len(partition.sessions) and partition.sessions[place] == value for place, value in zip(places, wanted, strict=True)
        )

    def _after(self, seq: int) -> list[Partition]:
        """The partitions that can hold something after `seq`."""
        return [one for one in self._partitions.held if one.last_seq > seq or one is self._partitions.current]

    def _blocks(self, partition: Partition, where: str, parameters: Sequence[Any]) -> Iterator[Block]:
        """Blocks of a partition in their order, a few in memory at a time."""
        alias = partition.alias

        def body(block: int) -> bytes:
            return bytes(self._read(f"SELECT body FROM {alias}.blocks WHERE block = ?", [block])[0][0])  # noqa: S608 — digits

        with self._cursor() as cursor:
            cursor.execute(f"SELECT block, body, notes FROM {alias}.blocks WHERE {where} ORDER BY block", list(parameters))  # noqa: S608 — literals and digits
            while rows := cursor.fetchmany(_FETCHED):
                yield from (Block(number, stored, notes, body) for number, stored, notes in rows)

    # Raw telemetry

    def spans(self, trace_id: str) -> list[received.Row]:
        """Every span of a trace as it was received, in no particular order."""
        return received.of_trace(self._read, self._blocks, list(self._partitions.held), "spans", trace_id)

    def logs(self, trace_id: str | None = None) -> list[received.Row]:
        """The log records of a trace as they were received; None means those that belong to no trace."""
        return received.of_trace(self._read, self._blocks, list(self._partitions.held), "logs", trace_id)

    # Findings

    def findings(self, query: FindingQuery) -> list[Finding]:
        return findings.select(self._read, query)

    def emissions(self, sessions: Iterable[SessionKey], *, after_seq: int = 0) -> set[tuple[str, str, bool]]:
        return findings.emissions(self._read, sessions, after_seq)

    # Retention

    def expire(self, before_ns: int, max_bytes: int | None = None) -> int:
        gone = 0
        try:
            while (count := self._expired(before_ns, max_bytes)) > 0:
                for partition in self._partitions.held[:count]:
                    gone += self._drop(partition)
        except (duckdb.Error, OSError) as error:
            self.recover()
            raise StoreUnavailable(f"{self._path}: old data was not let go: {_first_line(error)}") from error
        return gone

    def _expired(self, before_ns: int, max_bytes: int | None) -> int:
        """How many of the oldest partitions are to go. The newest of all stays: numbers never start anew."""
        sealed = self._partitions.held[:-1]
        count = 0
        for place, partition in enumerate(sealed, 1):
            if partition.newest_ns is None:
                continue  # it goes with the next one of which a time is known
            if partition.newest_ns >= before_ns:
                break
            count = place
        if max_bytes is not None and not self._partitions.sealing:
            excess = self.size() - max_bytes
            for place, partition in enumerate(sealed, 1):
                if excess <= 0:
                    break
                excess -= partition.bytes
                count = max(count, place)
        return count

    def _drop(self, partition: Partition) -> int:
        counts = f"(SELECT count(*) FROM {partition.alias}.spans) + (SELECT count(*) FROM {partition.alias}.logs)"  # noqa: S608 — digits
        gone = self._scalar(f"SELECT {counts} + coalesce(sum(events), 0) FROM {partition.alias}.blocks")  # noqa: S608 — digits
        # First the findings: a crash between leaves steps without findings, not findings about steps that are gone.
        self._connection.execute("DELETE FROM findings WHERE step_seq <= ?", [partition.last_seq])
        for statement in [name for name in self._prepared if name.endswith(f"_{partition.alias}")]:
            self._connection.execute(f"DEALLOCATE {statement}")
            self._prepared.discard(statement)
        self._partitions.drop(partition)
        return gone

    def size(self) -> int:
        """Bytes on disk."""
        held = list(self._partitions.held)
        main = sum(file.stat().st_size for file in self._path.parent.glob(f"{self._path.name}*"))
        return main + sum(partition.bytes for partition in held)

    def close(self) -> None:
        with self._lock:
            self._partitions.close()
            self._connection.close()


def _seq(event: Event) -> int:
    return event.seq


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
