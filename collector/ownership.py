"""Whose a span is: sessions found, joined and merged; workflows connected."""

from collections.abc import Iterable

from collector.bounded import Recent, remember
from collector.dialects.base import Fragment
from collector.traces import PARENT_HOPS, Limits, SpanInfo, Trace, Traces
from collector.workflows import Workflows
from detectors.model import Event, Identified, SessionKey, SessionsMerged, TraceJoined, WorkflowJoined


class Ownership:
    """What the assembler knows of sessions and traces, and the events that it made."""

    def __init__(self, *, first_seq: int, limits: Limits) -> None:
        self._limits = limits
        self._seq = first_seq - 1
        self._traces = Traces(limits)
        self._aliases: dict[SessionKey, SessionKey] = {}
        self._joins: Recent[int, SessionKey] = Recent(limits.ids)
        """By hashes of tenant and tool-call id the session that it was heard of in last."""
        self._workflows = Workflows(limits.ids, self._connected)
        self._heard_of: SessionKey | None = None
        """The session that bears an id of its own and was heard of last."""
        self._out: dict[int, Event] = {}

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
        events, self._out = list(self._out.values()), {}
        return events

    # Whose it is

    def survivor(self, key: SessionKey) -> SessionKey:
        """The session that `key` was merged into, or `key` itself."""
        while (into := self._aliases.get(key)) is not None:
            key = into
        return key

    def _place(self, trace: Trace, fragment: Fragment, info: SpanInfo | None) -> SessionKey | None:
        """Whose a span is that names no session: of the nearest span above that does, else of its trace's."""
        spans, above = trace.spans, info
        for _ in range(PARENT_HOPS):
            above = spans.get(above.parent) if above is not None and above.parent else None
            if above is None:
                break
            if above.explicit is not None:
                return self.survivor(above.explicit)
        if trace.bound is not None:
            return self.survivor(trace.bound)
        if trace.fallback is None:
            if fragment.step is None and not fragment.links and not fragment.joins:
                return None
            trace.fallback = SessionKey(trace.tenant, fragment.namespace, trace.trace_id)
        return self.survivor(trace.fallback)

    def _bind(self, trace: Trace, explicit: SessionKey, at_ns: int) -> None:
        """The first explicit id of a trace claims what the trace said before without one."""
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
        self._emit(SessionsMerged(seq=self._next(), session=survivor, absorbed=absorbed, at_ns=at_ns))
        self._workflows.merge(survivor, absorbed)
        self._merged(survivor, absorbed)

    def _merged(self, survivor: SessionKey, absorbed: SessionKey) -> None:
        """Told of every merge, after it."""

    def _join(self, tenant: str, fragment: Fragment, session: SessionKey) -> SessionKey:
        """Sessions without an id of their own that share a tool-call id are one."""
        for join in fragment.joins:
            key = hash((tenant, join))
            known = self._joins.get(key)
            if known is not None:
                known = self.survivor(known)
                if known != session and self._nameless(session):
                    self._merge(known, session, fragment.at_ns)
                    session = known
                elif known != session and self._nameless(known):
                    self._merge(session, known, fragment.at_ns)
            self._joins.set(key, session)
        return session

    def _nameless(self, key: SessionKey) -> bool:
        trace = self._traces.known(key.tenant, key.session_id)
        return trace is not None and trace.fallback == key and trace.bound is None

    # Workflows

    def _touch(self, trace: Trace, session: SessionKey, at_ns: int) -> SessionKey:
        """Notes that the trace tells of the session, and connects it with what links to the trace."""
        for linker in trace.linkers:
            session = self._related(self.survivor(linker), session, at_ns)
        trace.linkers = ()
        if session not in trace.sessions:
            if trace.sessions:
                self._workflows.connect(self.survivor(trace.sessions[0]), session)
            trace.tells_of(session)
        return session

    def _link(self, tenant: str, fragment: Fragment, session: SessionKey) -> SessionKey:
        """Connects the session with those of linked traces, or remembers to do so when they come."""
        for trace_id, _ in fragment.links:
            if not trace_id or trace_id == fragment.trace_id:
                continue
            other = self._traces.of(tenant, trace_id)
            if not other.sessions:
                other.wait(session)
            for linked in other.sessions:
                session = self._related(self.survivor(linked), session, fragment.at_ns)
        return session

    def _related(self, owner: SessionKey, session: SessionKey, at_ns: int) -> SessionKey:
        """Two sessions of linked traces: without ids of their own they are one, else they are one piece of work."""
        if owner == session:
            return session
        if self._nameless(session) and self._nameless(owner):
            self._merge(owner, session, at_ns)
            return owner
        self._workflows.connect(owner, session)
        return session

    def _hear_of(self, session: SessionKey) -> None:
        """Notes that the session exists, and connects it with one that named it: a sub-agent's names its parent's."""
        self._heard_of = session
        other = self._workflows.heard_of(session)
        if other is not None:
            self._workflows.connect(self.survivor(other), session)

    def _identify(self, session: SessionKey, conversation_id: str) -> None:
        """Notes a further name of the session; sessions of one name are one piece of work."""
        news, other = self._workflows.identify(session, conversation_id)
        if news:
            self._emit(Identified(seq=self._next(), session=session, conversation_id=conversation_id))
        if other is not None:
            self._workflows.connect(self.survivor(other), session)

    def _connected(self, session: SessionKey, workflow_id: str) -> None:
        self._emit(WorkflowJoined(seq=self._next(), session=session, workflow_id=workflow_id))
