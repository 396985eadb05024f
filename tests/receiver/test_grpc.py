import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from collector.config import Address, Tls
from collector.errors import ConfigError, Malformed, Overloaded, Refused, StoreUnavailable, TooLarge
from collector.model import Outcome, Request
from collector.receiver.admission import Admission
from collector.receiver.export import SERVICES
from collector.receiver.grpc import GrpcReceiver
from collector.security import Authority

from .conftest import LIMIT, Receivers
from .recorder import Counted, Recorder, token, traces


async def export(
    port: int,
    body: bytes,
    *,
    method: str = "traces",
    metadata: tuple[tuple[str, str], ...] = (),
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> bytes:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(f"/{SERVICES[method]}/Export", request_serializer=None, response_deserializer=None)  # type: ignore[index]
        answer: bytes = await call(body, metadata=metadata, compression=compression)
        return answer


async def refused(port: int, body: bytes = b"", **how: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(port, body, **how)
    return caught.value


@pytest.mark.parametrize("signal", SERVICES)
async def test_bytes_arrive_as_they_were_sent(signal: str, receivers: Receivers, recorder: Recorder, telemetry: Counted) -> None:
    async with receivers.grpc() as port:
        assert await export(port, traces(), method=signal) == b""
    assert recorder.requests == [
        Request(signal=signal, encoding="protobuf", body=traces(), tenant="default", protocol="grpc", arrival_ns=42)  # type: ignore[arg-type]
    ]
    assert telemetry.received_items == {(signal, "grpc"): 1}


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compression(compression: grpc.Compression, receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.grpc() as port:
        await export(port, traces("x" * 10_000), compression=compression)
    assert recorder.requests[0].body == traces("x" * 10_000)


async def test_a_generated_client_understands_partial_success(receivers: Receivers, recorder: Recorder, telemetry: Counted) -> None:
    recorder.answer = lambda _: Outcome(accepted=2, rejected=1, message="span 3: no trace id")
    async with receivers.grpc() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        answer: ExportTraceServiceResponse = await stub.Export(ExportTraceServiceRequest())
    assert answer.partial_success.rejected_spans == 1
    assert answer.partial_success.error_message == "span 3: no trace id"
    assert telemetry.received_items == {("traces", "grpc"): 3}
    assert telemetry.rejections == {"invalid": 1}


@pytest.mark.parametrize(("signal", "field"), [("logs", "rejected_log_records"), ("metrics", "rejected_data_points")])
async def test_partial_success_of_the_other_signals(signal: str, field: str, receivers: Receivers, recorder: Recorder) -> None:
    recorder.answer = lambda _: Outcome(accepted=0, rejected=5, message="why")
    async with receivers.grpc() as port:
        # field 1 of all three responses is partial_success, whose field 1 is the count
        answer = ExportTraceServiceResponse.FromString(await export(port, b"", method=signal))
    assert answer.partial_success.rejected_spans == 5, field


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Malformed("not protobuf"), grpc.StatusCode.INVALID_ARGUMENT),
        (TooLarge("too many spans"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Refused("no"), grpc.StatusCode.FAILED_PRECONDITION),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_cannot_be_retried_carries_no_retry_info(
    error: Malformed | TooLarge | Refused, code: grpc.StatusCode, receivers: Receivers, recorder: Recorder
) -> None:
    recorder.answer = lambda _: error
    async with receivers.grpc() as port:
        answer = await refused(port)
    assert (answer.code(), answer.details()) == (code, error.message)
    assert not retry_infos(answer)


@pytest.mark.parametrize(
    ("error", "code", "seconds"),
    [
        (Overloaded("full", retry_after_s=2.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 2.5),
        (StoreUnavailable("disk full"), grpc.StatusCode.UNAVAILABLE, 1.0),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_can_be_retried_says_when(
    error: Overloaded | StoreUnavailable, code: grpc.StatusCode, seconds: float, receivers: Receivers, recorder: Recorder
) -> None:
    recorder.answer = lambda _: error
    async with receivers.grpc() as port:
        answer = await refused(port)
    assert (answer.code(), answer.details()) == (code, error.message)
    (info,) = retry_infos(answer)
    assert info.retry_delay.ToNanoseconds() == seconds * 1e9
    trailing: dict[str, Any] = {item[0]: item[1] for item in answer.trailing_metadata()}  # type: ignore[index]
    assert RetryInfo.FromString(trailing["google.rpc.retryinfo-bin"]) == info
    assert receivers.telemetry.rejections.total() == 1


def retry_infos(answer: grpc.aio.AioRpcError) -> list[RetryInfo]:
    status = rpc_status.from_call(answer)  # type: ignore[arg-type]
    found = []
    for detail in status.details:
        info = RetryInfo()
        assert detail.Unpack(info)
        found.append(info)
    return found


async def test_a_crash_tells_the_sender_to_retry_and_nothing_of_the_data(receivers: Receivers, recorder: Recorder) -> None:
    def crash(_: Request) -> Outcome:
        raise ValueError("the data")

    recorder.answer = crash
    async with receivers.grpc() as port:
        answer = await refused(port)
    assert answer.code() is grpc.StatusCode.UNAVAILABLE
    assert "the data" not in str(answer.details())


async def test_a_request_above_the_limit_is_refused_for_good(receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.grpc() as port:
        await export(port, b"x" * LIMIT)
        answer = await refused(port, b"x" * (LIMIT + 1))
    assert answer.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [len(one.body) for one in recorder.requests] == [LIMIT]


async def test_a_bomb_ends_at_the_limit(receivers: Receivers, recorder: Recorder) -> None:
    async with receivers.grpc() as port:
        answer = await refused(port, bytes(32 * 2**20), compression=grpc.Compression.Gzip)
    assert answer.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not recorder.requests


async def test_tokens(receivers: Receivers, recorder: Recorder, telemetry: Counted) -> None:
    tokens = [token("sender", "ingest", tenant="acme"), token("reader", "read")]
    async with receivers.grpc(tokens) as port:
        await export(port, b"", metadata=(("authorization", "Bearer sender"),))
        none = await refused(port, b"x" * 1000)
        unknown = await refused(port, metadata=(("authorization", "Bearer sendet"),))
        scope = await refused(port, metadata=(("authorization", "Bearer reader"),))
    assert [one.tenant for one in recorder.requests] == ["acme"]
    assert [answer.code() for answer in (none, unknown, scope)] == [
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    ]
    assert scope.details() == "the token name-of-reader lacks the scope ingest"
    assert telemetry.rejections == {"unauthenticated": 2, "forbidden": 1}


async def test_health_needs_no_token_and_knows_the_services(receivers: Receivers) -> None:
    async with receivers.grpc([token("sender", "ingest")]) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES.values()):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="unheard.of"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_other_methods_are_unimplemented(receivers: Receivers) -> None:
    async with receivers.grpc() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", None, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_tls(receivers: Receivers, recorder: Recorder, tls: Tls) -> None:
    assert tls.cert_file is not None
    credentials = grpc.ssl_channel_credentials(tls.cert_file.read_bytes())
    async with receivers.grpc(tls=tls) as port, grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        call: Any = channel.unary_unary(f"/{SERVICES['traces']}/Export", None, None)
        await call(traces())
    assert recorder.requests[0].body == traces()


async def test_a_port_that_is_taken_is_a_configuration_error(receivers: Receivers) -> None:
    async with receivers.grpc() as port:
        with pytest.raises(ConfigError, match=f"receivers.otlp_grpc: cannot listen on 127.0.0.1:{port}"):
            await receiver(receivers.admission, port).start()


async def test_a_certificate_that_is_none_is_a_configuration_error(receivers: Receivers, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    tls = Tls(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "cert.pem")
    with pytest.raises(ConfigError, match="cannot listen"):
        await receiver(receivers.admission, 0, tls).start()


def receiver(admission: Admission, port: int, tls: Tls | None = None) -> GrpcReceiver:
    return GrpcReceiver(admission, address=Address("127.0.0.1", port), max_request_bytes=LIMIT, authority=Authority(), tls=tls)


async def test_stopping_lets_a_request_under_way_finish(receivers: Receivers, recorder: Recorder) -> None:
    server = receiver(receivers.admission, 0)
    port = await server.start()
    recorder.gate.clear()
    sent = asyncio.create_task(export(port, traces()))
    assert await asyncio.to_thread(recorder.entered.wait, 60)
    stopped = asyncio.create_task(server.stop(60))
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await sent == b""
    await stopped
