"""Places what dialects found into sessions, and turns it into the recorded event stream.

Identity comes late: the session id may stand on a root span that ends last, on the LLM spans only, or nowhere. Until a
trace says whose it is, its steps live in a session named after the trace; when the id arrives the two are merged.
A token is charged once: records of one call (twins) and spans that wrap others of their kind are folded into one step.

Everything here is a function of the fragments in their order and of the events that `restore` was given.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from collector.bounded import Weighed, remember
from collector.counting import CALLS, NESTING, STEP_BYTES, Counting, Pricer, step_bytes
from collector.dialects.base import Fragment
from collector.folding import completed, fill
from collector.traces import Limits, SpanInfo, Trace
from detectors.model import (
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
)

_TRACE_ID = re.compile("[0-9a-f]{32}")
_WAITING: Final = 64
"""Records that wait for one span, and judgements for one trace."""


def _waiting_bytes(fragments: list[Fragment]) -> int:
    return sum(STEP_BYTES + (step_bytes(fragment.step) if fragment.step is not None else 0) for fragment in fragments)


class Assembler(Counting):
    """Fragments in, events out. One instance, one thread."""

    def __init__(self, *, price: Pricer, first_seq: int = 1, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        super().__init__(price=price, first_seq=first_seq, limits=limits)
        waiting = limits.waiting, limits.waiting_bytes, _waiting_bytes
        self._supplements: Weighed[tuple[str, str, str], list[Fragment]] = Weighed(*waiting)
        self._held: Weighed[tuple[str, str], list[Fragment]] = Weighed(*waiting)
        """Judgements of traces of which nothing was placed yet."""
        self.unplaced = 0
        """Steps that belong to no trace and name no session: kept raw, in no session."""

    def add(self, tenant: str, fragment: Fragment) -> None:
        """Takes in what one span or log record said. The fragment and its step are the assembler's own from then on."""
        trace = self._traces.of(tenant, fragment.trace_id) if fragment.trace_id else None
        if fragment.evaluations and fragment.span_id is None:
            self._judge(tenant, trace, fragment)
            return
        if fragment.supplements and trace is not None:
            self._supplement(trace, fragment)
            return
        if len(self._supplements):
            for late in self._supplements.pop((tenant, fragment.trace_id or "", fragment.span_id or "")) or ():
                completed(fragment, late)
        explicit = self._named(tenant, trace, fragment) if fragment.session_id else None
        info = None
        if trace is not None:
            if fragment.span_id:
                info = self._span(trace, fragment, explicit)
            if explicit is not None and trace.bound is None:
                self._bind(trace, explicit, fragment.at_ns)
        session = explicit if explicit is not None or trace is None else self._place(trace, fragment, info)
        for part in fragment.parts:
            self.add(tenant, part)
        if session is None:
            self.unplaced += fragment.step is not None
            if fragment.evaluations:
                self._hold(trace, fragment)
            return
        if fragment.parts:
            session = self.survivor(session)
        if explicit is not None and session != self._heard_of:
            self._hear_of(session)
        if trace is not None and (trace.linkers or session not in trace.sessions):
            session = self._touch(trace, session, fragment.at_ns)
        if fragment.joins:
            session = self._join(tenant, fragment, session)
        if fragment.links and trace is not None:
            session = self._link(tenant, fragment, session)
        for conversation_id in fragment.conversation_ids:
            self._identify(session, conversation_id)
        if fragment.step is not None:
            self._step(tenant, trace, fragment, info, session)
        for answer in fragment.answers:
            self._settle(session, self._calls.answered(session, fragment, answer))
        if fragment.evaluations:
            self._judged(session, fragment)
        if len(self._held) and trace is not None:
            for held in self._held.pop((tenant, trace.trace_id)) or ():
                self._judged(session, held)

    def _named(self, tenant: str, trace: Trace | None, fragment: Fragment) -> SessionKey:
        """The session that the fragment names."""
        key = trace.bound if trace is not None else None
        if key is None or key.session_id != fragment.session_id or key.namespace != fragment.namespace:
            key = SessionKey(tenant, fragment.namespace, fragment.session_id or "")
        return self.survivor(key)

    def _span(self, trace: Trace, fragment: Fragment, explicit: SessionKey | None) -> SpanInfo:
        info = self._traces.span(trace, fragment.span_id or "", fragment.parent_span_id)
        info.explicit = explicit
        if fragment.is_root:
            trace.ended = True
        if fragment.step is not None:
            info.kind, info.name = fragment.step.kind, fragment.step.name
        elif info.inner is not None:
            # Steps below it came first and could not see past it.
            self._mark_above(trace, info, info.inner.kind, info.inner.name, info.inner.seq)
        return info

    def _supplement(self, trace: Trace, fragment: Fragment) -> None:
        span_id = fragment.supplements or ""
        info = trace.spans.get(span_id)
        known = self._steps.get(info.counted_seq) if info is not None else None
        if known is None:
            self._wait((trace.tenant, trace.trace_id, span_id), fragment)
            return
        session = self._join(trace.tenant, fragment, self.survivor(known.session))
        if fragment.step is not None:
            self._amend(known, fill(known, fragment.step))
            fragment.step = self._steps.get(known.seq) or known
            for answer in fragment.answers:
                self._settle(session, self._calls.answered(session, fragment, answer))

    def _wait(self, key: tuple[str, str, str], fragment: Fragment) -> None:
        waiting = self._supplements.get(key) or []
        if len(waiting) < _WAITING:
            self._supplements.set(key, [*waiting, fragment])

    # Judgements

    def _judge(self, tenant: str, trace: Trace | None, fragment: Fragment) -> None:
        """Takes in a record that only judges: it names a session, a span of one, or the response that was judged."""
        if fragment.session_id:
            self._judged(self._named(tenant, trace, fragment), fragment)
            return
        info = trace.spans.get(fragment.parent_span_id or "") if trace is not None else None
        known = self._steps.get(info.counted_seq) if info is not None else None
        for one in fragment.evaluations:
            known = known or self._twins.step_of(tenant, StepKind.LLM, one.response_id, self._steps.get)
        if known is not None:
            session: SessionKey | None = self.survivor(known.session)
        else:
            session = self._place(trace, fragment, SpanInfo(fragment.parent_span_id)) if trace is not None else None
        if session is None:
            self._hold(trace, fragment)
        else:
            self._judged(session, fragment)

    def _hold(self, trace: Trace | None, fragment: Fragment) -> None:
        if trace is None:
            self.unplaced += 1
            return
        key = (trace.tenant, trace.trace_id)
        self._held.set(key, [*(self._held.get(key) or [])[1 - _WAITING :], fragment])

    def _judged(self, session: SessionKey, fragment: Fragment) -> None:
        for one in fragment.evaluations:
            at_ns, seq = fragment.at_ns, self._next()
            self._emit(Evaluation(seq=seq, session=session, name=one.name, score=one.score, label=one.label, at_ns=at_ns))

    # Restart

    def restore(
        self,
        events: Sequence[Event],
        parents: Iterable[tuple[str, str, str, str]] = (),
        waiting: Iterable[tuple[str, Fragment | None]] = (),
    ) -> None:
        """Learns again from recorded events what it knew when it made them. Emits nothing.

        `parents` are (tenant, trace id, span id, parent span id) of recent spans: those that are no steps left no event.
        `waiting` are (tenant, fragment) of records that came before the span to which they add.
        """
        for tenant, late in waiting:
            if late is not None and late.supplements and late.trace_id:
                self._wait((tenant, late.trace_id, late.supplements), late)
        trace: Trace | None
        told = {(event.session.tenant, event.trace_id) for event in events if isinstance(event, Step)}
        for tenant, trace_id, span_id, parent in parents:
            if (tenant, trace_id) in told:
                self._traces.span(self._traces.of(tenant, trace_id), span_id, parent)
        named = {event.session for event in events if isinstance(event, TraceJoined)}
        for event in events:
            self._seq = max(self._seq, event.seq)
            if isinstance(event, SessionsMerged):
                remember(self._aliases, event.absorbed, event.session, self._limits.ids)
                self._calls.merge(event.session, event.absorbed)
                if event.session not in named:
                    self._restore_nameless(event.session)
            elif isinstance(event, TraceJoined):
                trace = self._traces.of(event.session.tenant, event.trace_id)
                trace.bound = event.session
                trace.tells_of(event.session)
            elif isinstance(event, WorkflowJoined):
                self._workflows.restore(event.session, event.workflow_id)
            elif isinstance(event, Identified):
                self._workflows.identify(event.session, event.conversation_id)
            elif isinstance(event, Step):
                self._restore_step(event)
            elif isinstance(event, StepAmended):
                self._steps.set(event.step.seq, event.step)
                self._calls.asked(self.survivor(event.session), event.step)
                self._restore_ids(event.step)
            elif isinstance(event, StepRetracted):
                self._calls.dropped(self.survivor(event.session), self._steps.pop(event.was.seq) or event.was)
                trace = self._traces.known(event.session.tenant, event.was.trace_id)
                info = trace.spans.get(event.was.span_id) if trace is not None else None
                if info is not None and info.step_seq == event.was.seq:
                    info.step_seq, info.counted_seq = 0, info.inner.seq if info.inner is not None else 0

    def _restore_nameless(self, key: SessionKey) -> None:
        """A session named after its trace is known by its steps, but one that only took over others has none of its own."""
        trace = self._traces.of(key.tenant, key.session_id) if _TRACE_ID.fullmatch(key.session_id) else None
        if trace is not None and trace.fallback is None:
            trace.fallback = key
            trace.tells_of(key)

    def _restore_step(self, step: Step) -> None:
        session = self.survivor(step.session)
        if session.session_id != step.trace_id:
            self._workflows.heard_of(session)
        trace = self._traces.of(session.tenant, step.trace_id) if step.trace_id else None
        self._steps.set(step.seq, step)
        if trace is not None:
            trace.ended = trace.ended or step.parent_span_id is None
            trace.tells_of(step.session)
            if step.session.session_id == step.trace_id:
                trace.fallback = step.session
        # Made from an outcome in the prompt of a model call: it has that call's span, and no duration.
        stand_in = step.kind in CALLS and step.call_id is not None and step.started_ns == step.ended_ns
        if stand_in:
            self._calls.stands_in(session, step)
        elif step.kind in CALLS:
            self._calls.executed(session, step)
        known = trace.spans.get(step.span_id) if trace is not None else None
        if trace is not None and step.span_id and not (stand_in and known is not None and known.kind is StepKind.LLM):
            info = self._traces.span(trace, step.span_id, step.parent_span_id)
            info.kind, info.name = step.kind, step.name
            info.step_seq = info.counted_seq = step.seq
            if step.session != trace.fallback:
                info.explicit = step.session
            if step.kind in NESTING:
                self._mark_above(trace, info, step.kind, step.name, step.seq, restoring=True)
        self._calls.asked(session, step)
        self._restore_ids(step)

    def _restore_ids(self, step: Step) -> None:
        self._twins.restore(step.session.tenant, step)
        for call_id in filter(None, (step.call_id, *(ask.call_id for ask in step.asks))):
            self._joins.set(hash((step.session.tenant, call_id)), step.session)
