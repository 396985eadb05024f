"""Both encodings of OTLP, as senders really write them, and what becomes of bad bytes."""

import contextlib
import json
import random
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.otlp import MESSAGES, as_json
from collector.decode import REASONS, decode
from collector.decode_limits import MAX_ATTRIBUTES, MAX_DEPTH
from collector.errors import Malformed
from collector.model import Request, Signal
from collector.telemetry_data import Decoded, LogRecord, Span
from tests.dialects.captures import SCENARIOS, name_of, requests

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def of_json(document: Any, signal: Signal = "traces") -> Decoded:
    return decode(Request(signal=signal, encoding="json", body=document if isinstance(document, bytes) else orjson.dumps(document)))


def of_protobuf(message: Any, signal: Signal = "traces") -> Decoded:
    return decode(Request(signal=signal, encoding="protobuf", body=message.SerializeToString()))


def spans(*items: Any, resource: Any = None) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": resource or {}, "scopeSpans": [{"scope": {"name": "s", "version": "1"}, "spans": list(items)}]}]}


def one(attributes: list[Any] | None = None, **fields: Any) -> Span:
    span = {"traceId": TRACE, "spanId": SPAN, "name": "n", "attributes": attributes or [], **fields}
    return of_json(spans(span)).spans[0]


def protobuf_span(request: ExportTraceServiceRequest) -> Any:
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = bytes.fromhex(TRACE), bytes.fromhex(SPAN)
    return span


def in_json(request: Request) -> bytes:
    """The body of a protobuf request in the other encoding."""
    return _in_json(request.signal, request.body)


@cache
def _in_json(signal: Signal, body: bytes) -> bytes:
    return orjson.dumps(as_json(MESSAGES[signal].FromString(body)))


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_json_and_protobuf_say_the_same(folder: Path) -> None:
    for request in requests(folder):
        if request.encoding == "json":
            continue
        other = decode(Request(signal=request.signal, encoding="json", body=in_json(request)))
        assert decode(request) == other


def test_values_of_every_type_in_json() -> None:
    values: list[tuple[Any, Any]] = [
        ({"stringValue": ""}, ""),
        ({"boolValue": False}, False),
        ({"intValue": "9007199254740993"}, 9007199254740993),
        ({"intValue": 7}, 7),
        ({"intValue": 7.0}, 7),
        ({"intValue": 0}, 0),
        ({"intValue": "x"}, None),
        ({"intValue": "99999999999999999999"}, None),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "Infinity"}, float("inf")),
        ({"doubleValue": True}, None),
        ({"bytesValue": "AAE="}, b"\x00\x01"),
        ({"bytesValue": "not base64!"}, None),
        ({"arrayValue": {"values": [{"intValue": "1"}, {}, {"stringValue": "a"}]}}, [1, None, "a"]),
        ({"arrayValue": {}}, []),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}]}}, {"a": True}),
        ({"string_value": "snake"}, "snake"),
        ({}, None),
        (None, None),
        ("text", None),
        ({"stringValue": 1}, None),
    ]
    found = one([{"key": str(number), "value": value} for number, (value, _) in enumerate(values)]).attributes
    assert found == {str(number): expected for number, (_, expected) in enumerate(values)}


def test_json_as_lenient_as_its_senders_are_sloppy() -> None:
    span = one(
        parentSpanId="",
        startTimeUnixNano=5,
        endTimeUnixNano="6",
        kind="SPAN_KIND_CLIENT",
        status={"code": "STATUS_CODE_ERROR", "message": None},
        events=[{"name": "e", "timeUnixNano": "7"}, 3],
        links=[{"traceId": TRACE.upper(), "spanId": SPAN}, {}],
        droppedAttributesCount=2,
        attributes=[{"key": "a", "value": {"intValue": 1}}, {"key": 1}, None],
    )
    assert (span.parent_span_id, span.start_ns, span.end_ns, span.kind, span.status_code) == (None, 5, 6, 3, 2)
    assert [(event.name, event.time_ns) for event in span.events] == [("e", 7)]
    assert [link.trace_id for link in span.links] == [TRACE]
    assert span.attributes == {"a": 1}
    assert span.dropped == 4


def test_snake_case_and_missing_parts() -> None:
    document = {"resource_spans": [{"scope_spans": [{"spans": [{"trace_id": TRACE, "span_id": SPAN, "end_time_unix_nano": "9"}]}]}, {}]}
    assert of_json(document).spans == [Span(trace_id=TRACE, span_id=SPAN, end_ns=9)]
    assert of_json({}) == Decoded()
    assert of_json({"resourceSpans": None}) == Decoded()


def test_log_record_without_a_span() -> None:
    record = {"timeUnixNano": "1", "traceId": "", "spanId": "", "body": {"stringValue": "b"}, "severityNumber": 9, "attributes": []}
    found = of_json({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}, "logs").logs
    assert found == [LogRecord(time_ns=1, body="b", severity=9)]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "array"),
        (b"3", "number"),
        (b'{"resourceSpans": {}}', "resourceSpans is a JSON object"),
        (b'{"resourceSpans": [1]}', r"resourceSpans\[0\] is a JSON number"),
        (b'{"resourceSpans": [{"scopeSpans": [null]}]}', r"resourceSpans\[0\].scopeSpans\[0\] is a JSON null"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": "x"}]}]}', r"resourceSpans\[0\].scopeSpans\[0\].spans is a JSON string"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"[" * 5000, "not JSON"),
    ],
)
def test_json_that_is_no_request(body: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        of_json(body)


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_protobuf_that_is_no_request(signal: Signal) -> None:
    with pytest.raises(Malformed, match=f"export request for {signal}"):
        decode(Request(signal=signal, encoding="protobuf", body=b"\xff\xff not protobuf"))


def test_a_protobuf_string_that_is_not_utf8_is_malformed() -> None:
    request = ExportTraceServiceRequest()
    protobuf_span(request).name = "NAMENAME"
    body = request.SerializeToString().replace(b"NAMENAME", b"NAM\xff\xfeAME")
    with pytest.raises(Malformed):
        decode(Request(signal="traces", encoding="protobuf", body=body))


@pytest.mark.parametrize("number", [100, 100_000], ids=["messages", "columns"])
def test_of_spans_that_are_empty_only_the_first_few_are_named(number: int) -> None:
    scope = ExportTraceServiceRequest().resource_spans.add().scope_spans.add()
    for _ in range(number):
        scope.spans.add()
    request = ExportTraceServiceRequest()
    protobuf_span(request)
    request.resource_spans[0].scope_spans.append(scope)
    of_protobuf(request)  # libraries that are imported with the first one
    tracemalloc.start()
    decoded = of_protobuf(request)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(decoded.spans) == 1
    assert decoded.rejected.counts == {"span without a valid trace id": number}
    assert [bad.where for bad in decoded.rejected.first] == [f"resource_spans[0].scope_spans[1].spans[{n}]" for n in range(8)]
    assert kept < 20_000
    # Three references and no object for each; its two bytes in the body.
    assert peak < 100_000 + 40 * number


def test_of_items_of_the_wrong_type_only_the_first_few_are_named() -> None:
    decoded = of_json(spans(*[None] * 10_000))
    assert decoded.rejected.counts == {"item of the wrong type": 10_000}
    assert len(decoded.rejected.first) == 8


def test_bad_items_are_rejected_and_the_rest_is_kept() -> None:
    good = {"traceId": TRACE, "spanId": SPAN}
    decoded = of_json(spans(good, 1, {**good, "traceId": "0" * 32}, {**good, "spanId": "xyz"}, {"spanId": SPAN}, good))
    assert len(decoded.spans) == 2
    assert [(bad.reason, bad.where[-8:]) for bad in decoded.rejected.first] == [
        ("item of the wrong type", "spans[1]"),
        ("span without a valid trace id", "spans[2]"),
        ("span without a valid span id", "spans[3]"),
        ("span without a valid trace id", "spans[4]"),
    ]
    assert decoded.rejected.counts.keys() <= REASONS
    request = ExportTraceServiceRequest()
    protobuf_span(request)
    request.resource_spans[0].scope_spans[0].spans.add().trace_id = b"short"
    protobuf_span(request).span_id = bytes(8)
    decoded = of_protobuf(request)
    assert len(decoded.spans) == 1
    assert [bad.where for bad in decoded.rejected.first] == [
        "resource_spans[0].scope_spans[0].spans[1]",
        "resource_spans[1].scope_spans[0].spans[0]",
    ]


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "deep"}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    return value


def test_values_nested_too_deep_are_dropped_and_their_span_is_kept() -> None:
    def depth(value: Any) -> int:
        return 1 + depth(value[0]) if isinstance(value, list) else 0

    assert depth(one([{"key": "a", "value": nested(MAX_DEPTH)}]).attributes["a"]) == MAX_DEPTH
    found = one([{"key": "a", "value": nested(MAX_DEPTH + 20)}, {"key": "b", "value": {"intValue": 1}}]).attributes
    assert "deep" not in str(found["a"])
    assert found["b"] == 1
    request = ExportTraceServiceRequest()
    pair = protobuf_span(request).attributes.add()
    pair.key, value = "a", pair.value
    for _ in range(40):
        value = value.array_value.values.add()
    value.string_value = "deep"
    assert depth(of_protobuf(request).spans[0].attributes["a"]) == MAX_DEPTH


def test_too_many_attributes_are_dropped_and_counted() -> None:
    pairs = [{"key": str(number), "value": {"intValue": number}} for number in range(MAX_ATTRIBUTES + 5)]
    span = one(pairs)
    assert len(span.attributes) == MAX_ATTRIBUTES
    assert span.dropped == 5
    request = ExportTraceServiceRequest()
    item = protobuf_span(request)
    for number in range(MAX_ATTRIBUTES + 5):
        item.attributes.add().key = str(number)
    assert of_protobuf(request).spans[0].dropped == 5


def test_spans_of_one_resource_share_it() -> None:
    good = {"traceId": TRACE, "spanId": SPAN}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]}
    first, second = of_json(spans(good, good, resource=resource)).spans
    assert first.resource is second.resource
    assert first.attributes is not second.attributes


def test_metrics_are_counted_only() -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add().sum.data_points.add()
    histogram = metrics.add().histogram
    histogram.data_points.add()
    histogram.data_points.add()
    metrics.add().exponential_histogram.data_points.add()
    metrics.add().name = "empty"
    assert of_protobuf(request, "metrics") == Decoded(data_points=4)
    assert (
        of_json(
            json.loads(in_json(Request(signal="metrics", encoding="protobuf", body=request.SerializeToString()))), "metrics"
        ).data_points
        == 4
    )


def test_times_past_what_the_store_can_hold_are_cut() -> None:
    assert one(endTimeUnixNano=str(2**64 - 1)).end_ns == 2**63 - 1
    assert one(endTimeUnixNano=-5).end_ns == 0


@given(st.binary(max_size=200), st.sampled_from(["traces", "logs", "metrics"]), st.sampled_from(["protobuf", "json"]))
def test_random_bytes(body: bytes, signal: Signal, encoding: Any) -> None:
    with contextlib.suppress(Malformed):
        decode(Request(signal=signal, encoding=encoding, body=body))


@pytest.mark.parametrize("seed", range(3))
def test_recorded_bodies_with_damage(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for folder in SCENARIOS:
        for request in requests(folder):
            bodies = [(request.body, request.encoding)]
            if request.encoding == "protobuf":
                bodies.append((in_json(request), "json"))
            for body, encoding in bodies:
                damaged = bytearray(body)
                for _ in range(source.randrange(1, 6)):
                    damaged[source.randrange(len(damaged))] = source.randrange(256)
                cut = bytes(damaged[: source.randrange(len(damaged))]) if source.random() < 0.3 else bytes(damaged)
                with contextlib.suppress(Malformed):
                    decode(Request(signal=request.signal, encoding=encoding, body=cut))


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=6)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["values", "key", "value", "arrayValue", "kvlistValue", "intValue", "doubleValue", "bytesValue", "x"]), inner
        ),
    ),
    max_leaves=12,
)
FIELDS = "traceId spanId parentSpanId name kind startTimeUnixNano attributes events links status droppedAttributesCount traceState".split()  # noqa: SIM905


@given(st.dictionaries(st.sampled_from(FIELDS), json_values), json_values)
def test_random_json_fields_never_raise(fields: dict[str, Any], value: Any) -> None:
    good = {"traceId": TRACE, "spanId": SPAN, "attributes": [{"key": "a", "value": value}, value]}
    decoded = of_json(spans({**good, **fields}, resource=value))
    assert len(decoded.spans) + len(decoded.rejected) == 1
