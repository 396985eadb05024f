"""Spans and log records as decoded: plain values, nothing interpreted yet."""

from typing import Any, ClassVar

import msgspec

Attributes = dict[str, Any]
"""Attribute values as Python has them: str, bool, int, float, bytes, None, list, dict."""


class SpanEvent(msgspec.Struct, kw_only=True, gc=False):
    """A timed event on a span."""

    name: str
    time_ns: int = 0
    attributes: Attributes = {}


class SpanLink(msgspec.Struct, kw_only=True, gc=False):
    """A link to another span."""

    trace_id: str
    span_id: str
    attributes: Attributes = {}


class Span(msgspec.Struct, kw_only=True, gc=False):
    """One ended span. Ids are lower-case hexadecimal; `status_code` is 0 unset, 1 ok, 2 error.

    `resource` and the scope are shared by many spans: never change them.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    trace_state: str = ""
    name: str = ""
    kind: int = 0
    start_ns: int = 0
    end_ns: int = 0
    attributes: Attributes = {}
    events: list[SpanEvent] = []
    links: list[SpanLink] = []
    status_code: int = 0
    status_message: str = ""
    scope_name: str = ""
    scope_version: str = ""
    resource: Attributes = {}
    dropped: int = 0
    """Attributes, events and links the sender says it left out."""


class LogRecord(msgspec.Struct, kw_only=True, gc=False):
    """One log record. `trace_id` and `span_id` are None where it belongs to no span."""

    time_ns: int = 0
    observed_ns: int = 0
    severity: int = 0
    severity_text: str = ""
    event_name: str = ""
    body: Any = None
    attributes: Attributes = {}
    trace_id: str | None = None
    span_id: str | None = None
    scope_name: str = ""
    scope_version: str = ""
    resource: Attributes = {}
    dropped: int = 0


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """An item that is individually bad: what is wrong with it, in one phrase from a closed set, and where."""

    reason: str
    where: str = ""


class Rejections(msgspec.Struct, gc=False):
    """The items of a request that are individually bad: all of them counted, the first few named. There may be millions."""

    NAMED: ClassVar[int] = 8

    counts: dict[str, int] = {}
    """How many for each reason."""
    first: list[Rejected] = []

    def add(self, reason: str, where: str, *places: int) -> None:
        """One more. `places` are put into the braces of `where`."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if len(self.first) < self.NAMED:
            self.first.append(Rejected(reason=reason, where=where.format(*places) if places else where))

    def __len__(self) -> int:
        return sum(self.counts.values())


class Decoded(msgspec.Struct, kw_only=True, gc=False):
    """What one request held. `data_points` counts metrics, which are accepted but not kept."""

    spans: list[Span] = []
    logs: list[LogRecord] = []
    data_points: int = 0
    rejected: Rejections = msgspec.field(default_factory=Rejections)
