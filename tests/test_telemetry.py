import math
import threading
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collector.receiver.telemetry import IngestTelemetry
from collector.telemetry import METRICS, BatchCounts, Limits, OpenFindings, Snapshot, Telemetry
from collector.telemetry.catalogue import Kind
from collector.telemetry.series import BoundedLabel, SeriesBudget, clean
from detectors.model import CostBasis, ErrorClass, Evaluation, EvidenceLevel, Finding, SessionKey, Severity, Step, StepKind
from detectors.step_features import StepFeatures

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
KEY = SessionKey("default", "", "s-1")
TRACE = "0af7651916cd43dd8448eb211c80319c"


def make(registry: CollectorRegistry | None = None, **options: Any) -> tuple[Telemetry, CollectorRegistry]:
    registry = registry or CollectorRegistry()
    known: dict[str, Any] = {
        "detectors": ("exact_loop", "soft_loop"),
        "halt_reasons": ("exact_loop", "soft_loop", "operator"),
        "dialects": ("otel_genai",),
    }
    return Telemetry(registry, **(known | options)), registry


def llm(**fields: Any) -> Step:
    given: dict[str, Any] = {"model": "gpt-5", "input_tokens": 700, "output_tokens": 20, "context_window": 1000}
    given |= {"cost_usd": Decimal("0.25"), "cost_basis": CostBasis.COMPUTED, "dialect": "otel_genai"}
    return Step(seq=1, session=KEY, kind=StepKind.LLM, started_ns=0, ended_ns=1, **(given | fields))


def tool(**fields: Any) -> Step:
    return Step(seq=1, session=KEY, kind=StepKind.TOOL, started_ns=0, ended_ns=1, **({"name": "search", "dialect": "otel_genai"} | fields))


def finding(**fields: Any) -> Finding:
    given: dict[str, Any] = {"id": "fnd_1", "session": KEY, "detector": "exact_loop", "halt_reason": "exact_loop", "agent_type": "research"}
    given |= {"severity": Severity.CRITICAL, "halt_eligible": True, "score": 1.0, "step_seq": 2, "first_step_seq": 1, "span_id": "1"}
    given |= {"trace_id": TRACE, "at_ns": 1, "evidence_level": EvidenceLevel.CONTENT, "summary": "", "evidence": {}, "threshold": {}}
    return Finding(**(given | fields))


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"overcurrent_{name}", labels)


def test_counts_what_agents_do() -> None:
    telemetry, registry = make()
    counts = BatchCounts()
    counts.step(llm(cached_input_tokens=300, reasoning_tokens=5), "research", cost_slope=0.002)
    counts.step(llm(error=True, error_class=ErrorClass.RATE_LIMIT, input_tokens=None, output_tokens=None, cost_usd=None), "research")
    counts.step(tool(), "research", StepFeatures(argument_similarity=0.93))
    counts.step(tool(error=True, error_class=ErrorClass.SCHEMA), "research", StepFeatures(argument_similarity=1.0))
    counts.step(tool(error=True), "research")
    telemetry.batch(counts)

    of = {"agent_type": "research"}
    assert value(registry, "steps_total", kind="llm", **of) == 2
    assert value(registry, "steps_total", kind="tool", **of) == 3
    assert value(registry, "steps_total", kind="handoff", **of) == 0
    assert value(registry, "dialect_steps_total", dialect="otel_genai") == 5
    assert value(registry, "tool_calls_total", tool="search", **of) == 3
    assert value(registry, "tool_errors_total", tool="search", **of, **{"class": "schema"}) == 1
    assert value(registry, "tool_errors_total", tool="search", **of, **{"class": "other"}) == 1
    assert value(registry, "tool_errors_total", tool="search", **of, **{"class": "auth"}) == 0
    assert value(registry, "llm_errors_total", **of, **{"class": "rate_limit"}) == 1
    assert value(registry, "tokens_total", model="gpt-5", type="input", **of) == 700
    assert value(registry, "tokens_total", model="gpt-5", type="cached_input", **of) == 300
    assert value(registry, "tokens_total", model="gpt-5", type="reasoning", **of) == 5
    assert value(registry, "cost_usd_total", model="gpt-5", basis="computed", **of) == 0.25
    assert value(registry, "argument_similarity_count", **of) == 2
    assert value(registry, "argument_similarity_bucket", le="0.95", **of) == 1
    assert value(registry, "argument_similarity_bucket", le="1.0", **of) == 2
    assert value(registry, "context_utilization_ratio_bucket", le="0.7", **of) == 1
    assert value(registry, "cost_slope_usd_per_step_sum", **of) == pytest.approx(0.002)


def test_an_unknown_cost_is_counted_and_a_failed_call_is_no_unknown_cost() -> None:
    telemetry, registry = make()
    counts = BatchCounts()
    counts.step(llm(cost_usd=None, cost_basis=None, model="house"), "research")
    counts.step(llm(cost_usd=None, cost_basis=None, model="house", error=True, input_tokens=None, output_tokens=None), "research")
    counts.step(llm(cost_usd=None, cost_basis=CostBasis.UNMETERED, model=None), "research")
    telemetry.batch(counts)
    assert value(registry, "unmetered_llm_calls_total", model="house") == 1
    assert value(registry, "unmetered_llm_calls_total", model="unknown") == 1


def test_goals_are_counted_where_a_judgement_tells() -> None:
    telemetry, registry = make()
    counts = BatchCounts()
    for score, label in ((1.0, None), (0.5, None), (0.2, None), (None, "fail"), (4.0, None), (None, "formal")):
        counts.judged(Evaluation(seq=1, session=KEY, name="goal", score=score, label=label, at_ns=1), "research")
    telemetry.batch(counts)
    assert value(registry, "goals_total", agent_type="research", outcome="reached") == 2
    assert value(registry, "goals_total", agent_type="research", outcome="missed") == 2


def test_an_amendment_adds_what_is_new_and_takes_nothing_away() -> None:
    telemetry, registry = make()
    counts = BatchCounts()
    before = llm(input_tokens=None, output_tokens=50, cost_usd=None, context_window=None)
    counts.amended(before, llm(input_tokens=700, output_tokens=20, error=True), "research")
    counts.amended(tool(), tool(error=True, error_class=ErrorClass.AUTH), "research")
    counts.step_retracted(llm(), "research")
    telemetry.batch(counts)
    of = {"agent_type": "research"}
    assert value(registry, "tokens_total", model="gpt-5", type="input", **of) == 700
    assert value(registry, "tokens_total", model="gpt-5", type="output", **of) == 0
    assert value(registry, "cost_usd_total", model="gpt-5", basis="computed", **of) == 0.25
    assert value(registry, "llm_errors_total", **of, **{"class": "other"}) == 1
    assert value(registry, "context_utilization_ratio_count", **of) == 1
    assert value(registry, "tool_calls_total", tool="search", **of) == 0
    assert value(registry, "tool_errors_total", tool="search", **of, **{"class": "auth"}) == 1
    assert value(registry, "steps_retracted_total", **of) == 1
    assert value(registry, "cost_retracted_usd_total", **of) == 0.25


def test_the_receivers_speak_to_it_by_their_own_protocol() -> None:
    telemetry, registry = make(queue_limit_bytes=1000, snapshot=lambda: Snapshot(ingest_queue_bytes=400))
    ingest: IngestTelemetry = telemetry
    ingest.received("traces", "grpc", 7)
    ingest.rejected("invalid", 2)
    ingest.commit_seconds(0.02)
    assert value(registry, "spans_received_total", signal="traces", protocol="grpc") == 7
    assert value(registry, "spans_received_total", signal="logs", protocol="http") == 0
    assert value(registry, "spans_rejected_total", reason="invalid") == 2
    assert value(registry, "ingest_queue_bytes") == 400
    assert value(registry, "ingest_queue_limit_bytes") == 1000
    assert value(registry, "ingest_commit_seconds_bucket", le="0.025") == 1


def test_the_rest_of_a_batch() -> None:
    telemetry, registry = make()
    counts = BatchCounts()
    counts.finding(finding())
    counts.finding(finding(detector="soft_loop", severity=Severity.WARNING))
    counts.duplicate("traces", 3)
    counts.detector_error("exact_loop")
    counts.session_evicted("idle")
    counts.rebuilt += 1
    counts.latency(trace_id=TRACE, to_arrival_s=-5.0, to_verdict_s=0.3)
    telemetry.batch(counts)
    telemetry.heartbeat(1000.0)
    telemetry.halt_decided("exact_loop", "research", "halt")
    telemetry.halt_decided("nonsense", "research", "nonsense")
    telemetry.webhook_delivery("stopping")
    telemetry.webhook_delivery("nonsense")
    assert value(registry, "findings_total", detector="exact_loop", severity="critical", agent_type="research") == 1
    assert value(registry, "findings_total", detector="exact_loop", severity="warning", agent_type="research") == 0
    assert value(registry, "duplicates_total", signal="traces") == 3
    assert value(registry, "detector_errors_total", detector="exact_loop") == 1
    assert value(registry, "sessions_evicted_total", cause="idle") == 1
    assert value(registry, "sessions_rebuilt_total") == 1
    assert value(registry, "span_end_to_arrival_seconds_sum") == 0  # clocks differ: nothing arrives before it ended
    assert value(registry, "arrival_to_verdict_seconds_bucket", le="0.5") == 1
    assert value(registry, "heartbeat_timestamp_seconds") == 1000
    assert value(registry, "halts_total", halt_reason="exact_loop", agent_type="research", mode="halt") == 1
    assert value(registry, "halts_total", halt_reason="other", agent_type="research", mode="other") == 1
    assert value(registry, "webhook_deliveries_total", outcome="stopping") == 1
    assert value(registry, "webhook_deliveries_total", outcome="other") == 1


def test_gauges_are_what_the_snapshot_says_at_that_scrape() -> None:
    state = Snapshot(
        sessions={("research", "running"): 2, ("research", "halted"): 1},
        open_findings={OpenFindings("exact_loop", "critical", "research", True, "halt"): 1},
        session_steps_max={"research": 40},
        context_utilization_ratio_max={"research": 0.81},
        halts={"delivered": 1},
        storage_bytes=5 * 2**20,
        webhook_outbox=2,
        webhook_outbox_oldest_seconds=9.0,
        watermark_lag_seconds=3.5,
    )
    states = [state, Snapshot()]
    _, registry = make(snapshot=lambda: states[0], mode_of=lambda _detector, _agent_type: "halt")
    found = {"detector": "exact_loop", "severity": "critical", "agent_type": "research", "mode": "halt"}
    for expected in (1, 0):
        # The first scrape may meet the agent type for the first time; its zeros are there from the next one on.
        registry.get_sample_value("overcurrent_sessions")
        assert value(registry, "open_findings", halt_eligible="true", **found) == expected
        assert value(registry, "open_findings", halt_eligible="false", **found) == 0
        assert value(registry, "sessions", agent_type="research", state="running") == 2 * expected
        assert value(registry, "sessions", agent_type="research", state="halted") == expected
        assert value(registry, "session_steps_max", agent_type="research") == 40 * expected
        assert value(registry, "context_utilization_ratio_max", agent_type="research") == pytest.approx(0.81 * expected)
        assert value(registry, "halts", state="delivered") == expected
        assert value(registry, "sessions_live") == 3 * expected
        assert value(registry, "storage_bytes") == 5 * 2**20 * expected
        assert value(registry, "webhook_outbox") == 2 * expected
        states.pop(0) if len(states) > 1 else None
    assert value(registry, "events_watermark_lag_seconds") == 3.5


def test_a_snapshot_that_fails_fails_the_scrape() -> None:
    def broken() -> Snapshot:
        raise RuntimeError("no state")

    telemetry, _ = make(snapshot=broken)
    with pytest.raises(RuntimeError, match="no state"):
        telemetry.render()


def test_series_of_known_values_exist_at_zero_from_the_start() -> None:
    _, registry = make(agent_types=("research",), rejection_reasons=("invalid",))
    assert value(registry, "findings_total", detector="soft_loop", severity="critical", agent_type="research") == 0
    assert value(registry, "halts_total", halt_reason="exact_loop", agent_type="research", mode="halt") == 0
    assert value(registry, "spans_rejected_total", reason="invalid") == 0
    assert value(registry, "webhook_deliveries_total", outcome="failed") == 0
    assert value(registry, "halts", state="disobeyed") == 0
    assert value(registry, "detector_errors_total", detector="exact_loop") == 0


def test_what_was_never_told_is_absent_rather_than_zero() -> None:
    _, registry = make()
    assert value(registry, "heartbeat_timestamp_seconds") is None
    assert value(registry, "events_watermark_lag_seconds") is None


def filled() -> Telemetry:
    telemetry, _ = make(version="0.1.0")
    counts = BatchCounts()
    counts.step(llm(), "research")
    counts.step(tool(name='q"uo\nte\\'), "research", StepFeatures(argument_similarity=0.5))
    counts.finding(finding())
    counts.latency(trace_id=TRACE, to_arrival_s=0.1, to_verdict_s=0.3)
    telemetry.batch(counts)
    telemetry.halt_decided("operator", "research", "halt")
    return telemetry


def test_openmetrics_carries_the_traces_and_plain_text_does_not() -> None:
    body, content_type = filled().render(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    exemplars = [
        (sample.name, sample.exemplar.labels["trace_id"])
        for family in parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    ]
    assert {name for name, _ in exemplars} == {
        "overcurrent_span_end_to_arrival_seconds_bucket",
        "overcurrent_arrival_to_verdict_seconds_bucket",
        "overcurrent_findings_total",
    }
    assert {trace for _, trace in exemplars} == {TRACE}

    body, content_type = filled().render("text/plain")
    assert content_type.startswith("text/plain")
    assert TRACE.encode() not in body
    assert list(parse_text(body.decode()))


def test_every_metric_is_exposed_under_its_name_with_its_labels() -> None:
    exposed = {family.name: family for family in parse_text(filled().render()[0].decode())}
    for metric in METRICS:
        name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
        assert name in exposed, metric.name
        assert exposed[name].documentation == metric.help
        for sample in exposed[name].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample.name


def test_a_name_is_never_declared_twice() -> None:
    body, _ = filled().render(OPENMETRICS)
    declared = [line for line in body.decode().splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len({line.split()[2] for line in declared})


def test_two_on_one_registry_are_refused() -> None:
    _, registry = make()
    with pytest.raises(ValueError, match="Duplicated"):
        make(registry)


def series(telemetry: Telemetry) -> int:
    return sum(len(family.samples) for family in parse_text(telemetry.render()[0].decode()) if family.name.startswith("overcurrent_"))


@pytest.mark.slow
def test_no_flood_of_names_makes_more_series_than_the_budget() -> None:
    limits = Limits(series=3000)
    telemetry, registry = make(limits=limits, agent_types=("research",))
    for number in range(300):
        counts = BatchCounts()
        counts.step(llm(model=f"model-{number}"), f"agent-{number}")
        counts.step(llm(model=f"model-{number}", cost_usd=None, cost_basis=None), "research")
        counts.step(tool(name=f"tool-{number}", error=True, dialect=f"dialect-{number}"), f"agent-{number}")
        counts.finding(finding(agent_type=f"agent-{number}", detector=f"detector-{number}"))
        counts.detector_error(f"detector-{number}")
        counts.duplicate(f"signal-{number}")
        telemetry.batch(counts)
        telemetry.rejected(f"reason-{number}", 1)
        telemetry.halt_decided(f"reason-{number}", f"agent-{number}", f"mode-{number}")
        telemetry.webhook_delivery(f"outcome-{number}")
    fixed = series(make()[0])
    assert series(telemetry) <= limits.series + fixed
    steps = sum(s.value for f in registry.collect() if f.name == "overcurrent_steps" for s in f.samples)
    assert steps == 900  # nothing is lost, only its name
    assert value(registry, "label_overflow_total", label="agent_type") != 0
    assert value(registry, "steps_total", agent_type="research", kind="llm") == 300


def test_a_label_takes_so_many_values_and_counts_the_rest_as_other() -> None:
    label = BoundedLabel("tool", limit=2, weight=1, budget=SeriesBudget(100), known=("search",))
    assert [label.admit(name) for name in ("fetch", "search", "write", "fetch", None)] == ["fetch", "search", "other", "fetch", "other"]
    assert len(label) == 2
    assert label.overflowed == 2


def test_the_same_tool_of_two_agent_types_takes_two_places() -> None:
    label = BoundedLabel("tool", limit=2, weight=1, budget=SeriesBudget(100))
    assert [label.admit("search", of) for of in ("a", "b", "c", "a")] == ["search", "search", "other", "search"]


def test_a_label_takes_no_value_that_the_budget_cannot_bear() -> None:
    label = BoundedLabel("model", limit=10, weight=6, budget=SeriesBudget(10))
    assert [label.admit(name) for name in ("a", "b")] == ["a", "other"]


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [("", "unknown"), (None, "unknown"), ("x" * 500, "x" * 120), ("a\x00\nb", "a\x00 b"), ("\ud800", "?"), ("größe", "größe")],
)
def test_whatever_telemetry_calls_a_thing_can_be_exposed(raw: str | None, cleaned: str) -> None:
    assert clean(raw) == cleaned
    telemetry, _ = make()
    counts = BatchCounts()
    counts.step(tool(name=raw, dialect=raw or ""), raw or "")
    counts.latency(trace_id=raw or "", to_verdict_s=1.0)
    telemetry.batch(counts)
    body, _ = telemetry.render(OPENMETRICS)
    assert list(parse_openmetrics(body.decode()))  # type: ignore[no-untyped-call]


def test_what_is_no_number_is_left_out_of_histograms() -> None:
    telemetry, registry = make()
    counts = BatchCounts()
    counts.step(tool(), "research", StepFeatures(argument_similarity=math.nan))
    counts.step(tool(), "research", StepFeatures(argument_similarity=math.inf))
    counts.step(tool(), "research", StepFeatures(argument_similarity=0.2))
    telemetry.batch(counts)
    assert value(registry, "argument_similarity_count", agent_type="research") == 1
    assert value(registry, "argument_similarity_sum", agent_type="research") == pytest.approx(0.2)


def test_threads_and_scrapes_do_not_lose_counts() -> None:
    telemetry, registry = make()

    def work(name: str) -> None:
        for _ in range(50):
            counts = BatchCounts()
            counts.step(tool(), name)
            telemetry.batch(counts)
            telemetry.received("traces", "http", 1)
            telemetry.render()

    threads = [threading.Thread(target=work, args=(f"agent-{number % 2}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(registry, "spans_received_total", signal="traces", protocol="http") == 200
    assert value(registry, "steps_total", agent_type="agent-0", kind="tool") == 100


def test_the_mode_is_asked_for_without_holding_up_the_pipeline() -> None:
    telemetry: Telemetry

    def mode_of(_detector: str, _agent_type: str) -> str:
        # A service that waits for the pipeline here would wait for ever if the pipeline had to wait for the scrape.
        thread = threading.Thread(target=telemetry.heartbeat, args=(1.0,))
        thread.start()
        thread.join(timeout=5)
        assert not thread.is_alive()
        return "shadow"

    telemetry, _ = make(mode_of=mode_of)
    telemetry.render()
