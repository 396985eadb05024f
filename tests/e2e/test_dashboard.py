"""What Prometheus keeps of a real run is what dashboards, rules and exemplars ask of it."""

import itertools
import json
import math
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from collector import assets
from collector.telemetry.catalogue import METRICS, sample_names
from tests.e2e.agent import Agent, Call, exporter, same_search_in_other_words
from tests.e2e.conftest import Watch, config
from tests.e2e.programs import Prometheus, Service, wait_for
from tests.e2e.runtime import Runtime
from tests.rules.dashboard import panel_queries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUERIES = panel_queries(json.loads((assets.grafana() / "dashboards" / "fleet.json").read_text(encoding="utf8")))


def lookup(number: int) -> Call:
    """A call unlike any other; every third one fails."""
    name = secrets.token_hex(8)
    if number % 3 == 2:
        return Call("get_invoice", {"invoice": name}, "TimeoutError: the ledger did not answer", error="TimeoutError")
    return Call("get_invoice", {"invoice": name}, f"invoice {name} of {secrets.token_hex(6)}, paid by {secrets.token_hex(6)}")


def send_one_good_and_one_bad_span(service: Service) -> None:
    """As no SDK does it: one of the two spans has no valid id. Sent twice, so that the good one is a repetition."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=secrets.token_bytes(16), span_id=secrets.token_bytes(8), name="good", start_time_unix_nano=1, end_time_unix_nano=2)
    spans.add(trace_id=secrets.token_bytes(16), span_id=b"short", name="bad")
    for _ in range(2):
        content, kind = request.SerializeToString(), {"content-type": "application/x-protobuf"}
        response = httpx2.post(f"http://{service.http}/v1/traces", content=content, headers=kind, trust_env=False)
        answer = ExportTraceServiceResponse.FromString(response.raise_for_status().content)
        assert answer.partial_success.rejected_spans == 1
        assert "span id" in answer.partial_success.error_message


class Run:
    """A fleet at work: one agent loops and is halted, one meets errors, one calls a model nobody knows a price of."""

    def __init__(self, service: Service, prometheus: Prometheus, stack: ExitStack, runtime: Runtime) -> None:
        self.service = service
        self.prometheus = prometheus
        self.looping = stack.enter_context(Agent(exporter("grpc", service.grpc)))
        self.erring = stack.enter_context(Agent(exporter("http", service.http), name="ops-billing"))
        self.unpriced = stack.enter_context(Agent(exporter("grpc", service.grpc), name="house", model="house-model-7b"))
        runtime.adopt(self.looping)
        self._numbers = itertools.count()
        self.agents = (self.looping, self.erring, self.unpriced)

    def wave(self) -> None:
        """A second's worth of work."""
        for _ in range(3):
            self.erring.call(lookup(next(self._numbers)))
            self.unpriced.call(lookup(next(self._numbers)))
        for agent in self.agents:
            agent.flush()
        send_one_good_and_one_bad_span(self.service)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("run")
        runtime = stack.enter_context(Runtime())
        service = stack.enter_context(Service(folder, config(runtime.url, soft_loop="halt")))
        watch = Watch(folder, service, stack)
        wait_for("the first scrape", lambda: watch.prometheus.query('up{job="overcurrent"} == 1'))
        run = Run(service, watch.prometheus, stack, runtime)
        run.wave()
        run.looping.run(same_search_in_other_words())
        assert run.looping.halted.is_set()
        # A rate needs two scrapes with work between them.
        wait_for("a scrape of it", lambda: watch.prometheus.query('overcurrent_halts{state="confirmed_stopped"} == 1'))
        run.wave()
        yield run


def has_data(samples: list[dict[str, Any]], labels: tuple[str, ...]) -> bool:
    """Whether there is a number to draw, and a name for each line."""
    named = all(sample["metric"].get(label) for sample in samples for label in labels)
    return named and any(math.isfinite(float(sample["value"][1])) for sample in samples)


def test_every_panel_of_the_fleet_dashboard_shows_a_real_run(run: Run) -> None:
    missing = list(QUERIES)
    assert missing

    def look() -> bool:
        run.wave()
        missing[:] = [query for query in missing if not has_data(run.prometheus.query(query.expr), query.labels)]
        return not missing

    try:
        wait_for("every panel shows something", look)
    except pytest.fail.Exception:
        pytest.fail("\n".join(f"{query.panel}: {query.expr}" for query in missing), pytrace=False)
    assert "research" in run.prometheus.api("label/agent_type/values", **{"match[]": "overcurrent_sessions"})


def test_every_rule_is_evaluated_without_an_error(run: Run) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in run.prometheus.api("rules")["groups"] for rule in group["rules"]]

    wait_for("every rule was looked at", lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"] == []


def test_scrape_is_open_metrics_with_exemplars_that_lead_to_the_trace(run: Run) -> None:
    (target,) = run.prometheus.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    traces = {agent.trace_id for agent in run.agents}

    def led_to(name: str) -> set[str]:
        found = run.prometheus.api("query_exemplars", query=name, start="0", end="9999999999")
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    assert wait_for("exemplars of latencies", lambda: led_to("overcurrent_arrival_to_verdict_seconds_bucket")) <= traces
    wait_for("an exemplar of the finding", lambda: run.looping.trace_id in led_to("overcurrent_findings_total"))
    assert led_to("overcurrent_findings_total") <= traces
    (kind,) = run.prometheus.api("metadata", metric="overcurrent_spans_received")["overcurrent_spans_received"]
    assert kind["type"] == "counter"  # under this name in OpenMetrics only; the older format has it with _total


def test_prometheus_holds_every_metric_there_is(run: Run) -> None:
    names = set(run.prometheus.api("label/__name__/values"))
    # Only what cannot have happened yet may be absent: no label was cut short, and twenty sessions make a baseline.
    absent = {metric.name for metric in METRICS if not names.issuperset(sample_names(metric))}
    assert absent <= {"overcurrent_label_overflow_total", "overcurrent_baseline"}
