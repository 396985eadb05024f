"""OTLP trace requests in protobuf, decoded to Arrow columns by a native library, and spans made of the columns.

Of a request with many spans this takes half the time of walking its messages. It reads what senders really write; what
it does not read as protobuf says, it refuses, and the messages are walked.
"""

import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Final, TypeVar

import numpy as np
import ptars
import pyarrow as pa
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status

from collector.decode_limits import MAX_ATTRIBUTES, MAX_EVENTS, MAX_TIME, NO_SPAN_ID, NO_TRACE_ID, SPAN_PLACE
from collector.decode_protobuf import ZERO_SPAN, ZERO_TRACE, add_events, add_links, attributes, plain
from collector.telemetry_data import Attributes, Decoded, Span

_NO_TRACE: Final = ZERO_TRACE.hex()
_NO_SPAN: Final = ZERO_SPAN.hex()
_TRACE_DIGITS: Final = len(_NO_TRACE)
_SPAN_DIGITS: Final = len(_NO_SPAN)

_PACKAGE: Final = "overcurrent"
_NESTED: Final = ("Request", "ResourceSpans", "ScopeSpans", "Span", "KeyValue", "AnyValue")
"""Messages that become columns. Others stay bytes: rare ones, those that recur, and those that hold themselves."""
_SHORT: Final = 2048
"""Bytes of a part that recurs; a longer one is read each time."""
T = TypeVar("T")


def traces(body: bytes) -> Decoded:
    """Decodes a trace request. Raises ValueError or DecodeError where the messages themselves must be looked at."""
    decoded = Decoded(spans=[])
    by_resource = _HANDLER.list_to_record_batch([body]).column(0).values
    by_scope = by_resource.field("scope_spans").values
    spans = by_scope.field("spans").values
    trace_ids, span_ids = _digits(spans.field("trace_id")), _digits(spans.field("span_id"))
    whole = [
        len(trace_id) == _TRACE_DIGITS and trace_id != _NO_TRACE and len(span_id) == _SPAN_DIGITS and span_id != _NO_SPAN
        for trace_id, span_id in zip(trace_ids, span_ids, strict=True)
    ]
    # Two bytes make an empty span: of those that are rejected no row is made.
    rows = _rows(spans if all(whole) else spans.filter(pa.array(whole)))
    identified = zip(whole, trace_ids, span_ids, strict=True)
    spans_of, scopes = _counts(by_scope.field("spans")), _objects(by_scope.field("scope"))
    place = 0
    for r, (resource_bytes, scope_count) in enumerate(
        zip(_objects(by_resource.field("resource")), _counts(by_resource.field("scope_spans")), strict=True)
    ):
        resource = _resource(resource_bytes or b"")
        for c in range(scope_count):
            scope_name, scope_version = _scope(scopes[place] or b"")
            for i, (is_whole, trace_id, span_id) in enumerate(islice(identified, spans_of[place])):
                if not is_whole:
                    bad_trace = len(trace_id) != _TRACE_DIGITS or trace_id == _NO_TRACE
                    decoded.rejected.add(NO_TRACE_ID if bad_trace else NO_SPAN_ID, SPAN_PLACE, r, c, i)
                    continue
                parent_id, trace_state, name, kind, start_ns, end_ns, attributes_, status, events, links, dropped = next(rows)
                status_code, status_message = _status(status) if status else (0, "")
                span = Span(
                    trace_id=trace_id,
                    span_id=span_id,
                    parent_span_id=parent_id if len(parent_id) == _SPAN_DIGITS and parent_id != _NO_SPAN else None,
                    trace_state=trace_state,
                    name=name,
                    kind=kind,
                    start_ns=start_ns,
                    end_ns=end_ns,
                    attributes=attributes_,
                    status_code=status_code,
                    status_message=status_message,
                    scope_name=scope_name,
                    scope_version=scope_version,
                    resource=resource,
                    dropped=dropped,
                )
                if events:
                    add_events(span, [trace_pb2.Span.Event.FromString(event) for event in events])
                if links:
                    add_links(span, [trace_pb2.Span.Link.FromString(link) for link in links])
                decoded.spans.append(span)
            place += 1
    return decoded


def _rows(spans: Any) -> Iterator[tuple[Any, ...]]:
    """The spans, each as a tuple of what `traces` names beside its ids."""
    lost = sum(spans.field(f"dropped_{what}_count").to_numpy().astype(np.int64) for what in ("attributes", "events", "links"))
    return zip(
        _digits(spans.field("parent_span_id")),
        _objects(spans.field("trace_state")),
        _objects(spans.field("name")),
        spans.field("kind").to_numpy().tolist(),
        np.minimum(spans.field("start_time_unix_nano").to_numpy(), MAX_TIME).tolist(),
        np.minimum(spans.field("end_time_unix_nano").to_numpy(), MAX_TIME).tolist(),
        _dicts(spans.field("attributes")),
        _objects(spans.field("status")),
        _lists(spans.field("events")),
        _lists(spans.field("links")),
        lost.tolist(),
        strict=True,
    )


def _objects(column: Any) -> list[Any]:
    """Values of a column as Python's own."""
    values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return values


def _counts(lists: Any) -> list[int]:
    offsets = lists.offsets.to_numpy()
    counts: list[int] = (offsets[1:] - offsets[:-1]).tolist()
    return counts


def _lists(column: Any) -> list[list[bytes]]:
    if not len(column.values):
        return [[]] * len(column)
    counts = _counts(column)
    if max(counts) > MAX_EVENTS:
        raise ValueError("more events or links than are kept")
    values = iter(_objects(column.values))
    return [list(islice(values, count)) for count in counts]


def _digits(ids: Any) -> list[str]:
    """Ids in hexadecimal, all in one go."""
    _, offsets, data = ids.buffers()
    if not len(ids) or data is None:
        return [""] * len(ids)
    digits = data.to_pybytes().hex()
    places = (np.frombuffer(offsets, dtype=np.int32)[: len(ids) + 1] * 2).tolist()
    return [digits[start:end] for start, end in pairwise(places)]


def _dicts(column: Any) -> list[Attributes]:
    """Attributes of every span."""
    counts = _counts(column)
    if max(counts, default=0) > MAX_ATTRIBUTES:
        raise ValueError("more attributes than are kept")
    pairs = column.values
    if not len(pairs):
        return [{} for _ in counts]
    keys = pairs.field("key").dictionary_encode()
    # One object for a key in the whole process: looking it up compares addresses only.
    names = np.array([*map(sys.intern, keys.dictionary.to_pylist())], dtype=object)[keys.indices.to_numpy()].tolist()
    named = zip(names, _values(pairs.field("value")), strict=True)
    return [dict(islice(named, count)) for count in counts]


def _values(column: Any) -> list[Any]:
    """AnyValues as plain values. Raises ValueError where one holds several: the last of them counts, and the order is lost."""
    strings = column.field("string_value")
    values: NDArray[np.object_] = strings.to_numpy(zero_copy_only=False)
    held, taken = len(values) - strings.null_count, _present(strings)
    for name, read in _OTHER_VALUES.items():
        member = column.field(name)
        if member.null_count == len(values):
            continue
        present = _present(member)
        held, taken = held + len(values) - member.null_count, taken | present
        if isinstance(read, str):
            values[present] = np.frombuffer(member.buffers()[1], dtype=read)[: len(values)][present]
            continue
        found = member.to_numpy(zero_copy_only=False)[present]
        if read is None:
            values[present] = found
        else:
            for place, encoded in zip(np.flatnonzero(present).tolist(), found.tolist(), strict=True):
                values[place] = read(encoded)
    if held != np.count_nonzero(taken):
        raise ValueError("an AnyValue holds several values")
    plain_values: list[Any] = values.tolist()
    return plain_values


def _present(column: Any) -> NDArray[np.bool_]:
    """Which values of a column there are."""
    validity = column.buffers()[0]
    if validity is None:
        return np.ones(len(column), dtype=np.bool_)
    return np.unpackbits(np.frombuffer(validity, dtype=np.uint8), count=len(column), bitorder="little").view(np.bool_)


def _remembering(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """The same function, which remembers what it read of short parts: senders repeat them in every span or request."""
    remembered = lru_cache(maxsize=1024)(read)
    return lambda encoded: remembered(encoded) if len(encoded) <= _SHORT else read(encoded)


@_remembering
def _array(encoded: bytes) -> list[Any]:
    return [plain(item, 1) for item in ArrayValue.FromString(encoded).values]


def _kvlist(encoded: bytes) -> dict[str, Any]:
    return {pair.key: plain(pair.value, 1) for pair in KeyValueList.FromString(encoded).values}


_OTHER_VALUES: Final[dict[str, Callable[[bytes], Any] | str | None]] = {
    "bool_value": None,
    "bytes_value": None,
    "int_value": "<i8",
    "double_value": "<f8",
    "array_value": _array,
    "kvlist_value": _kvlist,
}
"""Members of AnyValue besides strings: what reads them, or the type of number they are, or None where they are taken as they are."""


@_remembering
def _resource(encoded: bytes) -> Attributes:
    return attributes(Resource.FromString(encoded).attributes)[0]


@_remembering
def _scope(encoded: bytes) -> tuple[str, str]:
    scope = InstrumentationScope.FromString(encoded)
    return scope.name, scope.version


@_remembering
def _status(encoded: bytes) -> tuple[int, str]:
    status = Status.FromString(encoded)
    return status.code, status.message


_FIELDS: Final = (
    (ResourceSpans.DESCRIPTOR, ("resource", "scope_spans")),
    (ScopeSpans.DESCRIPTOR, ("scope", "spans")),
    (
        trace_pb2.Span.DESCRIPTOR,
        (
            "trace_id",
            "span_id",
            "parent_span_id",
            "trace_state",
            "name",
            "kind",
            "start_time_unix_nano",
            "end_time_unix_nano",
            "attributes",
            "events",
            "links",
            "status",
            "dropped_attributes_count",
            "dropped_events_count",
            "dropped_links_count",
        ),
    ),
    (KeyValue.DESCRIPTOR, ("key", "value")),
    (
        AnyValue.DESCRIPTOR,
        ("string_value", *_OTHER_VALUES),
    ),
)


def _handler() -> Any:
    """Of ptars, for requests with the fields of `_FIELDS`, numbered as in OTLP's own descriptors."""
    file = FileDescriptorProto(name="overcurrent/columns.proto", package=_PACKAGE, syntax="proto3")
    request = file.message_type.add(name="Request")
    request.field.add(name="resource_spans", number=1, label="LABEL_REPEATED", type="TYPE_MESSAGE", type_name=f".{_PACKAGE}.ResourceSpans")
    for descriptor, names in _FIELDS:
        source = DescriptorProto()
        descriptor.CopyToProto(source)
        message = file.message_type.add(name=descriptor.name)
        message.oneof_decl.extend(source.oneof_decl)
        by_name = {field.name: field for field in source.field}
        for name in names:
            field = message.field.add()
            field.CopyFrom(by_name[name])
            if field.type == FieldDescriptorProto.TYPE_ENUM:
                field.type = FieldDescriptorProto.TYPE_INT32
                field.ClearField("type_name")
            elif field.type == FieldDescriptorProto.TYPE_MESSAGE:
                kind = field.type_name.rpartition(".")[2]
                if kind in _NESTED:
                    field.type_name = f".{_PACKAGE}.{kind}"
                else:
                    field.type = FieldDescriptorProto.TYPE_BYTES
                    field.ClearField("type_name")
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.Request")
    return ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)


_HANDLER: Final = _handler()
