"""The running service as its edges see it: `collector.service.Service`, answered from live state and both stores."""

import re
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import msgspec

from collector.core import Core
from collector.decode_limits import MAX_TIME
from collector.errors import Ambiguous, NotFound, Refused, StoreUnavailable
from collector.gauges import open_findings, shown_state
from collector.model import Halt, Session, SessionState, Verb
from collector.session_sums import steps_of
from collector.store.base import FindingQuery
from collector.web.render import step_json
from collector.workflows import workflow_of
from detectors.features import FeatureState
from detectors.model import Finding, SessionKey

T = TypeVar("T")

_PATIENCE_S = 10.0
"""How long an edge waits for the ingest thread: longer than any group of requests takes."""
_WORKFLOW_SESSIONS = 1_000
"""Sessions of a workflow that are shown and summed."""
_ALONE = workflow_of(SessionKey("", "", ""))
_CURSOR = "|"
_CURSOR_TIME = re.compile(r"[0-9]{1,18}|[0-8][0-9]{18}")


class Worker(Protocol):
    """Where the work of the ingest thread is done: `Admission`, or nobody's thread where no service runs."""

    def call(self, function: Callable[[], T]) -> "Future[T]": ...


class RunningService:
    """Safe from any thread but the ingest thread. Raises StoreUnavailable where that thread does not answer."""

    def __init__(self, core: Core, admission: Worker) -> None:
        self._core = core
        self._admission = admission

    def _ask(self, function: Callable[[], T]) -> T:
        future = self._admission.call(function)
        try:
            return future.result(_PATIENCE_S)
        except FutureTimeout:
            future.cancel()
            raise StoreUnavailable("the service is busy and did not answer in time; try again shortly") from None

    # Sessions

    def sessions(
        self,
        *,
        state: SessionState | None = None,
        agent_type: str | None = None,
        finding: str | None = None,
        since_ns: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[Session], str | None]:
        after = None
        if cursor:
            at, _, key = cursor.partition(_CURSOR)
            if not _CURSOR_TIME.fullmatch(at) or not key:
                raise NotFound(f"cursor {cursor!r} is not one of ours; start without a cursor")
            after = (int(at), key)
        if since_ns is not None:
            since_ns = max(0, min(since_ns, MAX_TIME))
        self._ask(self._core.flush)
        keys = None
        if finding is not None:
            found = self._core.store.findings(FindingQuery(detector=finding, since_ns=since_ns, limit=10_000))
            keys = {self._survivor(f.session) for f in found if f.session is not None}
        # What a runtime answered is laid over the stored state, so both states are looked through.
        stored = {SessionState.HALTED: SessionState.HALTING, SessionState.PAUSED: SessionState.PAUSING}.get(state, state) if state else None
        rows = self._core.index.page(state=stored, agent_type=agent_type, keys=keys, since_ns=since_ns, limit=limit + 1, after=after)
        shown = [self._shown(session) for session in rows[:limit]]
        more = None
        if len(rows) > limit:
            last = rows[limit - 1]
            more = f"{last.last_seen_ns}{_CURSOR}{last.key}"
        return [session for session in shown if state is None or session.state is state], more

    def _shown(self, session: Session) -> Session:
        if not session.state.sticky:
            return session
        return msgspec.structs.replace(session, state=shown_state(session, self._core.control.active(session.key)))

    def _survivor(self, key: SessionKey) -> SessionKey:
        into = self._core.index.survivor(key)
        while into is not None:
            key, into = into, self._core.index.survivor(into)
        return key

    def resolve(self, session_id: str, tenant: str | None = None) -> SessionKey:
        self._ask(self._core.flush)
        found = {self._survivor(key) for key in self._core.index.find(session_id) if tenant is None or key.tenant == tenant}
        if not found and session_id.count("/") == 2:
            key = self._survivor(SessionKey.parse(session_id))
            if self._core.index.get(key) is not None and (tenant is None or key.tenant == tenant):
                found = {key}
        if not found:
            raise NotFound(f"no session {session_id!r}; `overcurrent sessions` lists them")
        if len(found) > 1:
            names = sorted(map(str, found))
            raise Ambiguous(f"{session_id!r} names {len(found)} sessions: {', '.join(names)}; give one of these instead", names)
        return found.pop()

    def session(self, key: SessionKey) -> Session | None:
        def read() -> Session | None:
            session = self._core.session(key)
            # A copy: the ingest thread goes on changing its own.
            return None if session is None else msgspec.json.decode(msgspec.json.encode(session), type=Session)

        session = self._ask(read)
        return None if session is None else self._shown(session)

    def workflow(self, workflow_id: str) -> tuple[list[Session], list[Finding], Decimal | None]:
        self._ask(self._core.flush)
        keys = self._ask(lambda: self._core.sessions.workflows.members(workflow_id))
        if not keys and workflow_id.startswith(_ALONE):
            # One that nothing was ever connected to is named after its only session.
            keys = [self.resolve(workflow_id.removeprefix(_ALONE))]
        if not keys:
            raise NotFound(f"no workflow {workflow_id!r}; each session says which one it belongs to")
        tenants = sorted({key.tenant for key in keys})
        if len(tenants) > 1:
            raise Ambiguous(f"{workflow_id!r} is a workflow of {len(tenants)} tenants: {', '.join(tenants)}", tenants)
        known = [session for key in keys[-_WORKFLOW_SESSIONS:] if (session := self.session(key)) is not None]
        found = self._core.history.workflow_findings(tenants[0], workflow_id)
        budgets = [self._core.policy.workflow_usd(session.agent_type) for session in known]
        budget = min((each for each in budgets if each is not None), default=None)
        return sorted(known, key=lambda session: -session.last_seen_ns), found, budget

    def steps(self, key: SessionKey, *, after_seq: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        recorded = sorted(steps_of(self._core.history.events(key)), key=lambda step: step.seq)
        state = FeatureState()
        features = {step.seq: state.observe(step) for step in recorded}
        numbered = sorted(recorded, key=lambda step: (step.started_ns, step.seq))
        number = {step.seq: place for place, step in enumerate(numbered, 1)}
        wanted = [step for step in recorded if step.seq > after_seq][:limit]
        return [step_json(step, session_id=key.session_id, number=number[step.seq], features=features[step.seq]) for step in wanted]

    # Findings

    def findings(
        self,
        *,
        session: SessionKey | None = None,
        detector: str | None = None,
        severity: str | None = None,
        open_only: bool = False,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> list[Finding]:
        if open_only:
            current = self._ask(lambda: list(open_findings(self._core.sessions)))
            return [
                finding
                for finding in sorted(current, key=lambda f: f.at_ns, reverse=True)
                if (session is None or finding.session == session or session in finding.sessions)
                and (detector is None or finding.detector == detector)
                and (severity is None or finding.severity == severity)
                and (since_ns is None or finding.at_ns >= since_ns)
            ][:limit]
        keys = None if session is None else tuple(self._core.history.keys(session))
        query = FindingQuery(sessions=keys, detector=detector, severity=severity, since_ns=since_ns, limit=limit)
        found = self._core.store.findings(query)
        known = self._ask(lambda: self._core.session(session)) if session is not None else None
        if known is not None and known.workflow_id is not None:
            shared = self._core.history.workflow_findings(known.key.tenant, known.workflow_id)
            found += [
                f
                for f in shared
                if session in f.sessions
                and detector in {None, f.detector}
                and severity in {None, f.severity}
                and (since_ns is None or f.at_ns >= since_ns)
            ]
            found = sorted(found, key=lambda f: f.step_seq, reverse=True)[:limit]
        return found

    def halt_eligible(self, agent_type: str, detector: str) -> list[Finding]:
        def read() -> list[Finding]:
            found = [
                finding
                for live in self._core.sessions.live.values()
                if live.session.agent_type == agent_type
                for finding in live.open_findings.values()
                if finding.detector == detector and finding.halt_eligible
            ]
            for finding in self._core.sessions.workflows.current(self._core.sessions.now_ns):
                if finding.detector == detector and finding.halt_eligible and finding.agent_type == agent_type:
                    found += [msgspec.structs.replace(finding, session=key) for key in finding.sessions]
            return found

        return self._ask(read)

    def detector_mode(self, detector: str, agent_type: str) -> str:  # noqa: ARG002 — modes per agent type come with policies
        try:
            return self._core.policy.mode(detector)
        except KeyError:
            raise NotFound(f"no detector {detector!r}; there are: {', '.join(sorted(self._core.config.detectors))}") from None

    # Halts

    def halts(self, key: SessionKey) -> list[Halt]:
        return self._core.control.halts(key)

    def request(
        self,
        key: SessionKey,
        verb: Verb,
        *,
        halt_reason: str | None,
        requested_by: str,
        finding: str | None = None,
        note: str = "",
        raise_budget_usd: Any = None,
    ) -> Halt:
        if raise_budget_usd is not None:
            raise Refused("budgets are not enforced yet, so none can be raised; leave raise_budget_usd out")
        return self._ask(
            lambda: self._core.halting.request(key, verb, halt_reason=halt_reason, requested_by=requested_by, finding=finding, note=note)
        )

    def acknowledge(self, halt_id: str, status: str) -> Halt:
        return self._core.halting.acknowledge(halt_id, status)

    def ready(self) -> list[str]:
        return self._core.not_ready()
