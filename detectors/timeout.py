"""A session that takes longer than others of its kind."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import Answer, Context, Detector, Need, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures


class TimeoutConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long is too long, against the 99th percentile of the agent type's sessions. Event time, by the steps' own clocks."""

    warn_multiple: Annotated[float, Meta(ge=1, le=1000)] = 1.0
    """Times the 99th percentile above which to warn."""
    critical_multiple: Annotated[float, Meta(ge=1, le=1000)] = 4.0
    """Times the 99th percentile above which it is too long."""
    min_duration_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 60.0
    """Seconds up to which nothing is said, however short the type's sessions are."""


class Timeout(Detector[TimeoutConfig]):
    """The session has been at work for longer than sessions of its agent type take.

    **Why it costs.** Somebody waits for the result, and what runs on unnoticed overnight is found on the bill.

    **When it is wrong.** It fires on one session in a hundred by definition, and on one that waited for a person: it warns,
    and asks for no halt. It misses a session that is slow from the first of its type on, says nothing before the type has
    had 20 sessions, and does not see time pass without steps (see `abandoned`).

    **Parameters** (`Config`): `warn_multiple`, `critical_multiple` (times the 99th percentile), `min_duration_s` (seconds).

    **Examples.** A type whose sessions are over after 60 seconds, 99 times of 100, and one that goes on for 300:

    >>> from detectors.baseline import Baseline, Quantiles
    >>> from detectors.testing import run, session, tool
    >>> usual = Baseline(sessions=200, measures={"duration_s": Quantiles(p50=30, p95=50, p99=60)})
    >>> steps = session(*(tool("read", {"page": n}, f"page {n} of the book") for n in range(150)))
    >>> [(step.seq, signal.severity.value) for step, signal in run(Timeout, steps, baseline=usual)]
    [(31, 'warning'), (121, 'critical')]

    A type of which too little is known:

    >>> run(Timeout, steps, baseline=Baseline(sessions=19, measures=usual.measures))
    []

    **References.** Tolerance limits from order statistics: S. S. Wilks, Annals of Mathematical Statistics 12 (1941).
    """

    name: ClassVar[str] = "timeout"
    halt_reason: ClassVar[str | None] = "timeout"
    kinds: ClassVar[frozenset[StepKind]] = frozenset(StepKind) - {StepKind.AGENT}
    needs: ClassVar[Need | None] = "baseline"
    Config: ClassVar[type[msgspec.Struct]] = TimeoutConfig

    __slots__ = ("_told",)

    def __init__(self, config: TimeoutConfig) -> None:
        super().__init__(config)
        self._told = (False, False)

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — only time counts
        """Compares the time since the session's start with what is usual."""
        if context.baseline is None or context.started_ns is None:
            return None
        usual = context.baseline.of("duration_s")
        seconds = (step.ended_ns - context.started_ns) / 1e9
        if usual is None or usual.p99 <= 0 or seconds <= self.config.min_duration_s:
            return None
        config = self.config
        multiple = seconds / usual.p99
        level = (multiple > config.warn_multiple, multiple > config.critical_multiple)
        if not level[0] or level <= self._told:
            return None
        self._told = level
        return Signal(
            severity=Severity.CRITICAL if level[1] else Severity.WARNING,
            score=min(1.0, multiple / (2 * config.critical_multiple)),
            summary=f"At work for {_span(seconds)}; 99 of 100 sessions of its type are over after {_span(usual.p99)}.",
            evidence={
                "duration_s": round(seconds, 1),
                "p50_s": round(usual.p50, 1),
                "p99_s": round(usual.p99, 1),
                "multiple": round(multiple, 2),
                "baseline_sessions": context.baseline.sessions,
            },
            threshold={"critical_multiple": config.critical_multiple} if level[1] else {"warn_multiple": config.warn_multiple},
            first_step_seq=step.seq,
            evidence_level=EvidenceLevel.STRUCTURE,
        )


def _span(seconds: float) -> str:
    """Writes a duration as people do.

    >>> _span(59), _span(3600), _span(11 * 86_400)
    ('59 s', '60 min', '264 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
