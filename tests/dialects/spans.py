"""Spans and log records in few words, for what no recording shows."""

from typing import Any

from collector.assembly import Assembler
from collector.counting import Pricer
from collector.dialects import fragment_of, fragment_of_log
from collector.dialects.base import Fragment
from collector.telemetry_data import LogRecord, Span
from detectors.model import CostBasis, Event, Step, StepAmended, StepRetracted


def made(
    attributes: dict[str, Any],
    *,
    name: str = "x",
    scope: str = "",
    span_id: str = "a" * 16,
    parent: str | None = None,
    trace: str = "1" * 32,
    at: float = 0,
    lasts: float = 1,
    resource: dict[str, Any] | None = None,
    **rest: Any,
) -> Span:
    start_ns = int(1e18 + at * 1e9)
    return Span(
        trace_id=trace,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        scope_name=scope,
        start_ns=start_ns,
        end_ns=start_ns + int(lasts * 1e9),
        attributes=attributes,
        resource=resource or {"service.name": "s"},
        **rest,
    )


def record(attributes: dict[str, Any], *, scope: str = "", at: float = 1, trace: str | None = None, **rest: Any) -> LogRecord:
    return LogRecord(attributes=attributes, scope_name=scope, time_ns=int(1e18 + at * 1e9), trace_id=trace, **rest)


def said(item: Span | LogRecord) -> Fragment:
    fragment = fragment_of(item) if isinstance(item, Span) else fragment_of_log(item)
    assert fragment is not None
    return fragment


def step(item: Span | LogRecord) -> Step:
    found = said(item).step
    assert found is not None
    return found


def final(*items: Span | LogRecord, price: Pricer = lambda _: (None, CostBasis.UNMETERED, None)) -> tuple[list[Step], Assembler]:
    """The steps that stand after these items, and who assembled them."""
    assembler = Assembler(price=price)
    standing: dict[int, Step] = {}
    for item in items:
        fragment = fragment_of(item) if isinstance(item, Span) else fragment_of_log(item)
        if fragment is not None:
            assembler.add("t", fragment)
        for event in assembler.take():
            _stand(standing, event)
    return list(standing.values()), assembler


def _stand(standing: dict[int, Step], event: Event) -> None:
    if isinstance(event, Step):
        standing[event.seq] = event
    elif isinstance(event, StepAmended):
        standing[event.step.seq] = event.step
    elif isinstance(event, StepRetracted):
        del standing[event.was.seq]
