"""Places what dialects found into sessions, and turns it into the recorded event stream.

Identity comes late: the session id may stand on a root span that ends last, on the LLM spans only, or nowhere. Until a
trace says whose it is, its steps live in a session named after the trace; when the id arrives the two are merged.
A token is charged once: records of one call (twins) and spans that wrap others of their kind are folded into one step.

Everything here is a function of the fragments in their order and of the events that `restore` was given.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from collector.dialects.base import Fragment, ToolAnswer
from collector.folding import fill, same_call
from collector.tool_calls import ToolCalls
from collector.traces import Limits, SpanInfo, Trace, Traces, remember
from collector.workflows import Workflows
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

_NESTING = frozenset({StepKind.LLM, StepKind.TOOL})


class Assembler:
    """Fragments in, events out. One instance, one thread."""

    def __init__(self, *, price: Pricer, first_seq: int = 1, limits: Limits | None = None) -> None:
        self._price = price
        self._limits = limits or Limits()
        self._seq = first_seq - 1
        self._traces = Traces(self._limits)
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._aliases: OrderedDict[SessionKey, SessionKey] = OrderedDict()
        self._joins: OrderedDict[tuple[str, str], SessionKey] = OrderedDict()
        self._twins: OrderedDict[tuple[str, StepKind, str], int] = OrderedDict()
        self._supplements: OrderedDict[tuple[str, str, str], list[Fragment]] = OrderedDict()
        self._workflows = Workflows(self._limits.ids, self._connected)
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
        trace = self._traces.of(tenant, fragment.trace_id)
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
            session = self._link(tenant, fragment, session)
        if fragment.step is not None:
            self._step(tenant, trace, fragment, info, session)
        for answer in fragment.answers:
            self._answer(fragment, session, answer)

    def _span(self, trace: Trace, fragment: Fragment, explicit: SessionKey | None) -> SpanInfo:
        info = self._traces.span(trace, fragment.span_id or "", fragment.parent_span_id)
        info.explicit = explicit
        if fragment.step is not None:
            info.kind, info.name = fragment.step.kind, fragment.step.name
        elif info.inner_kind is not None:
            # Steps below it came first and could not see past it.
            self._mark_above(trace, info, info.inner_kind, info.inner_name, info.inner_seq)
        return info

    # Whose it is

    def survivor(self, key: SessionKey) -> SessionKey:
        """The session that `key` was merged into, or `key` itself."""
        while (into := self._aliases.get(key)) is not None:
            key = into
        return key

    def _place(self, trace: Trace | None, fragment: Fragment, explicit: SessionKey | None, info: SpanInfo | None) -> SessionKey | None:
        if explicit is not None:
            return explicit
        if trace is None:
            return None
        if info is not None:
            for _, above in trace.ancestors(info):
                if above is not None and above.explicit is not None:
                    return self.survivor(above.explicit)
        if trace.bound is not None:
            return self.survivor(trace.bound)
        if trace.fallback is None:
            if fragment.step is None:
                return None
            trace.fallback = SessionKey(trace.tenant, fragment.namespace, trace.trace_id)
        return self.survivor(trace.fallback)

    def _bind(self, trace: Trace, explicit: SessionKey, at_ns: int) -> None:
        """The first explicit id of a trace claims what the trace said before without one."""
        if trace.bound is not None:
            return
        trace.bound = explicit
        self._emit(TraceJoined(seq=self._next(), session=explicit, trace_id=trace.trace_id))
        if trace.fallback is None:
            return
        owner = self.survivor(trace.fallback)
        if owner == trace.fallback or self._nameless(owner):
            if owner != explicit:
                self._merge(explicit, owner, at_ns)
        else:
            # What they share made it part of a session that has an id of its own: two sessions, one piece of work.
            self._workflows.connect(owner, explicit)

    def _merge(self, survivor: SessionKey, absorbed: SessionKey, at_ns: int) -> None:
        remember(self._aliases, absorbed, survivor, self._limits.ids)
        self._calls.merge(survivor, absorbed)
        self._emit(SessionsMerged(seq=self._next(), session=survivor, absorbed=absorbed, at_ns=at_ns))
        self._workflows.merge(survivor, absorbed)

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
            remember(self._joins, (tenant, join), session, self._limits.ids)
        return session

    def _nameless(self, key: SessionKey) -> bool:
        trace = self._traces.known(key.tenant, key.session_id)
        return trace is not None and trace.fallback == key and trace.bound is None

    # Workflows

    def _touch(self, trace: Trace, session: SessionKey) -> None:
        if session not in trace.sessions:
            for other in trace.sessions:
                self._workflows.connect(self.survivor(other), session)
                break
            trace.sessions[session] = None

    def _link(self, tenant: str, fragment: Fragment, session: SessionKey) -> SessionKey:
        """Connects the session with those of linked traces; one without an id of its own becomes part of another such."""
        for trace_id, _ in fragment.links:
            other = self._traces.known(tenant, trace_id)
            for linked in list(other.sessions) if other is not None else ():
                owner = self.survivor(linked)
                if owner != session and self._nameless(session) and self._nameless(owner):
                    self._merge(owner, session, fragment.at_ns)
                    session = owner
                else:
                    self._workflows.connect(owner, session)
        return session

    def _connected(self, session: SessionKey, workflow_id: str) -> None:
        self._emit(WorkflowJoined(seq=self._next(), session=session, workflow_id=workflow_id))

    # Steps

    def _step(self, tenant: str, trace: Trace | None, fragment: Fragment, info: SpanInfo | None, session: SessionKey) -> None:
        step = fragment.step
        if step is None:
            return
        if fragment.asks:
            step = msgspec.structs.replace(step, asks=fragment.asks)
        if step.agent is None and fragment.agent is not None:
            step = msgspec.structs.replace(step, agent=fragment.agent)
        if self._is_twin(tenant, fragment, step, session, trace=trace, info=info):
            return
        if trace is not None and info is not None and self._is_wrapper(trace, info, fragment, step):
            return
        if step.kind is StepKind.TOOL:
            step, stand_in = self._calls.executed(session, step)
            if stand_in is not None:
                self._retract(stand_in, "the call's own record arrived")
        seq = self._next()
        step = msgspec.structs.replace(step, seq=seq, session=session)
        step = self._with_supplements(tenant, fragment, step)
        if step.kind is StepKind.LLM:
            step = self._price(step)
        remember(self._steps, seq, step, self._limits.recent_steps)
        self._emit(step)
        if info is not None:
            info.step_seq = info.counted_seq = seq
            if trace is not None and step.kind in _NESTING:
                self._mark_above(trace, info, step.kind, step.name, seq)
        if fragment.twin_key:
            remember(self._twins, (tenant, step.kind, fragment.twin_key), seq, self._limits.ids)
        self._calls.asked(session, step)

    def _is_twin(
        self, tenant: str, fragment: Fragment, step: Step, session: SessionKey, *, trace: Trace | None, info: SpanInfo | None
    ) -> bool:
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
        self._amend(known, fill(known, self._with_supplements(tenant, fragment, step)))
        if trace is not None and info is not None:
            info.counted_seq = known.seq
            self._mark_above(trace, info, step.kind, step.name, known.seq)
        return True

    def _is_wrapper(self, trace: Trace, info: SpanInfo, fragment: Fragment, step: Step) -> bool:
        """Whether the span only wraps a step of its own kind that was taken already; missing facts are filled from it."""
        if info.inner_kind is not step.kind or not same_call(step.kind, step.name, info.inner_name):
            return False
        inner = self._steps.get(info.inner_seq)
        if inner is not None and info.inner_count == 1:
            info.counted_seq = inner.seq
            self._amend(inner, fill(inner, self._with_supplements(trace.tenant, fragment, step)))
        self._mark_above(trace, info, step.kind, info.inner_name, info.inner_seq)
        return True

    def _mark_above(self, trace: Trace, info: SpanInfo, kind: StepKind, name: str | None, seq: int, *, restoring: bool = False) -> None:
        """Tells the spans above, up to the next agent or other step, that this step is the one that counts."""
        for span_id, known in trace.ancestors(info):
            above = known if known is not None else self._traces.span(trace, span_id, None)
            if above.kind is not None and above.kind is not kind:
                return
            if not restoring and above.kind is kind and above.step_seq not in {0, seq} and same_call(kind, name, above.name):
                wrapper, inner = self._steps.get(above.step_seq), self._steps.get(seq)
                self._retract(above.step_seq, "it wraps another record of the same call")
                above.step_seq, above.counted_seq = 0, seq
                if wrapper is not None and inner is not None and not above.inner_count:
                    self._amend(inner, fill(inner, wrapper))
            above.inner_count += above.inner_seq != seq
            above.inner_kind, above.inner_name, above.inner_seq = kind, name, seq

    def _answer(self, fragment: Fragment, session: SessionKey, answer: ToolAnswer) -> None:
        """A tool call that nobody recorded as executed shows in the next prompt: that is a step too."""
        step = self._calls.answered(session, fragment, answer)
        if step is None:
            return
        step = msgspec.structs.replace(step, seq=self._next(), session=session)
        self._calls.stands_in(session, step)
        remember(self._steps, step.seq, step, self._limits.recent_steps)
        self._emit(step)

    def _supplement(self, trace: Trace, fragment: Fragment) -> None:
        span_id = fragment.supplements or ""
        info = trace.spans.get(span_id)
        known = self._steps.get(info.counted_seq) if info is not None else None
        if known is None:
            key = (trace.tenant, trace.trace_id, span_id)
            remember(self._supplements, key, [*self._supplements.get(key, []), fragment], self._limits.pending)
        elif fragment.step is not None:
            self._amend(known, fill(known, fragment.step))

    def _with_supplements(self, tenant: str, fragment: Fragment, step: Step) -> Step:
        """The step with the facts that came before it."""
        for late in self._supplements.pop((tenant, fragment.trace_id or "", fragment.span_id or ""), ()):
            step = fill(step, late.step) if late.step is not None else step
        return step

    def _amend(self, known: Step, now: Step) -> None:
        if now == known:
            return
        if now.asks and not known.asks:
            self._calls.asked(self.survivor(now.session), now)
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
                self._calls.merge(event.session, event.absorbed)
            elif isinstance(event, TraceJoined):
                trace = self._traces.of(event.session.tenant, event.trace_id)
                if trace is not None:
                    trace.bound = event.session
                    trace.sessions[event.session] = None
            elif isinstance(event, WorkflowJoined):
                self._workflows.restore(event.session, event.workflow_id)
            elif isinstance(event, Step):
                self._restore_step(event)
            elif isinstance(event, StepAmended):
                remember(self._steps, event.step.seq, event.step, self._limits.recent_steps)
                self._calls.asked(self.survivor(event.session), event.step)
                self._restore_ids(event.step)
            elif isinstance(event, StepRetracted):
                self._steps.pop(event.was.seq, None)
                trace = self._traces.known(event.session.tenant, event.was.trace_id)
                info = trace.spans.get(event.was.span_id) if trace is not None else None
                if info is not None and info.step_seq == event.was.seq:
                    info.step_seq, info.counted_seq = 0, info.inner_seq

    def _restore_step(self, step: Step) -> None:
        session = self.survivor(step.session)
        trace = self._traces.of(session.tenant, step.trace_id)
        remember(self._steps, step.seq, step, self._limits.recent_steps)
        if trace is not None:
            trace.sessions[step.session] = None
            if step.session.session_id == step.trace_id:
                trace.fallback = step.session
        # Made from an outcome in the prompt of a model call: it has that call's span, and no duration.
        stand_in = step.kind is StepKind.TOOL and step.call_id is not None and step.started_ns == step.ended_ns
        if stand_in:
            self._calls.restore_stand_in(session, step)
        elif step.kind is StepKind.TOOL:
            self._calls.executed(session, step)
        known = trace.spans.get(step.span_id) if trace is not None else None
        if trace is not None and step.span_id and not (stand_in and known is not None and known.kind is StepKind.LLM):
            info = self._traces.span(trace, step.span_id, step.parent_span_id)
            info.kind, info.name = step.kind, step.name
            info.step_seq = info.counted_seq = step.seq
            if step.session != trace.fallback:
                info.explicit = step.session
            if step.kind in _NESTING:
                self._mark_above(trace, info, step.kind, step.name, step.seq, restoring=True)
        self._calls.asked(session, step)
        self._restore_ids(step)

    def _restore_ids(self, step: Step) -> None:
        tenant = step.session.tenant
        twin_key = step.call_id if step.kind is StepKind.TOOL else step.response_id
        if twin_key:
            remember(self._twins, (tenant, step.kind, twin_key), step.seq, self._limits.ids)
        for call_id in (step.call_id, *(ask.call_id for ask in step.asks)):
            if call_id:
                remember(self._joins, (tenant, call_id), step.session, self._limits.ids)
