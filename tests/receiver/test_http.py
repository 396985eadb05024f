import asyncio
import gzip
import json
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.config import Tls
from collector.errors import Malformed, OvercurrentError, Overloaded, Refused, StoreUnavailable, TooLarge
from collector.model import Outcome, Request
from tests.plain import http_client

from .conftest import LIMIT, Receivers
from .recorder import Counted, Recorder, token, traces

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


async def post(base: str, body: bytes = b"", headers: dict[str, str] | None = None, path: str = "/v1/traces") -> httpx2.Response:
    async with http_client(timeout=60) as client:
        return await client.post(base + path, content=body, headers=PROTOBUF | (headers or {}))


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
@pytest.mark.parametrize("prefix", ["", "/api/public/otel", "/a/v1"])
async def test_any_prefix(prefix: str, signal: str, receivers: Receivers, recorder: Recorder, telemetry: Counted) -> None:
    async with receivers.http() as base:
        answer = await post(base, b"body", path=f"{prefix}/v1/{signal}")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "application/x-protobuf")
    assert recorder.requests == [
        Request(signal=signal, encoding="protobuf", body=b"body", tenant="default", protocol="http", arrival_ns=42)  # type: ignore[arg-type]
    ]
    assert telemetry.received_items == {(signal, "http"): 1}


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json(content_type: str, receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.http() as base:
        answer = await post(base, b"{}", {"content-type": content_type})
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"{}", "application/json")
    assert recorder.requests[0].encoding == "json"


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate without its header": raw_deflate,
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": bytes,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("size", [1, 60_000])
async def test_compression(name: str, size: int, receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.http() as base:
        answer = await post(base, COMPRESSIONS[name](b"x" * size), {"content-encoding": name.split(maxsplit=1)[0].upper()})
    assert answer.status_code == 200
    assert recorder.requests[0].body == b"x" * size


@pytest.mark.parametrize("name", COMPRESSIONS)
async def test_bombs_and_large_bodies_end_at_the_limit(name: str, receivers: Receivers, recorder: Recorder, telemetry: Counted) -> None:
    async with receivers.http() as base:
        exact = await post(base, COMPRESSIONS[name](bytes(LIMIT)), {"content-encoding": name.split(maxsplit=1)[0]})
        above = await post(base, COMPRESSIONS[name](bytes(LIMIT + 1)), {"content-encoding": name.split(maxsplit=1)[0]})
        bomb = await post(base, COMPRESSIONS[name](bytes(16 * 2**20)), {"content-encoding": name.split(maxsplit=1)[0]})
    assert [exact.status_code, above.status_code, bomb.status_code] == [200, 413, 413]
    assert [len(one.body) for one in recorder.requests] == [LIMIT]
    assert telemetry.rejections == {"too_large": 2}


async def test_a_body_without_a_length_is_cut_off_at_the_limit(receivers: Receivers, recorder: Recorder) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 16 * 1024
            yield bytes(16 * 1024)

    async with receivers.http() as base, http_client(timeout=60) as client:
        answer = await client.post(f"{base}/v1/traces", content=endless(), headers=PROTOBUF)
    assert answer.status_code == 413
    assert not recorder.requests


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("body", [b"not compressed at all", b""], ids=["plain", "empty"])
async def test_a_body_that_is_not_what_it_says_is_malformed(name: str, body: bytes, receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.http() as base:
        answer = await post(base, body, {"content-encoding": name})
    if name == "zstd" and not body:
        assert answer.status_code == 200  # no frames are a valid body of no bytes
    else:
        assert answer.status_code == 400
        assert not recorder.requests


@pytest.mark.parametrize(
    ("error", "status", "code", "reason"),
    [
        (Malformed("not protobuf"), 400, 3, "malformed"),
        (TooLarge("too many spans"), 413, 8, "too_large"),
        (Refused("no"), 409, 9, "refused"),
        (Overloaded("full", retry_after_s=2.5), 503, 8, "overloaded"),
        (StoreUnavailable("disk full"), 503, 14, "unavailable"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_errors_are_a_status_in_the_encoding_of_the_request(
    error: OvercurrentError, status: int, code: int, reason: str, receivers: Receivers
) -> None:
    recorder = Recorder()
    recorder.answer = lambda _: error
    own = Receivers(recorder, receivers.telemetry)
    own.admission.start()
    async with own.http() as base:
        binary, text = await post(base), await post(base, headers=JSON)
    assert own.admission.drain_and_stop(60)
    assert (binary.status_code, text.status_code) == (status, status)
    assert binary.headers["content-type"] == "application/x-protobuf"
    parsed = Status.FromString(binary.content)
    assert (parsed.code, parsed.message) == (code, error.message)
    assert text.headers["content-type"] == "application/json"
    assert text.json()["code"] == code
    assert text.json()["message"] == error.message
    seconds = {"overloaded": 2.5, "unavailable": 1.0}.get(reason)
    assert binary.headers.get("retry-after") == {None: None, 2.5: "3", 1.0: "1"}[seconds]
    assert len(parsed.details) == (seconds is not None)
    if seconds is not None:
        info = RetryInfo()
        assert parsed.details[0].Unpack(info)
        assert info.retry_delay.ToNanoseconds() == seconds * 1e9
        assert text.json()["details"][0]["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
    assert receivers.telemetry.rejections == {reason: 2}


@pytest.mark.parametrize(
    ("signal", "field"), [("traces", "rejectedSpans"), ("logs", "rejectedLogRecords"), ("metrics", "rejectedDataPoints")]
)
async def test_partial_success(signal: str, field: str, receivers: Receivers, recorder: Recorder) -> None:
    recorder.answer = lambda _: Outcome(accepted=1, rejected=2, message="no trace id")
    async with receivers.http() as base:
        text = await post(base, b"{}", JSON, f"/v1/{signal}")
        binary = await post(base, b"", path=f"/v1/{signal}")
    assert text.json() == {"partialSuccess": {field: "2", "errorMessage": "no trace id"}}
    # field 1 of all three responses is partial_success, whose field 1 is the count
    assert ExportTraceServiceResponse.FromString(binary.content).partial_success.rejected_spans == 2


async def test_what_is_not_otlp_over_http(receivers: Receivers, recorder: Recorder, telemetry: Counted) -> None:
    async with receivers.http() as base, http_client() as client:
        missing = await client.post(f"{base}/v1/profiles", headers=JSON)
        nearly = await client.post(f"{base}/v1/traces/more", headers=JSON)
        method = await client.get(f"{base}/v1/traces")
        media = await client.post(f"{base}/v1/traces", content=b"x", headers={"content-type": "text/plain"})
        no_media = await client.post(f"{base}/v1/traces", content=b"x")
        encoding = await post(base, b"x", {"content-encoding": "br"})
    assert [missing.status_code, nearly.status_code] == [404, 404]
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert [media.status_code, no_media.status_code, encoding.status_code] == [415, 415, 415]
    assert "zstd" in encoding.headers["accept-encoding"]
    assert media.json()["message"] == "Content-Type must be application/x-protobuf or application/json"
    assert not recorder.requests
    assert telemetry.rejections == {"not_found": 2, "wrong_method": 1, "unsupported_media": 3}


async def test_tokens(receivers: Receivers, recorder: Recorder) -> None:
    tokens = [token("sender", "ingest", tenant="acme"), token("reader", "read")]
    async with receivers.http(tokens) as base, http_client() as client:
        sent = await post(base, headers={"authorization": "Bearer sender"})
        none = await post(base)
        unknown = await post(base, headers={"authorization": "Bearer nobody"})
        scope = await post(base, headers={"authorization": "Bearer reader"})
        health = await client.get(f"{base}/healthz")
    assert [answer.status_code for answer in (sent, none, unknown, scope, health)] == [200, 401, 401, 403, 200]
    assert none.headers["www-authenticate"] == 'Bearer realm="overcurrent"'
    assert "www-authenticate" not in scope.headers
    assert [one.tenant for one in recorder.requests] == ["acme"]


async def test_foreign_hosts_and_origins_are_refused_even_for_health(receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.http() as base, http_client() as client:
        host = await post(base, headers={"host": "evil.example"})
        origin = await post(base, headers={"origin": "https://evil.example"})
        health = await client.get(f"{base}/healthz", headers={"host": "evil.example"})
        local = await post(base, headers={"host": "localhost:4318", "origin": "http://localhost:4318"})
    assert [host.status_code, origin.status_code, health.status_code, local.status_code] == [403, 403, 403, 200]
    assert host.headers["content-type"] == "application/problem+json"
    assert host.json()["type"] == "urn:overcurrent:error:forbidden"
    assert len(recorder.requests) == 1


async def test_bytes_being_read_count_against_the_queue(receivers: Receivers) -> None:
    held = asyncio.Event()
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield bytes(1000)
        held.set()
        await go_on.wait()
        yield bytes(1000)

    async with receivers.http() as base, http_client(timeout=60) as client:
        sent = asyncio.create_task(client.post(f"{base}/v1/traces", content=slowly(), headers=PROTOBUF))
        await held.wait()
        while receivers.admission.depth_bytes < 1000:  # noqa: ASYNC110 — the other side of a socket
            await asyncio.sleep(0.001)
        go_on.set()
        assert (await sent).status_code == 200
    assert receivers.admission.depth_bytes == 0


async def test_a_body_that_dribbles_is_cut_off(receivers: Receivers, recorder: Recorder) -> None:
    async def dribble() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(3600)

    async with receivers.http(read_timeout_s=0.05) as base, http_client(timeout=60) as client:
        sent = asyncio.create_task(client.post(f"{base}/v1/traces", content=dribble(), headers=PROTOBUF))
        while not receivers.telemetry.rejections:  # noqa: ASYNC110 — the other side of a socket
            await asyncio.sleep(0.001)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
    assert receivers.telemetry.rejections == {"timed_out": 1}
    assert not recorder.requests


async def test_a_sender_that_goes_away_leaves_nothing_behind(receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.http() as base:
        host, port = base.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/traces HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        writer.write(head.encode() + b"x" * 500)
        while receivers.admission.depth_bytes < 500:  # noqa: ASYNC110 — the other side of a socket
            await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        while receivers.admission.depth_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert (await post(base)).status_code == 200
    assert len(recorder.requests) == 1


async def test_tls(receivers: Receivers, recorder: Recorder, tls: Tls) -> None:
    context = ssl.create_default_context(cafile=tls.cert_file)
    async with receivers.http(tls=tls) as base, httpx2.AsyncClient(verify=context) as client:
        assert base.startswith("https")
        answer = await client.post(f"{base}/v1/traces", content=traces(), headers=PROTOBUF)
    assert answer.status_code == 200
    assert recorder.requests[0].body == traces()


async def test_many_at_once_are_all_answered(receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.http() as base, http_client(timeout=60) as client:
        sends: list[Any] = [client.post(f"{base}/v1/traces", content=json.dumps(n).encode(), headers=JSON) for n in range(50)]
        answers = await asyncio.gather(*sends)
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(int(one.body) for one in recorder.requests) == list(range(50))
