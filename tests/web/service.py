"""A service in memory: what the API needs of one, kept in dicts, with every call noted."""

from decimal import Decimal
from typing import Any

from collector.errors import Ambiguous, NotFound, Refused
from collector.model import Halt, HaltState, Identifiers, Session, Verb
from detectors.model import CostBasis, EvidenceLevel, Finding, SessionKey, Severity

AT_NS = 1_700_000_000_123_456_789

DETECTOR = "soft_loop"


def session(session_id: str, *, tenant: str = "default", namespace: str = "prod", **fields: Any) -> Session:
    return Session(
        key=SessionKey(tenant, namespace, session_id),
        agent_type="research",
        service_name="agents",
        identifiers=Identifiers(trace_ids=["ab" * 16], service_names=["agents"]),
        merged_from=["default/prod/trace%3Aab"],
        started_ns=AT_NS,
        last_seen_ns=AT_NS,
        steps=12,
        cost_usd=Decimal("1.2300"),
        cost_bases={CostBasis.COMPUTED.value: 12},
        budget_usd=Decimal(5),
        **fields,
    )


def finding(key: SessionKey | None, number: int = 1, **fields: Any) -> Finding:
    return Finding(
        **{
            "id": f"fnd_{number}",
            "session": key,
            "detector": DETECTOR,
            "halt_reason": "soft_loop",
            "severity": Severity.CRITICAL,
            "halt_eligible": True,
            "score": 0.93,
            "step_seq": 40,
            "first_step_seq": 31,
            "span_id": "s",
            "trace_id": "t",
            "at_ns": AT_NS,
            "evidence_level": EvidenceLevel.CONTENT,
            "summary": "seven searches that differ by one word",
            "evidence": {"seqs": [31, 40], "novelty": float("nan"), "cost": Decimal("0.1")},
            "threshold": {"similarity": 0.8},
            "agent_type": "research",
            **fields,
        }
    )


class FakeService:
    def __init__(self, *sessions: Session) -> None:
        self.known = {one.key: one for one in sessions}
        self.found: list[Finding] = []
        self.asked: list[Halt] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.modes: dict[str, str] = {DETECTOR: "shadow"}
        self.reasons: list[str] = []
        self.error: Exception | None = None

    def _note(self, name: str, **arguments: Any) -> None:
        self.calls.append((name, arguments))
        if self.error is not None:
            raise self.error

    def sessions(self, **arguments: Any) -> tuple[list[Session], str | None]:
        self._note("sessions", **arguments)
        return list(self.known.values()), "next"

    def resolve(self, session_id: str, tenant: str | None = None) -> SessionKey:
        self._note("resolve", session_id=session_id, tenant=tenant)
        found = [key for key in self.known if session_id in {key.session_id, str(key)}]
        if not found:
            raise NotFound(f"no session {session_id!r}")
        if len(found) > 1:
            raise Ambiguous(f"{session_id!r} names {len(found)} sessions", [str(key) for key in found])
        return found[0]

    def session(self, key: SessionKey) -> Session | None:
        return self.known.get(key)

    def workflow(self, workflow_id: str) -> tuple[list[Session], list[Finding], Decimal | None]:
        self._note("workflow", workflow_id=workflow_id)
        found = [one for one in self.known.values() if one.workflow_id == workflow_id]
        if not found:
            raise NotFound(f"no workflow {workflow_id!r}")
        return found, self.found, Decimal("2.5")

    def steps(self, key: SessionKey, *, after_seq: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        self._note("steps", key=key, after_seq=after_seq, limit=limit)
        return [STEP | {"seq": seq} for seq in range(after_seq + 1, after_seq + 3)]

    def findings(self, **arguments: Any) -> list[Finding]:
        self._note("findings", **arguments)
        wanted = arguments["session"]
        return [one for one in self.found if wanted in {None, one.session}]

    def halts(self, key: SessionKey) -> list[Halt]:
        return [halt for halt in self.asked if halt.session == key]

    def request(self, key: SessionKey, verb: Verb, **arguments: Any) -> Halt:
        self._note("request", key=key, verb=verb, **arguments)
        standing = self.known.get(key)
        if verb is Verb.RELEASE and (standing is None or not standing.state.sticky):
            raise Refused("the session is neither halted nor paused: there is nothing to release")
        halt = Halt(
            halt_id=f"hlt_{len(self.asked) + 1}",
            session=key,
            generation=len(self.asked) + 1,
            verb=verb,
            halt_reason=arguments["halt_reason"],
            finding=arguments.get("finding"),
            requested_by=arguments["requested_by"],
            note=arguments["note"],
            requested_ns=AT_NS,
        )
        self.asked.append(halt)
        return halt

    def acknowledge(self, halt_id: str, status: str) -> Halt:
        self._note("acknowledge", halt_id=halt_id, status=status)
        for halt in self.asked:
            if halt.halt_id == halt_id:
                halt.state = HaltState.ACKNOWLEDGED
                return halt
        raise NotFound(f"no halt {halt_id!r}")

    def halt_eligible(self, agent_type: str, detector: str) -> list[Finding]:
        self._note("halt_eligible", agent_type=agent_type, detector=detector)
        return [one for one in self.found if one.detector == detector and one.agent_type == agent_type]

    def detector_mode(self, detector: str, agent_type: str) -> str:
        self._note("detector_mode", detector=detector, agent_type=agent_type)
        if detector.startswith("no_such"):
            raise NotFound(f"no detector {detector!r}")
        return self.modes.get(detector, "shadow")

    def ready(self) -> list[str]:
        return self.reasons

    def requests(self) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == "request"]


STEP: dict[str, Any] = {
    "seq": 1,
    "step": 1,
    "session_id": "s1",
    "kind": "tool",
    "agent": None,
    "name": "search",
    "started_at": "2026-01-01T00:00:00.000000Z",
    "ended_at": "2026-01-01T00:00:01.000000Z",
    "trace_id": "t",
    "span_id": "s",
    "parent_span_id": None,
    "dialect": "otel_genai",
    "error": None,
    "error_class": None,
    "error_type": None,
    "error_message": None,
    "call_id": "c",
    "arguments": "{}",
    "result": None,
    "argument_similarity": 0.9,
    "result_novelty": None,
}
