"""Cost per model call that climbs towards the session's ceiling."""

from decimal import Decimal
from functools import cache
from math import sqrt
from statistics import median
from typing import Annotated, Any, ClassVar, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import EvidenceLevel, Severity, Step, StepKind
from detectors.step_features import StepFeatures
from detectors.text import quote

_Name = tuple[str | None, str | None]
"""Of an agent and a model."""

_LINES: Final = 8
"""Series of costs told apart in one session."""


class CostRunawayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When climbing cost is a runaway. Steps are model calls of one agent to one model."""

    window_steps: Annotated[int, Meta(ge=4, le=64)] = 16
    """Costs fitted, in model calls."""
    min_steps: Annotated[int, Meta(ge=4, le=64)] = 8
    """Costs needed before anything is said, in model calls."""
    every_steps: Annotated[int, Meta(ge=1, le=64)] = 4
    """How often the fit is made, in model calls."""
    min_growth: Annotated[float, Meta(ge=0, le=100)] = 0.5
    """Fitted rise over the window as a share of its median cost, from which cost climbs."""
    min_concordance: Annotated[float, Meta(ge=-1, le=1)] = 0.5
    """Share of rising less falling pairs (Kendall's tau, −1 to 1) from which the climb is steady."""
    warn_steps_left: Annotated[int, Meta(ge=1, le=100_000)] = 20
    """Forecast of model calls to the ceiling from which to warn."""
    critical_steps_left: Annotated[int, Meta(ge=0, le=100_000)] = 5
    """Forecast of model calls to the ceiling from which it is urgent."""
    halt_steps_left: Annotated[int, Meta(ge=0, le=100_000)] = 1
    """Forecast of model calls to the ceiling from which halting is justified."""
    warn_multiple: Annotated[float, Meta(ge=1, le=1_000_000)] = 10.0
    """Without a ceiling: times the first costs' median from which to warn."""
    min_cost_usd: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.02
    """Without a ceiling: cost of a call in US dollars below which nobody is told."""
    warn_spend_multiple: Annotated[float, Meta(ge=1, le=1_000_000)] = 5.0
    """Times what a session of the agent type costs (median) from which to warn."""
    critical_spend_multiple: Annotated[float, Meta(ge=1, le=1_000_000)] = 10.0
    """Times the median from which the session has run away, whatever its course."""
    halt_spend_multiple: Annotated[float, Meta(ge=1, le=1_000_000)] = 20.0
    """Times the median from which halting is justified."""
    min_spend_usd: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.10
    """US dollars a session may cost before it is compared with others."""
    min_spend_tokens: Annotated[int, Meta(ge=0, le=10_000_000_000)] = 50_000
    """Tokens a session may use before it is compared with others, where costs are not known."""


class _Line(msgspec.Struct, gc=False):
    """The costs of one agent's calls to one model."""

    calls: list[tuple[Decimal, int, int]]
    """Cost in US dollars, end in nanoseconds, sequence number."""
    first: list[Decimal]
    count: int = 0
    heard: int = 0

    @property
    def base(self) -> float:
        """Median of the first costs."""
        return float(median(self.first))


class _Fit(msgspec.Struct, frozen=True):
    """A robust line through the window. Slope and level in US dollars a call."""

    slope: float
    level: float
    growth: float
    concordance: float


class CostRunaway(Detector[CostRunawayConfig]):
    """Cost per model call climbs towards the session's ceiling, or the session has cost many times what its type does.

    **Why it costs.** A context that grows with every call makes a session's cost grow with the square of its length: the
    last tenth of the calls costs a fifth of the money. Average cost hides it until the ceiling is reached.

    **When it is wrong.** It fires on a session that was about to finish anyway, and on one large task among many small ones.
    It misses cost that is high but flat where neither a budget nor 20 earlier sessions of the type say so, calls whose price
    is unknown, and a climb spread over many agents with few calls each.

    **Parameters** (`Config`): `window_steps`, `min_steps`, `every_steps`, `warn_steps_left`, `critical_steps_left`,
    `halt_steps_left` (model calls), `min_growth` (share), `min_concordance` (−1 to 1), `warn_multiple` (times),
    `min_cost_usd` (US dollars a call), `warn_spend_multiple`, `critical_spend_multiple`, `halt_spend_multiple` (times the
    median), `min_spend_usd` (US dollars), `min_spend_tokens` (tokens).

    **Examples.** Each call a cent dearer, towards a ceiling of 2 USD:

    >>> from decimal import Decimal
    >>> from detectors.testing import llm, run, session
    >>> climbing = [llm(cost_usd=f"0.{n:02}") for n in range(1, 20)]
    >>> fired = run(CostRunaway, session(*climbing), ceiling_usd=Decimal(2))
    >>> [(step.seq, signal.severity.value, signal.evidence["steps_left"]) for step, signal in fired]
    [(8, 'warning', 11), (16, 'critical', 3)]

    The same money spent evenly:

    >>> run(CostRunaway, session(*(llm(cost_usd="0.10") for _ in range(19))), ceiling_usd=Decimal(2))
    []

    **References.** Slope as the median of all pairs' slopes, unmoved by up to 29 % outliers: H. Theil (1950), P. K. Sen,
    Journal of the American Statistical Association 63 (1968). Steadiness: M. G. Kendall, Biometrika 30 (1938).
    """

    name: ClassVar[str] = "cost_runaway"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM})
    halt_reason: ClassVar[str | None] = "cost_runaway"
    Config: ClassVar[type[msgspec.Struct]] = CostRunawayConfig

    __slots__ = ("_heard", "_lines", "_open", "_spend_told")

    def __init__(self, config: CostRunawayConfig) -> None:
        super().__init__(config)
        self._lines: dict[_Name, _Line] | None = None
        self._open: _Name | None = None
        self._heard = 0
        self._spend_told = (False, False, False)

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002 — costs say it all
        """Takes in one model call's cost, and answers as long as its course or the session's sum is out of bounds."""
        spend = None if context.baseline is None else self._spend(step, context)
        course = None if step.cost_usd is None else self._course(step, context)
        if spend is not None:
            return spend
        return None if self._spend_told[0] and course is CLEAR else course

    def _spend(self, step: Step, context: Context) -> Signal | None:
        """Compares what the session has cost so far with what sessions of its type cost."""
        config, baseline = self.config, context.baseline
        if baseline is None:
            return None
        measure, spent, least = "cost_usd", float(context.cost_usd), config.min_spend_usd
        if spent <= 0:
            measure, spent, least = "tokens", float(context.tokens), float(config.min_spend_tokens)
        usual = baseline.of(measure)
        if usual is None or usual.p50 <= 0 or spent < least:
            return None
        multiple = spent / usual.p50
        level = (
            multiple >= config.warn_spend_multiple,
            multiple >= config.critical_spend_multiple,
            multiple >= config.halt_spend_multiple,
        )
        if level <= self._spend_told:
            return None
        self._spend_told = level
        what = f"{spent:.2f} USD" if measure == "cost_usd" else f"{spent:,.0f} tokens"
        return Signal(
            severity=Severity.CRITICAL if level[1] else Severity.WARNING,
            score=min(1.0, multiple / (2 * config.critical_spend_multiple)),
            summary=f"The session has spent {what}, {multiple:.1f} times what sessions of its type usually do.",
            evidence={
                "measure": measure,
                "spent": round(spent, 6),
                "p50": round(usual.p50, 6),
                "multiple": round(multiple, 2),
                "baseline_sessions": baseline.sessions,
            },
            threshold={"critical_spend_multiple": config.critical_spend_multiple}
            if level[1]
            else {"warn_spend_multiple": config.warn_spend_multiple},
            first_step_seq=step.seq,
            halt_eligible=level[2],
            evidence_level=EvidenceLevel.STRUCTURE,
        )

    def _course(self, step: Step, context: Context) -> Answer:
        """Fits the recent costs, and answers as long as their course meets the ceiling soon."""
        if step.cost_usd is None:
            return None
        self._heard += 1
        name = (step.agent, step.model or step.name)
        if self._lines is None:
            self._lines = {}
        line = self._lines.get(name) or self._begin(self._lines, name)
        line.heard = self._heard
        line.count += 1
        calls = line.calls
        calls.append((step.cost_usd, step.ended_ns, step.seq))
        if len(calls) > self.config.window_steps:
            del calls[0]
        if len(line.first) < self.config.min_steps // 2:
            line.first.append(step.cost_usd)
        if line.count % self.config.every_steps or line.count < self.config.min_steps:
            return None
        if self._open is None and not self._near(float(step.cost_usd), line, context):
            return None
        fit = _fit([float(each[0]) for each in line.calls])
        if fit.slope > 0 and fit.growth >= self.config.min_growth and fit.concordance >= self.config.min_concordance:
            signal = self._judge(name, line, fit, context)
            if signal is not None:
                self._open = name
                return signal
        if self._open == name and fit.growth < self.config.min_growth / 2:
            self._open = None
            return CLEAR
        return None

    def _begin(self, lines: dict[_Name, _Line], name: _Name) -> _Line:
        if len(lines) >= _LINES:
            del lines[min(lines, key=lambda each: lines[each].heard)]
        line = lines[name] = _Line([], [])
        return line

    def _near(self, cost: float, line: _Line, context: Context) -> bool:
        """Whether the fit, which is dear, could lead to anything."""
        if context.ceiling_usd is None:
            return cost >= self.config.min_cost_usd and cost * 2 >= self.config.warn_multiple * line.base
        return cost * 2 * self.config.warn_steps_left >= float(context.ceiling_usd - context.cost_usd)

    def _judge(self, name: _Name, line: _Line, fit: _Fit, context: Context) -> Signal | None:
        config = self.config
        multiple = fit.level / max(line.base, 1e-9)
        left = None
        if context.ceiling_usd is not None:
            left = steps_left(fit.level, fit.slope, float(context.ceiling_usd - context.cost_usd))
            if left > config.warn_steps_left:
                return None
        elif multiple < config.warn_multiple or fit.level < config.min_cost_usd:
            return None
        critical = left is not None and left <= config.critical_steps_left
        minutes = None
        if left is not None:
            minutes = round(left * (line.calls[-1][1] - line.calls[0][1]) / (len(line.calls) - 1) / 60e9, 1)
        who = quote(name[0] or name[1] or "the model", 80)
        if left is None:
            summary = (
                f"A call of {who} now costs {fit.level:.4f} USD, {multiple:.1f} times what its first calls cost, and no ceiling is set."
            )
        else:
            when = f" (about {minutes} minutes)" if minutes is not None else ""
            summary = (
                f"Cost per call of {who} climbs: the session reaches its ceiling of {_usd(context.ceiling_usd)} USD in {left} steps{when}."
            )
        threshold = {"warn_multiple": config.warn_multiple}
        if left is not None:
            threshold = (
                {"critical_steps_left": float(config.critical_steps_left)}
                if critical
                else {"warn_steps_left": float(config.warn_steps_left)}
            )
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, fit.growth) if left is None else max(0.0, 1 - left / (2 * config.warn_steps_left)),
            summary=summary,
            evidence=self._evidence(name, line, fit, context)
            | {"steps_left": left, "minutes_left": minutes, "multiple": round(multiple, 2)},
            threshold=threshold,
            first_step_seq=line.calls[0][2],
            halt_eligible=left is not None and left <= config.halt_steps_left and line.count >= config.window_steps,
            evidence_level=EvidenceLevel.STRUCTURE,
        )

    @staticmethod
    def _evidence(name: _Name, line: _Line, fit: _Fit, context: Context) -> dict[str, Any]:
        return {
            "agent": name[0],
            "model": name[1],
            "slope_usd_per_step": round(fit.slope, 6),
            "level_usd_per_step": round(fit.level, 6),
            "growth": round(fit.growth, 3),
            "concordance": round(fit.concordance, 3),
            "cost_usd": str(context.cost_usd),
            "ceiling_usd": None if context.ceiling_usd is None else str(context.ceiling_usd),
            "costs": [{"seq": seq, "cost_usd": round(float(cost), 6)} for cost, _, seq in line.calls][-8:],
        }


def _usd(amount: Decimal | None) -> str:
    return "?" if amount is None else f"{amount:.2f}"


def _fit(costs: list[float]) -> _Fit:
    """Fits a Theil–Sen line. `level` is its value at the last cost; `growth` its rise over the window over the median."""
    values = np.array(costs)
    earlier, later, distance = _pairs(len(values))
    slopes = (values[later] - values[earlier]) / distance
    slope = _median(slopes)
    rising, falling = int(np.count_nonzero(slopes > 0)), int(np.count_nonzero(slopes < 0))
    last = len(values) - 1
    level = _median(values - slope * np.arange(len(values))) + slope * last
    centre = _median(values)
    return _Fit(slope, level, slope * last / centre if centre > 0 else 0.0, (rising - falling) / len(slopes))


def _median(values: NDArray[np.float64]) -> float:
    """Sorts `values` in place. `numpy.median` takes ten times as long on so few."""
    values.sort()
    middle = len(values) // 2
    return float(values[middle]) if len(values) % 2 else float(values[middle - 1] + values[middle]) / 2


@cache
def _pairs(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Returns all pairs among `size` values: the index of the earlier, of the later, and their distance."""
    earlier, later = np.triu_indices(size, 1)
    return earlier, later, later - earlier


def steps_left(level: float, slope: float, remaining: float) -> int:
    """Counts the calls costing `level` + `slope`, `level` + 2 `slope`, … that `remaining` (all in US dollars) still pays for.

    >>> steps_left(0.10, 0.10, 0.5)
    2
    """
    if remaining <= 0:
        return 0
    linear = level + slope / 2
    return max(0, int((sqrt(linear * linear + 2 * slope * remaining) - linear) / slope))
