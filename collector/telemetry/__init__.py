"""The service's metrics: what there is (`catalogue`), how it is kept (`series`), what is handed over (`counts`)."""

from collector.telemetry.catalogue import METRICS
from collector.telemetry.counts import BatchCounts, OpenFindings, Snapshot
from collector.telemetry.telemetry import Limits, Telemetry

__all__ = ["METRICS", "BatchCounts", "Limits", "OpenFindings", "Snapshot", "Telemetry"]
