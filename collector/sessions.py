"""Live sessions: the recorded event stream in, aggregates and findings out.

A function of the stream alone: a session that was evicted, or lost with the process, is made again by reading its
events. How amendments, retractions and merges reach the detectors is docs/adr/003.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from collector.model import Session, SessionState
from detectors.features import StepFeatures
from detectors.host import DetectorHost
from detectors.model import (
    Event,
    Finding,
    Halted,
    Released,
    SessionKey,
    SessionsMerged,
    Step,
    StepAmended,
    StepKind,
    StepRetracted,
    Tick,
    TraceJoined,
    WorkflowJoined,
)

_RECENT_STEPS = 256
_SLOPE_CALLS = 8
_STEP_BYTES = 700
"""What a step weighs beside its texts, roughly."""


class Policy(Protocol):
    """What sessions need to know of the configuration."""

    def agent_type(self, agent: str | None, service: str | None) -> str: ...

    def budget_usd(self, agent_type: str) -> Decimal | None: ...

    def host(self, key: SessionKey) -> DetectorHost: ...

    def equip(self, host: DetectorHost, agent_type: str) -> None:
        """Tells the detectors what holds for this agent type: ceiling, polling tools."""


class History(Protocol):
    """The recorded past, for sessions that are not live."""

    def known(self, key: SessionKey) -> bool:
        """Whether anything was ever recorded under `key`."""

    def events(self, key: SessionKey) -> list[Event]:
        """Every event of the session, and of those merged into it, in commit order."""

    def emitted(self, key: SessionKey) -> set[tuple[str, str, bool]]:
        """(finding id, severity, halt_eligible) of everything emitted for the session and those merged into it."""


class StepSeen(msgspec.Struct, frozen=True):
    """A step as it was taken in: for metrics."""

    step: Step
    features: StepFeatures | None
    agent_type: str
    cost_slope: float | None = None
    """US dollars a call by which calls of the session got dearer lately; every eighth priced call."""


class Live(msgspec.Struct):
    """One live session: its aggregates, its detectors, and its recent steps while memory allows."""

    session: Session
    host: DetectorHost
    recent: "deque[Step] | None"
    recent_bytes: int = 0
    stale: bool = False
    """A recent step changed: the detectors are rebuilt before they see the next one."""
    open_findings: dict[str, Finding] = {}
    costs: list[float] = []
    """Costs of the priced model calls since the last slope."""


class Sessions:
    """All live sessions. One instance, one thread; readers take copies under the owner's lock."""

    def __init__(
        self,
        *,
        policy: Policy,
        history: History | None = None,
        max_live: int = 50_000,
        idle_timeout_ns: int = 1_800_000_000_000,
        recent_bytes: int = 128 * 2**20,
        seen: Callable[[StepSeen], None] | None = None,
    ) -> None:
        self._policy = policy
        self._history = history
        self._max_live = max_live
        self._idle_timeout_ns = idle_timeout_ns
        self._recent_cap = recent_bytes
        self._recent_total = 0
        self._seen = seen
        self.live: OrderedDict[SessionKey, Live] = OrderedDict()
        self.merged: OrderedDict[SessionKey, SessionKey] = OrderedDict()
        self.changed: set[SessionKey] = set()
        """Sessions whose aggregates changed since the owner last took them."""
        self.evicted: list[Session] = []
        self.evictions = {"idle": 0, "capacity": 0}
        self.reloads = 0
        """Sessions made again from the store."""

    def apply(self, events: Iterable[Event]) -> list[Finding]:
        """Takes in events in their order; returns what the detectors found, in order."""
        found: list[Finding] = []
        for event in events:
            if isinstance(event, Step):
                found += self._step(event)
            elif isinstance(event, Tick):
                self._expire(event.at_ns)
            elif isinstance(event, SessionsMerged):
                self._merge(event)
            elif isinstance(event, StepAmended):
                self._amend(event)
            elif isinstance(event, StepRetracted):
                self._retract(event)
            elif isinstance(event, WorkflowJoined):
                self._live(event.session, event.seq).session.workflow_id = event.workflow_id
                self.changed.add(event.session)
            elif isinstance(event, TraceJoined):
                self._identify(self._live(event.session, event.seq).session, event.trace_id)
                self.changed.add(event.session)
            elif isinstance(event, Halted):
                self._halted(event)
            elif isinstance(event, Released):
                self._released(event)
        self._bound()
        return found

    # Steps

    def _step(self, step: Step) -> list[Finding]:
        live = self._live(step.session, step.seq)
        session = live.session
        self._describe(live, step)
        corrected = self._note(live, self._rebuild(live)) if live.stale else []
        _count(session, step, 1)
        session.last_seq = step.seq
        session.started_ns = min(session.started_ns or step.started_ns, step.started_ns)
        session.last_seen_ns = max(session.last_seen_ns, step.ended_ns)
        if not session.state.sticky:
            root = step.kind is StepKind.AGENT and step.parent_span_id is None
            session.state = SessionState.COMPLETED if root else SessionState.RUNNING
        if step.context_utilization is not None:
            session.context_utilization = step.context_utilization
        self._keep(live, step)
        context = live.host.context
        context.steps, context.llm_calls, context.tool_calls = session.steps, session.llm_calls, session.tool_calls
        context.cost_usd = session.cost_usd or Decimal(0)
        features, findings = live.host.observe(step, count=False)
        if self._seen is not None:
            self._seen(StepSeen(step, features, session.agent_type, _slope(live, step)))
        self.changed.add(session.key)
        return corrected + self._note(live, findings)

    def _describe(self, live: Live, step: Step) -> None:
        """Learns from the step what the session is called and who runs in it."""
        session = live.session
        if step.trace_id:
            self._identify(session, step.trace_id)
        if step.service_name is not None and session.service_name is None:
            session.service_name = step.service_name
        _add(session.identifiers.service_names, step.service_name)
        _add(session.identifiers.service_instance_ids, step.service_instance)
        if step.dialect not in session.dialects:
            session.dialects.append(step.dialect)
        fresh_agent = step.agent is not None and step.agent not in session.agents
        if fresh_agent and step.agent is not None and len(session.agents) < session.identifiers.LIMIT:
            session.agents.append(step.agent)
        if fresh_agent or (session.agent_type == "unknown" and session.service_name is not None):
            self._type(live)

    def _type(self, live: Live) -> None:
        session = live.session
        agent_type = self._policy.agent_type(session.agents[0] if session.agents else None, session.service_name)
        if agent_type != session.agent_type:
            session.agent_type = agent_type
            session.budget_usd = self._policy.budget_usd(agent_type)
            self._policy.equip(live.host, agent_type)

    @staticmethod
    def _identify(session: Session, trace_id: str) -> None:
        _add(session.identifiers.trace_ids, trace_id)

    def _note(self, live: Live, findings: list[Finding]) -> list[Finding]:
        key, workflow_id = live.session.key, live.session.workflow_id
        # After a merge the detectors may come from the absorbed session: their finding ids stay, the session is the survivor.
        noted = [msgspec.structs.replace(finding, session=key, workflow_id=workflow_id) for finding in findings]
        for finding in noted:
            live.open_findings[finding.detector] = finding
        if live.open_findings:
            still = live.host.open_episodes()
            for detector in [name for name in live.open_findings if name not in still]:
                del live.open_findings[detector]
        return noted

    # Corrections

    def _amend(self, event: StepAmended) -> None:
        live = self._live(event.session, event.seq)
        _count(live.session, event.was, -1)
        _count(live.session, event.step, 1)
        self._replace(live, event.step.seq, event.step)
        self.changed.add(live.session.key)

    def _retract(self, event: StepRetracted) -> None:
        live = self._live(event.session, event.seq)
        _count(live.session, event.was, -1)
        self._replace(live, event.was.seq, None)
        self.changed.add(live.session.key)

    def _replace(self, live: Live, seq: int, step: Step | None) -> None:
        """Changes or drops a recent step, and has the detectors see the recent past anew before the next step."""
        live.stale = True
        if live.recent is not None:
            kept = [step if old.seq == seq else old for old in live.recent]
            live.recent = deque((old for old in kept if old is not None), maxlen=_RECENT_STEPS)

    def _rebuild(self, live: Live) -> list[Finding]:
        live.stale = False
        steps = list(live.recent) if live.recent is not None else self._recorded(live.session.key)
        context = live.host.context
        context.steps, context.llm_calls, context.tool_calls = live.session.steps, live.session.llm_calls, live.session.tool_calls
        context.cost_usd = live.session.cost_usd or Decimal(0)
        return live.host.rebuild(steps)

    def _recorded(self, key: SessionKey) -> list[Step]:
        """The session's recent steps as they stand now, from the store."""
        return steps_of(self._history.events(key))[-_RECENT_STEPS:] if self._history else []

    def _merge(self, event: SessionsMerged) -> None:
        """The survivor takes over the sums; of the two sets of detectors the one that saw more stays."""
        gone = self.live.get(event.absorbed) or self._load(event.absorbed)
        self._drop(event.absorbed)
        self.merged[event.absorbed] = event.session
        survivor = self._live(event.session, event.seq)
        if gone is not None:
            if gone.session.steps > survivor.session.steps:
                survivor.host = gone.host
                survivor.open_findings = gone.open_findings | survivor.open_findings
            _absorb(survivor.session, gone.session)
            self._recent_total -= survivor.recent_bytes
            both = sorted([*(gone.recent or ()), *(survivor.recent or ())], key=lambda step: step.seq)
            survivor.recent = deque(both, maxlen=_RECENT_STEPS) if gone.recent is not None and survivor.recent is not None else None
            survivor.recent_bytes = sum(map(_weight, survivor.recent or ()))
            self._recent_total += survivor.recent_bytes
            self._type(survivor)
        if str(event.absorbed) not in survivor.session.merged_from:
            survivor.session.merged_from.append(str(event.absorbed))
        self.changed |= {event.session, event.absorbed}

    # Halts

    def _halted(self, event: Halted) -> None:
        session = self._live(event.session, event.seq).session
        session.generation = event.generation
        session.halt_reason = event.halt_reason
        if event.verb == "halt":
            session.state = SessionState.HALTING
        elif event.verb == "pause" and session.state is not SessionState.HALTED:
            session.state = SessionState.PAUSING
        self.changed.add(session.key)

    def _released(self, event: Released) -> None:
        live = self._live(event.session, event.seq)
        live.session.generation = event.generation
        live.session.state = SessionState.RUNNING
        live.session.halt_reason = None
        live.open_findings = {}
        live.host.release(event.grace_steps)
        self.changed.add(event.session)

    # Coming and going

    def _live(self, key: SessionKey, seq: int) -> Live:
        live = self.live.get(key)
        if live is not None:
            self.live.move_to_end(key)
            return live
        live = self._load(key, before_seq=seq) or self._fresh(key, seq)
        self.live[key] = live
        self._recent_total += live.recent_bytes
        return live

    def _fresh(self, key: SessionKey, seq: int) -> Live:
        agent_type = "unknown"
        session = Session(key=key, first_seq=seq, last_seq=seq, budget_usd=self._policy.budget_usd(agent_type))
        return Live(session=session, host=self._policy.host(key), recent=deque(maxlen=_RECENT_STEPS), open_findings={}, costs=[])

    def _load(self, key: SessionKey, before_seq: int | None = None) -> Live | None:
        """Makes a session again from its recorded events before `before_seq`; None where there are none."""
        if self._history is None or not self._history.known(key):
            return None
        events = [event for event in self._history.events(key) if before_seq is None or event.seq < before_seq]
        if not events:
            return None
        again = Sessions(policy=self._policy, idle_timeout_ns=self._idle_timeout_ns, max_live=1 << 30, recent_bytes=self._recent_cap)
        again.apply(events)
        self.reloads += 1
        return again.live.get(key)

    def restore(self, key: SessionKey) -> list[Finding]:
        """Makes a session again after a restart; returns what was found but not emitted before the crash."""
        if self._history is None or key in self.live:
            return []
        again = Sessions(policy=self._policy, idle_timeout_ns=self._idle_timeout_ns, max_live=1 << 30, recent_bytes=self._recent_cap)
        found = again.apply(self._history.events(key))
        live = again.live.get(key)
        if live is None:
            return []
        self.live[key] = live
        self._recent_total += live.recent_bytes
        self.changed.add(key)
        emitted = self._history.emitted(key)
        return [finding for finding in found if (finding.id, str(finding.severity), finding.halt_eligible) not in emitted]

    def _expire(self, now_ns: int) -> None:
        """Lets go of sessions that were silent for the idle time-out, by event time."""
        while self.live:
            key, live = next(iter(self.live.items()))
            if live.session.last_seen_ns + self._idle_timeout_ns > now_ns:
                return
            self._evict(key, idle=True)

    def _evict(self, key: SessionKey, *, idle: bool) -> None:
        live = self.live[key]
        if idle and live.session.state is SessionState.RUNNING:
            live.session.state = SessionState.IDLE
        self.evicted.append(live.session)
        self.evictions["idle" if idle else "capacity"] += 1
        self._drop(key)

    def _drop(self, key: SessionKey) -> None:
        live = self.live.pop(key, None)
        if live is not None:
            self._recent_total -= live.recent_bytes

    def _bound(self) -> None:
        while len(self.live) > self._max_live:
            self._evict(next(iter(self.live)), idle=False)
        if self._recent_total > self._recent_cap:
            for live in self.live.values():
                self._recent_total -= live.recent_bytes
                live.recent, live.recent_bytes = None, 0
                if self._recent_total <= self._recent_cap:
                    return

    def _keep(self, live: Live, step: Step) -> None:
        if live.recent is None:
            return
        weight = _weight(step)
        if len(live.recent) == _RECENT_STEPS:
            oldest = _weight(live.recent[0])
            live.recent_bytes -= oldest
            self._recent_total -= oldest
        live.recent.append(step)
        live.recent_bytes += weight
        self._recent_total += weight


def _slope(live: Live, step: Step) -> float | None:
    """Rise of cost per call between the halves of each eight priced calls: coarse, for a histogram over many sessions."""
    if step.cost_usd is None:
        return None
    live.costs.append(float(step.cost_usd))
    if len(live.costs) < _SLOPE_CALLS:
        return None
    half = _SLOPE_CALLS // 2
    slope = (sum(live.costs[half:]) - sum(live.costs[:half])) / half / half
    live.costs = []
    return slope


def steps_of(events: Iterable[Event]) -> list[Step]:
    """The steps as they stand after `events`: amended ones amended, retracted ones gone, in commit order."""
    steps: dict[int, Step] = {}
    for event in events:
        if isinstance(event, Step):
            steps[event.seq] = event
        elif isinstance(event, StepAmended):
            steps[event.step.seq] = event.step
        elif isinstance(event, StepRetracted):
            steps.pop(event.was.seq, None)
    return list(steps.values())


def _weight(step: Step) -> int:
    return _STEP_BYTES + sum(len(text) for text in (step.arguments, step.result, step.input_text, step.output_text) if text)


def _add(ids: list[str], value: str | None) -> None:
    """Appends a value not yet there; past the limit the newest replace the oldest but the first."""
    if value is None or (ids and ids[-1] == value) or value in ids:
        return
    ids.append(value)
    if len(ids) > 32:
        del ids[1]


def _plus(total: int | None, value: int | None, sign: int) -> int | None:
    return total if value is None else (total or 0) + sign * value


def _count(session: Session, step: Step, sign: int) -> None:
    """Adds (or takes back) what one step counts for."""
    if not step.counts:
        return
    session.steps += sign
    if step.kind is StepKind.LLM:
        session.llm_calls += sign
        session.input_tokens = _plus(session.input_tokens, step.input_tokens, sign)
        session.output_tokens = _plus(session.output_tokens, step.output_tokens, sign)
        session.cached_input_tokens = _plus(session.cached_input_tokens, step.cached_input_tokens, sign)
        if step.cost_usd is not None:
            session.cost_usd = (session.cost_usd or Decimal(0)) + sign * step.cost_usd
        if step.cost_basis is not None:
            session.cost_bases[step.cost_basis] = session.cost_bases.get(step.cost_basis, 0) + sign
    elif step.kind is StepKind.TOOL:
        session.tool_calls += sign
        session.tool_errors += sign * (step.error is True)


def _absorb(into: Session, gone: Session) -> None:
    """Adds the sums and names of `gone` to `into`."""
    for field in ("steps", "llm_calls", "tool_calls", "tool_errors"):
        setattr(into, field, getattr(into, field) + getattr(gone, field))
    for field in ("input_tokens", "output_tokens", "cached_input_tokens", "cost_usd"):
        values: list[Any] = [value for value in (getattr(into, field), getattr(gone, field)) if value is not None]
        setattr(into, field, sum(values[1:], values[0]) if values else None)
    for basis, calls in gone.cost_bases.items():
        into.cost_bases[basis] = into.cost_bases.get(basis, 0) + calls
    for kind in ("trace_ids", "conversation_ids", "service_names", "service_instance_ids"):
        for value in getattr(gone.identifiers, kind):
            _add(getattr(into.identifiers, kind), value)
    into.merged_from += [name for name in gone.merged_from if name not in into.merged_from]
    into.agents += [name for name in gone.agents if name not in into.agents]
    into.dialects += [name for name in gone.dialects if name not in into.dialects]
    into.service_name = into.service_name or gone.service_name
    into.workflow_id = into.workflow_id or gone.workflow_id
    into.started_ns = min(filter(None, (into.started_ns, gone.started_ns)), default=0)
    into.first_seq = min(into.first_seq, gone.first_seq)
    if gone.last_seen_ns > into.last_seen_ns:
        into.last_seen_ns = gone.last_seen_ns
        into.context_utilization = gone.context_utilization
    if gone.state.sticky and not into.state.sticky:
        into.state, into.halt_reason, into.generation = gone.state, gone.halt_reason, max(into.generation, gone.generation)
    elif not into.state.sticky and gone.state is SessionState.COMPLETED:
        into.state = gone.state
