"""What both OTLP receivers answer: export responses, built for the few requests that need more than "all taken"."""

from typing import Final

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.model import Encoding, Outcome, Signal

SERVICES: Final[dict[Signal, str]] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
"""gRPC service of each signal; its only method is Export."""


def partial_success(signal: Signal, encoding: Encoding, outcome: Outcome) -> bytes:
    """The export response for `outcome`: empty when nothing was rejected and nothing needs saying, as OTLP asks."""
    if not outcome.rejected and not outcome.message:
        return b"" if encoding == "protobuf" else b"{}"
    message: ExportTraceServiceResponse | ExportLogsServiceResponse | ExportMetricsServiceResponse
    if signal == "traces":
        message = ExportTraceServiceResponse()
        message.partial_success.rejected_spans = outcome.rejected
    elif signal == "logs":
        message = ExportLogsServiceResponse()
        message.partial_success.rejected_log_records = outcome.rejected
    else:
        message = ExportMetricsServiceResponse()
        message.partial_success.rejected_data_points = outcome.rejected
    message.partial_success.error_message = outcome.message
    return message.SerializeToString() if encoding == "protobuf" else json_format.MessageToJson(message, indent=None).encode()
