"""Watches workflows: the steps of all sessions that belong to one piece of work, in the order of the stream.

What agents in several sessions and services do to each other shows in none of them alone. A workflow is watched for as long
as its sessions speak, however long they are silent between: it does not matter whether they are live, evicted or expired.
A function of the stream: a watch that is not in memory is made again from the recent steps of the workflow's sessions.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from collector.live import Live
from collector.session_contracts import History, Policy
from collector.session_sums import steps_of
from collector.workflow_host import WATCHED_STEPS, WorkflowHost
from detectors.model import Event, Finding, Released, SessionKey, SessionsMerged, Step, StepKind, WorkflowJoined
from detectors.step_features import StepFeatures

_MEMBERS: Final = 200_000
"""Sessions whose workflow is remembered."""
_LONGEST_NS: Final = 2 * 86_400 * 10**9
"""However slow a workflow was, what is open about it is shown no longer than this after it last spoke."""
_READ: Final = 32
"""Sessions of a workflow that are read to make its watch again: the latest that joined, and the first."""

WorkflowKey = tuple[str, str]
"""Tenant and workflow id."""


class Workflows:
    """The watches of all workflows with more than one session. One instance, one thread."""

    def __init__(
        self,
        policy: Policy,
        history: History | None,
        live: Mapping[SessionKey, Live],
        *,
        idle_timeout_ns: int,
        limit: int = 5_000,
        idle: bool = False,
    ) -> None:
        """With `idle` nothing is watched."""
        self._policy = policy
        self._history = history
        self._live = live
        self._idle_timeout_ns = idle_timeout_ns
        self._limit = limit
        self._idle = idle
        self._members: OrderedDict[WorkflowKey, dict[SessionKey, int]] = OrderedDict()
        """The sessions of each workflow, and the event from which on their steps count."""
        self._of: OrderedDict[SessionKey, str] = OrderedDict()
        self._released: dict[WorkflowKey, int] = {}
        self._costs: dict[SessionKey, Decimal] = {}
        """What each session of a workflow with a budget has cost, as last known."""
        self._totals: dict[WorkflowKey, Decimal] = {}
        self._watches: OrderedDict[WorkflowKey, WorkflowHost] = OrderedDict()
        self.open_findings: dict[WorkflowKey, dict[str, Finding]] = {}
        self._spoke: dict[WorkflowKey, tuple[int, int]] = {}
        """When each watched workflow last spoke, and the longest pause it made, in nanoseconds."""
        self.remade = 0
        """Watches made again."""

    def note(self, event: Event) -> None:
        """Learns which sessions belong together, and that one was released."""
        if self._idle:
            return
        if isinstance(event, WorkflowJoined):
            self._join(event.session, event.workflow_id, event.seq)
        elif isinstance(event, SessionsMerged):
            self._costs.pop(event.absorbed, None)
            workflow = self._of.pop(event.absorbed, None)
            if workflow is not None:
                members = self._members.get((event.absorbed.tenant, workflow), {})
                since = members.pop(event.absorbed, event.seq)
                if self._of.get(event.session) == workflow or event.session not in self._of:
                    self._of[event.session] = workflow
                    members[event.session] = min(since, members.get(event.session, since))
                elif not members:
                    self._drop((event.absorbed.tenant, workflow))
                self.changed(event.session)
        elif isinstance(event, Released):
            workflow = self._of.get(event.session)
            if workflow is not None:
                key = (event.session.tenant, workflow)
                self._released[key] = event.seq
                self.open_findings.pop(key, None)
                watch = self._watches.get(key)
                if watch is not None:
                    watch.release(event.grace_steps)

    def _join(self, session: SessionKey, workflow_id: str, seq: int) -> None:
        before = self._of.get(session)
        key = (session.tenant, workflow_id)
        if before is not None and before != workflow_id:
            left = self._members.get((session.tenant, before), {})
            left.pop(session, None)
            if not left:
                self._drop((session.tenant, before))
        self._of[session] = workflow_id
        self._of.move_to_end(session)
        members = self._members.setdefault(key, {})
        self._members.move_to_end(key)
        # What the first two did before they were known to belong together counts; the steps of others count from here on.
        members.setdefault(session, 0 if len(members) < 2 else seq)
        self._totals.pop(key, None)
        if before is not None:
            self._totals.pop((session.tenant, before), None)
        while len(self._of) > _MEMBERS:
            oldest, workflow = self._of.popitem(last=False)
            self._costs.pop(oldest, None)
            self._members.get((oldest.tenant, workflow), {}).pop(oldest, None)
            if not self._members.get((oldest.tenant, workflow)):
                self._drop((oldest.tenant, workflow))

    def _drop(self, key: WorkflowKey) -> None:
        self._members.pop(key, None)
        self._watches.pop(key, None)
        self._released.pop(key, None)
        self._totals.pop(key, None)
        self._spoke.pop(key, None)
        self.open_findings.pop(key, None)

    def changed(self, session: SessionKey) -> None:
        """A step of the session was corrected: the watch is made again when the workflow speaks next."""
        workflow = self._of.get(session)
        self._costs.pop(session, None)
        if workflow is not None:
            self._watches.pop((session.tenant, workflow), None)
            self._totals.pop((session.tenant, workflow), None)

    def step(self, live: Live, step: Step, features: StepFeatures) -> list[Finding]:
        """Takes in a step of a session that belongs to a workflow."""
        workflow = self._of.get(live.session.key)
        key = (live.session.key.tenant, workflow or "")
        members = self._members.get(key)
        if workflow is None or members is None or len(members) < 2 or live.session.key not in members:
            return []
        found: list[Finding] = []
        watch = self._watches.get(key)
        budget = self._policy.workflow_usd(live.session.agent_type)
        cost = step.cost_usd or Decimal(0)
        spent = Decimal(0) if budget is None else self._spent(key, members, live, cost)
        if watch is None:
            watch, found = self._remake(key, members, step.seq, budget, spent - cost)
        self._watches.move_to_end(key)
        last_ns, pause_ns = self._spoke.get(key, (step.ended_ns, 0))
        self._spoke[key] = max(last_ns, step.ended_ns), max(pause_ns, step.ended_ns - last_ns)
        context, own = watch.context, live.host.context
        context.agent_type, context.polling_tools = own.agent_type, own.polling_tools
        context.ceiling_usd, context.cost_usd = budget, spent
        found += watch.take(_spoken(step, live.session.key), features)
        if found:
            for finding in found:
                self.open_findings.setdefault(key, {})[finding.detector] = finding
        if key in self.open_findings:
            still = watch.open_episodes()
            self.open_findings[key] = {name: one for name, one in self.open_findings[key].items() if name in still}
            if not self.open_findings[key]:
                del self.open_findings[key]
        return found

    def _spent(self, key: WorkflowKey, members: dict[SessionKey, int], live: Live, cost: Decimal) -> Decimal:
        """What all sessions of the workflow have cost, the latest step of `live`, which cost `cost`, included."""
        session, now = live.session.key, live.session.cost_usd or Decimal(0)
        if session in self._costs:
            # A session whose older events are past retention is made again from less than it has cost.
            now = max(now, self._costs[session] + cost)
        total = self._totals.get(key)
        if total is None:
            total = sum((self._cost(member) for member in members if member != session), Decimal(0)) + now
        else:
            total += now - self._cost(session)
        self._costs[session] = now
        self._totals[key] = total
        return total

    def _cost(self, session: SessionKey) -> Decimal:
        known = self._costs.get(session)
        if known is None:
            live = self._live.get(session)
            known = None if live is None else live.session.cost_usd
            if known is None:
                known = self._history.cost_usd(session) if self._history is not None else Decimal(0)
            self._costs[session] = known
        return known

    def _remake(
        self, key: WorkflowKey, members: dict[SessionKey, int], before_seq: int, budget: Decimal | None, spent: Decimal
    ) -> tuple[WorkflowHost, list[Finding]]:
        watch = self._watches[key] = self._policy.workflow_host(*key)
        watch.context.ceiling_usd, watch.context.cost_usd = budget, spent
        if len(self._watches) > self._limit:
            self._watches.popitem(last=False)
        self.remade += 1
        chosen = list(members)
        if len(chosen) > _READ:
            chosen = [chosen[0], *chosen[1 - _READ :]]
        steps: list[Step] = []
        for session in chosen:
            recent = (_spoken(step, session) for step in self._recent(session))
            steps += [step for step in recent if members[session] <= step.seq < before_seq]
        steps.sort(key=lambda step: step.seq)
        told = self._history.workflow_findings(*key) if self._history is not None else []
        told = list(
            ({finding.id: finding for finding in told} | {one.id: one for one in self.open_findings.get(key, {}).values()}).values()
        )
        found = watch.remake(steps[-WATCHED_STEPS:], told, self._released.get(key, -1))
        standing = watch.open_episodes()
        kept = {finding.detector: finding for finding in sorted(told, key=lambda one: one.episode) if finding.detector in standing}
        if kept:
            self.open_findings[key] = kept
        return watch, found

    def _recent(self, session: SessionKey) -> list[Step]:
        live = self._live.get(session)
        if live is not None and live.recent is not None:
            return list(live.recent)
        if self._history is None or not self._history.known(session):
            return []
        return steps_of(self._history.events(session))[-WATCHED_STEPS:]

    def stands(self, finding: Finding) -> bool:
        """Whether it is about a workflow that was not released since."""
        if finding.session is not None or finding.workflow_id is None or not finding.sessions:
            return False
        return finding.step_seq > self._released.get((finding.sessions[0].tenant, finding.workflow_id), -1)

    def open(self) -> Iterator[Finding]:
        """Every finding that is open now, also of workflows that have been silent for long."""
        for findings in self.open_findings.values():
            yield from findings.values()

    def current(self, now_ns: int) -> Iterator[Finding]:
        """The open findings of workflows that go on: one that was slow may be silent for longer than a session before it counts as over."""
        for key, findings in self.open_findings.items():
            last_ns, pause_ns = self._spoke.get(key, (now_ns, 0))
            if now_ns - last_ns <= max(self._idle_timeout_ns, min(2 * pause_ns, _LONGEST_NS)):
                yield from findings.values()

    def watches(self) -> Iterator[WorkflowHost]:
        """The detectors of every workflow that is watched now."""
        yield from self._watches.values()

    def members(self, workflow_id: str) -> list[SessionKey]:
        """The sessions of the workflow, in the order in which they joined; of every tenant that has one of that id."""
        return [key for (_, name), members in self._members.items() if name == workflow_id for key in members]

    def of_session(self, session: SessionKey) -> str | None:
        return self._of.get(session)


def _spoken(step: Step, session: SessionKey) -> Step:
    """The step under its session's present name. Who says nothing of an agent is told apart by service, else by session."""
    if step.agent is not None or step.kind is not StepKind.LLM:
        return step if step.session == session else msgspec.structs.replace(step, session=session)
    return msgspec.structs.replace(step, session=session, agent=step.service_name or session.session_id)
