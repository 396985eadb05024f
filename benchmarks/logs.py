"""Log records as a coding agent's command line sends them: no spans, one record a model call."""

import secrets
import time
from typing import NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

_SCOPE = "com.anthropic.claude_code.events"


class LogRequest(NamedTuple):
    """One serialised request, and the keys of its records: (session, sequence)."""

    body: bytes
    session: str
    sequences: list[int]
    input_tokens: int


class LogSession:
    """One session that tells of its model calls in log records."""

    def __init__(self) -> None:
        self.session = f"logs-{secrets.token_hex(8)}"
        self._sequence = 0

    def request(self, records: int) -> LogRequest:
        """The next records, one request."""
        message = ExportLogsServiceRequest()
        resource = message.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "claude-code"
        scope = resource.scope_logs.add()
        scope.scope.name = _SCOPE
        sequences, tokens = [], 0
        for _ in range(records):
            self._sequence += 1
            sequences.append(self._sequence)
            tokens += 100 + self._sequence
            record = scope.log_records.add(time_unix_nano=time.time_ns(), observed_time_unix_nano=time.time_ns())
            record.body.string_value = "claude_code.api_request"
            texts = {
                "event.name": "api_request",
                "session.id": self.session,
                "model": "claude-sonnet-4-5",
                "request_id": f"req_{secrets.token_hex(12)}",
                "duration_ms": "900",
            }
            for key, text in texts.items():
                record.attributes.add(key=key).value.string_value = text
            numbers = {"event.sequence": self._sequence, "input_tokens": 100 + self._sequence, "output_tokens": 10}
            for key, number in numbers.items():
                record.attributes.add(key=key).value.int_value = number
        return LogRequest(message.SerializeToString(), self.session, sequences, tokens)
