"""What is normal for an agent type, as detectors are shown it."""

from typing import ClassVar

import msgspec


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """How one measure is spread over the sessions of an agent type."""

    p50: float
    p95: float
    p99: float


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What is normal for an agent type. Measures: `steps` (counted), `duration_s`, `tokens` (input and output), `cost_usd`."""

    MIN_SESSIONS: ClassVar[int] = 20

    sessions: int
    measures: dict[str, Quantiles]

    def of(self, measure: str) -> Quantiles | None:
        """The spread of `measure`; None where it is unknown or rests on fewer than `MIN_SESSIONS` sessions."""
        return self.measures.get(measure) if self.sessions >= self.MIN_SESSIONS else None
