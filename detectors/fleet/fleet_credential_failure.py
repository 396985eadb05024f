"""A credential that fails in many sessions at once."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import Signal
from detectors.credential_failure import refused
from detectors.fleet.base import NOTHING, Answers, FleetDetector, Windows
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.text import quote

_LLM: Final = StepKind.LLM
_MIN_SHARE: Final = 0.5
"""Share of refused calls from which they are the rule."""


class FleetCredentialFailureConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When refusals are the credential's fault, over a window of event time."""

    window_s: Annotated[float, Meta(ge=60, le=86_400)] = 1_800.0
    """Seconds over which calls are counted."""
    min_refusals: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """Refusals of one tool below which nothing is said."""
    min_sessions: Annotated[int, Meta(ge=1, le=1_000)] = 2
    """Sessions below which it is their own affair."""
    critical_sessions: Annotated[int, Meta(ge=1, le=1_000)] = 5
    """Sessions from which on-call is woken, where most calls are refused."""


class FleetCredentialFailure(FleetDetector[FleetCredentialFailureConfig]):
    """A tool or model provider refuses the credentials of several sessions: 401, 403, an expired token or certificate.

    **Why it costs.** No agent can renew a credential; all of them go on trying. Renewing it once ends it for everybody.

    **When it is wrong.** It fires where several agents rightly lack a permission. It misses a credential that a single session uses.

    **Parameters** (`Config`): `window_s` (seconds), `min_refusals` (calls), `min_sessions`, `critical_sessions` (sessions).

    **Examples.** A token expired:

    >>> from detectors.fleet.testing import run, spread
    >>> from detectors.testing import tool
    >>> refusals = spread([tool("crm", error=True, error_message="401 Unauthorized: token expired")] * 12, sessions=6)
    >>> [(finding.severity.value, finding.evidence["sessions"]) for finding in run(FleetCredentialFailure, refusals)]
    [('warning', 3), ('critical', 5)]

    One page that one session may not open:

    >>> run(FleetCredentialFailure, spread([tool("crm", error=True, error_message="403 Forbidden")] * 5, sessions=1))
    []

    **References.** Status codes 401 and 403: RFC 9110, sections 15.5.2 and 15.5.4.
    """

    name: ClassVar[str] = "fleet_credential_failure"
    halt_reason: ClassVar[str | None] = "credential_failure"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.LLM, StepKind.RETRIEVAL})
    Config: ClassVar[type[msgspec.Struct]] = FleetCredentialFailureConfig

    def __init__(self, config: FleetCredentialFailureConfig) -> None:
        super().__init__(config)
        self._tools = Windows(config.window_s)

    def observe(self, step: Step, agent_type: str) -> Answers:  # noqa: ARG002 — one credential may serve several types
        """Counts a call to what refused before, and every refusal."""
        cause = step.provider or step.name if step.kind is _LLM else step.name
        if not cause:
            return NOTHING
        bad = step.error is True and refused(step)
        if not bad and cause not in self._tools:
            return NOTHING
        window = self._tools.count(cause, step, bad=bad)
        if not bad:
            return window.over(cause) if window.open and window.share < _MIN_SHARE else NOTHING
        config, sessions = self.config, len(window.sessions)
        if window.bad < config.min_refusals or sessions < config.min_sessions or window.share < _MIN_SHARE:
            return NOTHING
        critical = sessions >= config.critical_sessions
        message = step.error_message or step.result or step.error_type or ""
        signal = Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, sessions / (2 * config.critical_sessions)),
            summary=f"{quote(cause, 80)} refuses the credentials of {sessions} sessions.",
            evidence={**window.proof(), "error": quote(message, 160), "error_type": quote(step.error_type or "", 80)},
            threshold={"critical_sessions": float(config.critical_sessions)} if critical else {"min_sessions": float(config.min_sessions)},
            first_step_seq=window.first_seq,
            evidence_level=EvidenceLevel.CONTENT if message else EvidenceLevel.STRUCTURE,
        )
        return window.found(cause, signal)

    def lapsed(self, at_ns: int) -> Sequence[str]:
        """Causes of which nothing bad was seen for the window."""
        return self._tools.lapsed(at_ns)
