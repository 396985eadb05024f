"""More than fits: real exporters are told to retry, do so, and everything they were told is taken is there, once."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from collector.store.partitions import opened
from tests.e2e.agent import Batches, exporter, span_ids

from .conftest import Drilled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TEXT = "".join(chr(0x4E00 + n % 20_000) for n in range(12_000))
BATCHES = 6
ROUNDS = 20


class _Sender(threading.Thread):
    """Exports batches of some 350 KB through the SDK's own exporter, which retries as it was told; one that it gave up on again."""

    def __init__(self, protocol: str, address: str, start: threading.Barrier) -> None:
        super().__init__()
        self._exporter = exporter(protocol, address)
        self._start = start
        self._batches = Batches()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        for _ in range(BATCHES):
            batch = self._batches.next(10, {"gen_ai.tool.call.result": TEXT})
            self._start.wait(60)
            while self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                pass
            self.acknowledged += span_ids(batch)
        self._exporter.shutdown()


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
