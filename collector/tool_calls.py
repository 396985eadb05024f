"""The three sources of a tool call: its own record; the model's request for it; its outcome in the next prompt.

Frameworks that reject a call before running it, and plain SDKs, leave no record of their own: then the request and the
outcome make the step. Records without a call id are matched to requests by name, arguments and time. What is matched to
what follows from all that is known of a session, not from the order in which it came: each fact may change an earlier
match, and the changes are handed back. See docs/dialects.md for who leaves out what.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from collector.bounded import remember
from collector.dialects.base import Fragment, ToolAnswer
from collector.tool_matching import (
    CLOSED,
    EMPTY,
    OPEN,
    Ask,
    Change,
    Outcome,
    Record,
    SessionCalls,
    closed,
    forget_outcomes,
    parted,
    refused,
    settle,
    told,
    weight,
)
from detectors.model import SessionKey, Step, StepKind

__all__ = ["Change", "ToolCalls"]


_REWEIGHED: Final = 32_768
"""What a session grew by is not looked at before it is so many bytes."""
_FORGET_EVERY: Final = 16


class ToolCalls:
    """Matches requests, records and outcomes within each session. Bounded in sessions, in calls per session and in bytes."""

    def __init__(self, sessions: int, size: int) -> None:
        self._limit = sessions
        self._bytes = size
        self._sessions: OrderedDict[SessionKey, SessionCalls] = OrderedDict()
        self.size = 0
        """Bytes held, roughly."""

    def __len__(self) -> int:
        return len(self._sessions)

    def _of(self, key: SessionKey) -> SessionCalls:
        found = self._sessions.get(key)
        if found is None:
            found = self._sessions[key] = SessionCalls()
            self._grew(found, EMPTY)
            if len(self._sessions) > self._limit:
                self._forget()
        else:
            self._sessions.move_to_end(key)
        return found

    def _grew(self, session: SessionCalls, size: int) -> None:
        """Keeps within bytes. What a session lets go of shows when it grew by half and is weighed anew."""
        session.size += size
        session.added += size
        self.size += size
        if session.added < _REWEIGHED and self.size < self._bytes:
            return
        if session.added > session.size // 2:
            before, session.size, session.added = session.size, session.weigh(), 0
            self.size += session.size - before
        while self.size > self._bytes and len(self._sessions) > 1:
            self._forget()

    def _forget(self) -> None:
        """Of all sessions the one whose tools were heard of longest ago."""
        _, gone = self._sessions.popitem(last=False)
        self.size -= gone.size

    def merge(self, survivor: SessionKey, absorbed: SessionKey) -> list[Change]:
        """Moves what is known of `absorbed` to `survivor`."""
        gone = self._sessions.pop(absorbed, None)
        if gone is None:
            return []
        self.size -= gone.size
        kept = self._of(survivor)
        kept.asks, kept.loose = gone.asks + kept.asks, gone.loose + kept.loose
        for call_id, record in gone.known.items():
            kept.known.setdefault(call_id, record)
        for call_id, outcome in gone.outcomes.items():
            kept.outcomes.setdefault(call_id, outcome)
        for call_id in gone.settled:
            kept.settled.setdefault(call_id, None)
        self._grew(kept, gone.size)
        kept.refusals |= gone.refusals
        changes = [change for ask in list(kept.asks) if ask.call_id in kept.known for change in closed(kept, ask)]
        for call_id in [call_id for call_id in kept.outcomes if call_id in kept.known]:
            changes += told(kept, call_id)
        names = {ask.name for ask in kept.asks} | {record.name for record in kept.loose}
        changes += [change for name in sorted(names, key=str) for change in settle(kept, name)]
        return changes + [change for below in list(kept.refusals) for change in refused(kept, below)]

    def asked(self, key: SessionKey, step: Step) -> list[Change]:
        """Notes what the model asked for in this step."""
        if not step.asks:
            return []
        session = self._of(key)
        open_ids = {ask.call_id: ask for ask in session.asks if ask.call_id}
        changes: list[Change] = []
        fresh = [
            Ask(ask.call_id, ask.name, ask.arguments, step.seq, place, step.started_ns, step.ended_ns, step.parent_span_id)
            for place, ask in enumerate(step.asks)
            if not (step.seq in session.askers if ask.call_id is None else ask.call_id in open_ids or ask.call_id in session.settled)
        ]
        for place, asked in enumerate(step.asks):
            repeated = open_ids.get(asked.call_id) if asked.call_id else None
            if repeated is not None and not repeated.seq:
                repeated.seq, repeated.place, repeated.started_ns, repeated.ended_ns = step.seq, place, step.started_ns, step.ended_ns
                changes += settle(session, repeated.name)
        remember(session.askers, step.seq, None, CLOSED)
        size = sum(weight(ask.arguments) for ask in fresh)
        for ask in fresh:
            session.asks.append(ask)
            if ask.call_id in session.known:
                changes += closed(session, ask)
        self._grew(session, size)
        if session.loose or len(session.asks) > OPEN or any(ask.call_id in session.outcomes for ask in fresh):
            for name in dict.fromkeys(ask.name for ask in fresh):
                changes += settle(session, name)
        return changes + refused(session, step.parent_span_id) if session.refusals else changes

    def executed(self, key: SessionKey, step: Step) -> tuple[Step, list[Change]]:
        """The record of an executed call, with what it lacks filled from request and outcome, and what else changes."""
        session = self._of(key)
        record = Record(
            step.seq, step.call_id, step.name, step.arguments, step.result is not None, step.error, step.started_ns, step.ended_ns
        )
        changes: list[Change] = []
        if step.call_id:
            remember(session.known, step.call_id, record, CLOSED)
            self._grew(session, weight(step.arguments))
            if session.asks:
                ask = next((one for one in session.asks if one.call_id == step.call_id), None)
                if ask is not None:
                    loose = ask.record is not None
                    changes += closed(session, ask)
                    changes += settle(session, ask.name) if loose else []
            if session.outcomes:
                changes += told(session, step.call_id)
        else:
            session.loose.append(record)
            self._grew(session, weight(step.arguments))
            changes += settle(session, step.name)
        if not changes:
            return step, changes
        for change in [change for change in changes if change.seq == step.seq and change.facts]:
            step = msgspec.structs.replace(step, **(change.facts or {}))
            changes.remove(change)
        return step, changes

    def renumbered(self, key: SessionKey, step: Step, seq: int) -> None:
        """The record of the call that was `executed` last gets another number before anyone has seen it."""
        session = self._of(key)
        known = session.known.get(step.call_id or "")
        for record in (*session.loose[-1:], *(() if known is None else (known,))):
            if record.seq == step.seq:
                record.seq = seq

    def identified(self, key: SessionKey, step: Step) -> list[Change]:
        """A record that turned out to have a call id: another record of the same call told."""
        session = self._sessions.get(key)
        record = next((one for one in session.loose if one.seq == step.seq), None) if session is not None else None
        if session is None or record is None or not step.call_id:
            return []
        if record.ask is not None and record.ask.call_id == step.call_id:
            return []
        changes = self.dropped(key, step)
        step, more = self.executed(key, msgspec.structs.replace(step, arguments=record.arguments or step.arguments))
        return [*changes, *more, Change(step.seq, facts={"arguments": step.arguments})]

    def dropped(self, key: SessionKey, step: Step) -> list[Change]:
        """A step was taken back: what it asked for, or that it was a call's record, no longer counts."""
        session = self._sessions.get(key)
        if session is None:
            return []
        changes: list[Change] = []
        if step.kind is StepKind.LLM:
            gone = [ask for ask in session.asks if ask.seq == step.seq]
            session.asks = [ask for ask in session.asks if ask.seq != step.seq]
            changes = [change for ask in gone for change in parted(ask)]
            return changes + [change for name in sorted({ask.name for ask in gone}, key=str) for change in settle(session, name)]
        for call_id in [call_id for call_id, record in session.known.items() if record.seq == step.seq]:
            record = session.known.pop(call_id)
            if record.ask is not None:
                session.settled.pop(call_id, None)
                session.asks.append(record.ask)
                record.ask.record = None
                changes += settle(session, record.ask.name)
        for record in [one for one in session.loose if one.seq == step.seq]:
            session.loose.remove(record)
            if record.ask is not None:
                record.ask.record = None
                changes += settle(session, record.name)
        return changes

    def answered(self, key: SessionKey, fragment: Fragment, answer: ToolAnswer) -> list[Change]:
        """Notes an outcome that stands in the prompt of a model call; of several prompts the earliest tells."""
        if not answer.call_id:
            if answer.below is None:
                return []
            session = self._of(key)
            remember(session.refusals, answer.below, Outcome(answer, _told_in(key, fragment)), CLOSED)
            self._grew(session, 2 * weight(answer.result))
            return refused(session, answer.below)
        session = self._of(key)
        record = session.known.get(answer.call_id)
        if record is not None and record.has_result and (record.error is not None or answer.error is None):
            # The call's own record says all that the prompt could.
            return []
        known = session.outcomes.get(answer.call_id)
        if known is not None and known.model.started_ns <= (fragment.at_ns if fragment.step is None else fragment.step.started_ns):
            return []
        stub = _told_in(key, fragment)
        if known is not None:
            known.model = stub
            when = {field: getattr(stub, field) for field in ("started_ns", "ended_ns", "trace_id", "span_id", "parent_span_id", "agent")}
            changes = [Change(known.seq, facts=when)] if known.seq else []
        else:
            remember(session.outcomes, answer.call_id, Outcome(answer, stub), CLOSED)
            self._grew(session, 2 * weight(answer.result))
            if len(session.outcomes) > OPEN and len(session.outcomes) % _FORGET_EVERY == 0:
                forget_outcomes(session)
            changes = []
        changes += told(session, answer.call_id)
        if answer.call_id in session.known:
            return changes
        ask = next((ask for ask in session.asks if ask.call_id == answer.call_id), None)
        if ask is None and (answer.arguments is not None or answer.rejected) and answer.call_id not in session.settled:
            # The prompt repeats the request too, or says that it was rejected; the model call that made it did not tell, or comes later.
            ask = Ask(answer.call_id, answer.name, answer.arguments, 0, 0, 0, 0)
            session.asks.append(ask)
            self._grew(session, weight(answer.arguments))
        return changes + (settle(session, ask.name) if ask is not None else [])

    def stands_in(self, key: SessionKey, step: Step) -> None:
        """Remembers that `step` was made from an outcome, in case the call's own record comes after all."""
        session = self._of(key)
        outcome = session.outcomes.get(step.call_id or "")
        if outcome is not None:
            outcome.seq = step.seq
        elif step.call_id:
            # After a restart.
            said = ToolAnswer(call_id=step.call_id, name=step.name, error=step.error)
            remember(session.outcomes, step.call_id, Outcome(said, msgspec.structs.replace(step, result=None), step.seq), CLOSED)


def _told_in(key: SessionKey, fragment: Fragment) -> Step:
    """What a step that is made from an outcome takes from the record that told it."""
    model = fragment.step
    if model is None:
        at_ns = fragment.at_ns
        where, span_id = fragment.trace_id or "", fragment.span_id or ""
        return Step(
            seq=0, session=key, kind=StepKind.TOOL, agent=fragment.agent, started_ns=at_ns, ended_ns=at_ns, trace_id=where, span_id=span_id
        )
    in_prompt = model.kind is StepKind.LLM
    # When it ran is not told: somewhere before the call whose prompt holds its outcome, or before the end of what failed by it.
    at_ns = model.started_ns if in_prompt else model.ended_ns
    return Step(
        seq=0,
        session=key,
        kind=StepKind.TOOL,
        agent=model.agent,
        started_ns=at_ns,
        ended_ns=at_ns,
        trace_id=model.trace_id,
        span_id=model.span_id if in_prompt else "",
        parent_span_id=model.parent_span_id if in_prompt else model.span_id,
        dialect=model.dialect,
        service_name=model.service_name,
        service_instance=model.service_instance,
    )
