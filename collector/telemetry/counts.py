"""What the pipeline hands over: sums of one commit, and the live state at a scrape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from detectors.judgements import reached
from detectors.model import CostBasis, ErrorClass, Evaluation, Finding, Step, StepKind
from detectors.step_features import StepFeatures

_FREE: Final = Decimal(0)


class OpenFindings(NamedTuple):
    """What open findings are counted by."""

    detector: str
    severity: str
    agent_type: str
    halt_eligible: bool
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Live state at one moment, for the gauges. Mappings are read once and not kept; an absent key counts as zero."""

    sessions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(agent type, state) → sessions in memory."""
    open_findings: Mapping[OpenFindings, int] = field(default_factory=dict)
    session_steps_max: Mapping[str, float] = field(default_factory=dict)
    """Agent type → the largest among running sessions only, so that it falls when they end. Likewise the next two."""
    session_duration_seconds_max: Mapping[str, float] = field(default_factory=dict)
    context_utilization_ratio_max: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    """(agent type, measure, quantile) → what is normal; absent where too little is known."""
    halts: Mapping[str, int] = field(default_factory=dict)
    """State → halts, and whatever else was ever asked of a session."""
    ingest_queue_bytes: int = 0
    """Of requests that are not answered yet."""
    storage_bytes: int = 0
    webhook_outbox: int = 0
    webhook_outbox_oldest_seconds: float = 0.0
    watermark_lag_seconds: float | None = None
    """None until the first event."""


class StepSums:
    """What the steps of a batch add up to that are of one agent type and kind, and call one model or tool."""

    __slots__ = (
        "cache_write",
        "cached_input",
        "context_utilization",
        "cost",
        "cost_slopes",
        "errors",
        "input",
        "output",
        "reasoning",
        "similarities",
        "steps",
        "unmetered",
    )

    def __init__(self) -> None:
        self.steps = self.unmetered = 0
        self.input = self.output = self.cached_input = self.cache_write = self.reasoning = 0
        self.cost: dict[str, Decimal] = {}
        self.errors: dict[str, int] = {}
        self.similarities: list[float] = []
        self.context_utilization: list[float] = []
        self.cost_slopes: list[float] = []


class BatchCounts:
    """The sums of one commit, filled by the pipeline step by step and handed to `Telemetry.batch` once.

    Belongs to one thread; make a new one for each commit, or `reset` it. Values are raw here: `Telemetry` bounds the labels.
    """

    __slots__ = (
        "detector_errors",
        "duplicates",
        "evicted",
        "findings",
        "goals",
        "rebuilt",
        "retracted",
        "sums",
        "to_arrival",
        "to_verdict",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins the next commit."""
        self.sums: dict[tuple[str, StepKind, str | None, str], StepSums] = {}
        """(agent type, kind, model or tool, dialect) → sums. Other kinds of steps call None."""
        self.retracted: dict[str, tuple[int, Decimal]] = {}
        """Agent type → steps taken back, and what they had cost."""
        self.duplicates: dict[str, int] = {}
        self.detector_errors: dict[str, int] = {}
        self.evicted: dict[str, int] = {}
        self.rebuilt = 0
        self.goals: dict[tuple[str, str], int] = {}
        self.findings: list[tuple[str, str, str, str]] = []
        self.to_arrival = _Delays()
        self.to_verdict = _Delays()

    def _of(self, step: Step, agent_type: str) -> StepSums:
        kind = step.kind
        called = step.model if kind is StepKind.LLM else step.name if kind is StepKind.TOOL else None
        key = (agent_type, kind, called, step.dialect)
        sums = self.sums.get(key)
        if sums is None:
            sums = self.sums[key] = StepSums()
        return sums

    def step(self, step: Step, agent_type: str, features: StepFeatures | None = None, cost_slope: float | None = None) -> None:
        """Counts a new step, with what was computed about it: likeness to earlier calls, rise of cost per step in dollars."""
        sums = self._of(step, agent_type)
        sums.steps += 1
        kind = step.kind
        if step.error:
            _count_error(sums.errors, step)
        if kind is StepKind.LLM:
            if (tokens := step.input_tokens) is not None:
                sums.input += tokens
                if step.context_window:
                    sums.context_utilization.append(tokens / step.context_window)
            sums.output += step.output_tokens or 0
            sums.cached_input += step.cached_input_tokens or 0
            sums.cache_write += step.cache_write_tokens or 0
            sums.reasoning += step.reasoning_tokens or 0
            if (cost := step.cost_usd) is not None:
                basis = step.cost_basis or CostBasis.ESTIMATED
                sums.cost[basis] = sums.cost.get(basis, _FREE) + cost
            elif not step.error or step.cost_basis is CostBasis.UNMETERED:
                # A failed attempt reports no tokens and most likely cost none: it is an error, not a hole in the bill.
                sums.unmetered += 1
            if cost_slope is not None:
                sums.cost_slopes.append(cost_slope)
        elif kind is StepKind.TOOL and features is not None and features.argument_similarity is not None:
            sums.similarities.append(features.argument_similarity)

    def amended(self, old: Step, new: Step, agent_type: str) -> None:
        """Counts what an amendment added. Counters cannot fall, so whatever it took away is left out."""
        if new.kind is not StepKind.LLM and new.kind is not StepKind.TOOL:
            return
        sums = self._of(new, agent_type)
        if new.error and not old.error:
            _count_error(sums.errors, new)
        if new.kind is StepKind.TOOL:
            return
        sums.input += _rise(old.input_tokens, new.input_tokens)
        sums.output += _rise(old.output_tokens, new.output_tokens)
        sums.cached_input += _rise(old.cached_input_tokens, new.cached_input_tokens)
        sums.cache_write += _rise(old.cache_write_tokens, new.cache_write_tokens)
        sums.reasoning += _rise(old.reasoning_tokens, new.reasoning_tokens)
        rise = (new.cost_usd or _FREE) - (old.cost_usd or _FREE)
        if rise > 0:
            basis = new.cost_basis or CostBasis.ESTIMATED
            sums.cost[basis] = sums.cost.get(basis, _FREE) + rise
        if old.context_utilization is None and (utilization := new.context_utilization) is not None:
            sums.context_utilization.append(utilization)

    def step_retracted(self, step: Step, agent_type: str) -> None:
        """Counts a step that no longer counts, and what it had cost: rates subtract it."""
        steps, cost = self.retracted.get(agent_type, (0, _FREE))
        self.retracted[agent_type] = (steps + 1, cost + (step.cost_usd or _FREE))

    def finding(self, finding: Finding) -> None:
        """Counts a finding as reported: once when its episode opens and once at each escalation."""
        self.findings.append((finding.detector, finding.severity.value, finding.agent_type, finding.trace_id))

    def judged(self, event: Evaluation, agent_type: str) -> None:
        """Counts a judgement that says whether the goal was reached."""
        value = reached(event)
        if value is not None:
            key = (agent_type, "reached" if value >= 0.5 else "missed")
            self.goals[key] = self.goals.get(key, 0) + 1

    def latency(self, *, trace_id: str = "", to_arrival_s: float | None = None, to_verdict_s: float | None = None) -> None:
        """Notes how long a step took from its end to us, and from us to the verdict. None where nobody saw (replay)."""
        if to_arrival_s is not None:
            self.to_arrival.add(to_arrival_s, trace_id)
        if to_verdict_s is not None:
            self.to_verdict.add(to_verdict_s, trace_id)

    def duplicate(self, signal: str, count: int = 1) -> None:
        """Counts items that had been stored before."""
        self.duplicates[signal] = self.duplicates.get(signal, 0) + count

    def detector_error(self, detector: str) -> None:
        """Counts a detector that raised."""
        self.detector_errors[detector] = self.detector_errors.get(detector, 0) + 1

    def session_evicted(self, cause: str, count: int = 1) -> None:
        """Counts sessions dropped from memory: `idle` or `capacity`."""
        self.evicted[cause] = self.evicted.get(cause, 0) + count


class _Delays:
    """Delays of a batch, and the longest one's trace."""

    __slots__ = ("seconds", "worst")

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.worst: tuple[float, str] | None = None

    def add(self, seconds: float, trace_id: str) -> None:
        # Clocks differ between machines: a span may arrive before it ended.
        seconds = max(seconds, 0.0)
        self.seconds.append(seconds)
        if self.worst is None or seconds > self.worst[0]:
            self.worst = (seconds, trace_id)


def _rise(old: int | None, new: int | None) -> int:
    return max(0, (new or 0) - (old or 0))


def _count_error(errors: dict[str, int], step: Step) -> None:
    name = (step.error_class or ErrorClass.OTHER).value
    errors[name] = errors.get(name, 0) + 1
