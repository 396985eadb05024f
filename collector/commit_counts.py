"""What one commit adds to the metrics, beside the steps that are counted one by one."""

from collections.abc import Sequence

from collector.sessions import Sessions
from collector.telemetry import BatchCounts
from detectors.model import Evaluation, Event, Finding, Step, StepAmended, StepRetracted


def count_commit(
    batch: BatchCounts, sessions: Sessions, events: Sequence[Event], findings: Sequence[Finding], *, arrival_ns: int | None, now_ns: int
) -> None:
    """Counts corrections, judgements, findings, latencies, evictions and reloads. The counts of `sessions` start anew."""
    for event in events:
        if isinstance(event, Evaluation | StepAmended | StepRetracted):
            _count_event(batch, event, live.session.agent_type if (live := sessions.live.get(event.session)) else "unknown")
    for finding in findings:
        batch.finding(finding)
        if arrival_ns is not None:
            batch.latency(trace_id=finding.trace_id, to_verdict_s=(now_ns - arrival_ns) / 1e9)
    if arrival_ns is not None:
        newest: Step | None = None
        for event in events:
            if type(event) is Step and (newest is None or event.ended_ns > newest.ended_ns):
                newest = event
        if newest is not None:
            batch.latency(trace_id=newest.trace_id, to_arrival_s=(arrival_ns - newest.ended_ns) / 1e9)
    evictions = sessions.residence.evictions
    for cause, count in evictions.items():
        if count:
            batch.session_evicted(cause, count)
            evictions[cause] = 0
    batch.rebuilt += sessions.reloads
    sessions.reloads = 0


def _count_event(batch: BatchCounts, event: Evaluation | StepAmended | StepRetracted, agent_type: str) -> None:
    if isinstance(event, Evaluation):
        batch.judged(event, agent_type)
    elif isinstance(event, StepAmended):
        batch.amended(event.was, event.step, agent_type)
    else:
        batch.step_retracted(event.was, agent_type)
