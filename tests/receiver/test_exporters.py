"""The exporters of the OpenTelemetry SDK against both receivers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from collector.errors import Malformed
from collector.model import Request

from .conftest import Receivers
from .recorder import Recorder, token


@pytest.fixture
def spans() -> Iterator[list[ReadableSpan]]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("test").start_as_current_span("chat", attributes={"gen_ai.request.model": "x" * 2000}):
        pass
    yield list(kept.get_finished_spans())
    provider.shutdown()


@pytest.fixture
def log_records() -> Iterator[list[Any]]:
    kept = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    provider.get_logger("test").emit(LogRecord(body="hello"))
    yield list(kept.get_finished_logs())
    provider.shutdown()


async def export(exporter: Any, batch: list[Any]) -> Any:
    try:
        return await asyncio.to_thread(exporter.export, batch)
    finally:
        await asyncio.to_thread(exporter.shutdown)


def span_names(request: Request) -> list[str]:
    message = ExportTraceServiceRequest.FromString(request.body)
    return [span.name for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_spans_over_grpc(compression: grpc.Compression, receivers: Receivers, recorder: Recorder, spans: list[ReadableSpan]) -> None:
    async with receivers.grpc() as port:
        exporter = GrpcSpans(endpoint=f"127.0.0.1:{port}", insecure=True, compression=compression)
        assert await export(exporter, spans) is SpanExportResult.SUCCESS
    assert span_names(recorder.requests[0]) == ["chat"]


@pytest.mark.parametrize("compression", list(Compression))
async def test_spans_over_http(compression: Compression, receivers: Receivers, recorder: Recorder, spans: list[ReadableSpan]) -> None:
    async with receivers.http() as base:
        exporter = HttpSpans(endpoint=f"{base}/api/public/otel/v1/traces", compression=compression)
        assert await export(exporter, spans) is SpanExportResult.SUCCESS
    assert span_names(recorder.requests[0]) == ["chat"]


async def test_log_records(receivers: Receivers, recorder: Recorder, log_records: list[Any]) -> None:
    async with receivers.http() as base, receivers.grpc() as port:
        over_http = await export(HttpLogs(endpoint=f"{base}/v1/logs"), log_records)
        over_grpc = await export(GrpcLogs(endpoint=f"127.0.0.1:{port}", insecure=True), log_records)
    assert [over_http, over_grpc] == [LogRecordExportResult.SUCCESS] * 2
    for request in recorder.requests:
        assert request.signal == "logs"
        message = ExportLogsServiceRequest.FromString(request.body)
        assert message.resource_logs[0].scope_logs[0].log_records[0].body.string_value == "hello"


async def test_tokens(receivers: Receivers, recorder: Recorder, spans: list[ReadableSpan]) -> None:
    tokens, headers = [token("sender", "ingest", tenant="acme")], {"authorization": "Bearer sender"}
    async with receivers.http(tokens) as base, receivers.grpc(tokens) as port:
        over_http = await export(HttpSpans(endpoint=f"{base}/v1/traces", headers=headers), spans)
        over_grpc = await export(GrpcSpans(endpoint=f"127.0.0.1:{port}", insecure=True, headers=headers), spans)
        refused = await export(HttpSpans(endpoint=f"{base}/v1/traces"), spans)
    assert [over_http, over_grpc, refused] == [SpanExportResult.SUCCESS, SpanExportResult.SUCCESS, SpanExportResult.FAILURE]
    assert [request.tenant for request in recorder.requests] == ["acme", "acme"]


async def test_malformed_is_not_sent_again(receivers: Receivers, recorder: Recorder, spans: list[ReadableSpan]) -> None:
    recorder.answer = lambda _: Malformed("no")
    async with receivers.http() as base, receivers.grpc() as port:
        over_http = await export(HttpSpans(endpoint=f"{base}/v1/traces"), spans)
        over_grpc = await export(GrpcSpans(endpoint=f"127.0.0.1:{port}", insecure=True), spans)
    assert [over_http, over_grpc] == [SpanExportResult.FAILURE] * 2
    assert len(recorder.requests) == 2


async def occupy(receivers: Receivers, recorder: Recorder) -> "asyncio.Task[Any]":
    """Fills the queue until the first refusal, which opens it again."""
    body = bytes(receivers.admission._limit)
    recorder.gate.clear()
    receivers.telemetry.on_rejected = lambda _: recorder.gate.set()
    task = asyncio.create_task(receivers.admission.submit(Request(signal="logs", encoding="protobuf", body=body)))
    assert await asyncio.to_thread(recorder.entered.wait, 60)
    return task


async def test_the_grpc_exporter_comes_back_after_retry_info(
    receivers: Receivers, recorder: Recorder, spans: list[ReadableSpan], caplog: pytest.LogCaptureFixture
) -> None:
    async with receivers.grpc() as port:
        first = await occupy(receivers, recorder)
        assert await export(GrpcSpans(endpoint=f"127.0.0.1:{port}", insecure=True), spans) is SpanExportResult.SUCCESS
        await first
    # without RetryInfo it would have chosen about a second
    assert "RESOURCE_EXHAUSTED" in caplog.text
    assert "retrying in 0.01s" in caplog.text
    assert receivers.telemetry.rejections["overloaded"] >= 1
    assert [request.signal for request in recorder.requests] == ["logs", "traces"]


@pytest.mark.slow
async def test_the_http_exporter_comes_back_after_retry_after(
    receivers: Receivers, recorder: Recorder, spans: list[ReadableSpan], caplog: pytest.LogCaptureFixture
) -> None:
    async with receivers.http() as base:
        first = await occupy(receivers, recorder)
        assert await export(HttpSpans(endpoint=f"{base}/v1/traces"), spans) is SpanExportResult.SUCCESS
        await first
    assert "retrying in 1.00s" in caplog.text
    assert receivers.telemetry.rejections["overloaded"] >= 1
    assert [request.signal for request in recorder.requests] == ["logs", "traces"]
