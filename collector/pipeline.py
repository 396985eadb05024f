"""The way of the data on one page. Live traffic, replay and back-test all run through `process`."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, wait
from functools import partial
from typing import Generic, Protocol, TypeVar

import msgspec
import pyarrow as pa

from collector.assembly import Assembler
from collector.dialects.base import Fragment
from collector.duplicates import RecentKeys
from collector.errors import Internal, OvercurrentError, StoreUnavailable
from collector.event_time import SKEW_NS, Watermark
from collector.model import Outcome, Request
from collector.sessions import Sessions
from collector.store.base import Commit, Store
from collector.tool_schemas import ToolSchemas
from collector.translate import Records, SpanKey, Translation, decode_translation, lay_out, translate
from detectors.model import Event, Finding, SessionKey, SessionsMerged, Tick

logger = logging.getLogger(__name__)
K = TypeVar("K", SpanKey, bytes)

_TICK_NS = 1_000_000_000
_LAID_OUT_BYTES = 2**20
"""Requests are laid out for the store together up to about so many bytes: until then they are objects, several times as large."""
_IDLE_TICK_NS = 10_000_000_000
"""Without telemetry one tick in ten seconds is enough: nothing but silence is to be noticed."""


class Observer(Protocol):
    """What the outside learns of each commit: metrics, verdicts, waiting readers."""

    def committed(self, duplicates: dict[str, int]) -> None:
        """Items that were stored before, by signal. The receivers count what they took."""

    def found(self, events: Sequence[Event], findings: Sequence[Finding], arrival_ns: int | None) -> None: ...


class Pipeline:
    """Bytes in; committed events and findings out. One thread calls it; it reads no clock."""

    def __init__(
        self,
        *,
        store: Store,
        assembler: Assembler,
        sessions: Sessions,
        observer: Observer | None = None,
        duplicate_horizon: int = 500_000,
        recover: Callable[[], Assembler] | None = None,
        writer: Executor | None = None,
    ) -> None:
        """Reads back from `store` what a repeated delivery is recognised by.

        `recover` makes an assembler that knows what the store holds, for after a failed commit. With a `writer`, of one thread,
        and where it `answers_first`, the sessions look at a commit while the next one is being written.
        """
        self.store = store
        self.assembler = assembler
        self.sessions = sessions
        self._schemas = ToolSchemas(sessions.knowledge, sessions.policy.agent_type)
        self.watermark = Watermark()
        self._observer = observer
        self._recover = recover
        self._writer = writer
        self.answers_first = False
        """Whether `process` leaves the look to its next call or to `settle`, which its caller owes then."""
        self.writing = False
        """Sessions look at one commit while the next is being written: nothing else can be recorded now."""
        self._unseen: deque[tuple[Sequence[Event], int | None]] = deque()
        """What is committed and not looked at yet: at most one commit, from `process` to the next call of anything."""
        self._spans = RecentKeys(duplicate_horizon)
        self._logs = RecentKeys(duplicate_horizon)
        self._horizon = duplicate_horizon
        self._ticked_ns = 0
        self.committed_seq = assembler.last_seq
        """Every event up to this one is in the store, and no other."""
        self._ahead = False
        """A commit failed: the assembler knows what the store does not."""
        self._remember_keys()

    def _remember_keys(self) -> None:
        self._spans.learn(self.store.span_keys(self._horizon))
        self._logs.learn(self.store.log_keys(self._horizon))

    def process(self, requests: Sequence[Request]) -> list[Outcome | OvercurrentError]:
        """Decodes, recognises repeats, translates, commits all requests at once, then has the detectors look.

        Returns one outcome per request, in order; a StoreUnavailable for all of them where the commit failed. Where it
        `answers_first`, the look is left to the next call, or to `settle`.
        """
        answers = _translations(requests)
        translated = [one for one in answers if isinstance(one, Translation)]
        arrival_ns = max((r.arrival_ns for r in requests if r.arrival_ns is not None), default=None)
        try:
            self._fall_back()
            spans = _new([(one.tenant, one.spans) for one in translated], self._spans)
            logs = _new([(one.tenant, one.logs) for one in translated], self._logs)
            try:
                events = self._commit(spans, logs, arrival_ns)
            except BaseException:
                # Its sender will send it again: then it must not look like a repetition.
                self._spans.discard(spans.keys)
                self._logs.discard(logs.keys)
                self._ahead = True
                raise
        except StoreUnavailable as error:
            return [answer if isinstance(answer, OvercurrentError) else error for answer in answers]
        if self._observer is not None:
            self._observer.committed({"traces": spans.duplicates, "logs": logs.duplicates})
        self._unseen.append((events, arrival_ns))
        if not self.answers_first or self._writer is None:
            self.settle()
        return [one if isinstance(one, OvercurrentError) else one.outcome for one in answers]

    def settle(self) -> None:
        """Has the detectors look at what is committed and not looked at yet."""
        while self._unseen:
            self._look(*self._unseen.popleft())

    def record(self, events: Callable[[int], Sequence[Event]]) -> None:
        """Commits events that come from inside, such as halts. `events` gets the next sequence number.

        Raises StoreUnavailable; nothing is changed then.
        """
        self.settle()
        self._fall_back()
        made = events(self.assembler.last_seq + 1)
        self.store.append(_commit(made))
        self.assembler.skip(made)
        self.committed_seq = self.assembler.last_seq
        self._look(made, None)

    def make_again(self, keys: Iterable[SessionKey]) -> None:
        """Makes sessions live again that were at work before a restart. Raises StoreUnavailable."""
        self.settle()
        findings = [finding for key in keys for finding in self.sessions.restore(key)]
        self._keep(findings)
        if self._observer is not None:
            self._observer.found((), findings, None)

    def idle(self, now_ns: int) -> None:
        """Lets time pass where nothing arrives: without telemetry, event time follows `now_ns` at a distance.

        Raises StoreUnavailable.
        """
        at_ns = now_ns - SKEW_NS
        if at_ns >= self._ticked_ns + _IDLE_TICK_NS and self.sessions.live:
            self.watermark.at_ns = max(self.watermark.at_ns, at_ns)
            self._ticked_ns = self.watermark.at_ns
            self.record(lambda seq: [Tick(seq=seq, at_ns=self.watermark.at_ns)])

    def _look(self, events: Sequence[Event], arrival_ns: int | None) -> None:
        try:
            findings = self.sessions.apply(events)
        except Exception:
            logger.exception("sessions did not take in what was committed; they are made again from the store")
            findings = self._made_again(events)
        self._keep(findings)
        if self._observer is not None:
            self._observer.found(events, findings, arrival_ns)

    def _made_again(self, events: Sequence[Event]) -> list[Finding]:
        """What is committed is acknowledged: sessions catch up with it one by one, and one that cannot is let go of."""
        found: list[Finding] = []
        for absorbed in (event.absorbed for event in events if isinstance(event, SessionsMerged)):
            self.sessions.drop(absorbed)
        for key in dict.fromkeys(key for event in events if (key := getattr(event, "session", None)) is not None):
            self.sessions.drop(key)
            try:
                found += self.sessions.restore(self.assembler.survivor(key), before_seq=events[-1].seq + 1)
            except Exception:
                logger.exception("a session was not made again; it is when it next speaks")
        return found

    def _keep(self, findings: Sequence[Finding]) -> None:
        try:
            if self.writing and self._writer is not None and findings:
                self._writer.submit(self.store.append_findings, findings).result()
            else:
                self.store.append_findings(findings)
        except StoreUnavailable as error:
            # The telemetry is committed and acknowledged; a restart finds the same again from it.
            logger.error("findings were not stored, they stay in memory: %s", error.message)  # noqa: TRY400 — the message says it all
        except Exception:
            logger.exception("findings cannot be stored, they stay in memory")

    def _commit(self, spans: "_New[SpanKey]", logs: "_New[bytes]", arrival_ns: int | None) -> list[Event]:
        first_seq = self.assembler.last_seq + 1
        # Spans in the order in which they ended: a request holds them grouped by instrumentation.
        fragments = [*sorted(spans.said, key=_time), *logs.said]
        offered: list[Event] = []
        for _, tenant, fragment in fragments:
            if fragment.tool_schemas:
                news = self._schemas.offered(fragment, self.assembler.last_seq)
                self.assembler.skip(news)
                offered += news
            self.assembler.add(tenant, fragment)
        events = self.assembler.take()
        if offered:
            events = sorted([*events, *offered], key=_seq)
        now_ns = self.watermark.advance(spans.times_ns + [time_ns for time_ns in logs.times_ns if time_ns], arrival_ns)
        if now_ns >= self._ticked_ns + _TICK_NS:
            self._ticked_ns = now_ns
            tick = Tick(seq=self.assembler.last_seq + 1, at_ns=now_ns)
            self.assembler.skip([tick])
            events.append(tick)
        if not (spans.keys or logs.keys or events):
            return []
        self._write(
            Commit(
                seq=max(first_seq, self.assembler.last_seq),
                arrival_ns=arrival_ns,
                spans=spans.rows,
                logs=logs.rows,
                events=events,
            )
        )
        self.committed_seq = self.assembler.last_seq
        return events

    def _write(self, commit: Commit) -> None:
        """Writes the commit; meanwhile the sessions look at the one before. Raises StoreUnavailable."""
        if self._writer is None or not self._unseen:
            self.store.append(commit)
            return
        written = self._writer.submit(self.store.append, commit)
        self.writing = True
        try:
            self.settle()
        finally:
            wait([written])
            self.writing = False
        written.result()

    def _fall_back(self) -> None:
        """After a failed commit: the assembler is ahead of the store, so it is made again from the store.

        Raises StoreUnavailable where that cannot be read yet. Sessions only ever see what was committed; a commit that
        was reported as failed but is there after all reaches them now.
        """
        if not self._ahead or self._recover is None:
            return
        self.settle()
        assembler = self._recover()
        missed = [event for event in self.store.tail(assembler.last_seq - self.committed_seq) if event.seq > self.committed_seq]
        self._remember_keys()
        self._schemas.forget()
        self.assembler, self.committed_seq, self._ahead = assembler, assembler.last_seq, False
        self._look(missed, None)


def _seq(event: Event) -> int:
    return event.seq


def _time(item: tuple[int, str, Fragment]) -> int:
    return item[0]


def _commit(events: Sequence[Event]) -> Commit:
    return Commit(seq=events[-1].seq, arrival_ns=None, events=events)


def _translations(requests: Sequence[Request]) -> list[Translation | OvercurrentError]:
    """One for each request, in order; the records of small ones stand together in the first of them."""
    answers: list[Translation | OvercurrentError] = []
    first = held = 0
    for place, request in enumerate(requests):
        if request.translated is None:
            answers.append(_translation(request))
            held += len(request.body)
            if held < _LAID_OUT_BYTES:
                continue
        else:
            answers.append(decode_translation(request.translated))
        _lay_out(answers, first, requests)
        first, held = place + 1, 0
    _lay_out(answers, first, requests)
    return answers


def _translation(request: Request) -> Translation | OvercurrentError:
    return _attempted(request, lambda: translate(request))


def _lay_out(answers: list[Translation | OvercurrentError], first: int, requests: Sequence[Request]) -> None:
    """Lays out what was translated from `first` on; where one request cannot be, the others are all the same."""
    try:
        lay_out([one for one in answers[first:] if isinstance(one, Translation)])
    except MemoryError:
        raise
    except Exception:
        logger.exception("%d requests cannot be laid out together; each of them is by itself", len(answers) - first)
        for place, one in enumerate(answers[first:], first):
            if isinstance(one, Translation):
                answers[place] = _attempted(requests[place], partial(_laid_out, one))


def _laid_out(translation: Translation) -> Translation:
    lay_out([translation])
    return translation


def _attempted(request: Request, work: Callable[[], Translation]) -> Translation | OvercurrentError:
    try:
        return work()
    except OvercurrentError as error:
        return error
    except MemoryError:
        raise
    except Exception:
        # It depends on nothing but the request: it would fail in the same way again.
        logger.exception("a request of %s, %s, cannot be translated; it is refused", request.signal, request.encoding)
        return Internal("this request cannot be read, by an error of our own; nothing of it was kept, and the log of the service says why")


class _New(msgspec.Struct, Generic[K]):
    """What of several requests was not delivered before, in their order."""

    keys: list[K] = []
    times_ns: list[int] = []
    said: list[tuple[int, str, Fragment]] = []
    """Time, tenant and fragment of what says something about agents."""
    rows: list[pa.RecordBatch] = []
    duplicates: int = 0


def _new(delivered: Sequence[tuple[str, Records[K]]], known: RecentKeys) -> _New[K]:
    new: _New[K] = _New()
    for tenant, records in delivered:
        fresh = known.add(records.keys)
        count = sum(fresh)
        if not count or records.rows is None:
            new.duplicates += len(fresh)
            continue
        items = list(zip(records.keys, records.times_ns, records.fragments, strict=True))
        rows = records.rows
        if count < len(fresh):
            new.duplicates += len(fresh) - count
            items = list(itertools.compress(items, fresh))
            rows = rows.filter(pa.array(fresh))
        new.rows.append(rows)
        new.keys += [key for key, _, _ in items]
        new.times_ns += [time_ns for _, time_ns, _ in items]
        new.said += [(time_ns, tenant, fragment) for _, time_ns, fragment in items if fragment is not None]
    return new
