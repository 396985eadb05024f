"""OTLP/JSON as real senders write it → spans and log records as plain Python values.

Ids in hexadecimal, 64-bit integers as numbers or strings, missing and null fields, snake_case keys, enums as numbers or
names, the null AnyValue `{}`. A container of the wrong type makes the request Malformed, a single item is rejected, and a
field of the wrong type is treated as absent.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import orjson
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber

from collector.decode_limits import MAX_ATTRIBUTES, MAX_DEPTH, MAX_EVENTS, MAX_TIME, NO_SPAN_ID, NO_TRACE_ID, WRONG_TYPE
from collector.errors import Malformed
from collector.telemetry_data import Attributes, Decoded, LogRecord, Span, SpanEvent, SpanLink

_HEX: Final = frozenset("0123456789abcdef")
_SEVERITIES: Final[dict[str, int]] = {name: int(number) for name, number in SeverityNumber.items()}
_STATUS_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_SPAN_KINDS: Final = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_METRIC_KINDS: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


def document(body: bytes) -> dict[str, Any]:
    """The request as a JSON object. Raises Malformed where it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        msg = f"the body is not JSON: {e}"
        raise Malformed(msg) from e
    if not isinstance(found, dict):
        msg = f"the body is a JSON {_type_name(found)}, an export request is an object"
        raise Malformed(msg)
    return found


def _type_name(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _get(item: dict[str, Any], name: str) -> Any:
    """Field by its lowerCamelCase name or, as some senders write, by its snake_case one."""
    value = item.get(name)
    if value is None and not name.islower():
        value = item.get("".join(f"_{c.lower()}" if c.isupper() else c for c in name))
    return value


def _list(item: dict[str, Any], name: str, where: str) -> list[Any]:
    value = _get(item, name)
    if value is None:
        return []
    if not isinstance(value, list):
        msg = f"{where}{name} is a JSON {_type_name(value)}, expected an array"
        raise Malformed(msg)
    return value


def _object(item: dict[str, Any], name: str) -> dict[str, Any]:
    value = _get(item, name)
    return value if isinstance(value, dict) else {}


def _text(item: dict[str, Any], name: str) -> str:
    value = _get(item, name)
    return value if isinstance(value, str) else ""


def _integer(value: Any) -> int:
    """An int64 or uint64: proto3 JSON writes it as a string, many senders as a number."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else 0
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return 0
    return 0


def _time(item: dict[str, Any], name: str) -> int:
    return max(0, min(_integer(_get(item, name)), MAX_TIME))


def _count(item: dict[str, Any], name: str) -> int:
    return max(0, min(_integer(_get(item, name)), 2**32 - 1))


def _enum(item: dict[str, Any], name: str, names: dict[str, int]) -> int:
    value = _get(item, name)
    known = names.get(value, 0) if isinstance(value, str) and not value.isdigit() else _integer(value)
    return known if 0 <= known <= 255 else 0


def _hex_id(value: Any, length: int) -> str | None:
    """Hexadecimal id in lower case; None where it is missing, empty, zero, of another length or not hexadecimal."""
    if not isinstance(value, str) or len(value) != length:
        return None
    value = value.lower()
    return value if _HEX.issuperset(value) and value.strip("0") else None


def _json_plain(value: Any, depth: int = 0) -> Any:
    """One AnyValue of OTLP/JSON as a plain value; None for `{}`, for nonsense and for what is nested too deep."""
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        return None
    for key, inner in value.items():
        reader = _JSON_VALUES.get(key)
        if reader is not None and inner is not None:
            return reader(inner, depth)
    return None


def _json_int(value: Any, _depth: int) -> int | None:
    number = _integer(value)
    if number == 0 and (isinstance(value, (bool, list, dict)) or value not in {0, "0"}):
        return None
    return number if -(2**63) <= number < 2**63 else None


def _json_double(value: Any, _depth: int) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float, str)):
        try:
            return float(value)  # "NaN", "Infinity" and "-Infinity" are strings in proto3 JSON
        except (ValueError, OverflowError):
            return None
    return None


def _json_bytes(value: Any, _depth: int) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _json_array(value: Any, depth: int) -> list[Any] | None:
    values = value.get("values") if isinstance(value, dict) else None
    if depth >= MAX_DEPTH:
        return None
    return [_json_plain(item, depth + 1) for item in values] if isinstance(values, list) else []


def _json_kvlist(value: Any, depth: int) -> dict[str, Any] | None:
    values = value.get("values") if isinstance(value, dict) else None
    if depth >= MAX_DEPTH:
        return None
    return dict(_json_pairs(values, depth + 1)) if isinstance(values, list) else {}


def _json_pairs(pairs: Iterable[Any], depth: int = 0) -> Iterable[tuple[str, Any]]:
    for pair in pairs:
        if isinstance(pair, dict) and isinstance(pair.get("key"), str):
            yield pair["key"], _json_plain(pair.get("value"), depth)


_JSON_VALUES: Final[dict[str, Callable[[Any, int], Any]]] = {
    "stringValue": lambda value, _depth: value if isinstance(value, str) else None,
    "boolValue": lambda value, _depth: value if isinstance(value, bool) else None,
    "intValue": _json_int,
    "doubleValue": _json_double,
    "bytesValue": _json_bytes,
    "arrayValue": _json_array,
    "kvlistValue": _json_kvlist,
}
_JSON_VALUES.update(
    {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): reader for name, reader in _JSON_VALUES.items()},
)


def _json_attributes(item: dict[str, Any]) -> tuple[Attributes, int]:
    pairs = item.get("attributes")
    if not isinstance(pairs, list):
        return {}, 0
    return dict(_json_pairs(pairs[:MAX_ATTRIBUTES])), max(0, len(pairs) - MAX_ATTRIBUTES)


def _items(document: dict[str, Any], by_resource: str, by_scope: str, items: str) -> Iterator[tuple[Attributes, dict[str, Any], Any, str]]:
    """Walks the three levels; yields each item with its resource, its scope and where it stands."""
    for r, group in enumerate(_list(document, by_resource, "")):
        where_r = f"{by_resource}[{r}]"
        if not isinstance(group, dict):
            msg = f"{where_r} is a JSON {_type_name(group)}, expected an object"
            raise Malformed(msg)
        resource, _ = _json_attributes(_object(group, "resource"))
        for c, inner in enumerate(_list(group, by_scope, f"{where_r}.")):
            where_c = f"{where_r}.{by_scope}[{c}]"
            if not isinstance(inner, dict):
                msg = f"{where_c} is a JSON {_type_name(inner)}, expected an object"
                raise Malformed(msg)
            scope = _object(inner, "scope")
            for i, item in enumerate(_list(inner, items, f"{where_c}.")):
                yield resource, scope, item, f"{where_c}.{items}[{i}]"


def _traces(document: dict[str, Any]) -> Decoded:
    decoded = Decoded(spans=[])
    for resource, scope, item, where in _items(document, "resourceSpans", "scopeSpans", "spans"):
        if not isinstance(item, dict):
            decoded.rejected.add(WRONG_TYPE, where)
            continue
        trace_id, span_id = _hex_id(_get(item, "traceId"), 32), _hex_id(_get(item, "spanId"), 16)
        if trace_id is None or span_id is None:
            decoded.rejected.add(NO_TRACE_ID if trace_id is None else NO_SPAN_ID, where)
            continue
        attributes, dropped = _json_attributes(item)
        events, dropped_events = _events(item)
        links, dropped_links = _links(item)
        status = _object(item, "status")
        counted = sum(_count(item, f"dropped{what}Count") for what in ("Attributes", "Events", "Links"))
        decoded.spans.append(
            Span(
                trace_id=trace_id,
                span_id=span_id,
                parent_span_id=_hex_id(_get(item, "parentSpanId"), 16),
                trace_state=_text(item, "traceState"),
                name=_text(item, "name"),
                kind=_enum(item, "kind", _SPAN_KINDS),
                start_ns=_time(item, "startTimeUnixNano"),
                end_ns=_time(item, "endTimeUnixNano"),
                attributes=attributes,
                events=events,
                links=links,
                status_code=_enum(status, "code", _STATUS_CODES),
                status_message=_text(status, "message"),
                scope_name=_text(scope, "name"),
                scope_version=_text(scope, "version"),
                resource=resource,
                dropped=dropped + dropped_events + dropped_links + counted,
            )
        )
    return decoded


def _sublist(item: dict[str, Any], name: str) -> list[Any]:
    value = item.get(name)
    return value if isinstance(value, list) else []


def _events(item: dict[str, Any]) -> tuple[list[SpanEvent], int]:
    items = _sublist(item, "events")
    dropped = max(0, len(items) - MAX_EVENTS)
    found = []
    for event in items[:MAX_EVENTS]:
        if isinstance(event, dict):
            attributes, lost = _json_attributes(event)
            dropped += lost
            found.append(SpanEvent(name=_text(event, "name"), time_ns=_time(event, "timeUnixNano"), attributes=attributes))
        else:
            dropped += 1
    return found, dropped


def _links(item: dict[str, Any]) -> tuple[list[SpanLink], int]:
    items = _sublist(item, "links")
    dropped = max(0, len(items) - MAX_EVENTS)
    found = []
    for link in items[:MAX_EVENTS]:
        ids = (_hex_id(_get(link, "traceId"), 32), _hex_id(_get(link, "spanId"), 16)) if isinstance(link, dict) else (None, None)
        if ids[0] is None or ids[1] is None:
            dropped += 1
            continue
        attributes, lost = _json_attributes(link)
        dropped += lost
        found.append(SpanLink(trace_id=ids[0], span_id=ids[1], attributes=attributes))
    return found, dropped


def _logs(document: dict[str, Any]) -> Decoded:
    decoded = Decoded(logs=[])
    for resource, scope, item, where in _items(document, "resourceLogs", "scopeLogs", "logRecords"):
        if not isinstance(item, dict):
            decoded.rejected.add(WRONG_TYPE, where)
            continue
        attributes, dropped = _json_attributes(item)
        decoded.logs.append(
            LogRecord(
                time_ns=_time(item, "timeUnixNano"),
                observed_ns=_time(item, "observedTimeUnixNano"),
                severity=_enum(item, "severityNumber", _SEVERITIES),
                severity_text=_text(item, "severityText"),
                event_name=_text(item, "eventName"),
                body=_json_plain(item.get("body")),
                attributes=attributes,
                trace_id=_hex_id(_get(item, "traceId"), 32),
                span_id=_hex_id(_get(item, "spanId"), 16),
                scope_name=_text(scope, "name"),
                scope_version=_text(scope, "version"),
                resource=resource,
                dropped=dropped + _count(item, "droppedAttributesCount"),
            )
        )
    return decoded


def _metrics(document: dict[str, Any]) -> Decoded:
    decoded = Decoded()
    for _, _, item, where in _items(document, "resourceMetrics", "scopeMetrics", "metrics"):
        if not isinstance(item, dict):
            decoded.rejected.add(WRONG_TYPE, where)
            continue
        for kind in _METRIC_KINDS:
            points = _get(_object(item, kind), "dataPoints")
            if isinstance(points, list):
                decoded.data_points += len(points)
    return decoded


SIGNALS: Final = {"traces": _traces, "logs": _logs, "metrics": _metrics}
