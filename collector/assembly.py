"""Places what dialects found into sessions, and turns it into the recorded event stream.

Identity comes late: the session id may stand on a root span that ends last, on the LLM spans only, or nowhere. Until a
trace says whose it is, its steps live in a session named after the trace; when the id arrives the two are merged.
A token is charged once: records of one call (twins) and spans that wrap others of their kind are folded into one step.

Everything here is a function of the fragments in their order and of the events that `restore` was given.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from collector.dialects.base import Fragment, ToolAnswer
from collector.tool_calls import ToolCalls
from detectors.model import (
    CostBasis,
    Event,
    SessionKey,
    SessionsMerged,
    Step,
    StepAmended,
    StepKind,
    StepRetracted,
    TraceJoined,
    WorkflowJoined,
    without_texts,
)

Pricer = Callable[[Step], Step]
"""Fills cost, cost basis and context window of an `llm` step."""

_FILLED = tuple(
    field
    for field in Step.__struct_fields__
    if field
    not in {
        "seq",
        "session",
        "kind",
        "started_ns",
        "ended_ns",
        "trace_id",
        "span_id",
        "parent_span_id",
        "dialect",
        "cost_usd",
        "cost_basis",
    }
)
_PARENT_HOPS = 64
_NESTING = frozenset({StepKind.LLM, StepKind.TOOL})


class _SpanInfo(msgspec.Struct):
    """What is remembered of a span: enough to find ancestors and to change its step later.

    `inner_seq` is the step of the same kind that was found below it, `inner_count` how many there were.
    """

    parent: str | None
    explicit: SessionKey | None = None
    kind: StepKind | None = None
    name: str | None = None
    step_seq: int = 0
    inner_kind: StepKind | None = None
    inner_name: str | None = None
    inner_seq: int = 0
    inner_count: int = 0


class _Trace(msgspec.Struct):
    """What is remembered of a trace: whose it is and how its spans hang together."""

    tenant: str
    trace_id: str
    bound: SessionKey | None = None
    fallback: SessionKey | None = None
    sessions: dict[SessionKey, None] = {}
    spans: dict[str, _SpanInfo] = {}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what the assembler remembers. Beyond them the oldest is forgotten: late facts then arrive too late."""

    traces: int = 100_000
    spans_per_trace: int = 2_000
    recent_steps: int = 20_000
    ids: int = 200_000
    pending: int = 10_000


K = TypeVar("K")
V = TypeVar("V")


def _remember(mapping: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    """Sets `key`, and forgets the oldest entry beyond `limit`."""
    mapping[key] = value
    mapping.move_to_end(key)
    if len(mapping) > limit:
        mapping.popitem(last=False)


class Assembler:
    """Fragments in, events out. One instance, one thread."""

    def __init__(self, *, price: Pricer, first_seq: int = 1, limits: Limits | None = None) -> None:
        self._price = price
        self._limits = limits or Limits()
        self._seq = first_seq - 1
        self._traces: OrderedDict[tuple[str, str], _Trace] = OrderedDict()
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._aliases: OrderedDict[SessionKey, SessionKey] = OrderedDict()
        self._joins: OrderedDict[tuple[str, str], SessionKey] = OrderedDict()
        self._twins: OrderedDict[tuple[str, StepKind, str], int] = OrderedDict()
        self._supplements: OrderedDict[tuple[str, str, str], list[Fragment]] = OrderedDict()
        self._workflows: OrderedDict[SessionKey, str] = OrderedDict()
        self._calls = ToolCalls(self._limits.pending)
        self._out: OrderedDict[int, Event] = OrderedDict()
        self.unplaced = 0
        """Steps that belong to no trace and name no session: kept raw, in no session."""

    @property
    def last_seq(self) -> int:
        return self._seq

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _emit(self, event: Event) -> None:
        self._out[event.seq] = event

    def skip(self, events: Iterable[Event]) -> None:
        """Leaves out the sequence numbers of events that were made elsewhere."""
        self._seq = max([self._seq, *(event.seq for event in events)])

    def take(self) -> list[Event]:
        """The events since the last call, in order. Changes to a step that is still among them are already folded in."""
        events = list(self._out.values())
        self._out.clear()
        return events

    def add(self, tenant: str, fragment: Fragment) -> None:
        """Takes in what one span or log record said."""
        trace = self._trace(tenant, fragment.trace_id)
        if fragment.supplements and trace is not None:
            self._supplement(trace, fragment)
            return
        explicit = SessionKey(tenant, fragment.namespace, fragment.session_id) if fragment.session_id else None
        if explicit is not None:
            explicit = self.survivor(explicit)
        info = None
        if trace is not None and fragment.span_id:
            info = self._span(trace, fragment, explicit)
        if explicit is not None and trace is not None:
            self._bind(trace, explicit, fragment.at_ns)
        session = self._place(trace, fragment, explicit, info)
        if session is None:
            self.unplaced += fragment.step is not None
            return
        if trace is not None:
            self._touch(trace, session)
        session = self._join(tenant, fragment, session)
        if trace is not None:
            self._link(tenant, fragment, session)
        if fragment.step is not None:
            self._step(tenant, trace, fragment, info, session)
        for answer in fragment.answers:
            self._answer(fragment, session, answer)

    # Traces and spans

    def _trace(self, tenant: str, trace_id: str | None) -> _Trace | None:
        if not trace_id:
            return None
        key = (tenant, trace_id)
        trace = self._traces.get(key)
        if trace is None:
            trace = self._traces[key] = _Trace(tenant, trace_id, sessions={}, spans={})
            if len(self._traces) > self._limits.traces:
                self._traces.popitem(last=False)
        else:
            self._traces.move_to_end(key)
        return trace

    def _span(self, trace: _Trace, fragment: Fragment, explicit: SessionKey | None) -> _SpanInfo:
        span_id = fragment.span_id or ""
        info = trace.spans.get(span_id)
        step = fragment.step
        if info is None:
            if len(trace.spans) >= self._limits.spans_per_trace:
                trace.spans.pop(next(iter(trace.spans)))
            info = trace.spans[span_id] = _SpanInfo(fragment.parent_span_id)
        info.parent = fragment.parent_span_id
        info.explicit = explicit
        if step is not None:
            info.kind, info.name = step.kind, step.name
        return info

    def _ancestors(self, trace: _Trace, info: _SpanInfo) -> Iterable[tuple[str, _SpanInfo | None]]:
        """Span ids above `info`, nearest first; the last may be one that has not arrived."""
        parent = info.parent
        for _ in range(_PARENT_HOPS):
            if not parent:
                return
            above = trace.spans.get(parent)
            yield parent, above
            if above is None:
                return
            parent = above.parent

    # Whose it is

    def survivor(self, key: SessionKey) -> SessionKey:
        """The session that `key` was merged into, or `key` itself."""
        while (into := self._aliases.get(key)) is not None:
            key = into
        return key

    def _place(self, trace: _Trace | None, fragment: Fragment, explicit: SessionKey | None, info: _SpanInfo | None) -> SessionKey | None:
        if explicit is not None:
            return explicit
        if trace is None:
            return None
        if info is not None:
            for _, above in self._ancestors(trace, info):
                if above is not None and above.explicit is not None:
                    return self.survivor(above.explicit)
        if trace.bound is not None:
            return self.survivor(trace.bound)
        if trace.fallback is None:
            if fragment.step is None:
                return None
            trace.fallback = SessionKey(trace.tenant, fragment.namespace, trace.trace_id)
        return self.survivor(trace.fallback)

    def _bind(self, trace: _Trace, explicit: SessionKey, at_ns: int) -> None:
        """The first explicit id of a trace claims what the trace said before without one."""
        if trace.bound is not None:
            return
        trace.bound = explicit
        self._emit(TraceJoined(seq=self._next(), session=explicit, trace_id=trace.trace_id))
        if trace.fallback is not None and self.survivor(trace.fallback) != explicit:
            self._merge(explicit, self.survivor(trace.fallback), at_ns)

    def _merge(self, survivor: SessionKey, absorbed: SessionKey, at_ns: int) -> None:
        _remember(self._aliases, absorbed, survivor, self._limits.ids)
        self._calls.merge(survivor, absorbed)
        self._emit(SessionsMerged(seq=self._next(), session=survivor, absorbed=absorbed, at_ns=at_ns))
        workflow = self._workflows.pop(absorbed, None)
        if workflow is not None and survivor not in self._workflows:
            self._set_workflow(survivor, workflow)

    def _join(self, tenant: str, fragment: Fragment, session: SessionKey) -> SessionKey:
        """Sessions without an id of their own that share a tool-call id are one."""
        for join in fragment.joins:
            known = self._joins.get((tenant, join))
            if known is not None:
                known = self.survivor(known)
                if known != session and self._nameless(session):
                    self._merge(known, session, fragment.at_ns)
                    session = known
                elif known != session and self._nameless(known):
                    self._merge(session, known, fragment.at_ns)
            _remember(self._joins, (tenant, join), session, self._limits.ids)
        return session

    def _nameless(self, key: SessionKey) -> bool:
        trace = self._traces.get((key.tenant, key.session_id))
        return trace is not None and trace.fallback == key and trace.bound is None

    # Workflows

    def _touch(self, trace: _Trace, session: SessionKey) -> None:
        if session not in trace.sessions:
            for other in trace.sessions:
                self._connect(self.survivor(other), session)
                break
            trace.sessions[session] = None

    def _link(self, tenant: str, fragment: Fragment, session: SessionKey) -> None:
        for trace_id, _ in fragment.links:
            other = self._traces.get((tenant, trace_id))
            if other is None:
                continue
            for linked in other.sessions:
                linked_survivor = self.survivor(linked)
                if linked_survivor != session and self._nameless(session) and self._nameless(linked_survivor):
                    self._merge(linked_survivor, session, fragment.at_ns)
                    session = linked_survivor
                else:
                    self._connect(linked_survivor, session)

    def _connect(self, first: SessionKey, second: SessionKey) -> None:
        if first == second:
            return
        one = self._workflows.get(first)
        two = self._workflows.get(second)
        if one is not None and one == two:
            return
        target = one or two or workflow_of(first)
        if two is not None and two != target:
            for key, workflow in list(self._workflows.items()):
                if workflow == two:
                    self._set_workflow(key, target)
        for key in (first, second):
            if self._workflows.get(key) != target:
                self._set_workflow(key, target)

    def _set_workflow(self, key: SessionKey, workflow: str) -> None:
        _remember(self._workflows, key, workflow, self._limits.ids)
        self._emit(WorkflowJoined(seq=self._next(), session=key, workflow_id=workflow))

    # Steps

    def _step(self, tenant: str, trace: _Trace | None, fragment: Fragment, info: _SpanInfo | None, session: SessionKey) -> None:
        step = fragment.step
        if step is None:
            return
        if fragment.asks:
            step = msgspec.structs.replace(step, asks=fragment.asks)
        if step.agent is None and fragment.agent is not None:
            step = msgspec.structs.replace(step, agent=fragment.agent)
        if self._is_twin(tenant, fragment, step, session):
            return
        if trace is not None and info is not None and self._is_wrapper(trace, info, step):
            return
        if step.kind is StepKind.TOOL:
            step, stand_in = self._calls.executed(session, step)
            if stand_in is not None:
                self._retract(stand_in, "the call's own record arrived")
        seq = self._next()
        step = msgspec.structs.replace(step, seq=seq, session=session)
        key = (tenant, fragment.trace_id or "", fragment.span_id or "")
        for late in self._supplements.pop(key, ()):
            step = _fill(step, late.step) if late.step is not None else step
        if step.kind is StepKind.LLM:
            step = self._price(step)
        _remember(self._steps, seq, step, self._limits.recent_steps)
        self._emit(step)
        if info is not None:
            info.step_seq = seq
            if trace is not None and step.kind in _NESTING:
                self._mark_above(trace, info, step.kind, step.name, seq)
        if fragment.twin_key:
            _remember(self._twins, (tenant, step.kind, fragment.twin_key), seq, self._limits.ids)
        self._calls.asked(session, step)

    def _is_twin(self, tenant: str, fragment: Fragment, step: Step, session: SessionKey) -> bool:
        """Whether another record of the very same call was taken already. Its missing facts are filled from this one."""
        if not fragment.twin_key:
            return False
        known = self._steps.get(self._twins.get((tenant, step.kind, fragment.twin_key), 0))
        # The same id at another time is a sender that reuses ids, not a twin.
        if known is None or known.started_ns > step.ended_ns or step.started_ns > known.ended_ns:
            return False
        owner = self.survivor(known.session)
        if owner != session:
            if self._nameless(owner):
                self._merge(session, owner, fragment.at_ns)
            elif self._nameless(session):
                self._merge(owner, session, fragment.at_ns)
        self._amend(known, _fill(known, step))
        return True

    def _is_wrapper(self, trace: _Trace, info: _SpanInfo, step: Step) -> bool:
        """Whether the span only wraps a step of its own kind that was taken already; missing facts are filled from it."""
        if info.inner_kind is not step.kind or not _same_call(step.kind, step.name, info.inner_name):
            return False
        inner = self._steps.get(info.inner_seq)
        if inner is not None and info.inner_count == 1:
            self._amend(inner, _fill(inner, step))
        self._mark_above(trace, info, step.kind, info.inner_name, info.inner_seq)
        return True

    def _mark_above(self, trace: _Trace, info: _SpanInfo, kind: StepKind, name: str | None, seq: int) -> None:
        """Tells the spans above, up to the next agent or other step, that this step is the one that counts."""
        for span_id, known in self._ancestors(trace, info):
            above = known
            if above is None:
                above = trace.spans[span_id] = _SpanInfo(None)
            elif above.kind is not None and above.kind is not kind:
                return
            if above.kind is kind and above.step_seq and _same_call(kind, name, above.name):
                wrapper, inner = self._steps.get(above.step_seq), self._steps.get(seq)
                self._retract(above.step_seq, "it wraps another record of the same call")
                above.step_seq = 0
                if wrapper is not None and inner is not None and not above.inner_count:
                    self._amend(inner, _fill(inner, wrapper))
            above.inner_kind, above.inner_name, above.inner_seq = kind, name, seq
            above.inner_count += 1

    def _answer(self, fragment: Fragment, session: SessionKey, answer: ToolAnswer) -> None:
        """A tool call that nobody recorded as executed shows in the next prompt: that is a step too."""
        step = self._calls.answered(session, fragment, answer)
        if step is None:
            return
        step = msgspec.structs.replace(step, seq=self._next(), session=session)
        self._calls.stands_in(session, step)
        _remember(self._steps, step.seq, step, self._limits.recent_steps)
        self._emit(step)

    def _supplement(self, trace: _Trace, fragment: Fragment) -> None:
        span_id = fragment.supplements or ""
        info = trace.spans.get(span_id)
        known = self._steps.get(info.step_seq) if info is not None else None
        if known is None:
            key = (trace.tenant, trace.trace_id, span_id)
            _remember(self._supplements, key, [*self._supplements.get(key, []), fragment], self._limits.pending)
        elif fragment.step is not None:
            self._amend(known, _fill(known, fragment.step))

    def _amend(self, known: Step, now: Step) -> None:
        if now == known:
            return
        if now.kind is StepKind.LLM and known.cost_basis is not CostBasis.PROVIDER:
            now = self._price(now)
        self._steps[known.seq] = now
        if known.seq in self._out:
            self._out[known.seq] = now
        else:
            self._emit(StepAmended(seq=self._next(), session=self.survivor(now.session), step=now, was=without_texts(known)))

    def _retract(self, step_seq: int, reason: str) -> None:
        known = self._steps.pop(step_seq, None)
        if self._out.pop(step_seq, None) is None and known is not None:
            self._emit(StepRetracted(seq=self._next(), session=self.survivor(known.session), was=without_texts(known), reason=reason))

    # Restart

    def restore(self, events: Iterable[Event]) -> None:
        """Learns again from recorded events what it knew when it made them. Emits nothing."""
        for event in events:
            self._seq = max(self._seq, event.seq)
            if isinstance(event, SessionsMerged):
                self._aliases[event.absorbed] = event.session
            elif isinstance(event, TraceJoined):
                trace = self._trace(event.session.tenant, event.trace_id)
                if trace is not None:
                    trace.bound = event.session
                    trace.sessions[event.session] = None
            elif isinstance(event, WorkflowJoined):
                self._workflows[event.session] = event.workflow_id
            elif isinstance(event, Step):
                self._restore_step(event)
            elif isinstance(event, StepAmended):
                self._steps[event.step.seq] = event.step
            elif isinstance(event, StepRetracted):
                self._steps.pop(event.was.seq, None)

    def _restore_step(self, step: Step) -> None:
        trace = self._trace(step.session.tenant, step.trace_id)
        if trace is not None and step.span_id:
            trace.spans[step.span_id] = _SpanInfo(step.parent_span_id, kind=step.kind, name=step.name, step_seq=step.seq)
            trace.sessions[step.session] = None
            if step.session.session_id == step.trace_id:
                trace.fallback = step.session
        if step.kind is StepKind.TOOL:
            self._calls.executed(step.session, step)
        self._calls.asked(step.session, step)
        if step.response_id:
            self._twins[step.session.tenant, step.kind, step.response_id] = step.seq
        self._steps[step.seq] = step


def _same_call(kind: StepKind, name: str | None, other: str | None) -> bool:
    """Whether nested spans of one kind are one call: model calls do not nest, tools do under other names."""
    return kind is StepKind.LLM or name is None or other is None or name == other


def workflow_of(key: SessionKey) -> str:
    """The workflow of a session that nothing connects to another: named after the session."""
    return f"wf-{key.session_id}"


def _fill(step: Step, other: Step) -> Step:
    """`step` with each fact it lacks taken from `other`."""
    changes = {
        field: getattr(other, field) for field in _FILLED if getattr(step, field) in (None, ()) and getattr(other, field) not in (None, ())
    }
    return msgspec.structs.replace(step, **changes) if changes else step
