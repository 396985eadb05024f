"""What the receivers report about themselves."""

from typing import Protocol

from collector.model import Protocol as WireProtocol
from collector.model import Signal


class IngestTelemetry(Protocol):
    """Counts what comes in. Called from the event loop and from the worker thread: implementations are thread-safe and never block."""

    def received(self, signal: Signal, protocol: WireProtocol, items: int) -> None:
        """Requests were committed with `items` spans, log records or data points in all, rejected ones included."""

    def rejected(self, reason: str, n: int) -> None:
        """`n` items were not kept. `reason` is of the closed set `collector.receiver.status.REASONS`.

        Of a request that was refused whole nobody knows the items: it counts as one.
        """

    def commit_seconds(self, s: float) -> None:
        """Time from taking a group of requests off the queue to its commit."""


class NoTelemetry:
    """Counts nothing."""

    def received(self, signal: Signal, protocol: WireProtocol, items: int) -> None:
        pass

    def rejected(self, reason: str, n: int) -> None:
        pass

    def commit_seconds(self, s: float) -> None:
        pass
