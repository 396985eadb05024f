"""Live sessions: the recorded event stream in, aggregates and findings out.

A function of the stream alone: a session that was evicted, or lost with the process, is made again by reading its
events. How amendments, retractions and merges reach the detectors is docs/adr/003.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

import msgspec

from collector.fleet_watch import Fleets
from collector.knowledge import Knowledge, Past
from collector.live import RECENT_STEPS, Live, Seen, fresh, slope
from collector.model import SessionState
from collector.recall import Recall
from collector.residence import Residence
from collector.session_contracts import History, Policy
from collector.session_sums import add, count, describe, steps_of
from collector.silence import past_ticks
from collector.workflow_watch import Workflows
from detectors.model import (
    BaselineSnapshot,
    Evaluation,
    Event,
    Finding,
    Halted,
    Identified,
    Released,
    SchemaRegistered,
    SessionKey,
    SessionsMerged,
    Severity,
    Step,
    StepAmended,
    StepKind,
    StepRetracted,
    Tick,
    TraceJoined,
    WorkflowJoined,
)

_LATEST: Final = 1 << 63
"""A sequence number after all others."""


class Sessions:
    """All live sessions. One instance, one thread; readers take copies under the owner's lock."""

    REMEMBERED: ClassVar = ("workflow_joined", "sessions_merged", "released", "schema_registered", "baseline_snapshot")
    """Tags of the events that are about more than one session."""

    def __init__(
        self,
        *,
        policy: Policy,
        history: History | None = None,
        max_live: int = 50_000,
        max_bytes: int = 128 * 2**20,
        idle_timeout_ns: int = 1_800_000_000_000,
        recent_bytes: int = 128 * 2**20,
        seen: Seen | None = None,
        finished: Callable[[Live], None] | None = None,
        knowledge: Knowledge | None = None,
        past: Past | None = None,
    ) -> None:
        """`finished` is told of a session that is over, once.

        With `past`, events are old ones of one session: it says what was known at the time of each.
        """
        self.policy = policy
        self._history = history
        self._recall = Recall(history)
        self.residence = Residence(
            max_live=max_live, max_bytes=max_bytes, recent_bytes=recent_bytes, idle_timeout_ns=idle_timeout_ns, finished=finished
        )
        self.live: Mapping[SessionKey, Live] = self.residence.live
        self._idle_timeout_ns = idle_timeout_ns
        self._recent = self.residence.recent
        self._seen = seen
        self.knowledge = knowledge or Knowledge()
        self._past = past
        self._known: Knowledge | Past = past if past is not None else self.knowledge
        self._turn = 0
        """Grows with each call of `apply`, and when something becomes known that sessions are told of."""
        self.now_ns = 0
        """Event time, as the latest tick told it."""
        # Sessions made again say nothing of their workflow: its steps were seen.
        self.workflows = Workflows(policy, history, self.live, idle_timeout_ns=idle_timeout_ns, idle=past is not None)
        self.fleets = Fleets(policy, idle=past is not None)
        self.merged: OrderedDict[SessionKey, SessionKey] = OrderedDict()
        self.changed: set[SessionKey] = set()
        """Sessions whose aggregates changed since the owner last took them."""
        self.reloads = 0
        """Sessions made again from the store."""

    def remember(self, events: Iterable[Event]) -> None:
        """Learns again, before anything else, from those recorded events that are about more than one session."""
        for event in events:
            self.knowledge.learn(event)
            self.workflows.note(event)

    def apply(self, events: Iterable[Event]) -> list[Finding]:
        """Takes in events in their order; returns what the detectors found, in order."""
        found: list[Finding] = []
        events = list(events)
        if events and isinstance(events[-1], Tick):
            # It says how far time had come when the commit arrived, so it counts for what stands before it too.
            self.now_ns = max(self.now_ns, events[-1].at_ns)
        self._turn += 1
        if self._history is not None:
            self._recall.expect(event.session for event in events if type(event) is Step and event.session not in self.live)
        for event in events:
            if type(event) is Step:
                self._step(event, found)
            elif (handle := self._HANDLERS.get(type(event))) is not None:
                found += handle(self, event) or ()
        self.residence.bound()
        return found

    # Steps

    def _step(self, step: Step, found: list[Finding]) -> None:
        live = self.live.get(step.session)
        if live is None or live.turn != self._turn:
            live = self._live(step.session, step.seq)
        session = live.session
        if self._past is not None:
            self._past.seq = step.seq
            found += self.relive(live, step.ended_ns)
            self._inform(live)
        said = (step.agent, step.trace_id, step.service_name, step.service_instance, step.dialect)
        if said != live.said:
            live.said = said
            self._describe(live, step)
        if live.stale:
            found += self._corrected(live, step.seq)
        count(session, step, 1)
        session.last_seq = step.seq
        if step.started_ns < session.started_ns or not session.started_ns:
            session.started_ns = step.started_ns
        session.last_seen_ns = max(session.last_seen_ns, step.ended_ns)
        root = step.kind is StepKind.AGENT and step.parent_span_id is None
        if (root or session.state is not SessionState.RUNNING) and not session.state.sticky:
            session.state = SessionState.COMPLETED if root else SessionState.RUNNING
        if step.context_window and (utilization := step.context_utilization) is not None:
            session.context_utilization = utilization
        self._recent.keep(live, step)
        live.sum_up()
        features, findings = live.host.observe(step, count=False)
        if self._seen is not None:
            self._seen(step, session.agent_type, features, slope(live, step))
        if findings or live.open_findings:
            found += self._note(live, findings)
        if session.workflow_id is not None:
            found += self.workflows.step(live, step, features)
        found += self.fleets.step(step, session.agent_type)

    def _describe(self, live: Live, step: Step) -> None:
        """Learns from the step what the session is called and who runs in it."""
        session = live.session
        describe(session, step)
        fresh_agent = step.agent is not None and step.agent not in session.agents
        if fresh_agent and step.agent is not None and len(session.agents) < session.identifiers.LIMIT:
            session.agents.append(step.agent)
        if fresh_agent or (session.agent_type == "unknown" and session.service_name is not None):
            self._type(live)

    def _type(self, live: Live) -> None:
        session = live.session
        agent_type = self.policy.agent_type(session.agents[0] if session.agents else None, session.service_name)
        if agent_type != session.agent_type:
            session.agent_type = agent_type
            session.budget_usd = self.policy.budget_usd(agent_type)
            self.policy.equip(live.host, agent_type)
        types = [agent_type, *(self.policy.agent_type(agent, session.service_name) for agent in session.agents[1:])]
        live.agent_types = tuple(dict.fromkeys(types))
        live.host.context.schemas = self._known.schemas(live.agent_types)
        self._inform(live)

    def _inform(self, live: Live) -> None:
        """Tells the detectors what is normal by now. What is known of tools follows by itself, but in the past."""
        known = self._known.baseline(live.session.agent_type)
        if known is not live.known:
            live.known = known
            live.host.context.baseline = None if known is None else known.baseline
            live.host.versions = msgspec.structs.replace(live.host.versions, baselines="" if known is None else known.version)
        if self._past is not None:
            live.host.context.schemas = self._past.schemas(live.agent_types)

    def _note(self, live: Live, findings: list[Finding]) -> list[Finding]:
        key, workflow_id = live.session.key, live.session.workflow_id
        # After a merge the detectors may come from the absorbed session: their finding ids stay, the session is the survivor.
        noted = [msgspec.structs.replace(finding, session=key, workflow_id=workflow_id) for finding in findings]
        for finding in noted:
            live.open_findings[finding.detector] = finding
            live.flagged = live.flagged or finding.severity is Severity.CRITICAL
        if live.open_findings:
            still = live.host.open_episodes()
            for detector in [name for name in live.open_findings if name not in still]:
                del live.open_findings[detector]
        return noted

    # What is told of sessions and their surroundings

    def _join(self, event: WorkflowJoined) -> None:
        self._live(event.session, event.seq).session.workflow_id = event.workflow_id
        self.workflows.note(event)

    def _identify(self, event: TraceJoined | Identified) -> None:
        self._live(event.session, event.seq).identify(event)

    def _learn(self, event: SchemaRegistered | BaselineSnapshot) -> list[Finding]:
        self.knowledge.learn(event)
        self._turn += 1  # every session hears of it before its next step
        return self.fleets.other(event)

    def _judge(self, event: Evaluation) -> list[Finding]:
        return self.fleets.other(event, self._live(event.session, event.seq).session.agent_type)

    # Corrections

    def _amend(self, event: StepAmended) -> list[Finding]:
        live = self._live(event.session, event.seq)
        count(live.session, event.was, -1)
        count(live.session, event.step, 1)
        self._describe(live, event.step)
        live.said = ()
        if live.session.context_utilization == event.was.context_utilization:
            live.session.context_utilization = event.step.context_utilization
        self._replace(live, event.step.seq, event.step)
        return self.fleets.amended(event, live.session.agent_type)

    def _retract(self, event: StepRetracted) -> None:
        live = self._live(event.session, event.seq)
        count(live.session, event.was, -1)
        self._replace(live, event.was.seq, None)

    def _replace(self, live: Live, seq: int, step: Step | None) -> None:
        """Changes or drops a recent step, and has the detectors see the recent past anew before the next step, or after a minute."""
        live.stale = True
        self.workflows.changed(live.session.key)
        self._recent.replace(live, seq, step)

    def _corrected(self, live: Live, before_seq: int) -> list[Finding]:
        """What the detectors find in the recent steps as they stand now, if any was corrected since they saw them."""
        live.stale = False
        steps = live.recent
        if steps is None:  # as they stood before: the store holds all of the commit
            events = self._history.events(live.session.key) if self._history else []
            steps = steps_of(event for event in events if event.seq < before_seq)[-RECENT_STEPS:]
        live.sum_up()
        return self._note(live, live.host.rebuild(steps))

    def catch_up(self) -> list[Finding]:
        """What corrections show of sessions that have not spoken since, where no more is to come."""
        return [finding for live in self.live.values() if live.stale for finding in self._corrected(live, _LATEST)]

    def _merge(self, event: SessionsMerged) -> None:
        """The survivor takes over the sums; of the two sets of detectors the one that saw more stays."""
        gone = self.live.get(event.absorbed) or self._load(event.absorbed)
        self.drop(event.absorbed)
        self.merged[event.absorbed] = event.session
        survivor = self._live(event.session, event.seq)
        if gone is not None:
            survivor.absorb(gone)
            self.policy.equip(survivor.host, survivor.session.agent_type)
            self._recent.weigh(survivor)
            survivor.said = ()
            self._type(survivor)
        add(survivor.session.merged_from, str(event.absorbed))
        self.changed.add(event.absorbed)
        self.workflows.note(event)

    # Halts

    def _halted(self, event: Halted) -> None:
        self._live(event.session, event.seq).halt(event)

    def _released(self, event: Released) -> None:
        self._live(event.session, event.seq).release(event)
        self.workflows.note(event)

    # Time

    def _tick(self, tick: Tick) -> list[Finding]:
        """Tells those who were silent for long that time passed, and lets go of those silent for too long."""
        silent = self.residence.silences.over(self.live, tick.at_ns)
        found = [finding for live in silent for finding in self._pass(live, tick)]
        self.residence.expire(tick.at_ns)
        self.fleets.tick(tick.at_ns)
        return found

    def _pass(self, live: Live, tick: Tick) -> list[Finding]:
        findings = self._corrected(live, tick.seq) if live.stale else []
        if passed := live.host.tick(tick):
            findings += self._note(live, passed)
        if findings:
            self.changed.add(live.session.key)
        return findings

    def relive(self, live: Live, until_ns: int) -> list[Finding]:
        """Lets time pass for a session that is made again."""
        live.learned = live.learned or 0 < live.session.last_seen_ns <= until_ns - self._idle_timeout_ns
        ticks = past_ticks(live.session, until_ns, live.session.last_seq, longest_ns=self._idle_timeout_ns)
        return [finding for tick in ticks for finding in self._pass(live, tick)]

    # Coming and going

    def _live(self, key: SessionKey, seq: int) -> Live:
        """The session, live from here on. It counts as changed."""
        live = self.live.get(key)
        if live is None:
            live = self._load(key, before_seq=seq) or fresh(self.policy, key, seq, self.workflows.of_session(key))
            self._enter(live)
        elif live.turn == self._turn:
            return live
        else:
            self.residence.spoke(live, self.now_ns)
        live.turn = self._turn
        self.changed.add(key)
        if self._past is None:
            self._inform(live)
        return live

    def drop(self, key: SessionKey) -> None:
        """Lets go of a session, which is made again from its events when it speaks."""
        self.residence.drop(key)

    def _enter(self, live: Live) -> None:
        live.turn = 0
        # The event that told of it may be past retention.
        live.session.workflow_id = live.session.workflow_id or self.workflows.of_session(live.session.key)
        live.host.context.schemas = self._known.schemas(live.agent_types)
        self.residence.enter(live, self.now_ns)

    def _load(self, key: SessionKey, before_seq: int | None = None) -> Live | None:
        """Makes a session again from its recorded events before `before_seq`; None where there are none."""
        events = [event for event in self._recall.events(key) if before_seq is None or event.seq < before_seq]
        if not events:
            return None
        again, _ = self._again(events)
        self.reloads += 1
        live = again.live.get(key)
        if live is not None and live.session.state is SessionState.COMPLETED:
            live.learned = True  # as every session that leaves once its root ended
        return live

    def restore(self, key: SessionKey, *, before_seq: int | None = None) -> list[Finding]:
        """Makes a session again after a restart; returns what was found but not emitted before the crash."""
        if self._history is None or key in self.live:
            return []
        again, found = self._again([event for event in self._history.events(key) if before_seq is None or event.seq < before_seq])
        live = again.live.get(key)
        if live is None:
            return []
        found += again.relive(live, self.now_ns)
        self._enter(live)
        self.changed.add(key)
        self.merged |= again.merged
        emitted = self._history.emitted(key)
        return [finding for finding in found if (finding.id, str(finding.severity), finding.halt_eligible) not in emitted]

    def _again(self, events: list[Event]) -> tuple["Sessions", list[Finding]]:
        """A session's events through sessions without bounds, and what was found in them."""
        again = Sessions(
            policy=self.policy,
            idle_timeout_ns=self._idle_timeout_ns,
            max_live=1 << 30,
            max_bytes=1 << 62,
            recent_bytes=1 << 62,
            past=self.knowledge.as_of(),
        )
        return again, again.apply(events)

    _HANDLERS: ClassVar[dict[type, Callable[["Sessions", Any], list[Finding] | None]]] = {
        Tick: _tick,
        SessionsMerged: _merge,
        StepAmended: _amend,
        StepRetracted: _retract,
        WorkflowJoined: _join,
        TraceJoined: _identify,
        Identified: _identify,
        SchemaRegistered: _learn,
        BaselineSnapshot: _learn,
        Evaluation: _judge,
        Halted: _halted,
        Released: _released,
    }
    """What is done about each event but a step. Of the class, not of an instance: sessions that are made again must leave no cycle."""
