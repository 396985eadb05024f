"""Raw telemetry as it was received: the rows that SQL sees, with what their blocks say beside."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import msgspec

from collector.store.blocks import Block
from collector.store.packing import LOG_ROW, SPAN_ROW
from collector.store.partitions import Partition
from collector.telemetry_data import LogRecord

Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs a query with parameters and returns all its rows."""
Blocks = Callable[[Partition, str, Sequence[Any]], Iterator[Block]]
"""The blocks of a partition that meet a condition with parameters."""
Row = dict[str, Any]
"""A span or log record by the names in `collector.store.columns`, with `commit_seq`, `arrival_ns` and `block`."""

_BESIDE: Final = ("commit_seq", "arrival_ns", "block")
_COLUMNS: Final = {"spans": (*_BESIDE, *SPAN_ROW), "logs": (*_BESIDE, *LOG_ROW)}


def of_trace(read: Read, blocks: Blocks, partitions: Sequence[Partition], table: str, trace_id: str | None) -> list[Row]:
    """Every span or log record of a trace, in no particular order; None means those that belong to no trace."""
    found: list[Row] = []
    for partition in partitions:
        sql = f"SELECT DISTINCT block FROM {partition.alias}.{table} WHERE trace_id IS NOT DISTINCT FROM ?"  # noqa: S608 — names of ours
        numbers = {number for (number,) in read(sql, [trace_id])}
        found += [row for row in _whole(read, blocks, partition, table, numbers) if row["trace_id"] == trace_id]
    return found


def without_span(read: Read, blocks: Blocks, partitions: Sequence[Partition], limit: int) -> list[tuple[str, LogRecord]]:
    """(tenant, record) of those of the newest `limit` log records of spans whose span is not stored, in commit order."""
    found: list[Row] = []
    later: list[str] = []
    for partition in reversed(partitions):
        if limit <= 0:
            break
        later.append(f"SELECT tenant, trace_id, span_id FROM {partition.alias}.spans")  # noqa: S608 — names of ours
        newest = f"SELECT * FROM {partition.alias}.logs WHERE span_id IS NOT NULL ORDER BY commit_seq DESC LIMIT ?"  # noqa: S608 — names of ours
        rows = read(
            f"SELECT count(*) OVER (), block, tenant, trace_id, span_id FROM ({newest}) "  # noqa: S608 — names of ours
            f"ANTI JOIN ({' UNION ALL '.join(later)}) USING (tenant, trace_id, span_id)",
            [limit],
        )
        [(count,)] = read(f"SELECT count(*) FROM ({newest})", [limit])  # noqa: S608 — names of ours
        limit -= int(count)
        wanted = {(tenant, trace, span) for _, _, tenant, trace, span in rows}
        whole = _whole(read, blocks, partition, "logs", {row[1] for row in rows})
        found += [row for row in whole if (row["tenant"], row["trace_id"], row["span_id"]) in wanted]
    found.sort(key=lambda row: row["commit_seq"])
    return [(str(row["tenant"]), _record(row)) for row in found]


def _whole(read: Read, blocks: Blocks, partition: Partition, table: str, numbers: Collection[int]) -> Iterator[Row]:
    """All rows of some blocks, with everything that was said."""
    if not numbers:
        return
    columns = _COLUMNS[table]
    where = f"block IN ({', '.join('?' * len(numbers))})"
    rows: dict[int, list[Row]] = {number: [] for number in numbers}
    # Rows of a block are in the order in which they were inserted, which is that of its body.
    for row in read(f"SELECT {', '.join(columns)} FROM {partition.alias}.{table} WHERE {where} ORDER BY rowid", list(numbers)):  # noqa: S608 — names of ours
        said = dict(zip(columns, row, strict=True))
        rows[said["block"]].append(said)
    for block in blocks(partition, where, list(numbers)):
        rest = block.spans() if table == "spans" else block.logs()
        yield from (row | more for row, more in zip(rows[block.number], rest, strict=True))


def _record(row: Row) -> LogRecord:
    return LogRecord(
        time_ns=row["time_ns"],
        observed_ns=row["observed_ns"],
        severity=row["severity"],
        severity_text=row["severity_text"] or "",
        event_name=row["event_name"] or "",
        body=msgspec.json.decode(row["body"]),
        attributes=msgspec.json.decode(row["attributes"]),
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        scope_name=row["scope_name"],
        scope_version=row["scope_version"],
        resource=msgspec.json.decode(row["resource"]),
        dropped=row["dropped"],
    )
