"""How a session's requests for tool calls, records of them and their outcomes are matched."""

import re
from collections.abc import Iterator
from functools import lru_cache
from sys import getsizeof
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from collector.bounded import remember
from collector.decode_limits import MAX_TIME
from collector.dialects.base import ToolAnswer
from collector.dialects.steps import Ending, failed, tool_kind
from detectors.model import Step

OPEN: Final = 64
"""Requests, outcomes and records each that a session keeps while nothing belongs to them."""
_MATCHED: Final = 16
"""Matched pairs of one tool that may still be matched otherwise."""
CLOSED: Final = 256
"""Call ids whose record is known."""
EMPTY: Final = 1_000
"""Bytes that a session without any calls takes, roughly."""
_ENTRY: Final = 400
_ID: Final = 200
_HEAVY: Final = 2**20
"""Beyond so many bytes a session keeps the arguments of its newest records only."""
_TARGET: Final = re.compile(r"(?:transfer_to_|handoff to )(.+)", re.DOTALL)
_NO_WORD: Final = re.compile(r"\W")
_NOT_PARSED: Final = object()
_KEPT_CHARS: Final = 16_384
"""Longer arguments are compared as text only."""


class Change(NamedTuple):
    """What a new fact does to the steps: a step to make (`seq` 0), facts to set on one, or one to take back."""

    seq: int = 0
    step: Step | None = None
    facts: dict[str, Any] | None = None


class Ask(msgspec.Struct, eq=False):
    """A request: `seq`, `started_ns` and `ended_ns` of the model call that made it, its place among that call's."""

    call_id: str | None
    name: str | None
    arguments: str | None
    seq: int
    place: int
    started_ns: int
    ended_ns: int
    below: str | None = None
    """The span under which the model was called."""
    parsed: Any = _NOT_PARSED
    record: "Record | None" = None


class Record(msgspec.Struct, eq=False):
    """A call's own record, as it said itself; `ask` is the request that it was matched with."""

    seq: int
    call_id: str | None
    name: str | None
    arguments: str | None
    has_result: bool
    error: bool | None
    started_ns: int
    ended_ns: int
    parsed: Any = _NOT_PARSED
    ask: Ask | None = None
    forgotten: bool = False
    """The text of the arguments was let go of: they stay as the step has them."""


class Outcome(msgspec.Struct, eq=False):
    """An outcome, and of the model call that was told it what a step made from it needs. `seq` 0: there is no such step."""

    answer: ToolAnswer
    model: Step
    seq: int = 0


class SessionCalls(msgspec.Struct):
    """What is known of a session's tool calls."""

    asks: list[Ask] = []
    loose: list[Record] = []
    """Records without a call id of their own."""
    known: dict[str, Record] = {}
    """Records by their own call id."""
    outcomes: dict[str, Outcome] = {}
    settled: dict[str, None] = {}
    """Call ids of requests that were matched for good."""
    askers: dict[int, None] = {}
    """Model calls whose requests were noted."""
    refusals: dict[str, Outcome] = {}
    """Outcomes that name no call, by the span under which the model was called that asked for it."""
    size: int = 0
    """Bytes held, roughly: weighed now and then, and what was added since."""
    added: int = 0

    def weigh(self) -> int:
        """Bytes held; of a session that holds much, after the texts of its older records were let go of."""
        for record in list(self.known.values())[:-OPEN] if self.size > _HEAVY else ():
            if record.arguments is not None:
                record.arguments, record.parsed, record.forgotten = None, None, True
        records = (*self.known.values(), *self.loose)
        return (
            EMPTY
            + sum(weight(record.arguments) for record in records)
            + sum(weight(ask.arguments) for ask in self.asks)
            + sum(2 * weight(outcome.answer.result) for outcome in self.outcomes.values())
            + sum(2 * weight(outcome.answer.result) for outcome in self.refusals.values())
            + _ID * (len(self.settled) + len(self.askers))
        )


def weight(text: str | None) -> int:
    """Bytes that a request, a record or an outcome with this text takes, roughly."""
    return _ENTRY if text is None else _ENTRY + getsizeof(text)


def forget_outcomes(session: SessionCalls) -> None:
    """Lets go of the text of the oldest outcomes; that they were told stays known as long as their steps are."""
    open_ids = {ask.call_id for ask in session.asks}
    for call_id, outcome in list(session.outcomes.items())[:-OPEN]:
        if outcome.answer.result is not None and (outcome.seq or call_id not in open_ids):
            outcome.answer = msgspec.structs.replace(outcome.answer, result=None)


def told(session: SessionCalls, call_id: str) -> list[Change]:
    """The record of a call that leaves out how it ended learns it from the next prompt."""
    record, outcome = session.known.get(call_id), session.outcomes.get(call_id)
    return [] if record is None or outcome is None else _outcome_of(record, outcome)


def _outcome_of(record: Record, outcome: Outcome) -> list[Change]:
    facts: dict[str, Any] = {}
    if not record.has_result and outcome.answer.result is not None:
        facts["result"] = outcome.answer.result
        record.has_result = True
    if record.error is None and outcome.answer.error is not None:
        record.error = outcome.answer.error
        facts |= failed(None, outcome.answer.result)._asdict() if record.error else {"error": False}
    return [Change(record.seq, facts=facts)] if facts else []


def refused(session: SessionCalls, below: str | None) -> list[Change]:
    """Requests without a record learn how they ended from an outcome that names no call."""
    refusal = session.refusals.get(below or "")
    if refusal is None:
        return []
    below_it = [ask for ask in session.asks if ask.below == below and ask.record is None]
    asks = [ask for ask in below_it if ask.call_id and ask.call_id not in session.outcomes]
    for ask in asks:
        said = msgspec.structs.replace(refusal.answer, call_id=ask.call_id)
        remember(session.outcomes, ask.call_id or "", Outcome(said, refusal.model), CLOSED)
    return [change for name in dict.fromkeys(ask.name for ask in asks) for change in settle(session, name)]


def closed(session: SessionCalls, ask: Ask) -> list[Change]:
    """The request whose call id a record has: the two are one for good."""
    record = session.known[ask.call_id or ""]
    session.asks.remove(ask)
    remember(session.settled, ask.call_id or "", None, CLOSED)
    changes = [*parted(ask), *_taken_back(session, ask)]
    record.ask, ask.record = ask, record
    if record.forgotten:
        ask.arguments = ask.parsed = None
        return changes
    arguments = _arguments(record, ask)
    if record.arguments is None or arguments == record.arguments:
        # Enough is known: nothing needs the text any more.
        ask.arguments = ask.parsed = None
    return [*changes, Change(record.seq, facts={"arguments": arguments})] if arguments != record.arguments else changes


def parted(ask: Ask) -> Iterator[Change]:
    """A record that was matched with the request stands alone again."""
    record, ask.record = ask.record, None
    if record is not None:
        record.ask = None
        yield Change(record.seq, facts=_facts(record))


def _taken_back(session: SessionCalls, ask: Ask) -> Iterator[Change]:
    """The step that was made from the outcome of a call which has a record after all."""
    outcome = session.outcomes.get(ask.call_id or "")
    if outcome is not None and outcome.seq:
        yield Change(outcome.seq)
        outcome.seq = 0


def settle(session: SessionCalls, name: str | None) -> list[Change]:
    """Matches the records of one tool that have no call id with its open requests anew."""
    called = _called(name)
    asks = [ask for ask in session.asks if ask.name == name or _called(ask.name) == called]
    records = [record for record in session.loose if record.name == name or _called(record.name) == called]
    changes: list[Change] = []
    if records:
        asks.sort(key=lambda ask: (ask.started_ns, ask.ended_ns, ask.place, _told_ns(session, ask)))
        records.sort(key=lambda record: (record.started_ns, record.ended_ns, record.seq))
        before = [(record, record.ask) for record in records]
        for ask in asks:
            ask.record = None
        for record in records:
            record.ask = None
        for fits in (_same, _no_arguments, _any_arguments):
            _pair(session, records, asks, fits)
        for record, was in before:
            if record.ask is not was and (record.ask is not None or was is not None):
                changes.append(Change(record.seq, facts=_facts(record)))
    for ask in asks:
        if ask.record is not None:
            changes += _taken_back(session, ask)
            outcome = session.outcomes.get(ask.call_id or "")
            changes += _outcome_of(ask.record, outcome) if outcome is not None else ()
        elif ask.call_id:
            outcome = session.outcomes.get(ask.call_id)
            if outcome is not None and not outcome.seq and (made := _made(ask, outcome)) is not None:
                changes.append(Change(step=made))
    _trim(session, records)
    return changes


def _told_ns(session: SessionCalls, ask: Ask) -> int:
    """When the outcome was told at the latest. Of requests of which nobody says who made them the one told first was made first."""
    outcome = session.outcomes.get(ask.call_id or "")
    return MAX_TIME if outcome is None else outcome.model.started_ns


def _pair(session: SessionCalls, records: list[Record], asks: list[Ask], fits: Any) -> None:
    """Gives each record, the earliest first, the first open request of the latest model call that it may belong to."""
    for record in records:
        if record.ask is not None:
            continue
        best: Ask | None = None
        for ask in asks:
            # Clocks that count milliseconds end a quick call before the model call that asked for it.
            if ask.started_ns > record.ended_ns:
                break
            if ask.record is not None or (best is not None and best.seq == ask.seq) or not fits(record, ask):
                continue
            outcome = session.outcomes.get(ask.call_id or "")
            if outcome is None or record.started_ns <= outcome.model.started_ns:
                best = ask
        if best is not None:
            best.record, record.ask = record, best


def _facts(record: Record) -> dict[str, Any]:
    ask = record.ask
    if record.forgotten:
        return {"call_id": ask.call_id if ask is not None else None}
    return {"call_id": ask.call_id if ask is not None else None, "arguments": record.arguments if ask is None else _arguments(record, ask)}


def _arguments(record: Record, ask: Ask) -> str | None:
    """The model's own words, unless the call was run with others."""
    return ask.arguments if ask.arguments is not None and (record.arguments is None or _same(record, ask)) else record.arguments


def _made(ask: Ask, outcome: Outcome) -> Step | None:
    said = outcome.answer
    name = ask.name or said.name
    kind = tool_kind(name, said.result, ask.arguments)
    if kind is None or (name is None and not said.rejected):
        return None
    ended = failed(None, said.result) if said.error else Ending(said.error)
    return msgspec.structs.replace(
        outcome.model, kind=kind, name=name, call_id=ask.call_id, arguments=ask.arguments, result=said.result, **ended._asdict()
    )


@lru_cache(maxsize=1024)
def _called(name: str | None) -> str | None:
    """What requests and records of one tool share: a hand-off is asked for as `transfer_to_b`, and told as `handoff to b`."""
    target = _TARGET.match(name) if name else None
    return name if target is None else "> " + _NO_WORD.sub("_", target[1]).lower()


def _trim(session: SessionCalls, records: list[Record]) -> None:
    """Keeps within bounds: pairs that nothing will part any more go first, then the oldest."""
    pairs = [record for record in records if record.ask is not None]
    for record in pairs[:-_MATCHED]:
        session.loose.remove(record)
        if record.ask is not None:
            session.asks.remove(record.ask)
            if record.ask.call_id:
                remember(session.settled, record.ask.call_id, None, CLOSED)
    if len(session.loose) > OPEN * 2:
        for record in session.loose[:-OPEN]:
            if record.ask is not None:
                record.ask.record = None
        del session.loose[:-OPEN]
    if len(session.asks) > OPEN * 2:
        for ask in session.asks[:-OPEN]:
            if ask.record is not None:
                ask.record.ask = None
        del session.asks[:-OPEN]


def _no_arguments(record: Record, ask: Ask) -> bool:
    del ask
    return record.arguments is None


def _any_arguments(record: Record, ask: Ask) -> bool:
    del record, ask
    return True


def _same(record: Record, ask: Ask) -> bool:
    """Whether the record says in another way what was asked: `50.0` for `50`, a single argument's value without its name."""
    executed, asked = record.arguments, ask.arguments
    if executed is None or asked is None or executed == asked:
        return executed == asked
    wanted, done = _parsed(ask), _parsed(record)
    if isinstance(wanted, dict) and len(wanted) == 1 and next(iter(wanted.values())) == executed:
        return True
    return bool(wanted is not None and done == wanted)


def _parsed(item: Ask | Record) -> Any:
    if item.parsed is _NOT_PARSED:
        try:
            item.parsed = orjson.loads(item.arguments or "") if len(item.arguments or "") <= _KEPT_CHARS else None
        except orjson.JSONDecodeError:
            item.parsed = None
    return item.parsed
