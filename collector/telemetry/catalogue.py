"""Every metric the service exports, in one table: name, kind, labels, what it says.

Rules, dashboards and the documentation may name nothing that is not here; a test says so. No label ever holds the id
of a session, a trace or a span: those travel as exemplars.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a metric is exposed."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    UNTYPED_COUNTER = "unknown"
    """A counter in all but its declared type: in OpenMetrics a counter `x_total` and a gauge `x` are one family name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric family. `help` is what `# HELP` and the generated reference say."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_DELAY = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_SIMILARITY = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
_UTILIZATION = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_SLOPE = (0.0, 0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"overcurrent_{name}", kind=Kind.COUNTER, help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"overcurrent_{name}", kind=Kind.GAUGE, help=text, labels=labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name=f"overcurrent_{name}", kind=Kind.HISTOGRAM, help=text, labels=labels, buckets=buckets)


METRICS: tuple[Metric, ...] = (
    # Telemetry coming in
    _counter("spans_received_total", "Spans, log records and metric points received, rejected ones included.", "signal", "protocol"),
    _counter(
        "spans_rejected_total",
        "Items not kept: bad ones of a request whose rest was kept, and one for each request that was refused whole.",
        "reason",
    ),
    _counter("duplicates_total", "Items that had been stored before and were neither stored nor charged again.", "signal"),
    _gauge("ingest_queue_bytes", "Bytes received and not yet committed."),
    _gauge("ingest_queue_limit_bytes", "Bytes the queue takes before senders are told to retry."),
    _histogram("ingest_commit_seconds", "Time one durable commit took.", _LATENCY),
    _histogram("arrival_to_verdict_seconds", "From the arrival of a step's span to the verdict of the detectors on it.", _LATENCY),
    _histogram("span_end_to_arrival_seconds", "From the end of a span at its sender to its arrival here, clock skew included.", _DELAY),
    # What agents do
    _gauge("sessions", "Sessions in memory by the state they are in.", "agent_type", "state"),
    _counter("steps_total", "Steps taken.", "agent_type", "kind"),
    _counter("dialect_steps_total", "Steps by the dialect of telemetry they were read from.", "dialect"),
    _counter("steps_retracted_total", "Steps counted earlier that turned out to be twins or totals of others.", "agent_type"),
    _counter("tool_calls_total", "Tool calls, failed ones included.", "agent_type", "tool"),
    _counter("tool_errors_total", "Tool calls that failed, by class of error.", "agent_type", "tool", "class"),
    _counter("llm_errors_total", "Model calls that failed, by class of error.", "agent_type", "class"),
    _counter(
        "tokens_total",
        "Tokens. cached_input and cache_write are part of input, reasoning is part of output: add up input and output only.",
        "agent_type",
        "model",
        "type",
    ),
    _counter("cost_usd_total", "Known cost of model calls in US dollars; unmetered calls add nothing.", "agent_type", "model", "basis"),
    _counter("cost_retracted_usd_total", "Cost counted earlier for steps that were retracted since.", "agent_type"),
    _counter(
        "goals_total",
        "Judgements of agents' work (evaluation results, feedback): goal reached, or missed; half reached is reached.",
        "agent_type",
        "outcome",
    ),
    _counter("unmetered_llm_calls_total", "Model calls whose cost is unknown: no price, or no token counts.", "model"),
    _histogram("argument_similarity", "How alike a tool call's arguments are to the closest earlier call.", _SIMILARITY, "agent_type"),
    _histogram("context_utilization_ratio", "Input tokens of a model call as a share of the model's window.", _UTILIZATION, "agent_type"),
    _histogram("cost_slope_usd_per_step", "By how much each step of a session costs more than the one before.", _SLOPE, "agent_type"),
    _gauge("session_steps_max", "Steps of the longest session that is running.", "agent_type"),
    _gauge("session_duration_seconds_max", "Age of the oldest session that is running.", "agent_type"),
    _gauge("context_utilization_ratio_max", "Fullest context window among running sessions, at their latest call.", "agent_type"),
    _gauge("baseline", "What is normal for an agent type: a quantile over its finished sessions.", "agent_type", "measure", "quantile"),
    # What was found and done about it
    _gauge("open_findings", "Findings open now.", "detector", "severity", "agent_type", "halt_eligible", "mode"),
    _counter("findings_total", "Findings reported, each escalation counted at its new severity.", "detector", "severity", "agent_type"),
    Metric(
        name="overcurrent_halts_total",
        kind=Kind.UNTYPED_COUNTER,
        help="Halts decided on since the start, in shadow too (a counter).",
        labels=("halt_reason", "agent_type", "mode"),
    ),
    _gauge("halts", "Halts and pauses by how far they got; releases do not count.", "state"),
    _counter("webhook_deliveries_total", "Attempts to deliver to a runtime, by what came of them.", "outcome"),
    _gauge("storage_bytes", "What the telemetry store takes on disk. Above `storage.max_bytes` the oldest goes early."),
    _gauge("webhook_outbox", "Messages to runtimes that are not delivered yet."),
    _gauge("webhook_outbox_oldest_seconds", "Age of the oldest message that is not delivered yet; 0 when there is none."),
    # The service itself
    _gauge("build_info", "Always 1; what is running.", "version"),
    _gauge("heartbeat_timestamp_seconds", "When the pipeline last went round, busy or idle. Stale means stuck."),
    _gauge("events_watermark_lag_seconds", "How far the newest event time seen is behind the clock."),
    _gauge("sessions_live", "Sessions held in memory."),
    _counter("sessions_evicted_total", "Sessions dropped from memory; they are rebuilt from the store if they come back.", "cause"),
    _counter("sessions_rebuilt_total", "Sessions rebuilt from the store."),
    _counter("detector_errors_total", "Detectors that raised and were dropped for that session.", "detector"),
    _counter("label_overflow_total", "Values counted under `other` because their label had taken all it may.", "label"),
)

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
"""The table by full metric name."""


def sample_names(metric: Metric) -> tuple[str, ...]:
    """The names under which Prometheus stores the metric.

    Examples
    --------
    >>> sample_names(BY_NAME["overcurrent_argument_similarity"])[0]
    'overcurrent_argument_similarity_bucket'
    """
    if metric.kind is Kind.HISTOGRAM:
        return tuple(f"{metric.name}_{suffix}" for suffix in ("bucket", "sum", "count"))
    return (metric.name,)
