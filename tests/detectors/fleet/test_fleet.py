"""Fleet detectors: one finding for each cause, whoever meets it; quiet where it is nobody's fault but one session's."""

import random
from collections.abc import Sequence
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
from detectors.model import ErrorClass, Evaluation, Finding, SchemaRegistered, SessionKey, Step
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


def test_a_changed_definition_is_told_of_for_the_window_only() -> None:
    def registered(seq: int, schema: str) -> SchemaRegistered:
        at_ns = spread([tool("x")], sessions=1)[0].ended_ns
        return SchemaRegistered(seq=seq, agent_type="planner", tool="search", schema=schema, fingerprint=schema, at_ns=at_ns)

    host = FleetHost("default", detectors=(SchemaDrift,))
    host.registered(registered(1, '{"properties":{"q":{}}}'))
    assert host.registered(registered(2, '{"properties":{"query":{}}}'))
    calls = spread([tool("search", error=False)], sessions=1)
    for seconds, standing in ((1_700, 1), (1_900, 0)):
        host.observe(later(calls, seconds)[0], "planner")
        assert len(host.open()) == standing


QUOTE = tool("quote", result='{"offers": [{"sku": "a", "price": 3}], "next": null}', error=False)
RENAMED = tool("quote", result='{"offers": [{"sku": "a", "cost": 3}], "next": null}', error=False)
RETYPED = tool("quote", result='{"offers": {"a": 3}, "next": null}', error=False)


def test_results_without_a_field_they_always_had_are_one_finding() -> None:
    found = run(SchemaDrift, spread([QUOTE] * 40 + [RENAMED] * 200, sessions=50))
    assert levels(found) == [("results of quote", "warning", 1)]
    assert (found[0].evidence["fields_gone"], found[0].evidence["fields_changed"]) == (["offers[].price"], [])
    assert found[0].evidence["sessions"] >= 3


def test_results_with_fields_of_other_types_name_them() -> None:
    found = run(SchemaDrift, spread([QUOTE] * 40 + [RETYPED] * 40, sessions=50))
    assert found[0].evidence["fields_changed"] == [{"field": "offers", "was": "array", "is": "object"}]


def test_a_release_that_reaches_every_other_server_is_noticed_and_taken_back() -> None:
    story = spread([QUOTE] * 40 + [QUOTE, RENAMED, RENAMED] * 20, sessions=50)
    assert len(run(SchemaDrift, story)) == 1
    host = FleetHost("default", detectors=(SchemaDrift,))
    for step in [*story, *later(spread([QUOTE] * 40, sessions=50), 600)]:
        host.observe(step, "planner")
    assert not host.open()


def test_a_shape_that_stays_is_the_usual_one_after_the_window() -> None:
    host = FleetHost("default", detectors=(SchemaDrift,))
    for step in spread([QUOTE] * 40 + [RENAMED] * 100, sessions=50):
        host.observe(step, "planner")
    assert len(host.open()) == 1
    assert not host.observe(later(spread([RENAMED], sessions=1), 3_600)[0], "planner")
    assert not host.open()
    back = [found for step in later(spread([RENAMED] * 60 + [QUOTE] * 40, sessions=50), 3_700) for found in host.observe(step, "planner")]
    assert levels(back) == [("results of quote", "warning", 2)]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([tool("quote", result='{"offers": [], "next": null}', error=False)], id="an empty list"),
        pytest.param([tool("quote", result='{"offers": [{"sku": "b", "price": null}], "next": "p2"}', error=False)], id="nulls"),
        pytest.param([tool("quote", result='{"offers": [{"sku": "b", "price": 4, "new": 1}], "next": 1}', error=False)], id="a new field"),
        pytest.param([tool("quote", result='{"error": "no such product"}')], id="a failure in words"),
        pytest.param([tool("quote", result='{"offers": [{"sku": "b", "pr')], id="cut off"),
        pytest.param([QUOTE, QUOTE, QUOTE, RENAMED], id="now and then"),
    ],
)
def test_results_that_keep_their_shape_are_quiet(others: list[Step]) -> None:
    assert not run(SchemaDrift, spread([QUOTE] * 40 + others * 60, sessions=50))


def test_one_session_that_asks_for_something_else_is_its_own_affair() -> None:
    usual, odd = spread([QUOTE] * 40, sessions=20), spread([RENAMED] * 40, sessions=1)
    assert not run(SchemaDrift, [*usual, *later(odd, 600)])


def test_the_same_name_of_another_agent_type_may_be_another_tool() -> None:
    host = FleetHost("default", detectors=(SchemaDrift,))
    for step in spread([QUOTE] * 60, sessions=20):
        assert not host.observe(step, "planner")
    for step in later(spread([RENAMED] * 60, sessions=20), 600):
        assert not host.observe(step, "buyer")


def test_text_and_mixed_results_have_no_shape_to_lose() -> None:
    text, other = tool("read", result="a page of text"), tool("read", result='{"page": 1}')
    assert not run(SchemaDrift, spread([text] * 40 + [other] * 60, sessions=20))
    assert not run(SchemaDrift, spread([text, other] * 20 + [text] * 60, sessions=20))


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


def judged(goals: Sequence[float | str], *, sessions: int = 37, name: str = "goal") -> list[Evaluation]:
    found = []
    for n, goal in enumerate(goals):
        said: dict[str, Any] = {"label": goal} if isinstance(goal, str) else {"score": goal}
        found.append(Evaluation(seq=n, session=SessionKey("default", "", f"s{n % sessions}"), name=name, at_ns=n * 10**9, **said))
    return found


@pytest.mark.parametrize("rate", [0.99, 0.9, 0.7, 0.5])
def test_a_rate_that_holds_raises_nothing_whatever_it_is(rate: float) -> None:
    found = []
    for seed in range(10):
        dice = random.Random(seed)  # noqa: S311 — a sample, not a secret
        found += run(SemanticRegression, judged([float(dice.random() < rate) for _ in range(1_000)]))
    assert len(found) <= 1


@pytest.mark.parametrize(
    ("good", "bad", "name"),
    [(1.0, 0.0, "goal"), ("pass", "fail", "goal"), (4.0, 1.0, "stars of five"), (0.0, 1.0, "hallucination"), ("no", "yes", "is_toxic")],
)
def test_a_rate_that_falls_is_found_however_it_is_told(good: float | str, bad: float | str, name: str) -> None:
    story = judged([good] * 9 * 6 + [bad] * 6 + [good, bad, bad] * 40, name=name)
    assert levels(run(SemanticRegression, story)) == [(f"planner: {name}", "warning", 1), (f"planner: {name}", "critical", 1)]


def test_a_rate_that_recovers_ends_the_finding_and_one_that_stays_low_is_the_usual_one() -> None:
    host = FleetHost("default", detectors=(SemanticRegression,))
    for event in judged([1.0] * 60 + [0.0] * 40):
        host.evaluated(event, "planner")
    assert len(host.open()) == 1
    for event in judged([1.0] * 200):
        host.evaluated(event, "planner")
    assert not host.open()
    for event in judged([0.0] * 700):
        host.evaluated(event, "planner")
    assert not host.open()


def test_one_session_that_is_judged_badly_again_and_again_is_its_own_affair() -> None:
    assert not run(SemanticRegression, [*judged([1.0] * 60), *judged([0.0] * 100, sessions=1)])


def test_cut_off_answers_are_a_weak_sign_of_missed_goals() -> None:
    good, cut = llm(finish_reasons=("stop",)), llm(finish_reasons=("length",))
    found = run(SemanticRegression, spread([good] * 60 + [cut] * 40, sessions=5))
    assert [severity for _, severity, _ in levels(found)] == ["warning", "critical"]


def test_while_calls_fail_it_is_a_technical_matter() -> None:
    good, cut, failed = llm(finish_reasons=("stop",)), llm(finish_reasons=("length",)), tool("x", error=True)
    assert not run(SemanticRegression, spread([good] * 60 + [cut, failed, failed] * 20, sessions=5))


def test_unmetered_calls_are_noted_and_warned_of_when_they_are_many() -> None:
    found = run(UnmeteredSpend, spread([llm(cost_usd=0.01)] * 60 + [llm(model="new")] * 20, sessions=5))
    assert [severity for _, severity, _ in levels(found)] == ["info", "warning"]


LASTING: list[tuple[type[FleetDetector[Any]], list[Step], int]] = [
    (DependencyFailure, spread([tool("search", error=True, error_class=ErrorClass.TIMEOUT)] * 100, sessions=20), 900),
    (FleetCredentialFailure, spread([tool("crm", error=True, error_message="401 Unauthorized: token expired")] * 40, sessions=30), 1_800),
    (UnmeteredSpend, spread([llm(cost_usd=0.01)] * 60 + [llm(model="new")] * 20, sessions=5), 3_600),
    (SchemaDrift, spread([tool("search", error=True, error_class=ErrorClass.SCHEMA), tool("search", error=False)] * 20, sessions=4), 1_800),
    (SchemaDrift, spread([QUOTE] * 40 + [RENAMED] * 20, sessions=50), 1_800),
    (SemanticRegression, spread([llm(finish_reasons=("stop",))] * 60 + [llm(finish_reasons=("length",))] * 40, sessions=5), 2 * 86_400),
]


@pytest.mark.parametrize(("kind", "story", "seconds"), LASTING)
def test_a_finding_of_which_nobody_hears_any_more_ends_by_itself(kind: type[FleetDetector[Any]], story: list[Step], seconds: int) -> None:
    host = FleetHost("default", detectors=(kind,))
    for step in story:
        host.observe(step, "planner")
    assert len(host.open()) == 1
    last_ns = story[-1].ended_ns
    host.tick(last_ns + (seconds * 10 // 12) * 10**9)
    assert len(host.open()) == 1
    host.tick(last_ns + (seconds + 120) * 10**9)
    assert not host.open()
    again = [found for step in later(story, 2 * seconds) for found in host.observe(step, "planner")]
    assert {found.episode for found in again} == {2}
