"""A dependency that fails for many sessions, all of which retry."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import Signal
from detectors.fleet.base import NOTHING, Answers, FleetDetector, Windows
from detectors.model import ErrorClass, EvidenceLevel, Severity, Step, StepKind
from detectors.text import quote

_TOLD_ELSEWHERE = frozenset({ErrorClass.SCHEMA, ErrorClass.AUTH, ErrorClass.NOT_FOUND})


class DependencyFailureConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When failures are the dependency's fault, over a window of event time."""

    window_s: Annotated[float, Meta(ge=60, le=86_400)] = 900.0
    """Seconds over which calls are counted."""
    min_failures: Annotated[int, Meta(ge=2, le=100_000)] = 20
    """Failures below which nothing is said."""
    min_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of calls that fail from which the dependency is down, 0–1."""
    min_sessions: Annotated[int, Meta(ge=2, le=1_000)] = 3
    """Sessions below which it is their own affair."""
    critical_failures: Annotated[int, Meta(ge=2, le=1_000_000)] = 100
    """Failures from which on-call is woken: the retries have become the load."""


class DependencyFailure(FleetDetector[DependencyFailureConfig]):
    """One tool or model fails for several sessions, and all of them go on calling it: a retry storm.

    **Why it costs.** Each retry is paid for, and together they keep the dependency down. One cause, one finding, whoever retries.

    **When it is wrong.** It fires on a tool whose failures are answers, such as tests that fail. It misses a storm within one
    session: that is for `retry_storm`.

    **Parameters** (`Config`): `window_s` (seconds), `min_failures`, `critical_failures` (calls), `min_share` (share, 0–1),
    `min_sessions` (sessions).

    **Examples.** A search that times out for everybody:

    >>> from detectors.fleet.testing import run, spread
    >>> from detectors.model import ErrorClass
    >>> from detectors.testing import tool
    >>> storm = spread([tool("search", error=True, error_class=ErrorClass.TIMEOUT)] * 120, sessions=5)
    >>> [(finding.severity.value, finding.evidence["bad_calls"]) for finding in run(DependencyFailure, storm)]
    [('warning', 20), ('critical', 100)]

    The same for one session only:

    >>> run(DependencyFailure, spread([tool("search", error=True, error_class=ErrorClass.TIMEOUT)] * 120, sessions=1))
    []

    **References.** Retry amplification: B. Beyer et al., "Site Reliability Engineering" (2016), chapter 22.
    """

    name: ClassVar[str] = "dependency_failure"
    halt_reason: ClassVar[str | None] = "retry_storm"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.LLM})
    Config: ClassVar[type[msgspec.Struct]] = DependencyFailureConfig

    def __init__(self, config: DependencyFailureConfig) -> None:
        super().__init__(config)
        self._tools = Windows(config.window_s)

    def observe(self, step: Step, agent_type: str) -> Answers:  # noqa: ARG002 — whoever calls it
        """Counts a call to what failed before, and every failure."""
        cause = step.name
        if not cause:
            return NOTHING
        bad = step.error is True and step.error_class not in _TOLD_ELSEWHERE
        if not bad and cause not in self._tools:
            return NOTHING
        window = self._tools.count(cause, step, bad=bad)
        config = self.config
        if not bad:
            return window.over(cause) if window.open and window.share < config.min_share / 2 else NOTHING
        sessions = len(window.sessions)
        if window.bad < config.min_failures or sessions < config.min_sessions or window.share < config.min_share:
            return NOTHING
        critical = window.bad >= config.critical_failures
        signal = Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, window.bad / (2 * config.critical_failures)),
            summary=f"{quote(cause, 80)} failed {window.bad} times for {sessions} sessions, which go on calling it.",
            evidence={**window.proof(), "share": round(window.share, 4), "error_class": str(step.error_class or "other")},
            threshold={"critical_failures": float(config.critical_failures)} if critical else {"min_failures": float(config.min_failures)},
            first_step_seq=window.first_seq,
            evidence_level=EvidenceLevel.STRUCTURE,
        )
        return window.found(cause, signal)

    def lapsed(self, at_ns: int) -> Sequence[str]:
        """Causes of which nothing bad was seen for the window."""
        return self._tools.lapsed(at_ns)
