"""Which records become steps: every call counts once, whoever saw it, and a late fact changes the step that is there."""

from collections.abc import Callable
from sys import getsizeof
from typing import Final

import msgspec
from msgspec.structs import force_setattr as complete

from collector.bounded import Weighed
from collector.dialects.base import Fragment
from collector.folding import fill, same_call
from collector.ownership import Ownership
from collector.pricing import Charge
from collector.tool_calls import Change, ToolCalls
from collector.traces import PARENT_HOPS, Inner, Limits, SpanInfo, Trace
from collector.twins import Marks, Twins, marks_of
from detectors.model import SessionKey, Step, StepAmended, StepKind, StepRetracted, without_texts

Pricer = Callable[[Step], Charge]
"""Says what an `llm` step costs."""

_LLM: Final = StepKind.LLM
_TOOL: Final = StepKind.TOOL
"""Each look-up of a member in its enumeration costs more than the rest of the comparison."""
NESTING: Final = frozenset({StepKind.LLM, StepKind.TOOL})
CALLS: Final = frozenset({StepKind.TOOL, StepKind.HANDOFF})
"""What a model asks for by calling a tool."""
STEP_BYTES: Final = 1_000
"""What a step takes beside its texts, roughly."""


def step_bytes(step: Step) -> int:
    """Bytes of memory that a step takes, roughly."""
    size = STEP_BYTES
    for text in (step.arguments, step.result, step.input_text, step.output_text):
        if text is not None:
            size += getsizeof(text)
    for ask in step.asks:
        size += STEP_BYTES // 4 + getsizeof(ask.arguments)
    return size


class Counting(Ownership):
    """What the assembler knows of steps."""

    def __init__(self, *, price: Pricer, first_seq: int, limits: Limits) -> None:
        super().__init__(first_seq=first_seq, limits=limits)
        self._price = price
        self._steps: Weighed[int, Step] = Weighed(limits.recent_steps, limits.recent_steps_bytes, step_bytes)
        self._twins = Twins(limits.recent_steps)
        self._calls = ToolCalls(limits.sessions, limits.sessions_bytes)

    def _merged(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        self._settle(survivor, self._calls.merge(survivor, absorbed))

    def _step(self, tenant: str, trace: Trace | None, fragment: Fragment, info: SpanInfo | None, session: SessionKey) -> None:
        step = fragment.step
        if step is None:
            return
        # Nobody else has seen the step yet: it is completed in place. From `_emit` on it never changes.
        if fragment.asks:
            complete(step, "asks", fragment.asks)
        if step.agent is None and fragment.agent is not None:
            complete(step, "agent", fragment.agent)
        kind = step.kind
        marks = marks_of(tenant, fragment, step) if kind is _LLM or fragment.twin_key else None
        if marks is not None and self._twins.seen(marks) and self._is_twin(marks, fragment, step, session, trace=trace, info=info):
            return
        if info is not None and info.inner is not None and trace is not None and self._is_wrapper(trace, info, info.inner, step):
            return
        wrapped = self._unwrapped(trace, info, step) if info is not None and info.parent and trace is not None and kind in NESTING else []
        self._seq = seq = self._seq + 1
        complete(step, "seq", seq)
        complete(step, "session", session)
        changes: list[Change] = []
        if kind in CALLS:
            step, changes = self._calls.executed(session, step)
            if changes:
                seq = self._replaced(session, step, changes)
        elif kind is _LLM:
            self._charge(step)
        self._steps.add(seq, step)
        self._out[seq] = step
        if info is not None:
            info.step_seq = info.counted_seq = seq
            if trace is not None and kind in NESTING:
                self._mark_above(trace, info, kind, step.name, seq)
            for above, _ in wrapped:
                above.counted_seq = seq
        if marks is not None:
            self._twins.note(marks, fragment, seq)
        if changes:
            self._settle(session, changes)
        for _, wrapper in wrapped:
            known = self._steps.get(seq) if wrapper is not None else None
            if known is not None and wrapper is not None:
                self._amend(known, fill(known, wrapper))
        if step.asks:
            self._asked(step)

    def _replaced(self, session: SessionKey, step: Step, changes: list[Change]) -> int:
        """Takes back what stood in for the call before the call is told, which else looked like one made twice. Returns its number."""
        gone = [change for change in changes if change.step is None and change.facts is None]
        for change in gone:
            changes.remove(change)
            self._retract(change.seq, "the call's own record arrived")
        if gone:
            seq = self._next()
            self._calls.renumbered(session, step, seq)
            complete(step, "seq", seq)
        return step.seq

    def _charge(self, step: Step) -> None:
        """Fills cost, its basis and the context window of a step that nobody has seen yet."""
        cost_usd, basis, window = self._price(step)
        complete(step, "cost_usd", cost_usd)
        complete(step, "cost_basis", basis)
        complete(step, "context_window", window)

    def _is_twin(
        self, marks: Marks, fragment: Fragment, step: Step, session: SessionKey, *, trace: Trace | None, info: SpanInfo | None
    ) -> bool:
        """Whether another record of the very same call was taken already. What the two say is put together."""
        known = self._twins.of(marks, fragment, step, self._steps.get, lambda one: trace is not None and trace.nested(info, one))
        if known is None:
            return False
        owner = self.survivor(known.session)
        if owner != session:
            if self._nameless(owner):
                self._merge(session, owner, fragment.at_ns)
            elif self._nameless(session):
                self._merge(owner, session, fragment.at_ns)
        known = self._steps.get(known.seq) or known
        self._amend(known, self._twins.combined(marks, fragment, known, step))
        if trace is not None and info is not None:
            info.counted_seq = known.seq
            self._mark_above(trace, info, step.kind, step.name, known.seq)
        return True

    def _is_wrapper(self, trace: Trace, info: SpanInfo, inner: Inner, step: Step) -> bool:
        """Whether the span only wraps a step of its own kind that was taken already; missing facts are filled from it."""
        if inner.kind is not step.kind or not same_call(step.kind, step.name, inner.name):
            return False
        known = self._steps.get(inner.seq)
        if known is not None and inner.count == 1:
            info.counted_seq = known.seq
            self._amend(known, fill(known, step))
        self._mark_above(trace, info, step.kind, inner.name, inner.seq)
        return True

    def _mark_above(self, trace: Trace, info: SpanInfo, kind: StepKind, name: str | None, seq: int, *, restoring: bool = False) -> None:
        """Tells the spans above, up to the next agent or other step, that this step is the one that counts."""
        parent = info.parent
        for _ in range(PARENT_HOPS):
            if not parent:
                return
            above = trace.spans.get(parent) or self._traces.span(trace, parent, None)
            if above.kind is not None:
                if above.kind is not kind:
                    return
                if above.step_seq not in {0, seq} and not restoring and same_call(kind, name, above.name):
                    self._unwrap(above, seq)
            if above.inner is None:
                above.inner = Inner(kind, name, seq)
            else:
                above.inner.count += above.inner.seq != seq
                above.inner.kind, above.inner.name, above.inner.seq = kind, name, seq
            parent = above.parent

    def _unwrapped(self, trace: Trace, info: SpanInfo, step: Step) -> list[tuple[SpanInfo, Step | None]]:
        """Takes back, before the step is told, spans above that were taken for steps and only wrap it. Returns them and what they say."""
        found: list[tuple[SpanInfo, Step | None]] = []
        spans, kind, parent, hops = trace.spans, step.kind, info.parent, PARENT_HOPS
        while parent and hops and (above := spans.get(parent)) is not None and (above.kind is None or above.kind is kind):
            hops -= 1
            if above.step_seq and same_call(step.kind, step.name, above.name):
                wrapper = self._steps.get(above.step_seq)
                self._retract(above.step_seq, "it wraps another record of the same call")
                above.step_seq = 0
                found.append((above, wrapper if above.inner is None else None))
            parent = above.parent
        return found

    def _unwrap(self, above: SpanInfo, seq: int) -> None:
        """A span that was taken for a step of its own turns out to wrap the step `seq`."""
        wrapper, inner = self._steps.get(above.step_seq), self._steps.get(seq)
        self._retract(above.step_seq, "it wraps another record of the same call")
        above.step_seq, above.counted_seq = 0, seq
        if wrapper is not None and inner is not None and above.inner is None:
            self._amend(inner, fill(inner, wrapper))
        if inner is not None:
            self._asked(self._steps.get(seq) or inner)

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
                self._steps.add(step.seq, step)
                self._emit(step)
            elif known is not None and change.facts is not None:
                self._amend(known, msgspec.structs.replace(known, **change.facts))
            elif known is not None:
                self._retract(known.seq, "the call's own record arrived")

    def _amend(self, known: Step, now: Step) -> None:
        if now == known:
            return
        if now.kind is StepKind.LLM:
            self._charge(now)
        self._steps.set(known.seq, now)
        session = self.survivor(now.session)
        if known.seq in self._out:
            self._out[known.seq] = now
        else:
            self._emit(StepAmended(seq=self._next(), session=session, step=now, was=without_texts(known)))
        if now.asks != known.asks:
            if known.asks:
                self._settle(session, self._calls.dropped(session, known))
            self._asked(now)
        if now.call_id and not known.call_id and now.kind in CALLS:
            self._settle(session, self._calls.identified(session, now))

    def _retract(self, step_seq: int, reason: str) -> None:
        known, unsent = self._steps.pop(step_seq), self._out.pop(step_seq, None)
        if known is None:
            return
        session = self.survivor(known.session)
        if unsent is None:
            self._emit(StepRetracted(seq=self._next(), session=session, was=without_texts(known), reason=reason))
        self._settle(session, self._calls.dropped(session, known))
