"""What no receiver may be hurt by, sent to the real service: a clear answer, bounded memory, and all in order afterwards."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.e2e.programs import Service, wait_for

from .wire import WIRES, Answer, Story, Wire, story

pytestmark = pytest.mark.slow

LIMIT: Final = 16 * 2**20
"""Default of receivers.max_request_bytes."""
BOMB: Final = 16 * LIMIT
"""Bytes that a small body decompresses to."""
GROWTH: Final = 4 * LIMIT
"""Bytes by which the service may grow over one request that it refuses: the body, its decompressed form, and parts in flight."""
MALFORMED, TOO_LARGE = (3, 400), (8, 413)
over_http = pytest.mark.parametrize("wire", [name for name in WIRES if name != "grpc"], indirect=True)
"""For what gRPC has no way to say: its library frames, measures and compresses each message itself."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("bad-input"), {}) as running:
        yield running


def _memory(service: Service, name: str) -> int:
    assert service.process is not None
    lines = Path(f"/proc/{service.process.pid}/status").read_text(encoding="utf8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _came_to(service: Service, told: Story) -> bool:
    session = service.session(told.session)
    return session is not None and {name: session[name] for name in told.sums} == told.sums


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest, service: Service) -> Iterator[Wire]:
    """A sender. After the test: it was the same process all along, it did not grow, and it counts exactly."""
    assert service.process is not None
    process, started = service.process, psutil.Process(service.process.pid).create_time()
    wire = Wire(request.param, grpc_address=service.grpc, http_address=service.http)
    warm = story()
    assert wire.send(warm.request).code == 0
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="utf8")  # the peak is measured anew
    before = _memory(service, "VmRSS")
    yield wire
    assert process.poll() is None
    assert psutil.Process(process.pid).create_time() == started
    assert _memory(service, "VmHWM") - before < GROWTH
    assert service.client.get(f"{service.url}/readyz").is_success
    told = story()
    assert wire.send(told.request) == Answer(0, None if wire.wire == "grpc" else 200, "", None)
    wire.close()
    wait_for("the next session is exact", lambda: _came_to(service, told))
    assert _came_to(service, warm)
    assert "Traceback" not in service.said()


def _refused(answer: Answer, wire: Wire, expected: tuple[int, int], says: str) -> None:
    code, http = expected
    assert (answer.code, answer.http) == (code, None if wire.wire == "grpc" else http)
    assert answer.retry_after_s is None
    assert says in answer.message


def test_a_truncated_body_is_refused(wire: Wire, service: Service) -> None:
    before = service.metric("overcurrent_spans_rejected_total", reason="malformed") or 0
    body = wire.encode(story().request)
    _refused(
        wire.send(body[: len(body) - 7]), wire, MALFORMED, "not JSON" if wire.wire == "json" else "not a protobuf export request for traces"
    )
    assert service.metric("overcurrent_spans_rejected_total", reason="malformed") == before + 1


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(wire: Wire, seed: int) -> None:
    body = b"\xff" + random.Random(seed).randbytes(5_000)  # noqa: S311 — repeatable, not secret
    _refused(wire.send(body), wire, MALFORMED, "not JSON" if wire.wire == "json" else "not a protobuf export request")


def test_a_body_of_the_other_encoding_is_refused(wire: Wire) -> None:
    other = story().request
    body = other.SerializeToString() if wire.wire == "json" else json.dumps({"resourceSpans": []}).encode()
    _refused(wire.send(body), wire, MALFORMED, "the body is not")


def test_invalid_utf8_is_refused(wire: Wire) -> None:
    request = story().request
    request.resource_spans[0].scope_spans[0].spans[0].name = "NAMENAME"
    _refused(wire.send(wire.encode(request).replace(b"NAMENAME", b"NA\xff\xfe\xc3\x28ME")), wire, MALFORMED, "the body is not")


@over_http
@pytest.mark.parametrize("media", ["text/plain", "application/grpc", "multipart/form-data", ""])
def test_another_content_type_is_refused(wire: Wire, media: str) -> None:
    _refused(wire.send(story().request, headers={"content-type": media}), wire, (3, 415), "Content-Type must be application/x-protobuf or")


@over_http
def test_another_encoding_is_refused(wire: Wire) -> None:
    _refused(wire.send(b"x", headers={"content-encoding": "br"}), wire, (3, 415), "Content-Encoding must be one of identity, gzip")


def test_100_mb_are_refused_unread(wire: Wire) -> None:
    answer = wire.send(bytes(100 * 2**20))
    _refused(answer, wire, TOO_LARGE, "larger than max" if wire.wire == "grpc" else "above receivers.max_request_bytes (16777216 bytes)")


@over_http
def test_100_mb_without_a_length_are_cut_off(wire: Wire) -> None:
    chunk = bytes(2**20)
    answer = wire.send(chunk for _ in range(100))
    _refused(answer, wire, TOO_LARGE, "above receivers.max_request_bytes")


def _gzip_zeros(n: int) -> bytes:
    return gzip.compress(bytes(n), 1)


def _deflate_zeros(n: int) -> bytes:
    return zlib.compress(bytes(n), 1)


def _zstd_zeros(n: int) -> bytes:
    return zstandard.compress(bytes(n))


@over_http
@pytest.mark.parametrize(("name", "make"), [("gzip", _gzip_zeros), ("deflate", _deflate_zeros), ("zstd", _zstd_zeros)])
def test_a_bomb_ends_at_the_limit(wire: Wire, name: str, make: Callable[[int], bytes]) -> None:
    answer = wire.send(make(BOMB), headers={"content-encoding": name})
    _refused(answer, wire, TOO_LARGE, "decompressed request is above receivers.max_request_bytes")


@pytest.mark.parametrize("wire", ["grpc"], indirect=True)
@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_bomb_over_grpc_ends_at_the_limit(wire: Wire, how: grpc.Compression) -> None:
    _refused(wire.send(bytes(BOMB), compression=how), wire, TOO_LARGE, "max")


@over_http
@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_compression_that_is_none_is_refused(wire: Wire, name: str) -> None:
    _refused(
        wire.send(b"not compressed at all", headers={"content-encoding": name}),
        wire,
        MALFORMED,
        f"not {name}, though Content-Encoding says so",
    )


def test_an_any_value_1000_deep_is_refused_and_one_300_deep_is_cut(wire: Wire, service: Service) -> None:
    told = story()

    def nested(depth: int) -> bytes:
        if wire.wire == "json":
            document = json.loads(wire.encode(told.request))
            deep = '{"arrayValue": {"values": [' * depth + '{"intValue": 1}' + "]}}" * depth
            text = json.dumps(document)
            return text.replace('"attributes": [', f'"attributes": [{{"key": "deep", "value": {deep}}}, ').encode()
        request = type(told.request)()
        request.CopyFrom(told.request)
        body = b"\x08\x01"
        for _ in range(depth):  # by hand: the library refuses to write what it refuses to read
            inner = b"\x0a" + _varint(len(body)) + body
            body = b"\x2a" + _varint(len(inner)) + inner
        pair = b"\x0a\x04deep\x12" + _varint(len(body)) + body
        span = request.resource_spans[0].scope_spans[0].spans[0]
        whole = span.SerializeToString() + b"\x4a" + _varint(len(pair)) + pair
        spans = b"\x12" + _varint(len(whole)) + whole
        resource = b"\x12" + _varint(len(spans)) + spans
        return b"\x0a" + _varint(len(resource)) + resource

    _refused(wire.send(nested(1_000)), wire, MALFORMED, "the body is not")
    taken = 300 if wire.wire == "json" else 40
    assert wire.send(nested(taken)).code == 0
    assert wire.send(told.request).code == 0
    wait_for("the rest of it counts once", lambda: _came_to(service, told))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def test_10_000_attributes_cost_only_themselves(wire: Wire, service: Service) -> None:
    told = story()
    for span in told.request.resource_spans[0].scope_spans[0].spans:
        for number in range(10_000):
            span.attributes.add(key=f"k{number}", value=AnyValue(string_value="v" * 20))
    assert wire.send(told.request).code == 0
    wait_for("the session is exact", lambda: _came_to(service, told))


BAD_IDS: Final[dict[str, tuple[bytes, bytes, str]]] = {
    "zero trace": (bytes(16), b"s" * 8, "without a valid trace id"),
    "zero span": (b"t" * 16, bytes(8), "without a valid span id"),
    "no trace": (b"", b"s" * 8, "without a valid trace id"),
    "no span": (b"t" * 16, b"", "without a valid span id"),
    "short trace": (b"t" * 15, b"s" * 8, "without a valid trace id"),
    "short span": (b"t" * 16, b"s" * 7, "without a valid span id"),
    "long trace": (b"t" * 17, b"s" * 8, "without a valid trace id"),
    "long span": (b"t" * 16, b"s" * 9, "without a valid span id"),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_spans_with_unusable_ids_are_rejected_and_the_rest_is_kept(wire: Wire, service: Service, name: str) -> None:
    trace_id, span_id, says = BAD_IDS[name]
    told, before = story(), service.metric("overcurrent_spans_rejected_total", reason="invalid") or 0
    told.request.resource_spans[0].scope_spans[0].spans.add(trace_id=trace_id, span_id=span_id, name="chat m")
    answer = wire.send(told.request)
    assert (answer.code, answer.rejected) == (0, 1)
    assert says in answer.message
    assert "spans[6]" in answer.message
    assert service.metric("overcurrent_spans_rejected_total", reason="invalid") == before + 1
    wait_for("the rest counts", lambda: _came_to(service, told))


YEAR_2100: Final = 4_102_444_800 * 10**9
TIMES: Final = {"1970": (0, 1), "2100": (YEAR_2100, YEAR_2100 + 1), "backwards": (YEAR_2100, 5), "the last": (2**64 - 1, 2**64 - 1)}


@pytest.mark.parametrize("name", TIMES)
def test_times_nobody_lived_through_hurt_nobody_else(wire: Wire, service: Service, name: str) -> None:
    normal, odd = story(), story()
    for span in odd.request.resource_spans[0].scope_spans[0].spans:
        span.start_time_unix_nano, span.end_time_unix_nano = TIMES[name]
    assert wire.send(normal.request).code == 0
    assert wire.send(odd.request).code == 0
    wait_for("both count", lambda: _came_to(service, odd) and _came_to(service, normal))
    found = service.session(normal.session)
    assert found is not None
    assert found["state"] == "running"
    assert service.get(f"sessions/{odd.session}/steps")["steps"]


NUMBERS: Final[dict[str, Any]] = {
    "huge": 2**63 - 1,
    "negative": -(2**63),
    "NaN": float("nan"),
    "infinite": float("inf"),
    "minus infinity": float("-inf"),
    "fraction": 0.5,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_count_nothing_are_not_charged(wire: Wire, service: Service, name: str) -> None:
    value = NUMBERS[name]
    odd = story(1, **{"gen_ai.usage.output_tokens": value, "gen_ai.usage.cost": value, "gen_ai.usage.cache_read.input_tokens": value})
    assert wire.send(odd.request).code == 0
    wait_for("its calls count", lambda: (service.session(odd.session) or {}).get("llm_calls") == 1)
    found = service.session(odd.session)
    assert found is not None
    assert (found["llm_calls"], found["tool_calls"]) == (1, 1)
    assert found["output_tokens"] is None
    # half a token is nothing, but half a dollar is what a sender may reckon (docs/adr/018)
    assert found["cost_usd"] == ("0.5" if name == "fraction" else None)
    assert service.get("sessions?limit=1000")["sessions"]


def test_log_records_of_the_wrong_type_are_rejected_and_the_rest_is_kept(service: Service) -> None:
    wire = Wire("json", grpc_address=service.grpc, http_address=service.http)
    records: list[Any] = [3, {"body": {"stringValue": "kept"}}, "x", None]
    answer = wire.send(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode(), "logs")
    wire.close()
    assert (answer.code, answer.rejected) == (0, 3)
    assert "wrong type" in answer.message


def test_log_records_without_anything_are_kept(wire: Wire) -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=2**64 - 1, severity_number=999)  # type: ignore[arg-type]
    assert wire.send(request, "logs").code == 0
