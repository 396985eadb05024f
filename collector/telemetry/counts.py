"""What the pipeline hands over: sums of one commit, and the live state at a scrape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from detectors.judgements import reached
from detectors.model import CostBasis, ErrorClass, Evaluation, Finding, Step, StepKind


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
    """State → halts whose session still stands at their generation: a superseded or released halt weighs on nobody."""
    webhook_outbox: int = 0
    webhook_outbox_oldest_seconds: float = 0.0
    watermark_lag_seconds: float | None = None
    """None until the first event."""


class _Model:
    __slots__ = ("cache_write", "cached_input", "cost", "input", "output", "reasoning")

    def __init__(self) -> None:
        self.input = self.output = self.cached_input = self.cache_write = self.reasoning = 0
        self.cost: dict[str, float] = {}


class _Tool:
    __slots__ = ("calls", "errors")

    def __init__(self) -> None:
        self.calls = 0
        self.errors: dict[str, int] = {}


class AgentCounts:
    """The part of a batch that belongs to one agent type."""

    __slots__ = (
        "context_utilization",
        "cost_retracted",
        "cost_slopes",
        "kinds",
        "llm_errors",
        "models",
        "retracted",
        "similarities",
        "tools",
    )

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.models: dict[str | None, _Model] = {}
        self.tools: dict[str | None, _Tool] = {}
        self.llm_errors: dict[str, int] = {}
        self.similarities: list[float] = []
        self.context_utilization: list[float] = []
        self.cost_slopes: list[float] = []
        self.retracted = 0
        self.cost_retracted = 0.0

    def model(self, name: str | None) -> _Model:
        """The sums of one model."""
        return self.models.get(name) or self.models.setdefault(name, _Model())

    def tool(self, name: str | None) -> _Tool:
        """The sums of one tool."""
        return self.tools.get(name) or self.tools.setdefault(name, _Tool())


class BatchCounts:
    """The sums of one commit, filled by the pipeline step by step and handed to `Telemetry.batch` once.

    Belongs to one thread; make a new one for each commit. Values are raw here: `Telemetry` bounds the labels.
    """

    __slots__ = (
        "agents",
        "detector_errors",
        "dialects",
        "duplicates",
        "evicted",
        "findings",
        "goals",
        "rebuilt",
        "to_arrival",
        "to_verdict",
        "unmetered",
    )

    def __init__(self) -> None:
        self.agents: dict[str, AgentCounts] = {}
        self.unmetered: dict[str | None, int] = {}
        self.dialects: dict[str, int] = {}
        self.duplicates: dict[str, int] = {}
        self.detector_errors: dict[str, int] = {}
        self.evicted: dict[str, int] = {}
        self.rebuilt = 0
        self.goals: dict[tuple[str, str], int] = {}
        self.findings: list[tuple[str, str, str, str]] = []
        self.to_arrival = _Delays()
        self.to_verdict = _Delays()

    def _agent(self, agent_type: str) -> AgentCounts:
        return self.agents.get(agent_type) or self.agents.setdefault(agent_type, AgentCounts())

    def step(self, step: Step, agent_type: str, *, similarity: float | None = None, cost_slope: float | None = None) -> None:
        """Counts a new step, with what was computed about it: likeness to earlier calls, rise of cost per step in dollars."""
        agent = self._agent(agent_type)
        # Enum members hash in Python code, their text does in C: the difference shows at 20,000 steps a second.
        kind = step.kind
        name = kind._value_
        agent.kinds[name] = agent.kinds.get(name, 0) + 1
        self.dialects[step.dialect] = self.dialects.get(step.dialect, 0) + 1
        if kind is StepKind.LLM:
            self._charge(agent, step)
            if step.error:
                _count_error(agent.llm_errors, step)
            if (utilization := step.context_utilization) is not None:
                agent.context_utilization.append(utilization)
            if cost_slope is not None:
                agent.cost_slopes.append(cost_slope)
        elif kind is StepKind.TOOL:
            tool = agent.tool(step.name)
            tool.calls += 1
            if step.error:
                _count_error(tool.errors, step)
            if similarity is not None:
                agent.similarities.append(similarity)

    def _charge(self, agent: AgentCounts, step: Step) -> None:
        model = agent.model(step.model)
        model.input += step.input_tokens or 0
        model.output += step.output_tokens or 0
        model.cached_input += step.cached_input_tokens or 0
        model.cache_write += step.cache_write_tokens or 0
        model.reasoning += step.reasoning_tokens or 0
        if step.cost_usd is not None:
            basis = _basis(step)
            model.cost[basis] = model.cost.get(basis, 0.0) + float(step.cost_usd)
        elif not step.error or step.cost_basis is CostBasis.UNMETERED:
            # A failed attempt reports no tokens and most likely cost none: it is an error, not a hole in the bill.
            self.unmetered[step.model] = self.unmetered.get(step.model, 0) + 1

    def amended(self, old: Step, new: Step, agent_type: str) -> None:
        """Counts what an amendment added. Counters cannot fall, so whatever it took away is left out."""
        agent = self._agent(agent_type)
        if new.kind is StepKind.TOOL:
            if new.error and not old.error:
                _count_error(agent.tool(new.name).errors, new)
            return
        if new.kind is not StepKind.LLM:
            return
        if new.error and not old.error:
            _count_error(agent.llm_errors, new)
        model = agent.model(new.model)
        model.input += _rise(old.input_tokens, new.input_tokens)
        model.output += _rise(old.output_tokens, new.output_tokens)
        model.cached_input += _rise(old.cached_input_tokens, new.cached_input_tokens)
        model.cache_write += _rise(old.cache_write_tokens, new.cache_write_tokens)
        model.reasoning += _rise(old.reasoning_tokens, new.reasoning_tokens)
        if new.cost_usd is not None and new.cost_usd > (old.cost_usd or 0):
            basis = _basis(new)
            model.cost[basis] = model.cost.get(basis, 0.0) + float(new.cost_usd - (old.cost_usd or 0))
        if old.context_utilization is None and (utilization := new.context_utilization) is not None:
            agent.context_utilization.append(utilization)

    def step_retracted(self, step: Step, agent_type: str) -> None:
        """Counts a step that no longer counts, and what it had cost: rates subtract it."""
        agent = self._agent(agent_type)
        agent.retracted += 1
        agent.cost_retracted += float(step.cost_usd or 0)

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

    def session_evicted(self, cause: str) -> None:
        """Counts a session dropped from memory: `idle` or `capacity`."""
        self.evicted[cause] = self.evicted.get(cause, 0) + 1

    def session_rebuilt(self) -> None:
        """Counts a session brought back from the store."""
        self.rebuilt += 1


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


def _basis(step: Step) -> str:
    return (step.cost_basis or CostBasis.ESTIMATED).value


def _count_error(errors: dict[str, int], step: Step) -> None:
    name = (step.error_class or ErrorClass.OTHER).value
    errors[name] = errors.get(name, 0) + 1
