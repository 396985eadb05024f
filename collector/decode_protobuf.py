"""OTLP requests in protobuf, walked message by message."""

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode_limits import MAX_ATTRIBUTES, MAX_DEPTH, MAX_EVENTS, MAX_TIME, NO_SPAN_ID, NO_TRACE_ID, SPAN_PLACE
from collector.errors import Malformed
from collector.telemetry_data import Attributes, Decoded, LogRecord, Span, SpanEvent, SpanLink

ZERO_TRACE: Final = bytes(16)
ZERO_SPAN: Final = bytes(8)


def _parsed(message: type, body: bytes, signal: str) -> Any:
    try:
        return message.FromString(body)  # type: ignore[attr-defined]
    except (DecodeError, ValueError) as e:
        # upb checks UTF-8 while it parses, so a string that is not UTF-8 ends here as well.
        msg = f"the body is not a protobuf export request for {signal}: {e}"
        raise Malformed(msg) from e


def plain(value: Any, depth: int = 0) -> Any:
    """One protobuf AnyValue as a plain value; None for an empty one or one nested too deep."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(item, depth + 1) for item in value.array_value.values] if depth < MAX_DEPTH else None
    if kind == "kvlist_value":
        if depth >= MAX_DEPTH:
            return None
        return {pair.key: plain(pair.value, depth + 1) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def attributes(pairs: Any) -> tuple[Attributes, int]:
    """Attributes as a dict, and how many were too many. A repeated key keeps its last value."""
    dropped = len(pairs) - MAX_ATTRIBUTES
    if dropped > 0:
        return {pair.key: plain(pair.value) for pair in pairs[:MAX_ATTRIBUTES]}, dropped
    # Strings are the bulk; asking for the string first is cheaper than asking which of seven is set.
    return {pair.key: (value := pair.value).string_value or plain(value) for pair in pairs}, 0


def _decode_traces(body: bytes) -> Decoded:
    message = _parsed(ExportTraceServiceRequest, body, "traces")
    decoded = Decoded(spans=[])
    spans = decoded.spans
    for r, by_resource in enumerate(message.resource_spans):
        resource, _ = attributes(by_resource.resource.attributes)
        for c, by_scope in enumerate(by_resource.scope_spans):
            scope_name, scope_version = by_scope.scope.name, by_scope.scope.version
            for i, item in enumerate(by_scope.spans):
                trace_id, span_id, parent_id = item.trace_id, item.span_id, item.parent_span_id
                if len(trace_id) != 16 or trace_id == ZERO_TRACE or len(span_id) != 8 or span_id == ZERO_SPAN:
                    bad_trace = len(trace_id) != 16 or trace_id == ZERO_TRACE
                    decoded.rejected.add(NO_TRACE_ID if bad_trace else NO_SPAN_ID, SPAN_PLACE, r, c, i)
                    continue
                found, dropped = attributes(item.attributes)
                span = Span(
                    trace_id=trace_id.hex(),
                    span_id=span_id.hex(),
                    parent_span_id=parent_id.hex() if len(parent_id) == 8 and parent_id != ZERO_SPAN else None,
                    trace_state=item.trace_state,
                    name=item.name,
                    kind=item.kind,
                    start_ns=min(item.start_time_unix_nano, MAX_TIME),
                    end_ns=min(item.end_time_unix_nano, MAX_TIME),
                    attributes=found,
                    status_code=item.status.code,
                    status_message=item.status.message,
                    scope_name=scope_name,
                    scope_version=scope_version,
                    resource=resource,
                    dropped=dropped + item.dropped_attributes_count + item.dropped_events_count + item.dropped_links_count,
                )
                if item.events:
                    add_events(span, item.events)
                if item.links:
                    add_links(span, item.links)
                spans.append(span)
    return decoded


def add_events(span: Span, items: Sequence[Any]) -> None:
    """Puts protobuf events on a span."""
    span.events = []
    for item in items[:MAX_EVENTS]:
        found, dropped = attributes(item.attributes)
        span.dropped += dropped
        span.events.append(SpanEvent(name=item.name, time_ns=min(item.time_unix_nano, MAX_TIME), attributes=found))
    span.dropped += max(0, len(items) - MAX_EVENTS)


def add_links(span: Span, items: Sequence[Any]) -> None:
    """Puts protobuf links on a span."""
    span.links = []
    for item in items[:MAX_EVENTS]:
        if len(item.trace_id) == 16 and len(item.span_id) == 8:
            found, dropped = attributes(item.attributes)
            span.dropped += dropped
            span.links.append(SpanLink(trace_id=item.trace_id.hex(), span_id=item.span_id.hex(), attributes=found))
        else:
            span.dropped += 1
    span.dropped += max(0, len(items) - MAX_EVENTS)


def _decode_logs(body: bytes) -> Decoded:
    message = _parsed(ExportLogsServiceRequest, body, "logs")
    decoded = Decoded(logs=[])
    for by_resource in message.resource_logs:
        resource, _ = attributes(by_resource.resource.attributes)
        for by_scope in by_resource.scope_logs:
            scope_name, scope_version = by_scope.scope.name, by_scope.scope.version
            for item in by_scope.log_records:
                found, dropped = attributes(item.attributes)
                trace_id, span_id = item.trace_id, item.span_id
                decoded.logs.append(
                    LogRecord(
                        time_ns=min(item.time_unix_nano, MAX_TIME),
                        observed_ns=min(item.observed_time_unix_nano, MAX_TIME),
                        severity=item.severity_number,
                        severity_text=item.severity_text,
                        event_name=item.event_name,
                        body=plain(item.body),
                        attributes=found,
                        trace_id=trace_id.hex() if len(trace_id) == 16 and trace_id != ZERO_TRACE else None,
                        span_id=span_id.hex() if len(span_id) == 8 and span_id != ZERO_SPAN else None,
                        scope_name=scope_name,
                        scope_version=scope_version,
                        resource=resource,
                        dropped=dropped + item.dropped_attributes_count,
                    )
                )
    return decoded


def _decode_metrics(body: bytes) -> Decoded:
    message = _parsed(ExportMetricsServiceRequest, body, "metrics")
    points = 0
    for by_resource in message.resource_metrics:
        for by_scope in by_resource.scope_metrics:
            for metric in by_scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is not None:
                    points += len(getattr(metric, kind).data_points)
    return Decoded(data_points=points)


SIGNALS: Final = {"traces": _decode_traces, "logs": _decode_logs, "metrics": _decode_metrics}
