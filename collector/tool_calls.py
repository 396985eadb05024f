"""The three sources of a tool call: its own record; the model's request for it; its outcome in the next prompt.

Frameworks that reject a call before running it, and plain SDKs, leave no record of their own: then the request and the
outcome make the step. See docs/dialects.md for who does.
"""

from collections import OrderedDict

import msgspec
import orjson

from collector.dialects.base import Fragment, ToolAnswer
from detectors.model import SessionKey, Step, StepKind, ToolAsk

_OPEN_PER_SESSION = 64


class _StandIn(msgspec.Struct, frozen=True):
    """A step made from an outcome."""

    seq: int
    name: str | None
    arguments: str | None


class _Session(msgspec.Struct):
    asks: list[ToolAsk] = []
    """Asked for, no record of execution yet, oldest first."""
    executed: dict[str, None] = {}
    """Call ids that have a record of their own, newest last."""
    stand_ins: dict[str, _StandIn] = {}
    """By call id, newest last."""
    unasked: list[Step] = []
    """Records of execution without a call id that nobody had asked for when they came, oldest first, without their results."""


class ToolCalls:
    """Matches requests, records and outcomes within each session. Bounded in sessions and in calls per session."""

    def __init__(self, sessions: int) -> None:
        self._limit = sessions
        self._sessions: OrderedDict[SessionKey, _Session] = OrderedDict()

    def _of(self, key: SessionKey) -> _Session:
        found = self._sessions.get(key)
        if found is None:
            found = self._sessions[key] = _Session(asks=[], executed={}, stand_ins={}, unasked=[])
            if len(self._sessions) > self._limit:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        return found

    def merge(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        """Moves what is known of `absorbed` to `survivor`."""
        gone = self._sessions.pop(absorbed, None)
        if gone is not None:
            kept = self._of(survivor)
            kept.unasked = (gone.unasked + kept.unasked)[-_OPEN_PER_SESSION:]
            kept.asks = (gone.asks + kept.asks)[-_OPEN_PER_SESSION:]
            kept.executed = gone.executed | kept.executed
            kept.stand_ins = gone.stand_ins | kept.stand_ins

    def asked(self, key: SessionKey, step: Step) -> None:
        """Notes what the model asked for in this step."""
        if not step.asks:
            return
        session = self._of(key)
        known = session.executed.keys() | session.stand_ins.keys() | {ask.call_id for ask in session.asks if ask.call_id}
        for ask in step.asks:
            if ask.call_id is not None and ask.call_id in known:
                continue
            # Clocks that count milliseconds end a quick call before the model call that asked for it.
            early = next((one for one in session.unasked if one.ended_ns >= step.started_ns and _answers(one, ask)), None)
            if early is None:
                session.asks.append(ask)
            else:
                session.unasked.remove(early)
                if ask.call_id:
                    session.executed[ask.call_id] = None
        del session.asks[:-_OPEN_PER_SESSION]

    def executed(self, key: SessionKey, step: Step) -> tuple[Step, int | None]:
        """The record of an executed call, with arguments filled from the request where it has none.

        Returns the step, and the sequence number of a step made from its outcome that it replaces (None: there is none).
        """
        session = self._of(key)
        replaced = self._replaced(session, step)
        ask = _match(session.asks, step) if replaced is None else None
        stand_in = None
        if replaced is not None:
            made = session.stand_ins.pop(replaced)
            stand_in = made.seq
            arguments = made.arguments if step.arguments is None or _same(step.arguments, made.arguments) else step.arguments
            step = msgspec.structs.replace(step, call_id=replaced, arguments=arguments)
        elif ask is not None:
            session.asks.remove(ask)
            arguments = ask.arguments if step.arguments is None or _same(step.arguments, ask.arguments) else step.arguments
            step = msgspec.structs.replace(step, call_id=step.call_id or ask.call_id, arguments=arguments)
        if step.call_id:
            session.executed[step.call_id] = None
            if len(session.executed) > _OPEN_PER_SESSION:
                session.executed.pop(next(iter(session.executed)))
        elif ask is None:
            session.unasked = [*session.unasked[1 - _OPEN_PER_SESSION :], msgspec.structs.replace(step, result=None)]
        return step, stand_in

    @staticmethod
    def _replaced(session: _Session, step: Step) -> str | None:
        """Call id of the step that was made from this call's outcome: its own record comes late, maybe without the id."""
        if step.call_id:
            return step.call_id if step.call_id in session.stand_ins else None
        named = [(call_id, made) for call_id, made in session.stand_ins.items() if made.name == step.name]
        return next((call_id for call_id, made in named if _same(step.arguments, made.arguments)), None)

    def answered(self, key: SessionKey, fragment: Fragment, answer: ToolAnswer) -> Step | None:
        """A step for an outcome whose call has no record of its own; None where it has, or where nobody asked for it."""
        session = self._of(key)
        if not answer.call_id or answer.call_id in session.executed or answer.call_id in session.stand_ins:
            return None
        ask = next((ask for ask in session.asks if ask.call_id == answer.call_id), None)
        model = fragment.step
        if ask is None or model is None or (ask.name or answer.name) is None:
            return None
        session.asks.remove(ask)
        return Step(
            seq=0,
            session=key,
            kind=StepKind.TOOL,
            name=ask.name or answer.name,
            agent=model.agent,
            # When it ran is not told: somewhere before the call whose prompt holds its outcome.
            started_ns=model.started_ns,
            ended_ns=model.started_ns,
            trace_id=model.trace_id,
            span_id=model.span_id,
            parent_span_id=model.parent_span_id,
            dialect=model.dialect,
            service_name=model.service_name,
            service_instance=model.service_instance,
            call_id=answer.call_id,
            arguments=ask.arguments,
            result=answer.result,
            error=answer.error,
        )

    def stands_in(self, key: SessionKey, step: Step) -> None:
        """Remembers that `step` was made from an outcome, in case the call's own record comes after all."""
        session = self._of(key)
        if step.call_id:
            session.stand_ins[step.call_id] = _StandIn(step.seq, step.name, step.arguments)
            if len(session.stand_ins) > _OPEN_PER_SESSION:
                session.stand_ins.pop(next(iter(session.stand_ins)))

    def restore_stand_in(self, key: SessionKey, step: Step) -> None:
        """After a restart: takes in a step that was made from an outcome."""
        session = self._of(key)
        session.asks = [ask for ask in session.asks if ask.call_id != step.call_id]
        self.stands_in(key, step)


def _match(asks: list[ToolAsk], step: Step) -> ToolAsk | None:
    """The request that this record answers: by call id, else by name and arguments, else by name."""
    if step.call_id:
        return next((ask for ask in asks if ask.call_id == step.call_id), None)
    named = [ask for ask in asks if ask.name == step.name]
    return next((ask for ask in named if _same(step.arguments, ask.arguments)), named[0] if named else None)


def _answers(step: Step, ask: ToolAsk) -> bool:
    return step.name == ask.name and _same(step.arguments, ask.arguments)


def _same(executed: str | None, asked: str | None) -> bool:
    """Whether the record says in another way what was asked: `50.0` for `50`, a single argument's value without its name."""
    if executed is None or asked is None or executed == asked:
        return executed == asked
    try:
        wanted = orjson.loads(asked)
    except orjson.JSONDecodeError:
        return False
    if isinstance(wanted, dict) and len(wanted) == 1 and next(iter(wanted.values())) == executed:
        return True
    try:
        return bool(orjson.loads(executed) == wanted)
    except orjson.JSONDecodeError:
        return False
