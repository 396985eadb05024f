"""Export requests taken apart and put in the other encoding, for whatever sends recordings in another form than they came in."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.model import Request, Signal

MESSAGES: Final[dict[Signal, Any]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
LEVELS: Final[dict[Signal, tuple[str, str, str]]] = {
    "traces": ("resource_spans", "scope_spans", "spans"),
    "logs": ("resource_logs", "scope_logs", "log_records"),
}
"""Fields that lead to the spans or log records of a message; none for metrics, of which only the points are counted."""
JSON_LEVELS: Final[dict[Signal, tuple[str, str, str]]] = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}
ID_KEYS: Final = ("traceId", "spanId", "parentSpanId")


def as_json(message: Any) -> Any:
    """A protobuf message as OTLP/JSON: ids in hexadecimal, where protobuf's own mapping has base64."""
    return _with_ids(MessageToDict(message), lambda text: base64.b64decode(text).hex())


def from_json(document: Any, signal: Signal) -> Any:
    """The message that an OTLP/JSON document stands for. Raises ParseError or ValueError where it stands for none."""
    document = _with_ids(document, lambda text: base64.b64encode(bytes.fromhex(text)).decode())
    return ParseDict(document, MESSAGES[signal](), ignore_unknown_fields=True)


def _with_ids(value: Any, convert: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_with_ids(inner, convert) for inner in value]
    if isinstance(value, dict):
        return {key: convert(inner) if key in ID_KEYS else _with_ids(inner, convert) for key, inner in value.items()}
    return value


def pieces(message: Any, signal: Signal) -> Iterator[Any]:
    """Each span or log record of a message as a message of its own."""
    resources, scopes, items = LEVELS[signal]
    for resource in getattr(message, resources):
        for scope in getattr(resource, scopes):
            for item in getattr(scope, items):
                one = MESSAGES[signal]()
                of_resource = getattr(one, resources).add(schema_url=resource.schema_url)
                of_resource.resource.CopyFrom(resource.resource)
                of_scope = getattr(of_resource, scopes).add(schema_url=scope.schema_url)
                of_scope.scope.CopyFrom(scope.scope)
                getattr(of_scope, items).add().CopyFrom(item)
                yield one


def singles(request: Request) -> Iterator[Request]:
    """A request for each span or log record of a request; what a JSON body says beside OTLP stays in it."""
    signal = request.signal
    if request.encoding == "protobuf":
        for piece in pieces(MESSAGES[signal].FromString(request.body), signal):
            yield Request(signal=signal, encoding="protobuf", body=piece.SerializeToString())
        return
    resources, scopes, items = JSON_LEVELS[signal]
    for resource in json.loads(request.body).get(resources, []):
        for scope in resource.get(scopes, []):
            for item in scope.get(items, []):
                document = {resources: [{**resource, scopes: [{**scope, items: [item]}]}]}
                yield Request(signal=signal, encoding="json", body=json.dumps(document).encode())
