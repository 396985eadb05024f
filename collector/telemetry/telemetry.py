"""The service's own metrics: one object, one registry, bounded series."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from collector.enforcement.action import Reply
from collector.model import HaltState, SessionState, Signal
from collector.telemetry.catalogue import METRICS, Kind
from collector.telemetry.counts import BatchCounts, Snapshot, StepSums
from collector.telemetry.series import BoundedLabel, Histogram, Labels, SeriesBudget, Sums
from detectors.model import CostBasis, ErrorClass, Severity, StepKind

MODES = ("shadow", "alert", "compact", "pause", "halt")
"""What a detector's verdict may lead to."""

DELIVERY_OUTCOMES = tuple(reply.value for reply in Reply)
"""What may come of one attempt to deliver."""

EVICTION_CAUSES = ("idle", "capacity")

_SIGNALS = ("traces", "logs", "metrics")
_PROTOCOLS = ("grpc", "http", "replay")
_TOKEN_TYPES = ("input", "output", "cached_input", "cache_write", "reasoning")
_BASES = tuple(basis.value for basis in CostBasis if basis not in {CostBasis.UNMETERED, CostBasis.MIXED})
_ERROR_CLASSES = tuple(error.value for error in ErrorClass)
_KINDS = tuple(kind.value for kind in StepKind)
_SEVERITIES = tuple(severity.value for severity in Severity)
_STATES = tuple(state.value for state in SessionState)

_TOOL_SERIES = 1 + len(_ERROR_CLASSES)
_MODEL_SERIES = len(_TOKEN_TYPES) + len(CostBasis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many values a label may take before the rest is counted as `other`, and how many series there may be at all."""

    agent_types: int = 50
    models: int = 50
    models_of_agent_types: int = 200
    tools_of_agent_types: int = 500
    reasons: int = 40
    series: int = 25_000
    """Reserved at the worst a label value can cause, so this many are never reached in practice."""


class Telemetry(Collector):
    """Every metric in `METRICS`, kept between scrapes and rendered at one.

    Safe from any thread. Counts come in by the batch, gauges are computed from `snapshot()` at each scrape; it is called on
    the scraping thread and must not wait for the pipeline. An exception of its own fails the scrape, so that
    the target counts as down rather than the gauges as zero.

    `detectors`, `halt_reasons`, `dialects` and `agent_types` are the values known beforehand: their series exist at zero
    from the start, and agent types of the configuration keep their place however many others appear.
    `mode_of(detector, agent_type)` says in which mode a detector runs.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        snapshot: Callable[[], Snapshot] = Snapshot,
        detectors: Sequence[str] = (),
        halt_reasons: Sequence[str] = (),
        dialects: Sequence[str] = (),
        agent_types: Sequence[str] = (),
        rejection_reasons: Sequence[str] = (),
        mode_of: Callable[[str, str], str] = lambda _detector, _agent_type: MODES[0],
        queue_limit_bytes: int = 0,
        version: str = "",
        limits: Limits = Limits(),
    ) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._mode_of = mode_of
        self._detectors = tuple(detectors)
        self._halt_reasons = frozenset(halt_reasons)
        self._dialects = frozenset(dialects)
        self._lock = Lock()
        self._sums = {metric.name: Sums(metric) for metric in METRICS if metric.kind is not Kind.HISTOGRAM}
        self._histograms = {metric.name: Histogram(metric) for metric in METRICS if metric.kind is Kind.HISTOGRAM}
        # Looked up once: the hot path would spend a tenth of its time on building these names.
        self._dialect_steps = self._sums["overcurrent_dialect_steps_total"]
        self._steps_total = self._sums["overcurrent_steps_total"]
        self._tool_calls = self._sums["overcurrent_tool_calls_total"]
        self._tokens = self._sums["overcurrent_tokens_total"]
        self._cost = self._sums["overcurrent_cost_usd_total"]
        self._similarity = self._histograms["overcurrent_argument_similarity"]
        self._utilization = self._histograms["overcurrent_context_utilization_ratio"]
        self._slope = self._histograms["overcurrent_cost_slope_usd_per_step"]

        budget = SeriesBudget(limits.series)
        self._tools = BoundedLabel("tool", limit=limits.tools_of_agent_types, weight=_TOOL_SERIES, budget=budget)
        self._agent_models = BoundedLabel("model", limit=limits.models_of_agent_types, weight=_MODEL_SERIES, budget=budget)
        self._models = BoundedLabel("model", limit=limits.models, weight=1, budget=budget)
        self._reasons = BoundedLabel("reason", limit=limits.reasons, weight=1, budget=budget)
        self._agent_types = BoundedLabel("agent_type", limit=limits.agent_types, weight=self._agent_series(), budget=budget)
        self._started: set[str] = set()
        self._start(version, queue_limit_bytes, dialects, rejection_reasons)
        for agent_type in (*agent_types, "unknown", "other"):
            self._agent_type(agent_type)
        registry.register(self)
        ProcessCollector(registry=registry)

    def _agent_series(self) -> int:
        per_histogram = sum(len(metric.buckets) + 3 for metric in METRICS if metric.kind is Kind.HISTOGRAM and metric.labels)
        findings = len(self._detectors) * len(_SEVERITIES)
        gauges = len(_STATES) + 3
        counters = len(_KINDS) + len(_ERROR_CLASSES) + 2
        # `other` of the tools and models of this agent type needs its series, too.
        return per_histogram + 3 * findings + gauges + counters + len(self._halt_reasons) * len(MODES) + _TOOL_SERIES + _MODEL_SERIES

    def _start(self, version: str, queue_limit_bytes: int, dialects: Sequence[str], rejections: Sequence[str]) -> None:
        sums = self._sums
        for signal in _SIGNALS:
            sums["overcurrent_duplicates_total"].start(signal)
            for protocol in _PROTOCOLS:
                sums["overcurrent_spans_received_total"].start(signal, protocol)
        for name in ("ingest_commit", "arrival_to_verdict", "span_end_to_arrival"):
            self._histograms[f"overcurrent_{name}_seconds"].start()
        for reason in rejections:
            sums["overcurrent_spans_rejected_total"].start(self._reasons.admit(reason))
        for dialect in dialects:
            sums["overcurrent_dialect_steps_total"].start(dialect)
        for detector in self._detectors:
            sums["overcurrent_detector_errors_total"].start(detector)
        for outcome in DELIVERY_OUTCOMES:
            sums["overcurrent_webhook_deliveries_total"].start(outcome)
        for cause in EVICTION_CAUSES:
            sums["overcurrent_sessions_evicted_total"].start(cause)
        sums["overcurrent_sessions_rebuilt_total"].start()
        sums["overcurrent_ingest_queue_bytes"].start()
        sums["overcurrent_ingest_queue_limit_bytes"].set(queue_limit_bytes)
        sums["overcurrent_build_info"].set(1, version or "unknown")

    def _agent_type(self, raw: str | None) -> str:
        """Bounds an agent type, and starts its series when it is new."""
        agent_type = self._agent_types.admit(raw)
        if agent_type not in self._started:
            self._started.add(agent_type)
            for kind in _KINDS:
                self._sums["overcurrent_steps_total"].start(agent_type, kind)
            for error in _ERROR_CLASSES:
                self._sums["overcurrent_llm_errors_total"].start(agent_type, error)
            for outcome in ("reached", "missed"):
                self._sums["overcurrent_goals_total"].start(agent_type, outcome)
            for name in ("steps_retracted_total", "cost_retracted_usd_total"):
                self._sums[f"overcurrent_{name}"].start(agent_type)
            for histogram in (self._similarity, self._utilization, self._slope):
                histogram.start(agent_type)
            for detector in self._detectors:
                for severity in _SEVERITIES:
                    self._sums["overcurrent_findings_total"].start(detector, severity, agent_type)
                if detector in self._halt_reasons:
                    for mode in ("shadow", "halt"):
                        self._sums["overcurrent_halts_total"].start(detector, agent_type, mode)
        return agent_type

    # ---- the receiver's side -------------------------------------------------------------------------------------------

    def received(self, signal: Signal, protocol: str, items: int) -> None:
        """Counts what requests held, bad items included."""
        with self._lock:
            self._sums["overcurrent_spans_received_total"].add(items, signal, protocol if protocol in _PROTOCOLS else "other")

    def rejected(self, reason: str, n: int = 1) -> None:
        """Counts items refused for `reason`, a phrase from a closed set."""
        with self._lock:
            self._sums["overcurrent_spans_rejected_total"].add(n, self._reasons.admit(reason))

    def commit_seconds(self, s: float) -> None:
        """Notes how long a commit took."""
        with self._lock:
            self._histograms["overcurrent_ingest_commit_seconds"].observe_many((s,))

    # ---- the pipeline's side -------------------------------------------------------------------------------------------

    def batch(self, counts: BatchCounts) -> None:
        """Takes in the sums of one commit. Costs by the distinct labels in it, not by its steps."""
        with self._lock:
            for (raw, kind, called, dialect), sums in counts.sums.items():
                self._steps(self._agent_type(raw), kind, called, sums)
                if sums.steps:
                    self._dialect_steps.add(sums.steps, dialect if dialect in self._dialects else "other")
            for raw, (steps, usd) in counts.retracted.items():
                agent_type = self._agent_type(raw)
                self._sums["overcurrent_steps_retracted_total"].add(steps, agent_type)
                self._sums["overcurrent_cost_retracted_usd_total"].add(float(usd), agent_type)
            for detector, severity, raw, trace_id in counts.findings:
                name = detector if detector in self._detectors else "other"
                self._sums["overcurrent_findings_total"].add(1, name, severity, self._agent_type(raw), trace_id=trace_id)
            for name, delays in (("span_end_to_arrival", counts.to_arrival), ("arrival_to_verdict", counts.to_verdict)):
                if delays.seconds:
                    self._histograms[f"overcurrent_{name}_seconds"].observe_many(delays.seconds, exemplar=delays.worst)
            for (raw, outcome), goals in counts.goals.items():
                self._sums["overcurrent_goals_total"].add(goals, self._agent_type(raw), outcome)
            for signal, items in counts.duplicates.items():
                self._sums["overcurrent_duplicates_total"].add(items, signal if signal in _SIGNALS else "other")
            for detector, errors in counts.detector_errors.items():
                self._sums["overcurrent_detector_errors_total"].add(errors, detector if detector in self._detectors else "other")
            for cause, sessions in counts.evicted.items():
                self._sums["overcurrent_sessions_evicted_total"].add(sessions, cause if cause in EVICTION_CAUSES else "other")
            self._sums["overcurrent_sessions_rebuilt_total"].add(counts.rebuilt)

    def _steps(self, agent_type: str, kind: StepKind, called: str | None, of: StepSums) -> None:
        sums = self._sums
        if of.steps:
            self._steps_total.add(of.steps, agent_type, kind)
        if kind is StepKind.TOOL:
            name = self._tool(agent_type, called)
            self._tool_calls.add(of.steps, agent_type, name)
            for error, calls in of.errors.items():
                sums["overcurrent_tool_errors_total"].add(calls, agent_type, name, error)
            self._similarity.observe_many(of.similarities, agent_type)
        elif kind is StepKind.LLM:
            name = self._model(agent_type, called)
            for token_type in _TOKEN_TYPES:
                if tokens := getattr(of, token_type):
                    self._tokens.add(tokens, agent_type, name, token_type)
            for basis, usd in of.cost.items():
                self._cost.add(float(usd), agent_type, name, basis)
            for error, calls in of.errors.items():
                sums["overcurrent_llm_errors_total"].add(calls, agent_type, error)
            if of.unmetered:
                sums["overcurrent_unmetered_llm_calls_total"].add(of.unmetered, self._models.admit(called))
            self._utilization.observe_many(of.context_utilization, agent_type)
            self._slope.observe_many(of.cost_slopes, agent_type)

    def _tool(self, agent_type: str, raw: str | None) -> str:
        """Bounds a tool of an agent type, and starts its series when it is new."""
        name = self._tools.admit(raw, agent_type)
        if (agent_type, name) not in self._tool_calls.values:
            for error in _ERROR_CLASSES:
                self._sums["overcurrent_tool_errors_total"].start(agent_type, name, error)
        return name

    def _model(self, agent_type: str, raw: str | None) -> str:
        """The same for a model."""
        name = self._agent_models.admit(raw, agent_type)
        if (agent_type, name, _TOKEN_TYPES[0]) not in self._tokens.values:
            for token_type in _TOKEN_TYPES:
                self._tokens.start(agent_type, name, token_type)
            for basis in _BASES:
                self._cost.start(agent_type, name, basis)
        return name

    def heartbeat(self, now_s: float) -> None:
        """Says that the pipeline went round at `now_s`, seconds since the epoch. Call it when idle, too: silence means stuck."""
        with self._lock:
            self._sums["overcurrent_heartbeat_timestamp_seconds"].set(now_s)

    # ---- the enforcement's side ----------------------------------------------------------------------------------------

    def halt_decided(self, halt_reason: str | None, agent_type: str, mode: str) -> None:
        """Counts a decision to halt; in `shadow` nothing followed from it."""
        reason = halt_reason if halt_reason in self._halt_reasons else "other"
        with self._lock:
            self._sums["overcurrent_halts_total"].add(1, reason, self._agent_type(agent_type), mode if mode in MODES else "other")

    def webhook_delivery(self, outcome: str) -> None:
        """Counts one attempt to deliver, by an outcome of `DELIVERY_OUTCOMES`."""
        with self._lock:
            self._sums["overcurrent_webhook_deliveries_total"].add(1, outcome if outcome in DELIVERY_OUTCOMES else "other")

    # ---- the scrape ----------------------------------------------------------------------------------------------------

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics with exemplars where `accept` asks for it, else plain text."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type

    def describe(self) -> list[Family]:
        """The names, for the registry; without it registering would take a snapshot before there is one."""
        return [(self._sums.get(metric.name) or self._histograms[metric.name]).family() for metric in METRICS]

    def collect(self) -> list[Family]:
        """Everything, with the gauges as they are now."""
        state = self._snapshot()
        with self._lock:
            agent_types = tuple(self._started)
        # Not under our lock: these ask the service, which may wait for a thread that is just handing us a batch.
        modes = {(detector, agent_type): self._mode_of(detector, agent_type) for detector in self._detectors for agent_type in agent_types}
        with self._lock:
            self._gauges(state, modes)
            return [(self._sums.get(metric.name) or self._histograms[metric.name]).family() for metric in METRICS]

    def _gauges(self, state: Snapshot, modes: dict[tuple[str, str], str]) -> None:
        sums = self._sums
        for gauge, maxima in (
            ("session_steps_max", state.session_steps_max),
            ("session_duration_seconds_max", state.session_duration_seconds_max),
            ("context_utilization_ratio_max", state.context_utilization_ratio_max),
        ):
            largest: dict[Labels, float] = {(agent_type,): 0.0 for agent_type in self._started}
            for raw, value in maxima.items():
                labels = (self._agent_type(raw),)
                largest[labels] = max(value, largest.get(labels, 0.0))
            sums[f"overcurrent_{gauge}"].values = largest

        sessions = _summed(((self._agent_type(raw), standing), n) for (raw, standing), n in state.sessions.items())
        findings = _summed(
            ((of.detector, of.severity, self._agent_type(of.agent_type), str(of.halt_eligible).lower(), of.mode), n)
            for of, n in state.open_findings.items()
        )
        for agent_type in self._started:
            for session_state in _STATES:
                sessions.setdefault((agent_type, session_state), 0)
        for (detector, agent_type), mode in modes.items():
            for severity in _SEVERITIES:
                findings.setdefault((detector, severity, agent_type, "false", mode), 0)
            findings.setdefault((detector, Severity.CRITICAL.value, agent_type, "true", mode), 0)
        sums["overcurrent_sessions"].values = sessions
        sums["overcurrent_open_findings"].values = findings
        sums["overcurrent_baseline"].values = {(self._agent_type(of), *rest): value for (of, *rest), value in state.baselines.items()}
        sums["overcurrent_sessions_live"].set(sum(state.sessions.values()))
        sums["overcurrent_halts"].values = {(halt.value,): float(state.halts.get(halt.value, 0)) for halt in HaltState}
        sums["overcurrent_ingest_queue_bytes"].set(state.ingest_queue_bytes)
        sums["overcurrent_storage_bytes"].set(state.storage_bytes)
        sums["overcurrent_webhook_outbox"].set(state.webhook_outbox)
        sums["overcurrent_webhook_outbox_oldest_seconds"].set(state.webhook_outbox_oldest_seconds)
        if state.watermark_lag_seconds is not None:
            sums["overcurrent_events_watermark_lag_seconds"].set(state.watermark_lag_seconds)
        overflow = {"agent_type": self._agent_types.overflowed, "tool": self._tools.overflowed, "reason": self._reasons.overflowed}
        overflow["model"] = self._models.overflowed + self._agent_models.overflowed
        for label, count in overflow.items():
            sums["overcurrent_label_overflow_total"].set(count, label)


def _summed(counts: Iterable[tuple[Labels, int]]) -> dict[Labels, float]:
    sums: dict[Labels, float] = {}
    for labels, count in counts:
        sums[labels] = sums.get(labels, 0.0) + count
    return sums
