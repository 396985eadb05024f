"""Live state at one moment, counted for the gauges."""

from collections import Counter
from collections.abc import Iterator

from collector.enforcement.control import ControlStore
from collector.model import Halt, HaltState, Session, SessionState
from collector.session_policy import ConfiguredPolicy
from collector.sessions import Sessions
from collector.telemetry import OpenFindings, Snapshot
from detectors.model import Finding


def open_findings(sessions: Sessions) -> Iterator[Finding]:
    """Every finding that is open now: of sessions, workflows and fleets."""
    for live in sessions.live.values():
        yield from live.open_findings.values()
    yield from sessions.workflows.current(sessions.now_ns)
    yield from sessions.fleets.open()


def gauges(
    sessions: Sessions, control: ControlStore, policy: ConfiguredPolicy, storage_bytes: int, watermark_ns: int, *, now_ns: int
) -> Snapshot:
    """Counts live sessions, open findings and halts."""
    states: Counter[tuple[str, str]] = Counter()
    findings: Counter[OpenFindings] = Counter()
    steps: dict[str, float] = {}
    duration: dict[str, float] = {}
    context: dict[str, float] = {}
    for live in sessions.live.values():
        session = live.session
        kind = session.agent_type
        # What the runtime answered stands in the control store; of most sessions nothing was ever asked.
        state = shown_state(session, control.active(session.key)) if session.state.sticky else session.state
        states[kind, state.value] += 1
        for finding in live.open_findings.values():
            findings[
                OpenFindings(finding.detector, finding.severity.value, kind, finding.halt_eligible, policy.mode(finding.detector))
            ] += 1
        if session.state is SessionState.RUNNING:
            steps[kind] = max(steps.get(kind, 0), session.steps)
            duration[kind] = max(duration.get(kind, 0), (session.last_seen_ns - session.started_ns) / 1e9)
            context[kind] = max(context.get(kind, 0), session.context_utilization or 0)
    oldest_ns = control.outbox_oldest_ns()
    for finding in (*sessions.workflows.current(sessions.now_ns), *sessions.fleets.open()):
        kind = finding.agent_type
        findings[OpenFindings(finding.detector, finding.severity.value, kind, finding.halt_eligible, policy.mode(finding.detector))] += 1
    return Snapshot(
        sessions=states,
        open_findings=findings,
        session_steps_max=steps,
        session_duration_seconds_max=duration,
        context_utilization_ratio_max=context,
        baselines={
            (agent_type, measure, quantile): value
            for agent_type, known in sessions.knowledge.baselines().items()
            for measure, spread in known.baseline.measures.items()
            for quantile, value in (("0.5", spread.p50), ("0.95", spread.p95), ("0.99", spread.p99))
        },
        halts={state.value: count for state, count in control.counts().items()},
        storage_bytes=storage_bytes,
        webhook_outbox=control.outbox_size(),
        webhook_outbox_oldest_seconds=0.0 if oldest_ns is None else max(0.0, (now_ns - oldest_ns) / 1e9),
        watermark_lag_seconds=max(0.0, (now_ns - watermark_ns) / 1e9) if watermark_ns else None,
    )


def shown_state(session: Session, halt: Halt | None) -> SessionState:
    """The state with the runtime's answer: a halt that its owner confirmed has happened."""
    if halt is not None and halt.state in {HaltState.CONFIRMED_STOPPED, HaltState.QUIET}:
        if session.state is SessionState.HALTING:
            return SessionState.HALTED
        if session.state is SessionState.PAUSING:
            return SessionState.PAUSED
    return session.state
