"""What is remembered of traces and their spans, within bounds: enough to find ancestors and to change a step later."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from detectors.model import SessionKey, Step, StepKind

PARENT_HOPS = 64
"""Spans looked at above a span."""
_SESSIONS = 64
"""Sessions remembered of one trace, the first and the newest; and sessions that wait for one they link to."""


class Inner(msgspec.Struct, gc=False):
    """The step of the same kind that was found last below a span, and how many there were."""

    kind: StepKind
    name: str | None
    seq: int
    count: int = 1


class SpanInfo(msgspec.Struct, gc=False):
    """What is remembered of a span. `step_seq` is the step that it is, `counted_seq` the one that its facts went to."""

    parent: str | None
    explicit: SessionKey | None = None
    kind: StepKind | None = None
    name: str | None = None
    step_seq: int = 0
    counted_seq: int = 0
    inner: Inner | None = None


class Trace(msgspec.Struct, gc=False):
    """What is remembered of a trace: whose it is and how its spans hang together."""

    tenant: str
    trace_id: str
    bound: SessionKey | None = None
    fallback: SessionKey | None = None
    sessions: tuple[SessionKey, ...] = ()
    linkers: tuple[SessionKey, ...] = ()
    """Sessions whose spans link to this trace, of which nothing was placed yet."""
    spans: dict[str, SpanInfo] = {}
    parent: str | None = None
    """Parent of the span noted last: siblings share one text."""
    ended: bool = False
    """A span without a parent came."""
    spared: bool = False

    def tells_of(self, session: SessionKey) -> None:
        """Notes that spans of the trace belong to the session."""
        if session not in self.sessions:
            kept = self.sessions if len(self.sessions) < _SESSIONS else (self.sessions[0], *self.sessions[2:])
            self.sessions = (*kept, session)

    def wait(self, session: SessionKey) -> None:
        """Notes a session that links to the trace before anything of it was placed."""
        if session not in self.linkers and len(self.linkers) < _SESSIONS:
            self.linkers = (*self.linkers, session)

    def ancestors(self, info: SpanInfo) -> Iterable[tuple[str, SpanInfo | None]]:
        """Span ids above `info`, nearest first; the last may be one that has not arrived."""
        parent = info.parent
        for _ in range(PARENT_HOPS):
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
    """Bounds of what the assembler remembers. Beyond them the oldest is forgotten: late facts then arrive too late.

    Bytes of each are in docs/adr/015-memory-of-the-assembler.md.
    """

    traces: int = 100_000
    """Traces whose session is known."""
    spans: int = 400_000
    """Spans over all traces; those of the traces heard of longest ago are forgotten first."""
    spans_per_trace: int = 2_000
    recent_steps: int = 64_000
    """Steps that late facts can change."""
    recent_steps_bytes: int = 128 * 2**20
    ids: int = 100_000
    """Merges, tool-call ids, workflows and conversation ids, at least so many of each."""
    sessions: int = 10_000
    """Sessions whose tool calls are matched."""
    sessions_bytes: int = 64 * 2**20
    waiting: int = 10_000
    """Spans that come later than what completes them, and as many traces that come later than judgements of them."""
    waiting_bytes: int = 32 * 2**20


class Traces:
    """The traces that were heard of last: with their spans, and of those before them whose they are."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._recent: OrderedDict[tuple[str, str], Trace] = OrderedDict()
        self._quiet: OrderedDict[tuple[str, str], Trace] = OrderedDict()
        self.spans = 0
        """Spans remembered over all traces."""

    def __len__(self) -> int:
        return len(self._recent) + len(self._quiet)

    def known(self, tenant: str, trace_id: str) -> Trace | None:
        key = (tenant, trace_id)
        return self._recent.get(key) or self._quiet.get(key)

    def of(self, tenant: str, trace_id: str) -> Trace:
        """The trace, from now on if it was not heard of before."""
        key = (tenant, trace_id)
        trace = self._recent.get(key)
        if trace is not None:
            self._recent.move_to_end(key)
            return trace
        trace = self._recent[key] = self._quiet.pop(key) if key in self._quiet else Trace(tenant, trace_id)
        if len(self) > self._limits.traces:
            _, gone = (self._quiet or self._recent).popitem(last=False)
            self.spans -= len(gone.spans)
        return trace

    def span(self, trace: Trace, span_id: str, parent: str | None) -> SpanInfo:
        """The span, from now on if it was not heard of before."""
        info = trace.spans.get(span_id)
        if info is not None:
            info.parent = parent
            return info
        if len(trace.spans) >= self._limits.spans_per_trace:
            del trace.spans[next(iter(trace.spans))]
            self.spans -= 1
        if parent == trace.parent:
            parent = trace.parent
        elif parent is not None:
            trace.parent = parent
        info = trace.spans[span_id] = SpanInfo(parent)
        self.spans += 1
        if self.spans > self._limits.spans:
            self._forget_spans()
        return info

    def _forget_spans(self) -> None:
        """Of the traces heard of longest ago; one whose root has not ended is passed over once."""
        while self.spans > self._limits.spans and len(self._recent) > 1:
            key, trace = self._recent.popitem(last=False)
            if not (trace.ended or trace.spared):
                trace.spared = True
                self._recent[key] = trace
                continue
            self.spans -= len(trace.spans)
            trace.spans = {}
            self._quiet[key] = trace
