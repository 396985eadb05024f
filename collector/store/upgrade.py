"""Moves what the first schema kept in one file into partitions, once, when such a store is opened."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa

from collector.store.base import Commit
from collector.store.packing import Packer
from collector.store.partitions import Partitions
from detectors.model import Event

logger = logging.getLogger(__name__)
_decode_event = msgspec.json.Decoder(Event).decode
_STRETCH: Final = 2_000
"""Sequence numbers moved at a time."""


def convert(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    limit_bytes: int,
    insert: Callable[[Partitions, Packer, Commit], None],
) -> None:
    """Copies spans, log records and events into partitions in `folder`. The old tables stay until the migration drops them.

    Raises duckdb.Error and OSError; the next start begins anew.
    """
    last = max(_number(connection, f"SELECT coalesce(max({column}), 0) FROM {table}") for table, column in _TABLES)  # noqa: S608 — literals
    if not last:
        return  # a new main file: partitions that are there already belong to one that was lost
    if folder.exists():  # a crash came while they were copied
        shutil.rmtree(folder)
    logger.warning("the telemetry store has an old form and is converted, which takes about a minute for a million spans")
    partitions = Partitions(connection, folder, limit_bytes=limit_bytes)
    packer = Packer()
    for first in range(0, last, _STRETCH):
        upto = min(first + _STRETCH, last)
        spans, logs, events = (_stretch(connection, table, column, first, upto) for table, column in _TABLES)
        arrivals = [time for table in (spans, logs) for time in table.column("arrival_ns").to_pylist() if time is not None]
        seqs = [0, *events.column("seq").to_pylist(), *(n for table in (spans, logs) for n in table.column("commit_seq").to_pylist())]
        if len(seqs) == 1:
            continue
        arrival_ns = max(arrivals, default=None)
        if partitions.full(arrival_ns):
            partitions.roll()
            packer = Packer()
        bodies = events.column("body").to_pylist()
        insert(
            partitions,
            packer,
            Commit(
                seq=max(seqs),
                arrival_ns=arrival_ns,
                spans=_batches(spans),
                logs=_batches(logs),
                events=[_decode_event(body) for body in bodies],
            ),
        )
    partitions.close()
    for partition in partitions.held:
        connection.execute(f"DETACH {partition.alias}")


_TABLES: Final = (("spans", "commit_seq"), ("logs", "commit_seq"), ("events", "seq"))


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def _stretch(connection: duckdb.DuckDBPyConnection, table: str, column: str, first: int, last: int) -> Any:
    sql = f"SELECT * FROM {table} WHERE {column} > ? AND {column} <= ? ORDER BY {column}"  # noqa: S608 — literals
    return connection.sql(sql, params=[first, last]).to_arrow_table()


def _batches(table: Any) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = table.drop_columns(["commit_seq", "arrival_ns"]).combine_chunks().to_batches()
    return batches
