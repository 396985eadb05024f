"""Live sessions: the recorded event stream in, aggregates and findings out.

A function of the stream alone: a session that was evicted, or lost with the process, is made again by reading its
events. How amendments, retractions and merges reach the detectors is docs/adr/003.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from collector.model import Session, SessionState
from collector.session_contracts import History, Policy
from collector.session_sums import absorb, add, count, steps_of
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
    touched_ns: int = 0
    """Event time when it was last heard of."""
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
        self._now_ns = 0
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
        events = list(events)
        if events and isinstance(events[-1], Tick):
            # It says how far time had come when the commit arrived, so it counts for what stands before it too.
            self._now_ns = max(self._now_ns, events[-1].at_ns)
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
        corrected = self._note(live, self._rebuild(live, step.seq)) if live.stale else []
        count(session, step, 1)
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
        add(session.identifiers.service_names, step.service_name)
        add(session.identifiers.service_instance_ids, step.service_instance)
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
        add(session.identifiers.trace_ids, trace_id)

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
        count(live.session, event.was, -1)
        count(live.session, event.step, 1)
        self._describe(live, event.step)
        if live.session.context_utilization == event.was.context_utilization:
            live.session.context_utilization = event.step.context_utilization
        self._replace(live, event.step.seq, event.step)
        self.changed.add(live.session.key)

    def _retract(self, event: StepRetracted) -> None:
        live = self._live(event.session, event.seq)
        count(live.session, event.was, -1)
        self._replace(live, event.was.seq, None)
        self.changed.add(live.session.key)

    def _replace(self, live: Live, seq: int, step: Step | None) -> None:
        """Changes or drops a recent step, and has the detectors see the recent past anew before the next step."""
        live.stale = True
        if live.recent is not None:
            kept = [step if old.seq == seq else old for old in live.recent]
            live.recent = deque((old for old in kept if old is not None), maxlen=_RECENT_STEPS)
            self._weigh(live)

    def _weigh(self, live: Live) -> None:
        self._recent_total -= live.recent_bytes
        live.recent_bytes = sum(map(_weight, live.recent or ()))
        self._recent_total += live.recent_bytes

    def _rebuild(self, live: Live, before_seq: int) -> list[Finding]:
        live.stale = False
        steps = list(live.recent) if live.recent is not None else self._recorded(live.session.key, before_seq)
        context = live.host.context
        context.steps, context.llm_calls, context.tool_calls = live.session.steps, live.session.llm_calls, live.session.tool_calls
        context.cost_usd = live.session.cost_usd or Decimal(0)
        return live.host.rebuild(steps)

    def _recorded(self, key: SessionKey, before_seq: int) -> list[Step]:
        """The session's recent steps as they stood before `before_seq`, from the store, which holds all of the commit."""
        events = self._history.events(key) if self._history else []
        return steps_of(event for event in events if event.seq < before_seq)[-_RECENT_STEPS:]

    def _merge(self, event: SessionsMerged) -> None:
        """The survivor takes over the sums; of the two sets of detectors the one that saw more stays."""
        gone = self.live.get(event.absorbed) or self._load(event.absorbed)
        self._drop(event.absorbed)
        self.merged[event.absorbed] = event.session
        survivor = self._live(event.session, event.seq)
        if gone is not None:
            if gone.session.steps > survivor.session.steps:
                survivor.host, survivor.stale = gone.host, gone.stale
                self._policy.equip(survivor.host, survivor.session.agent_type)
                survivor.open_findings = gone.open_findings | survivor.open_findings
            absorb(survivor.session, gone.session)
            both = sorted([*(gone.recent or ()), *(survivor.recent or ())], key=lambda step: step.seq)
            survivor.recent = deque(both, maxlen=_RECENT_STEPS) if gone.recent is not None and survivor.recent is not None else None
            self._weigh(survivor)
            self._type(survivor)
        if str(event.absorbed) not in survivor.session.merged_from:
            survivor.session.merged_from.append(str(event.absorbed))
        self.changed |= {event.session, event.absorbed}

    # Halts

    def _halted(self, event: Halted) -> None:
        session = self._live(event.session, event.seq).session
        session.generation = max(session.generation, event.generation)
        if event.verb == "halt":
            session.state, session.halt_reason = SessionState.HALTING, event.halt_reason
        elif event.verb == "pause" and session.state is not SessionState.HALTING:
            session.state, session.halt_reason = SessionState.PAUSING, event.halt_reason
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
        else:
            live = self.live[key] = self._load(key, before_seq=seq) or self._fresh(key, seq)
            self._recent_total += live.recent_bytes
        live.touched_ns = self._now_ns
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
        again, _ = self._again(events)
        self.reloads += 1
        return again.live.get(key)

    def restore(self, key: SessionKey) -> list[Finding]:
        """Makes a session again after a restart; returns what was found but not emitted before the crash."""
        if self._history is None or key in self.live:
            return []
        again, found = self._again(self._history.events(key))
        live = again.live.get(key)
        if live is None:
            return []
        self.live[key] = live
        self._recent_total += live.recent_bytes
        self.changed.add(key)
        self.merged |= again.merged
        emitted = self._history.emitted(key)
        return [finding for finding in found if (finding.id, str(finding.severity), finding.halt_eligible) not in emitted]

    def _again(self, events: list[Event]) -> tuple["Sessions", list[Finding]]:
        """A session's events through sessions without bounds, and what was found in them."""
        again = Sessions(policy=self._policy, idle_timeout_ns=self._idle_timeout_ns, max_live=1 << 30, recent_bytes=1 << 62)
        return again, again.apply(events)

    def _expire(self, now_ns: int) -> None:
        """Lets go of sessions that were silent for the idle time-out, by event time.

        A sender whose clock runs ahead keeps its session no longer than others: then the time of the stream counts.
        """
        while self.live:
            key, live = next(iter(self.live.items()))
            seen_ns = live.session.last_seen_ns
            if max(live.touched_ns, seen_ns if seen_ns <= now_ns else 0) + self._idle_timeout_ns > now_ns:
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


def _weight(step: Step) -> int:
    return _STEP_BYTES + sum(len(text) for text in (step.arguments, step.result, step.input_text, step.output_text) if text)
