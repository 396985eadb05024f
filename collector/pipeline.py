"""The way of the data on one page. Live traffic, replay and back-test all run through `process`."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from collector.assembly import Assembler
from collector.decode import decode
from collector.dialects import fragment_of, fragment_of_log
from collector.duplicates import RecentKeys, log_key
from collector.errors import OvercurrentError, StoreUnavailable
from collector.event_time import SKEW_NS, Watermark
from collector.model import Outcome, Request
from collector.sessions import Sessions
from collector.store.base import Commit, Store
from collector.telemetry_data import Decoded, LogRecord, Span
from collector.tool_schemas import ToolSchemas
from detectors.model import Event, Finding, Tick

logger = logging.getLogger(__name__)

_TICK_NS = 1_000_000_000
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
    ) -> None:
        """Reads back from `store` what a repeated delivery is recognised by.

        `recover` makes an assembler that knows what the store holds, for after a failed commit.
        """
        self.store = store
        self.assembler = assembler
        self.sessions = sessions
        self._schemas = ToolSchemas(sessions.knowledge, sessions.policy.agent_type)
        self.watermark = Watermark()
        self._observer = observer
        self._recover = recover
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
        for key in self.store.span_keys(self._horizon):
            self._spans.add(key)
        for log in self.store.log_keys(self._horizon):
            self._logs.add(log)

    def process(self, requests: Sequence[Request]) -> list[Outcome | OvercurrentError]:
        """Decodes, recognises repeats, translates, commits all requests at once, then has the detectors look.

        Returns one outcome per request, in order; a StoreUnavailable for all of them where the commit failed.
        """
        outcomes: list[Outcome | OvercurrentError] = []
        decoded: list[Decoded | None] = []
        for request in requests:
            try:
                one = decode(request)
            except OvercurrentError as error:
                decoded.append(None)
                outcomes.append(error)
            else:
                decoded.append(one)
                outcomes.append(_outcome(one))
        arrival_ns = max((r.arrival_ns for r in requests if r.arrival_ns is not None), default=None)
        try:
            self._fall_back()
            spans, logs = self._new(requests, decoded)
            try:
                events = self._commit(spans, logs, arrival_ns)
            except BaseException:
                # Its sender will send it again: then it must not look like a repetition.
                self._spans.discard((tenant, span.trace_id, span.span_id) for tenant, span in spans)
                self._logs.discard(key for _, _, key in logs)
                self._ahead = True
                raise
        except StoreUnavailable as error:
            return [outcome if isinstance(outcome, OvercurrentError) else error for outcome in outcomes]
        if self._observer is not None:
            sent = [one for one in decoded if one is not None]
            duplicates = {
                "traces": sum(len(one.spans) for one in sent) - len(spans),
                "logs": sum(len(one.logs) for one in sent) - len(logs),
            }
            self._observer.committed(duplicates)
        self._look(events, arrival_ns)
        return outcomes

    def record(self, events: Callable[[int], Sequence[Event]]) -> None:
        """Commits events that come from inside, such as halts. `events` gets the next sequence number.

        Raises StoreUnavailable; nothing is changed then.
        """
        self._fall_back()
        made = events(self.assembler.last_seq + 1)
        self.store.append(_commit(made))
        self.assembler.skip(made)
        self.committed_seq = self.assembler.last_seq
        self._look(made, None)

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
        findings = self.sessions.apply(events)
        self._keep(findings)
        if self._observer is not None:
            self._observer.found(events, findings, arrival_ns)

    def _keep(self, findings: Sequence[Finding]) -> None:
        try:
            self.store.append_findings(findings)
        except StoreUnavailable as error:
            # The telemetry is committed and acknowledged; a restart finds the same again from it.
            logger.error("findings were not stored, they stay in memory: %s", error.message)  # noqa: TRY400 — the message says it all

    def _new(
        self, requests: Sequence[Request], decoded: Sequence[Decoded | None]
    ) -> tuple[list[tuple[str, Span]], list[tuple[str, LogRecord, bytes]]]:
        """What was not delivered before."""
        spans: list[tuple[str, Span]] = []
        logs: list[tuple[str, LogRecord, bytes]] = []
        for request, one in zip(requests, decoded, strict=True):
            if one is None:
                continue
            tenant = request.tenant
            spans += [(tenant, span) for span in one.spans if self._spans.add((tenant, span.trace_id, span.span_id))]
            for record in one.logs:
                key = log_key(tenant, record)
                if self._logs.add(key):
                    logs.append((tenant, record, key))
        return spans, logs

    def _commit(self, spans: list[tuple[str, Span]], logs: list[tuple[str, LogRecord, bytes]], arrival_ns: int | None) -> list[Event]:
        first_seq = self.assembler.last_seq + 1
        # In the order in which things ended: a request holds them grouped by instrumentation.
        fragments = [(tenant, fragment_of(span)) for tenant, span in sorted(spans, key=_ended)]
        fragments += [(tenant, fragment_of_log(record)) for tenant, record, _ in logs]
        offered: list[Event] = []
        for tenant, fragment in fragments:
            if fragment is not None:
                if fragment.tool_schemas:
                    news = self._schemas.offered(fragment, self.assembler.last_seq)
                    self.assembler.skip(news)
                    offered += news
                self.assembler.add(tenant, fragment)
        events = self.assembler.take()
        if offered:
            events = sorted([*events, *offered], key=_seq)
        now_ns = self.watermark.advance([s.end_ns for _, s in spans] + [r.time_ns for _, r, _ in logs if r.time_ns], arrival_ns)
        if now_ns >= self._ticked_ns + _TICK_NS:
            self._ticked_ns = now_ns
            tick = Tick(seq=self.assembler.last_seq + 1, at_ns=now_ns)
            self.assembler.skip([tick])
            events.append(tick)
        if not (spans or logs or events):
            return []
        self.store.append(
            Commit(
                seq=max(first_seq, self.assembler.last_seq),
                arrival_ns=arrival_ns,
                tenants=[tenant for tenant, _ in spans],
                spans=[span for _, span in spans],
                logs=[record for _, record, _ in logs],
                log_tenants=[tenant for tenant, _, _ in logs],
                log_keys=[key for _, _, key in logs],
                events=events,
            )
        )
        self.committed_seq = self.assembler.last_seq
        return events

    def _fall_back(self) -> None:
        """After a failed commit: the assembler is ahead of the store, so it is made again from the store.

        Raises StoreUnavailable where that cannot be read yet. Sessions only ever see what was committed; a commit that
        was reported as failed but is there after all reaches them now.
        """
        if not self._ahead or self._recover is None:
            return
        assembler = self._recover()
        missed = [event for event in self.store.tail(assembler.last_seq - self.committed_seq) if event.seq > self.committed_seq]
        self._remember_keys()
        self._schemas.forget()
        self.assembler, self.committed_seq, self._ahead = assembler, assembler.last_seq, False
        self._look(missed, None)


def _seq(event: Event) -> int:
    return event.seq


def _ended(item: tuple[str, Span]) -> int:
    return item[1].end_ns


def _commit(events: Sequence[Event]) -> Commit:
    return Commit(seq=events[-1].seq, arrival_ns=None, tenants=(), spans=(), logs=(), log_tenants=(), log_keys=(), events=events)


def _outcome(decoded: Decoded) -> Outcome:
    accepted = len(decoded.spans) + len(decoded.logs) + decoded.data_points
    if not decoded.rejected:
        return Outcome(accepted=accepted)
    first = decoded.rejected[0]
    where = f" ({first.where})" if first.where else ""
    more = f" and {len(decoded.rejected) - 1} more" if len(decoded.rejected) > 1 else ""
    return Outcome(accepted=accepted, rejected=len(decoded.rejected), message=f"{first.reason}{where}{more}")
