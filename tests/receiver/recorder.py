"""Stands for the pipeline behind the receivers, and for the metrics beside them."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.config import Scope, Token
from collector.errors import OvercurrentError
from collector.model import Outcome, Request, Signal

Answer = Callable[[Request], Outcome | OvercurrentError]


class Recorder:
    """Keeps what it is given. `answer` decides each request; closing `gate` holds the worker inside `process`."""

    def __init__(self) -> None:
        self.groups: list[list[Request]] = []
        self.answer: Answer = lambda _: Outcome(accepted=1)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, requests: Sequence[Request]) -> Sequence[Outcome | OvercurrentError]:
        self.entered.set()
        assert self.gate.wait(60)
        self.groups.append(list(requests))
        return [self.answer(request) for request in requests]

    @property
    def requests(self) -> list[Request]:
        return [request for group in self.groups for request in group]


class Counted:
    """Telemetry that a test can read."""

    def __init__(self) -> None:
        self.received_items: Counter[tuple[str, str]] = Counter()
        self.rejections: Counter[str] = Counter()
        self.commits = 0
        self.on_rejected: Callable[[str], None] = lambda _: None

    def received(self, signal: Signal, protocol: str, items: int) -> None:
        self.received_items[signal, protocol] += items

    def rejected(self, reason: str, n: int) -> None:
        self.rejections[reason] += n
        self.on_rejected(reason)

    def commit_seconds(self, s: float) -> None:
        assert s >= 0
        self.commits += 1


def traces(name: str = "chat") -> bytes:
    """An export request of one span."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(Span(name=name, trace_id=b"t" * 16, span_id=b"s" * 8))
    return request.SerializeToString()


def logs() -> bytes:
    """An export request of one log record."""
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "hello"
    return request.SerializeToString()


def token(text: str, *scopes: Scope, tenant: str = "default") -> Token:
    return Token.model_validate({"name": f"name-of-{text}", "token": text, "scopes": scopes, "tenant": tenant})
