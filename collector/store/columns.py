"""Raw telemetry as Arrow columns, in the order of the tables `spans` and `logs`; the store adds number and time of the commit."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from collector.telemetry_data import Attributes, LogRecord, Span

_encode = msgspec.json.Encoder(decimal_format="string").encode
_UINT64_MAX = 2**64 - 1


def span_columns(tenant: str, spans: Sequence[Span]) -> pa.RecordBatch:
    """One row per span, in order."""
    services, resources = _of_resources([s.resource for s in spans])
    return pa.record_batch(
        {
            "tenant": _text([tenant] * len(spans)),
            "trace_id": _text([s.trace_id for s in spans]),
            "span_id": _text([s.span_id for s in spans]),
            "parent_span_id": _text([s.parent_span_id for s in spans]),
            "trace_state": _text([s.trace_state or None for s in spans]),
            "name": _text([s.name for s in spans]),
            "kind": pa.array([s.kind & 0xFF for s in spans], type=pa.uint8()),
            "start_ns": _uint([s.start_ns for s in spans], pa.uint64()),
            "end_ns": _uint([s.end_ns for s in spans], pa.uint64()),
            "status_code": pa.array([s.status_code & 0xFF for s in spans], type=pa.uint8()),
            "status_message": _text([s.status_message or None for s in spans]),
            "scope_name": _text([s.scope_name for s in spans]),
            "scope_version": _text([s.scope_version for s in spans]),
            "service_name": services,
            "resource": resources,
            "attributes": _text([_encode(s.attributes) for s in spans]),
            "events": _text([_encode(s.events) if s.events else None for s in spans]),
            "links": _text([_encode(s.links) if s.links else None for s in spans]),
            "dropped": pa.array([s.dropped & 0xFFFFFFFF for s in spans], type=pa.uint32()),
        }
    )


def log_columns(tenant: str, logs: Sequence[LogRecord], keys: Sequence[bytes]) -> pa.RecordBatch:
    """One row per log record, in order; `keys` are what repeated deliveries of each are recognised by."""
    services, resources = _of_resources([r.resource for r in logs])
    return pa.record_batch(
        {
            "tenant": _text([tenant] * len(logs)),
            "log_key": pa.array(keys, type=pa.binary()),
            "time_ns": _uint([r.time_ns for r in logs], pa.uint64()),
            "observed_ns": _uint([r.observed_ns for r in logs], pa.uint64()),
            "severity": pa.array([r.severity & 0xFF for r in logs], type=pa.uint8()),
            "severity_text": _text([r.severity_text or None for r in logs]),
            "event_name": _text([r.event_name or None for r in logs]),
            "trace_id": _text([r.trace_id for r in logs]),
            "span_id": _text([r.span_id for r in logs]),
            "scope_name": _text([r.scope_name for r in logs]),
            "scope_version": _text([r.scope_version for r in logs]),
            "service_name": services,
            "resource": resources,
            "body": _text([_encode(r.body) for r in logs]),
            "attributes": _text([_encode(r.attributes) for r in logs]),
            "dropped": pa.array([r.dropped & 0xFFFFFFFF for r in logs], type=pa.uint32()),
        }
    )


def _of_resources(resources: Sequence[Attributes]) -> tuple["pa.Array[Any]", "pa.Array[Any]"]:
    """Names of the services and the resources as JSON. Most items share their resource: each is encoded once."""
    places = {id(resource): resource for resource in resources}
    told = {key: (_service(resource), _encode(resource)) for key, resource in places.items()}
    found = [told[id(resource)] for resource in resources]
    return _text([service for service, _ in found]), _text([encoded for _, encoded in found])


def _text(values: Iterable[Any]) -> "pa.Array[Any]":
    return pa.array(values, type=pa.string())


def _uint(values: Sequence[int], type_: pa.DataType) -> "pa.Array[Any]":
    try:
        return pa.array(values, type=type_)
    except OverflowError:
        return pa.array([min(max(value, 0), _UINT64_MAX) for value in values], type=type_)


def _service(resource: Attributes) -> str | None:
    name = resource.get("service.name")
    return name if isinstance(name, str) else None
