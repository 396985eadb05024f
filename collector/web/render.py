"""The JSON shapes of the contract: RFC 3339 times, money as decimal strings, unknown as null."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from collector.model import Halt, Session
from collector.workflows import workflow_of
from detectors.model import CostBasis, Finding, SessionKey, Step, StepKind
from detectors.step_features import StepFeatures


def time_json(at_ns: int | None) -> str | None:
    """RFC 3339 in UTC with microseconds; None for unknown (and for 0, which no agent lived through)."""
    if not at_ns:
        return None
    seconds, rest = divmod(at_ns, 1_000_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:06d}Z"
    except (ValueError, OverflowError, OSError):
        return None


def money_json(amount: Decimal | None) -> str | None:
    """A plain decimal string, never with an exponent."""
    return None if amount is None else format(amount.normalize(), "f")


def session_json(session: Session) -> dict[str, Any]:
    """A `Session` of the contract."""
    ids = session.identifiers
    return {
        "session_id": session.key.session_id,
        "tenant": session.key.tenant,
        "namespace": session.key.namespace,
        "workflow_id": session.workflow_id or workflow_of(session.key),
        "agent_type": session.agent_type,
        "agents": session.agents,
        "service_name": session.service_name,
        "state": session.state.value,
        "halt_reason": session.halt_reason,
        "generation": session.generation,
        "identifiers": {
            "trace_ids": ids.trace_ids,
            "conversation_ids": ids.conversation_ids,
            "service.name": ids.service_names,
            "service.instance.id": ids.service_instance_ids,
        },
        "merged_from": [SessionKey.parse(name).session_id for name in session.merged_from],
        "started_at": time_json(session.started_ns),
        "last_seen_at": time_json(session.last_seen_ns),
        "steps": session.steps,
        "llm_calls": session.llm_calls,
        "tool_calls": session.tool_calls,
        "tool_errors": session.tool_errors,
        "input_tokens": session.input_tokens,
        "output_tokens": session.output_tokens,
        "cached_input_tokens": session.cached_input_tokens,
        "cost_usd": money_json(session.cost_usd),
        "cost_basis": session.cost_basis,
        "context_utilization": _ratio(session.context_utilization),
        "budget_remaining_usd": money_json(session.budget_remaining_usd),
        "dialects": session.dialects,
    }


def step_json(step: Step, *, session_id: str, number: int, features: StepFeatures | None = None) -> dict[str, Any]:
    """A `Step` of the contract. `number` is its place in event order, from 1."""
    row: dict[str, Any] = {
        "seq": step.seq,
        "step": number,
        "session_id": session_id,
        "kind": step.kind.value,
        "agent": step.agent,
        "name": step.name,
        "started_at": time_json(step.started_ns),
        "ended_at": time_json(step.ended_ns),
        "trace_id": step.trace_id or None,
        "span_id": step.span_id or None,
        "parent_span_id": step.parent_span_id,
        "dialect": step.dialect,
        "error": step.error,
        "error_class": step.error_class,
        "error_type": step.error_type,
        "error_message": step.error_message,
    }
    if step.kind is StepKind.LLM:
        row |= {
            "provider": step.provider,
            "model": step.model,
            "input_tokens": step.input_tokens,
            "cached_input_tokens": step.cached_input_tokens,
            "cache_write_tokens": step.cache_write_tokens,
            "cache_write_1h_tokens": step.cache_write_1h_tokens,
            "input_audio_tokens": step.input_audio_tokens,
            "output_tokens": step.output_tokens,
            "reasoning_tokens": step.reasoning_tokens,
            "output_audio_tokens": step.output_audio_tokens,
            "cost_usd": money_json(step.cost_usd),
            "cost_basis": step.cost_basis,
            "context_utilization": _ratio(step.context_utilization),
            "finish_reasons": list(step.finish_reasons),
        }
    if step.kind is StepKind.TOOL:
        row |= {
            "call_id": step.call_id,
            "arguments": step.arguments,
            "result": step.result,
            "argument_similarity": _ratio(features.argument_similarity) if features else None,
            "result_novelty": _ratio(features.result_novelty) if features else None,
        }
    return row


def finding_json(finding: Finding) -> dict[str, Any]:
    """A `Finding` of the contract. `step` and `first_step` count the session's steps; `…_seq` are commit sequence numbers, as in `seq`."""
    return {
        "id": finding.id,
        "session_id": finding.session.session_id if finding.session else None,
        "workflow_id": finding.workflow_id or (workflow_of(finding.session) if finding.session else None),
        "sessions": [key.session_id for key in finding.sessions or ((finding.session,) if finding.session else ())],
        "agent_type": finding.agent_type,
        "detector": finding.detector,
        "halt_reason": finding.halt_reason,
        "severity": finding.severity.value,
        "halt_eligible": finding.halt_eligible,
        "score": round(finding.score, 4),
        "step": finding.step,
        "first_step": finding.first_step,
        "step_seq": finding.step_seq,
        "first_step_seq": finding.first_step_seq,
        "span_id": finding.span_id or None,
        "trace_id": finding.trace_id or None,
        "at": time_json(finding.at_ns),
        "evidence_level": finding.evidence_level.value,
        "summary": finding.summary,
        "evidence": finding.evidence,
        "threshold": finding.threshold,
        "mode": finding.mode,
        "episode": finding.episode,
        "versions": {"policy": finding.versions.policy, "prices": finding.versions.prices, "baselines": finding.versions.baselines},
    }


def workflow_json(workflow_id: str, sessions: list[Session], findings: list[Finding], budget: Decimal | None) -> dict[str, Any]:
    """All sessions of one piece of work, summed."""
    costs = [session.cost_usd for session in sessions if session.cost_usd is not None]
    bases = {basis for session in sessions for basis, calls in session.cost_bases.items() if calls}
    spent = sum(costs, Decimal(0)) if costs else None
    return {
        "workflow_id": workflow_id,
        "started_at": time_json(min((session.started_ns for session in sessions if session.started_ns), default=None)),
        "last_seen_at": time_json(max((session.last_seen_ns for session in sessions), default=None)),
        "steps": sum(session.steps for session in sessions),
        "cost_usd": money_json(spent),
        "cost_basis": None if not bases else bases.pop() if len(bases) == 1 else CostBasis.MIXED.value,
        "budget_usd": money_json(budget),
        "budget_remaining_usd": None if budget is None else money_json(budget - (spent or 0)),
        "sessions": [session_json(session) for session in sessions],
        "findings": [finding_json(finding) for finding in findings],
    }


def halt_json(halt: Halt) -> dict[str, Any]:
    """A `Halt` of the contract."""
    return {
        "halt_id": halt.halt_id,
        "session_id": halt.session.session_id,
        "generation": halt.generation,
        "verb": halt.verb.value,
        "halt_reason": halt.halt_reason,
        "finding": halt.finding,
        "requested_by": halt.requested_by,
        "note": halt.note or None,
        "state": halt.state.value,
        "requested_at": time_json(halt.requested_ns),
        "delivered_at": time_json(halt.delivered_ns),
        "acknowledged_at": time_json(halt.acknowledged_ns),
        "stopped_at": time_json(halt.stopped_ns),
        "attempts": halt.attempts,
        "last_error": halt.last_error,
    }


def _ratio(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
