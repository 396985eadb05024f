"""Requests put on the wire byte by byte, as no exporter would, and the answers in one shape for every protocol."""

import itertools
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import grpc
import httpx2
from google.protobuf.json_format import Parse
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.otlp import as_json
from collector.receiver.export import SERVICES

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
WIRES: Final = ("grpc", "protobuf", "json")
"""OTLP/gRPC, and OTLP/HTTP with each of its encodings."""
_RESPONSES: Final[dict[str, Any]] = {"traces": ExportTraceServiceResponse, "logs": ExportLogsServiceResponse}


class Answer(NamedTuple):
    """What a sender is told. `code` is the number of the gRPC status, 0 for success; `http` is None over gRPC."""

    code: int
    http: int | None
    message: str
    retry_after_s: float | None
    rejected: int = 0


class Wire:
    """Sends to a running service over one protocol, in one encoding."""

    def __init__(self, wire: str, *, grpc_address: str, http_address: str) -> None:
        self.wire = wire
        self._http = f"http://{http_address}"
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(grpc_address, options=options)
        self._client = httpx2.Client(trust_env=False, timeout=60)

    def close(self) -> None:
        self._channel.close()
        self._client.close()

    def encode(self, message: Any) -> bytes:
        return json.dumps(as_json(message)).encode() if self.wire == "json" else bytes(message.SerializeToString())

    def send(
        self, body: Any, signal: str = "traces", *, headers: Mapping[str, str] | None = None, compression: Any = None, timeout_s: float = 60
    ) -> Answer:
        """Sends bytes, an iterator of bytes (HTTP alone) or a message. Raises what the transport raises where no answer came."""
        if not isinstance(body, bytes) and hasattr(body, "SerializeToString"):
            body = self.encode(body)
        if self.wire == "grpc":
            return self._send_grpc(body, signal, compression, timeout_s)
        media = {"content-type": JSON if self.wire == "json" else PROTOBUF}
        answer = self._client.post(f"{self._http}/v1/{signal}", content=body, headers=media | dict(headers or {}), timeout=timeout_s)
        return _http_answer(answer, signal)

    def _send_grpc(self, body: bytes, signal: str, compression: Any, timeout_s: float) -> Answer:
        call: Any = self._channel.unary_unary(f"/{SERVICES[signal]}/Export", None, None)  # type: ignore[index]
        try:
            response = call(body, compression=compression, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}:
                raise
            trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
            status = Status.FromString(trailing.get("grpc-status-details-bin", b""))
            return Answer(error.code().value[0], None, error.details() or "", _retry_after(status))
        partial = _RESPONSES[signal].FromString(response).partial_success
        return Answer(0, None, partial.error_message, None, _rejected(partial))


def _http_answer(answer: httpx2.Response, signal: str) -> Answer:
    is_json = answer.headers["content-type"] == JSON
    if not answer.is_success:
        status = Parse(answer.content, Status()) if is_json else Status.FromString(answer.content)
        after = answer.headers.get("retry-after")
        return Answer(status.code, answer.status_code, status.message, float(after) if after is not None else None)
    response = _RESPONSES[signal]()
    found = Parse(answer.content, response) if is_json else response.FromString(answer.content)
    partial = found.partial_success
    return Answer(0, answer.status_code, partial.error_message, None, _rejected(partial))


def _rejected(partial: Any) -> int:
    return sum(value for field, value in partial.ListFields() if field.name.startswith("rejected"))


def _retry_after(status: Any) -> float | None:
    for detail in status.details:
        info = RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds()) / 1e9
    return None


class Story(NamedTuple):
    """A request about one session, and what that comes to."""

    session: str
    request: ExportTraceServiceRequest
    sums: dict[str, int]


def story(calls: int = 3, **attributes: str | float) -> Story:
    """One trace of `calls` model calls with a tool call after each, ended just now. `attributes` are put on every span."""
    session, tokens = f"story-{secrets.token_hex(6)}", itertools.count(1_001)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name", value=AnyValue(string_value="tests"))
    spans, trace_id, spent = resource.scope_spans.add().spans, secrets.token_bytes(16), 0
    start = time.time_ns() - 2 * calls * 1_000_000
    for number in range(2 * calls):
        span = spans.add(trace_id=trace_id, span_id=secrets.token_bytes(8), kind=Span.SPAN_KIND_CLIENT)
        span.start_time_unix_nano, span.end_time_unix_nano = start + number * 1_000_000, start + (number + 1) * 1_000_000
        facts: dict[str, str | int | float] = {"gen_ai.conversation.id": session, **attributes}
        if number % 2:
            span.name = "execute_tool look"
            facts |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look", "gen_ai.tool.call.id": secrets.token_hex(4)}
        else:
            span.name = "chat m"
            used = next(tokens)
            spent += used
            facts |= {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": used}
        for key, value in facts.items():
            pair = span.attributes.add(key=key)
            setattr(pair.value, {str: "string_value", int: "int_value", float: "double_value"}[type(value)], value)
    return Story(session, request, {"llm_calls": calls, "tool_calls": calls, "input_tokens": spent})
