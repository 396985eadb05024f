"""Fleet detectors: one finding for each cause, whoever meets it; quiet where it is nobody's fault but one session's."""

import time
from typing import Any

import msgspec
import pytest

from detectors.checks import workload
from detectors.fleet import FLEET_DETECTORS
from detectors.fleet.base import FleetDetector
from detectors.fleet.dependency_failure import DependencyFailure
from detectors.fleet.fleet_credential_failure import FleetCredentialFailure
from detectors.fleet.host import FleetHost
from detectors.fleet.schema_drift import SchemaDrift
from detectors.fleet.semantic_regression import SemanticRegression
from detectors.fleet.testing import run, spread
from detectors.fleet.unmetered_spend import UnmeteredSpend
from detectors.model import ErrorClass, Finding, SchemaRegistered, Step
from detectors.testing import llm, tool

EVERY = pytest.mark.parametrize("kind", FLEET_DETECTORS, ids=lambda kind: kind.name)


def later(steps: list[Step], seconds: int) -> list[Step]:
    shift = seconds * 10**9
    return [msgspec.structs.replace(s, started_ns=s.started_ns + shift, ended_ns=s.ended_ns + shift, seq=s.seq + 10_000) for s in steps]


def levels(findings: list[Finding]) -> list[tuple[str, str, int]]:
    return [(str(finding.evidence["cause"]), finding.severity.value, finding.episode) for finding in findings]


@EVERY
def test_it_is_named_documented_and_configured(kind: type[FleetDetector[Any]]) -> None:
    assert kind.__module__.rpartition(".")[2] == kind.name
    text = kind.__doc__ or ""
    for section in ("**Why it costs.**", "**When it is wrong.**", "**Parameters**", "**Examples.**", "**References.**"):
        assert section in text
    for field in msgspec.structs.fields(kind.Config):
        assert f"`{field.name}`" in text


@EVERY
def test_the_same_steps_give_the_same_findings_of_bounded_size(kind: type[FleetDetector[Any]]) -> None:
    steps = workload(7, 1_500)
    first, second = run(kind, steps), run(kind, steps)
    assert first == second
    for finding in first:
        assert finding.session is None
        assert not finding.halt_eligible
        assert 0 <= finding.score <= 1
        assert finding.summary.endswith(".")
        assert len(msgspec.json.encode(finding.evidence)) <= 8_192


def test_a_tool_that_refuses_what_it_is_sent_is_one_finding() -> None:
    bad = tool("search", error=True, error_class=ErrorClass.SCHEMA, error_message="unknown parameter 'q'")
    good = tool("search", error=False)
    found = run(SchemaDrift, spread([good, good, good, good, bad] * 60, sessions=50))
    assert levels(found) == [("search", "warning", 1)]
    assert found[0].evidence["sessions"] >= 2
    assert found[0].halt_reason == "schema_drift"


def test_it_ends_when_the_tool_is_mended_and_begins_anew_after() -> None:
    bad, good = tool("search", error=True, error_class=ErrorClass.SCHEMA), tool("search", error=False)
    story = spread([bad, good] * 10, sessions=4)
    story += later(spread([good] * 50, sessions=4), 3_600)
    story += later(later(spread([bad, good] * 10, sessions=4), 3_600), 3_600)
    assert [episode for _, _, episode in levels(run(SchemaDrift, story))] == [1, 2]


def test_a_changed_definition_is_told_of_with_what_is_gone() -> None:
    def registered(seq: int, schema: str) -> SchemaRegistered:
        return SchemaRegistered(seq=seq, agent_type="planner", tool="search", schema=schema, fingerprint=str(hash(schema)), at_ns=seq)

    one, two = '{"properties":{"q":{},"limit":{}}}', '{"properties":{"query":{},"limit":{}}}'
    found = run(SchemaDrift, [registered(1, one), registered(2, one), registered(3, two), registered(4, one)])
    assert [(finding.severity.value, finding.episode) for finding in found] == [("warning", 1), ("warning", 2)]
    assert (found[0].evidence["parameters_gone"], found[0].evidence["parameters_new"]) == (["q"], ["query"])


def test_a_credential_that_expired_is_one_finding_for_all_who_use_it() -> None:
    refusals = [tool("crm", error=True, error_message="401 Unauthorized: token expired")] * 60
    found = run(FleetCredentialFailure, spread(refusals, sessions=30))
    assert levels(found) == [("crm", "warning", 1), ("crm", "critical", 1)]
    assert len(found[1].evidence["latest"]) >= 5


def test_one_session_without_permission_is_its_own_affair() -> None:
    others = [tool("crm", error=False)] * 40
    refused = tool("crm", error=True, error_message="403 Forbidden")
    assert not run(FleetCredentialFailure, spread([refused, *others] * 5, sessions=41))


def test_a_storm_on_one_dependency_is_one_finding_and_schema_errors_are_not_its_business() -> None:
    down = tool("search", error=True, error_class=ErrorClass.TIMEOUT)
    assert levels(run(DependencyFailure, spread([down] * 300, sessions=20))) == [("search", "warning", 1), ("search", "critical", 1)]
    wrong = tool("search", error=True, error_class=ErrorClass.SCHEMA)
    assert not run(DependencyFailure, spread([wrong] * 300, sessions=20))


def test_a_share_of_failures_that_is_always_there_is_no_storm() -> None:
    down, up = tool("search", error=True, error_class=ErrorClass.TIMEOUT), tool("search", error=False)
    assert not run(DependencyFailure, spread([up, up, down] * 200, sessions=20))


def test_cut_off_answers_are_a_weak_sign_of_missed_goals() -> None:
    good, cut = llm(finish_reasons=("stop",)), llm(finish_reasons=("length",))
    found = run(SemanticRegression, spread([good] * 60 + [cut] * 20, sessions=5))
    assert [severity for _, severity, _ in levels(found)] == ["warning", "critical"]


def test_while_calls_fail_it_is_a_technical_matter() -> None:
    good, cut, failed = llm(finish_reasons=("stop",)), llm(finish_reasons=("length",)), tool("x", error=True)
    assert not run(SemanticRegression, spread([good] * 60 + [cut, failed, failed] * 20, sessions=5))


def test_unmetered_calls_are_noted_and_warned_of_when_they_are_many() -> None:
    found = run(UnmeteredSpend, spread([llm(cost_usd=0.01)] * 60 + [llm(model="new")] * 20, sessions=5))
    assert [severity for _, severity, _ in levels(found)] == ["info", "warning"]


def test_all_of_them_together_cost_a_few_microseconds_a_step() -> None:
    steps = spread([llm(cost_usd=0.01, finish_reasons=("stop",)), tool("search", error=False)] * 5_000, sessions=100)
    host = FleetHost("default")
    began = time.perf_counter()
    for step in steps:
        host.observe(step, "planner")
    assert (time.perf_counter() - began) / len(steps) < 50e-6
