"""What is remembered of traces and their spans, within bounds: enough to find ancestors and to change a step later."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from detectors.model import SessionKey, Step, StepKind

_PARENT_HOPS = 64


class SpanInfo(msgspec.Struct):
    """What is remembered of a span.

    `step_seq` is the step that it is, `counted_seq` the one that its facts went to. `inner_seq` is the step of the same kind
    that was found below it, `inner_count` how many there were.
    """

    parent: str | None
    explicit: SessionKey | None = None
    kind: StepKind | None = None
    name: str | None = None
    step_seq: int = 0
    counted_seq: int = 0
    inner_kind: StepKind | None = None
    inner_name: str | None = None
    inner_seq: int = 0
    inner_count: int = 0


class Trace(msgspec.Struct):
    """What is remembered of a trace: whose it is and how its spans hang together."""

    tenant: str
    trace_id: str
    bound: SessionKey | None = None
    fallback: SessionKey | None = None
    sessions: dict[SessionKey, None] = {}
    linkers: dict[SessionKey, None] = {}
    """Sessions whose spans link to this trace, of which nothing was placed yet."""
    spans: dict[str, SpanInfo] = {}

    def ancestors(self, info: SpanInfo) -> Iterable[tuple[str, SpanInfo | None]]:
        """Span ids above `info`, nearest first; the last may be one that has not arrived."""
        parent = info.parent
        for _ in range(_PARENT_HOPS):
            if not parent:
                return
            above = self.spans.get(parent)
            yield parent, above
            if above is None:
                return
            parent = above.parent

    def nested(self, info: SpanInfo | None, step: Step) -> bool:
        """Whether one of the two stands above the other in this trace."""
        if info is None or step.trace_id != self.trace_id:
            return False
        other = self.spans.get(step.span_id)
        return any(span_id == step.span_id for span_id, _ in self.ancestors(info)) or (
            other is not None and any(above is info for _, above in self.ancestors(other))
        )


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what the assembler remembers. Beyond them the oldest is forgotten: late facts then arrive too late."""

    traces: int = 100_000
    spans_per_trace: int = 2_000
    recent_steps: int = 20_000
    ids: int = 200_000
    pending: int = 10_000


class Traces:
    """The traces that were heard of last."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._traces: OrderedDict[tuple[str, str], Trace] = OrderedDict()

    def known(self, tenant: str, trace_id: str) -> Trace | None:
        return self._traces.get((tenant, trace_id))

    def of(self, tenant: str, trace_id: str | None) -> Trace | None:
        """The trace, from now on if it was not heard of before; None without an id."""
        if not trace_id:
            return None
        key = (tenant, trace_id)
        trace = self._traces.get(key)
        if trace is None:
            trace = Trace(tenant, trace_id, sessions={}, linkers={}, spans={})
        remember(self._traces, key, trace, self._limits.traces)
        return trace

    def span(self, trace: Trace, span_id: str, parent: str | None) -> SpanInfo:
        """The span, from now on if it was not heard of before."""
        info = trace.spans.get(span_id)
        if info is None:
            if len(trace.spans) >= self._limits.spans_per_trace:
                trace.spans.pop(next(iter(trace.spans)))
            info = trace.spans[span_id] = SpanInfo(parent)
        info.parent = parent
        return info


K = TypeVar("K")
V = TypeVar("V")


def remember(mapping: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    """Sets `key`, and forgets the oldest entry beyond `limit`."""
    mapping[key] = value
    mapping.move_to_end(key)
    if len(mapping) > limit:
        mapping.popitem(last=False)
