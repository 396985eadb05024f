"""More than fits: real exporters are told to retry, do so, and everything they were told is taken is there, once."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from collector.store.partitions import opened
from tests.e2e.agent import exporter

from .conftest import Drilled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TEXT = "".join(chr(0x4E00 + n % 20_000) for n in range(12_000))
BATCHES = 6
ROUNDS = 20


class _Collecting(SpanProcessor):
    """Keeps what ends, for an exporter that is called by hand."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class _Sender(threading.Thread):
    """Exports batches of some 350 KB through the SDK's own exporter, which retries as it was told; one that it gave up on again."""

    def __init__(self, protocol: str, address: str, start: threading.Barrier) -> None:
        super().__init__()
        self._exporter = exporter(protocol, address)
        self._start = start
        self._collecting = _Collecting()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self._collecting)
        self.acknowledged: list[str] = []

    def run(self) -> None:
        tracer = self._provider.get_tracer("tests.drills")
        for _ in range(BATCHES):
            self._collecting.ended.clear()
            for _ in range(10):
                attributes = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": "t",
                    "gen_ai.tool.call.result": TEXT,
                }
                tracer.start_span("execute_tool t", attributes=attributes).end()
            batch = list(self._collecting.ended)
            self._start.wait(60)
            while self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                pass
            self.acknowledged += [format(span.context.span_id, "016x") for span in batch if span.context]
        self._exporter.shutdown()
        self._provider.shutdown()


def test_exporters_come_back_and_nothing_acknowledged_is_dropped(make_service: Callable[..., Drilled]) -> None:
    service = make_service(receivers={"max_request_bytes": "1MiB", "queue_bytes": "1MiB"})
    sent: list[str] = []
    for _ in range(ROUNDS):
        start = threading.Barrier(12)
        senders = [_Sender("grpc" if number % 2 else "http", service.grpc if number % 2 else service.http, start) for number in range(12)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        sent += [span for sender in senders for span in sender.acknowledged]
        refused = [service.metric("overcurrent_spans_rejected_total", reason=reason) or 0 for reason in ("overloaded", "unavailable")]
        if refused[0]:
            break
    assert refused[0] > 0
    assert refused[1] == 0
    assert service.metric("overcurrent_ingest_queue_bytes") == 0
    assert service.not_ready() == ""
    assert service.stop() == 0
    with opened(service.data_dir / "telemetry.duckdb") as connection:
        stored = Counter(row[0] for row in connection.execute("SELECT span_id FROM spans").fetchall())
    assert stored == Counter(sent)
    assert set(stored.values()) == {1}
