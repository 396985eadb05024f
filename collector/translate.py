"""What can be made of one request by itself: decoded and translated by the dialects; and of several: laid out for the store.

A function of the request alone, so it may run in another process: `encode` and `decode_translation` carry the result over.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import pyarrow as pa

from collector.decode import decode
from collector.dialects import fragment_of_log, fragments_of, fragments_of_logs
from collector.dialects.base import Fragment
from collector.duplicates import log_key
from collector.model import Outcome, Request
from collector.store.base import Store
from collector.store.columns import log_columns, span_columns
from collector.telemetry_data import Decoded

SpanKey = tuple[str, str, str]
"""Tenant, trace id, span id."""
K = TypeVar("K")
_LOGS_LOOKED_THROUGH = 1_000


class Records(msgspec.Struct, Generic[K], kw_only=True, array_like=True):
    """The spans or the log records of a request, item by item in the order in which it held them."""

    keys: list[K]
    """What a repeated delivery is recognised by."""
    times_ns: list[int]
    """When a span ended, when a log record was written; 0 where that was not said."""
    fragments: list[Fragment | None]
    rows: pa.RecordBatch | None = None
    """For the store; None without items, and before `lay_out`."""
    items: list[Any] = []
    """What the rows are still to be made of: spans or log records, none after `lay_out`."""


class Translation(msgspec.Struct, kw_only=True, array_like=True):
    """All that one request says, and its answer once that is committed. Log records are recognised by `log_key`."""

    tenant: str
    outcome: Outcome
    spans: Records[SpanKey]
    logs: Records[bytes]


def translate(request: Request) -> Translation:
    """Decodes a request and translates what it holds; `lay_out` is to follow. Raises Malformed where it cannot be read at all."""
    decoded = decode(request)
    tenant = request.tenant
    spans, logs = decoded.spans, decoded.logs
    return Translation(
        tenant=tenant,
        outcome=_outcome(decoded),
        spans=Records(
            keys=[(tenant, span.trace_id, span.span_id) for span in spans],
            times_ns=[span.end_ns for span in spans],
            fragments=fragments_of(spans),
            items=spans,
        ),
        logs=Records(
            keys=[log_key(tenant, record) for record in logs],
            times_ns=[record.time_ns for record in logs],
            fragments=fragments_of_logs(logs),
            items=logs,
        ),
    )


def lay_out(translations: Sequence[Translation]) -> None:
    """Makes the rows of all that have none yet, and puts the records of each tenant with its first translation.

    A request of one span costs as much as one of thirty otherwise: columns are dear to begin and cheap to go on with. Where
    something cannot be laid out, which raises whatever Arrow or msgspec say of it, nothing is changed.
    """
    tenants: dict[str, list[Translation]] = {}
    for one in translations:
        tenants.setdefault(one.tenant, []).append(one)
    made = []
    for tenant, those in tenants.items():
        spans = [span for one in those for span in one.spans.items]
        logs = [record for one in those for record in one.logs.items]
        keys = [key for one in those if one.logs.items for key in one.logs.keys]
        made.append((span_columns(tenant, spans) if spans else None, log_columns(tenant, logs, keys) if logs else None))
    for those, (span_rows, log_rows) in zip(tenants.values(), made, strict=True):
        _gather([one.spans for one in those], span_rows)
        _gather([one.logs for one in those], log_rows)


def _gather(several: "Sequence[Records[K]]", rows: pa.RecordBatch | None) -> None:
    several = [records for records in several if records.items]
    if not several:
        return
    first, *others = several
    first.rows, first.items = rows, []
    for records in others:
        first.keys += records.keys
        first.times_ns += records.times_ns
        first.fragments += records.fragments
        records.keys, records.times_ns, records.fragments, records.items = [], [], [], []


def waiting_for_spans(store: Store) -> Iterator[tuple[str, Fragment | None]]:
    """(tenant, fragment) of the newest stored log records whose span had not come: what they say of it was not recorded yet."""
    return ((tenant, fragment_of_log(record)) for tenant, record in store.logs_without_span(_LOGS_LOOKED_THROUGH))


def encode(translation: Translation) -> bytes:
    """The translation, laid out, as bytes for another process."""
    return _encoder.encode(translation)


def decode_translation(encoded: bytes) -> Translation:
    """The translation that `encode` was given."""
    return _decoder.decode(encoded)


def _rows_to_bytes(value: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write_batch(value)
    return sink.getvalue().to_pybytes()


def _rows_from_bytes(_: type, value: Any) -> pa.RecordBatch:
    with pa.ipc.open_stream(value) as reader:
        return reader.read_next_batch()


_encoder = msgspec.msgpack.Encoder(enc_hook=_rows_to_bytes, decimal_format="string")
_decoder = msgspec.msgpack.Decoder(Translation, dec_hook=_rows_from_bytes)


def _outcome(decoded: Decoded) -> Outcome:
    accepted = len(decoded.spans) + len(decoded.logs) + decoded.data_points
    if not decoded.rejected:
        return Outcome(accepted=accepted)
    first = decoded.rejected.first[0]
    where = f" ({first.where})" if first.where else ""
    more = f" and {len(decoded.rejected) - 1} more" if len(decoded.rejected) > 1 else ""
    return Outcome(accepted=accepted, rejected=len(decoded.rejected), message=f"{first.reason}{where}{more}")
