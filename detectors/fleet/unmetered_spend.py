"""Model calls whose cost nobody knows."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from detectors.base import Signal
from detectors.fleet.base import NOTHING, Answers, FleetDetector, Windows
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.text import quote


class UnmeteredSpendConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When calls without a known cost matter, over a window of event time."""

    window_s: Annotated[float, Meta(ge=60, le=604_800)] = 3_600.0
    """Seconds over which calls are counted."""
    warn_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Share of the agent type's model calls from which to warn, 0–1."""
    min_calls: Annotated[int, Meta(ge=1, le=100_000)] = 50
    """Model calls below which it is only noted."""


class UnmeteredSpend(FleetDetector[UnmeteredSpendConfig]):
    """Model calls of an agent type have no known cost: no price for the model, or no token counts.

    **Why it costs.** Budgets and cost alarms do not see what is not metered.

    **When it is wrong.** It fires on models that cost nothing because they run at home, until they are given a price of 0.

    **Parameters** (`Config`): `window_s` (seconds), `warn_share` (share, 0–1), `min_calls` (calls).

    **Examples.** One call in four:

    >>> from detectors.fleet.testing import run, spread
    >>> from detectors.testing import llm
    >>> calls = spread([llm(model="home-made"), *[llm(cost_usd=0.01)] * 3] * 20, sessions=4)
    >>> [finding.severity.value for finding in run(UnmeteredSpend, calls)]
    ['info', 'warning']

    All of it metered:

    >>> run(UnmeteredSpend, spread([llm(cost_usd=0.01)] * 80, sessions=4))
    []

    **References.** Showback and unallocated spend: FinOps Foundation, "FinOps Framework" (2024), capability Allocation.
    """

    name: ClassVar[str] = "unmetered_spend"
    halt_reason: ClassVar[str | None] = None
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM})
    Config: ClassVar[type[msgspec.Struct]] = UnmeteredSpendConfig

    def __init__(self, config: UnmeteredSpendConfig) -> None:
        super().__init__(config)
        self._types = Windows(config.window_s)

    def observe(self, step: Step, agent_type: str) -> Answers:
        """Counts a model call that succeeded or says nothing of how it ended."""
        bad = step.cost_usd is None and not step.error
        window = self._types.count(agent_type, step, bad=bad)
        config = self.config
        if not bad:
            return NOTHING if window.bad else window.over(agent_type)
        grown = window.total >= config.min_calls and window.share >= config.warn_share
        if window.open and not grown:
            return NOTHING
        signal = Signal(
            severity=Severity.WARNING if grown else Severity.INFO,
            score=min(1.0, window.share),
            summary=f"{window.bad} of {window.total} model calls of {quote(agent_type, 60)} have no known cost.",
            evidence={**window.proof(), "share": round(window.share, 4), "model": quote(step.model or step.name or "unknown", 120)},
            threshold={"warn_share": config.warn_share} if grown else {"calls": 1.0},
            first_step_seq=window.first_seq,
            evidence_level=EvidenceLevel.STRUCTURE,
        )
        return window.found(agent_type, signal)

    def lapsed(self, at_ns: int) -> Sequence[str]:
        """Causes of which nothing bad was seen for the window."""
        return self._types.lapsed(at_ns)
