"""A restart in the middle of a storm of exports: what was acknowledged is there, once."""

import threading
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from collector.store.partitions import opened
from tests.e2e.agent import Batches, exporter, span_ids
from tests.e2e.conftest import config
from tests.e2e.programs import Service, wait_for
from tests.e2e.runtime import Runtime

pytestmark = pytest.mark.slow

SPANS_A_BATCH = 20


class Sender(threading.Thread):
    """Exports batch after batch; one that was not acknowledged is sent again, as a sender's queue does."""

    def __init__(self, protocol: str, address: str) -> None:
        super().__init__()
        self._exporter = exporter(protocol, address)
        self._batches = Batches()
        self.finish = threading.Event()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        batch: list[ReadableSpan] = []
        while batch or not self.finish.is_set():
            batch = batch or self._batches.next(SPANS_A_BATCH, {"gen_ai.conversation.id": f"load-{self.name}"})
            if self._exporter.export(batch) is SpanExportResult.SUCCESS:
                self.acknowledged += span_ids(batch)
                batch = []
        self._exporter.shutdown()


def stored(service: Service) -> list[str]:
    with opened(service.data_dir / "telemetry.duckdb") as connection:
        return [row[0] for row in connection.execute("SELECT span_id FROM spans").fetchall()]


def test_sigterm_under_load_loses_nothing_acknowledged_and_a_retry_is_stored_once(
    start_service: Callable[..., Service], runtime: Runtime
) -> None:
    service = start_service()
    senders = [Sender("grpc", service.grpc), Sender("http", service.http), Sender("grpc", service.grpc), Sender("http", service.http)]
    for sender in senders:
        sender.start()
    try:
        wait_for("the storm is on", lambda: all(len(sender.acknowledged) >= 10 * SPANS_A_BATCH for sender in senders))
        assert service.stop() == 0
        acknowledged = {span for sender in senders for span in list(sender.acknowledged)}
        assert acknowledged <= set(stored(service))

        before = [len(sender.acknowledged) for sender in senders]
        service.start(config(runtime.url))
        wait_for("they go on", lambda: all(len(s.acknowledged) >= n + 5 * SPANS_A_BATCH for s, n in zip(senders, before, strict=True)))
    finally:
        for sender in senders:
            sender.finish.set()
        for sender in senders:
            sender.join()
    assert service.stop() == 0
    assert sorted(stored(service)) == sorted(span for sender in senders for span in sender.acknowledged)
