"""Columns must say what the messages say, and large requests what small ones do."""

import random
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from collector import decode_columns, decode_protobuf
from collector.decode import decode
from collector.decode_limits import MAX_ATTRIBUTES, MAX_EVENTS
from collector.errors import Malformed
from collector.model import Request
from collector.telemetry_data import Decoded
from tests.dialects.captures import SCENARIOS, name_of, requests


def walked(body: bytes) -> Decoded:
    return decode_protobuf.SIGNALS["traces"](body)


def add_span(request: ExportTraceServiceRequest) -> SpanMessage:
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "s"
    return scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n")


def large(request: ExportTraceServiceRequest) -> bytes:
    """The request, so large that it is decoded by columns."""
    add_span(request).name = "n" * 100_000
    return request.SerializeToString()


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_columns_and_messages_say_the_same(folder: Path) -> None:
    for request in requests(folder):
        if request.encoding == "protobuf" and request.signal == "traces":
            assert decode_columns.traces(request.body) == walked(request.body)


texts = st.text(max_size=5)
any_values = st.recursive(
    st.one_of(
        st.just(AnyValue()),
        texts.map(lambda value: AnyValue(string_value=value)),
        st.booleans().map(lambda value: AnyValue(bool_value=value)),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
        st.floats(allow_nan=False).map(lambda value: AnyValue(double_value=value)),
        st.binary(max_size=200).map(lambda value: AnyValue(bytes_value=value)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: AnyValue(array_value={"values": values})),
        st.lists(st.tuples(texts, inner), max_size=3).map(
            lambda pairs: AnyValue(kvlist_value={"values": [{"key": key, "value": value} for key, value in pairs]})
        ),
    ),
    max_leaves=6,
)
attributes = st.lists(st.tuples(texts, any_values), max_size=5).map(lambda pairs: [{"key": key, "value": value} for key, value in pairs])
uint64s, uint32s = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
trace_ids = st.sampled_from([b"t" * 16, b"u" * 16, bytes(16), b"", b"short"])
span_ids = st.sampled_from([b"s" * 8, b"\xff" * 8, bytes(8), b"", b"longer than it is"])
spans = st.builds(
    SpanMessage,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_span_id=span_ids,
    trace_state=texts,
    name=texts,
    kind=st.integers(-(2**31), 2**31 - 1),
    start_time_unix_nano=uint64s,
    end_time_unix_nano=uint64s,
    attributes=attributes,
    dropped_attributes_count=uint32s,
    dropped_events_count=uint32s,
    dropped_links_count=uint32s,
    events=st.lists(st.builds(SpanMessage.Event, name=texts, time_unix_nano=uint64s, attributes=attributes), max_size=2),
    links=st.lists(st.builds(SpanMessage.Link, trace_id=trace_ids, span_id=span_ids, attributes=attributes), max_size=2),
    status=st.one_of(st.none(), st.fixed_dictionaries({"code": st.sampled_from([0, 1, 2, 7]), "message": texts})),
)
scopes = st.fixed_dictionaries({"scope": st.fixed_dictionaries({"name": texts, "version": texts}), "spans": st.lists(spans, max_size=3)})
resources = st.fixed_dictionaries(
    {"resource": st.fixed_dictionaries({"attributes": attributes}), "scope_spans": st.lists(scopes, max_size=2)}
)


@given(st.lists(resources, max_size=3))
def test_columns_and_messages_say_the_same_of_anything_well_formed(found: list[dict[str, object]]) -> None:
    body = ExportTraceServiceRequest(resource_spans=found).SerializeToString()
    assert decode_columns.traces(body) == walked(body)


@pytest.mark.parametrize("seed", range(5))
def test_what_columns_accept_of_damaged_bodies_is_what_messages_say(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    compared = 0
    for folder in SCENARIOS:
        for request in requests(folder):
            if request.encoding != "protobuf" or request.signal != "traces":
                continue
            damaged = bytearray(request.body)
            for _ in range(dice.randrange(1, 4)):
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            body = bytes(damaged)
            try:
                expected = walked(body)
            except Malformed:
                continue
            try:
                found = decode_columns.traces(body)
            except (ValueError, DecodeError):
                continue
            assert len(found.spans) == len(expected.spans)
            for one, other in zip(found.spans, expected.spans, strict=True):
                # Damage may make a second status of something else: messages merge the two, columns take the last.
                one.status_code, one.status_message = other.status_code, other.status_message
            assert repr(found) == repr(expected)  # of not-a-number too
            compared += 1
    assert compared > len(SCENARIOS)


def test_the_last_of_several_values_counts_in_a_large_request() -> None:
    request = ExportTraceServiceRequest()
    add_span(request).attributes.add(key="k").value.string_value = "twice"
    twice = b"\x0a\x05twice"
    body = large(request).replace(b"\x12\x07" + twice, b"\x12\x07" + b"\x0a\x03abc\x18\x05")
    with pytest.raises(ValueError, match="several"):
        decode_columns.traces(body)
    assert decode(Request(signal="traces", encoding="protobuf", body=body)).spans[0].attributes == {"k": 5}


def test_what_is_too_much_of_a_large_request_is_counted() -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    for number in range(MAX_ATTRIBUTES + 5):
        span.attributes.add(key=str(number))
    for _ in range(MAX_EVENTS + 7):
        span.events.add(name="e")
    found = decode(Request(signal="traces", encoding="protobuf", body=large(request))).spans[0]
    assert (len(found.attributes), len(found.events), found.dropped) == (MAX_ATTRIBUTES, MAX_EVENTS, 12)


@pytest.mark.parametrize("place", [b"NAMENAME", b"KEYKEYKEY", b"TEXTTEXT", b"DEEPDEEP"])
def test_text_that_is_not_utf8_makes_a_large_request_malformed(place: bytes) -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    span.name = "NAMENAME"
    span.attributes.add(key="KEYKEYKEY").value.string_value = "TEXTTEXT"
    span.attributes.add(key="list").value.array_value.values.add().string_value = "DEEPDEEP"
    body = large(request).replace(place, b"\xff\xfe" + place[2:])
    with pytest.raises(Malformed):
        decode(Request(signal="traces", encoding="protobuf", body=body))


def test_a_resource_sent_again_is_the_same_object() -> None:
    request = ExportTraceServiceRequest()
    add_span(request)
    request.resource_spans[0].resource.attributes.add(key="service.name").value.string_value = "a"
    first, second = (decode(Request(signal="traces", encoding="protobuf", body=large(request))) for _ in range(2))
    assert first.spans[0].resource == {"service.name": "a"}
    assert first.spans[0].resource is second.spans[0].resource


class Panic(BaseException):
    """As a native library raises it: no Exception."""


@pytest.mark.parametrize("error", [Panic("out of bounds"), IndexError("out of bounds")], ids=lambda error: type(error).__name__)
def test_a_failure_of_the_native_library_is_no_failure_of_ours(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: bytes) -> Decoded:
        raise error

    monkeypatch.setattr(decode_columns, "traces", fails)
    request = ExportTraceServiceRequest()
    add_span(request).attributes.add(key="long", value=AnyValue(string_value="x" * 100_000))
    body = request.SerializeToString()
    assert decode(Request(signal="traces", encoding="protobuf", body=body)) == walked(body)
