"""Places what dialects found into sessions, and turns it into the recorded event stream.

Identity comes late: the session id may stand on a root span that ends last, on the LLM spans only, or nowhere. Until a
trace says whose it is, its steps live in a session named after the trace; when the id arrives the two are merged.
A token is charged once: records of one call (twins) and spans that wrap others of their kind are folded into one step.

Everything here is a function of the fragments in their order and of the events that `restore` was given.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from collector.dialects.base import Fragment
from collector.folding import completed, fill, same_call
from collector.ownership import Ownership
from collector.tool_calls import Change, ToolCalls
from collector.traces import Limits, SpanInfo, Trace, remember
from collector.twins import Twins
from detectors.model import (
    CostBasis,
    Evaluation,
    Event,
    Identified,
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

_TRACE_ID = re.compile("[0-9a-f]{32}")
_HELD = 64
"""Judgements held for one trace."""
_NESTING = frozenset({StepKind.LLM, StepKind.TOOL})


class Assembler(Ownership):
    """Fragments in, events out. One instance, one thread."""

    def __init__(self, *, price: Pricer, first_seq: int = 1, limits: Limits | None = None) -> None:
        super().__init__(first_seq=first_seq, limits=limits or Limits())
        self._price = price
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._twins = Twins(self._limits.ids)
        self._supplements: OrderedDict[tuple[str, str, str], list[Fragment]] = OrderedDict()
        self._calls = ToolCalls(self._limits.pending)
        self._held: OrderedDict[tuple[str, str], list[Fragment]] = OrderedDict()
        """Judgements of traces of which nothing was placed yet."""
        self.unplaced = 0
        """Steps that belong to no trace and name no session: kept raw, in no session."""

    def add(self, tenant: str, fragment: Fragment) -> None:
        """Takes in what one span or log record said."""
        trace = self._traces.of(tenant, fragment.trace_id)
        if fragment.evaluations and fragment.span_id is None:
            self._judge(tenant, trace, fragment)
            return
        if fragment.supplements and trace is not None:
            self._supplement(trace, fragment)
            return
        for late in self._supplements.pop((tenant, fragment.trace_id or "", fragment.span_id or ""), ()):
            completed(fragment, late)
        explicit = SessionKey(tenant, fragment.namespace, fragment.session_id) if fragment.session_id else None
        if explicit is not None:
            explicit = self.survivor(explicit)
        info = None
        if trace is not None and fragment.span_id:
            info = self._span(trace, fragment, explicit)
        if explicit is not None and trace is not None:
            self._bind(trace, explicit, fragment.at_ns)
        session = self._place(trace, fragment, explicit, info)
        for part in fragment.parts:
            self.add(tenant, part)
        if session is None:
            self.unplaced += fragment.step is not None
            self._hold(trace, fragment)
            return
        session = self.survivor(session)
        if trace is not None:
            session = self._touch(trace, session, fragment.at_ns)
        session = self._join(tenant, fragment, session)
        if trace is not None:
            session = self._link(tenant, fragment, session)
        for conversation_id in fragment.conversation_ids:
            self._identify(session, conversation_id)
        if fragment.step is not None:
            self._step(tenant, trace, fragment, info, session)
        for answer in fragment.answers:
            self._settle(session, self._calls.answered(session, fragment, answer))
        self._judged(session, fragment)
        if self._held and trace is not None:
            for held in self._held.pop((tenant, trace.trace_id), ()):
                self._judged(session, held)

    def _span(self, trace: Trace, fragment: Fragment, explicit: SessionKey | None) -> SpanInfo:
        info = self._traces.span(trace, fragment.span_id or "", fragment.parent_span_id)
        info.explicit = explicit
        if fragment.step is not None:
            info.kind, info.name = fragment.step.kind, fragment.step.name
        elif info.inner_kind is not None:
            # Steps below it came first and could not see past it.
            self._mark_above(trace, info, info.inner_kind, info.inner_name, info.inner_seq)
        return info

    # Steps

    def _merged(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        self._settle(survivor, self._calls.merge(survivor, absorbed))

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
        if trace is not None and info is not None and self._is_wrapper(trace, info, step):
            return
        seq = self._next()
        step = msgspec.structs.replace(step, seq=seq, session=session)
        changes: list[Change] = []
        if step.kind is StepKind.TOOL:
            step, changes = self._calls.executed(session, step)
        elif step.kind is StepKind.LLM:
            step = self._price(step)
        remember(self._steps, seq, step, self._limits.recent_steps)
        self._emit(step)
        if info is not None:
            info.step_seq = info.counted_seq = seq
            if trace is not None and step.kind in _NESTING:
                self._mark_above(trace, info, step.kind, step.name, seq)
        self._twins.note(tenant, fragment, step)
        self._settle(session, changes)
        self._asked(step)

    def _is_twin(
        self, tenant: str, fragment: Fragment, step: Step, session: SessionKey, *, trace: Trace | None, info: SpanInfo | None
    ) -> bool:
        """Whether another record of the very same call was taken already. What the two say is put together."""
        known = self._twins.of(tenant, fragment, step, self._steps, lambda one: trace is not None and trace.nested(info, one))
        if known is None:
            return False
        owner = self.survivor(known.session)
        if owner != session:
            if self._nameless(owner):
                self._merge(session, owner, fragment.at_ns)
            elif self._nameless(session):
                self._merge(owner, session, fragment.at_ns)
        known = self._steps.get(known.seq, known)
        self._amend(known, self._twins.combined(tenant, fragment, known, step))
        if trace is not None and info is not None:
            info.counted_seq = known.seq
            self._mark_above(trace, info, step.kind, step.name, known.seq)
        return True

    def _is_wrapper(self, trace: Trace, info: SpanInfo, step: Step) -> bool:
        """Whether the span only wraps a step of its own kind that was taken already; missing facts are filled from it."""
        if info.inner_kind is not step.kind or not same_call(step.kind, step.name, info.inner_name):
            return False
        inner = self._steps.get(info.inner_seq)
        if inner is not None and info.inner_count == 1:
            info.counted_seq = inner.seq
            self._amend(inner, fill(inner, step))
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
                if inner is not None:
                    self._asked(self._steps.get(seq, inner))
            above.inner_count += above.inner_seq != seq
            above.inner_kind, above.inner_name, above.inner_seq = kind, name, seq

    def _asked(self, step: Step) -> None:
        session = self.survivor(step.session)
        self._settle(session, self._calls.asked(session, step))

    def _settle(self, session: SessionKey, changes: list[Change]) -> None:
        """Carries out what a new fact about tool calls does to their steps."""
        for change in changes:
            known = self._steps.get(change.seq)
            if change.step is not None:
                step = msgspec.structs.replace(change.step, seq=self._next(), session=session)
                self._calls.stands_in(session, step)
                remember(self._steps, step.seq, step, self._limits.recent_steps)
                self._emit(step)
            elif known is not None and change.facts is not None:
                self._amend(known, msgspec.structs.replace(known, **change.facts))
            elif known is not None:
                self._retract(known.seq, "the call's own record arrived")

    def _supplement(self, trace: Trace, fragment: Fragment) -> None:
        span_id = fragment.supplements or ""
        info = trace.spans.get(span_id)
        known = self._steps.get(info.counted_seq) if info is not None else None
        if known is None:
            key = (trace.tenant, trace.trace_id, span_id)
            remember(self._supplements, key, [*self._supplements.get(key, []), fragment], self._limits.pending)
            return
        session = self._join(trace.tenant, fragment, self.survivor(known.session))
        if fragment.step is not None:
            self._amend(known, fill(known, fragment.step))
            fragment.step = self._steps.get(known.seq, known)
            for answer in fragment.answers:
                self._settle(session, self._calls.answered(session, fragment, answer))

    def _amend(self, known: Step, now: Step) -> None:
        if now == known:
            return
        if now.kind is StepKind.LLM and known.cost_basis is not CostBasis.PROVIDER:
            now = self._price(now)
        self._steps[known.seq] = now
        session = self.survivor(now.session)
        if known.seq in self._out:
            self._out[known.seq] = now
        else:
            self._emit(StepAmended(seq=self._next(), session=session, step=now, was=without_texts(known)))
        if now.asks and not known.asks:
            self._asked(now)
        if now.call_id and not known.call_id and now.kind is StepKind.TOOL:
            self._settle(session, self._calls.identified(session, now))

    def _retract(self, step_seq: int, reason: str) -> None:
        known, unsent = self._steps.pop(step_seq, None), self._out.pop(step_seq, None)
        if known is None:
            return
        session = self.survivor(known.session)
        if unsent is None:
            self._emit(StepRetracted(seq=self._next(), session=session, was=without_texts(known), reason=reason))
        self._settle(session, self._calls.dropped(session, known))

    # Judgements

    def _judge(self, tenant: str, trace: Trace | None, fragment: Fragment) -> None:
        """Takes in a record that only judges: it names a session, a span of one, or the response that was judged."""
        if fragment.session_id:
            self._judged(self.survivor(SessionKey(tenant, fragment.namespace, fragment.session_id)), fragment)
            return
        info = trace.spans.get(fragment.parent_span_id or "") if trace is not None else None
        known = self._steps.get(info.counted_seq) if info is not None else None
        for one in fragment.evaluations:
            known = known or self._twins.step_of(tenant, StepKind.LLM, one.response_id, self._steps)
        above = SpanInfo(fragment.parent_span_id)
        session = self.survivor(known.session) if known is not None else self._place(trace, fragment, None, above)
        if session is None:
            self._hold(trace, fragment)
        else:
            self._judged(session, fragment)

    def _hold(self, trace: Trace | None, fragment: Fragment) -> None:
        if not fragment.evaluations:
            return
        if trace is None:
            self.unplaced += 1
            return
        key = (trace.tenant, trace.trace_id)
        remember(self._held, key, [*self._held.get(key, [])[-_HELD:], fragment], self._limits.pending)

    def _judged(self, session: SessionKey, fragment: Fragment) -> None:
        for one in fragment.evaluations:
            at_ns, seq = fragment.at_ns, self._next()
            self._emit(Evaluation(seq=seq, session=session, name=one.name, score=one.score, label=one.label, at_ns=at_ns))

    # Restart

    def restore(self, events: Sequence[Event], parents: Iterable[tuple[str, str, str, str]] = ()) -> None:
        """Learns again from recorded events what it knew when it made them. Emits nothing.

        `parents` are (tenant, trace id, span id, parent span id) of recent spans: those that are no steps left no event.
        """
        told = {(event.session.tenant, event.trace_id) for event in events if isinstance(event, Step)}
        for tenant, trace_id, span_id, parent in parents:
            trace = self._traces.of(tenant, trace_id) if (tenant, trace_id) in told else None
            if trace is not None:
                self._traces.span(trace, span_id, parent)
        named = {event.session for event in events if isinstance(event, TraceJoined)}
        for event in events:
            self._seq = max(self._seq, event.seq)
            if isinstance(event, SessionsMerged):
                self._aliases[event.absorbed] = event.session
                self._calls.merge(event.session, event.absorbed)
                if event.session not in named:
                    self._restore_nameless(event.session)
            elif isinstance(event, TraceJoined):
                trace = self._traces.of(event.session.tenant, event.trace_id)
                if trace is not None:
                    trace.bound = event.session
                    trace.sessions[event.session] = None
            elif isinstance(event, WorkflowJoined):
                self._workflows.restore(event.session, event.workflow_id)
            elif isinstance(event, Identified):
                self._workflows.identify(event.session, event.conversation_id)
            elif isinstance(event, Step):
                self._restore_step(event)
            elif isinstance(event, StepAmended):
                remember(self._steps, event.step.seq, event.step, self._limits.recent_steps)
                self._calls.asked(self.survivor(event.session), event.step)
                self._restore_ids(event.step)
            elif isinstance(event, StepRetracted):
                self._calls.dropped(self.survivor(event.session), self._steps.pop(event.was.seq, event.was))
                trace = self._traces.known(event.session.tenant, event.was.trace_id)
                info = trace.spans.get(event.was.span_id) if trace is not None else None
                if info is not None and info.step_seq == event.was.seq:
                    info.step_seq, info.counted_seq = 0, info.inner_seq

    def _restore_nameless(self, key: SessionKey) -> None:
        """A session named after its trace is known by its steps, but one that only took over others has none of its own."""
        trace = self._traces.of(key.tenant, key.session_id) if _TRACE_ID.fullmatch(key.session_id) else None
        if trace is not None and trace.fallback is None:
            trace.fallback = key
            trace.sessions[key] = None

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
            self._calls.stands_in(session, step)
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
        self._twins.restore(step.session.tenant, step)
        for call_id in filter(None, (step.call_id, *(ask.call_id for ask in step.asks))):
            remember(self._joins, (step.session.tenant, call_id), step.session, self._limits.ids)
