"""A session that goes on long after others of its kind have finished."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import Answer, Context, Detector, Need, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures


class MaxStepsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many steps are too many, against the 99th percentile of the agent type's sessions."""

    warn_multiple: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    """Times the 99th percentile from which to warn."""
    critical_multiple: Annotated[float, Meta(ge=1, le=1000)] = 3.0
    """Times the 99th percentile from which it is too many."""
    halt_multiple: Annotated[float, Meta(ge=1, le=1000)] = 6.0
    """Times the 99th percentile from which halting is justified."""
    min_steps: Annotated[int, Meta(ge=1, le=100_000)] = 20
    """Steps up to which nothing is said, however short the type's sessions are."""


class MaxSteps(Detector[MaxStepsConfig]):
    """The session has taken far more steps than sessions of its agent type do.

    **Why it costs.** A run-away session need not repeat itself: wandering costs as much. What is far outside anything its
    type has ever done deserves a look, whatever it is doing.

    **When it is wrong.** It fires on the one large task among many small ones. It misses a run-away of a type whose sessions
    are long, and says nothing at all before the type has had 20 sessions.

    **Parameters** (`Config`): `warn_multiple`, `critical_multiple`, `halt_multiple` (times the 99th percentile), `min_steps`
    (counted steps).

    **Examples.** A type whose sessions take 10 steps at most, 99 times of 100:

    >>> from detectors.baseline import Baseline, Quantiles
    >>> from detectors.testing import run, session, tool
    >>> usual = Baseline(sessions=200, measures={"steps": Quantiles(p50=6, p95=9, p99=10)})
    >>> steps = session(*(tool("read", {"page": n}, f"page {n} of the book") for n in range(40)))
    >>> [(step.seq, signal.severity.value) for step, signal in run(MaxSteps, steps, baseline=usual)]
    [(21, 'warning'), (31, 'critical')]

    A type of which too little is known:

    >>> run(MaxSteps, steps, baseline=Baseline(sessions=19, measures=usual.measures))
    []

    **References.** Tolerance limits from order statistics: S. S. Wilks, Annals of Mathematical Statistics 12 (1941).
    """

    name: ClassVar[str] = "max_steps"
    halt_reason: ClassVar[str | None] = "max_steps"
    kinds: ClassVar[frozenset[StepKind]] = frozenset(StepKind) - {StepKind.AGENT}
    needs: ClassVar[Need | None] = "baseline"
    Config: ClassVar[type[msgspec.Struct]] = MaxStepsConfig

    __slots__ = ("_told",)

    def __init__(self, config: MaxStepsConfig) -> None:
        super().__init__(config)
        self._told = (False, False, False)

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — only how many there are
        """Compares the number of steps so far with what is usual."""
        if context.baseline is None or context.steps <= self.config.min_steps:
            return None
        usual = context.baseline.of("steps")
        if usual is None or usual.p99 <= 0:
            return None
        config = self.config
        multiple = context.steps / usual.p99
        level = (multiple > config.warn_multiple, multiple > config.critical_multiple, multiple > config.halt_multiple)
        if not level[0] or level == self._told:
            return None
        self._told = level
        return Signal(
            severity=Severity.CRITICAL if level[1] else Severity.WARNING,
            score=min(1.0, multiple / (2 * config.critical_multiple)),
            summary=f"{context.steps} steps, {multiple:.1f} times what 99 of 100 sessions of its type need.",
            evidence={
                "steps": context.steps,
                "p50": round(usual.p50, 2),
                "p99": round(usual.p99, 2),
                "multiple": round(multiple, 2),
                "baseline_sessions": context.baseline.sessions,
            },
            threshold={"critical_multiple": config.critical_multiple} if level[1] else {"warn_multiple": config.warn_multiple},
            first_step_seq=step.seq,
            halt_eligible=level[2],
            evidence_level=EvidenceLevel.STRUCTURE,
        )
