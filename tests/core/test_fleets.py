"""The fleet on the stream: one finding for each cause, the same after a crash, and shown where findings are shown."""

from pathlib import Path
from typing import Any

from collector.core import Core
from collector.gauges import gauges, open_findings
from collector.store.base import FindingQuery
from detectors.fleet import FLEET_DETECTORS
from detectors.model import Evaluation, Finding, SessionKey

from .agents import Made, Run, llm, request, tool
from .services import armed, core, crash, drop

FLEET = {kind.name for kind in FLEET_DETECTORS}


def refusals(count: int, sessions: int = 6) -> list[Made]:
    made = []
    for number in range(count):
        name = f"s{number % sessions}"
        made.append(
            tool(
                f"r{number}",
                "crm",
                {"n": number},
                session=name,
                trace=name,
                agent="planner",
                at=number * 2.0,
                failed="401 Unauthorized: token expired",
            )
        )
    return made


def fleet(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(f.detector, str(f.evidence["cause"]), f.severity.value) for f in findings if f.detector in FLEET]


def test_one_cause_is_one_finding_whoever_meets_it() -> None:
    run = Run().send_each(*refusals(24))
    assert fleet(run.findings) == [("fleet_credential_failure", "crm", "warning"), ("fleet_credential_failure", "crm", "critical")]
    found = [f for f in run.findings if f.detector in FLEET]
    assert {(f.session, f.workflow_id, f.agent_type) for f in found} == {(None, None, "planner")}
    assert len({f.id for f in found}) == 1
    assert [f.detector for f in open_findings(run.sessions) if f.detector in FLEET] == ["fleet_credential_failure"]


def test_tenants_are_fleets_of_their_own() -> None:
    run = Run()
    for number, made in enumerate(refusals(24)):
        run.send(request(made, tenant=f"t{number % 6}"))
    assert not fleet(run.findings)


def test_grouping_changes_nothing() -> None:
    assert fleet(Run().send(*refusals(24)).findings) == fleet(Run().send_each(*refusals(24)).findings)


def test_goals_missed_are_noticed_while_calls_succeed() -> None:
    names = [f"s{number}" for number in range(5)]
    run = Run().send(*(llm(name, session=name, trace=name, agent="planner") for name in names))
    keys = [SessionKey("default", "", name) for name in names]
    scores = [1.0] * 60 + [0.0] * 40
    for number, score in enumerate(scores):
        run.pipeline.record(
            lambda seq, score=score, number=number: [Evaluation(seq=seq, session=keys[number % 5], name="goal", score=score, at_ns=number)]
        )  # type: ignore[misc]
    assert fleet(run.findings) == [
        ("semantic_regression", "planner: goal", "warning"),
        ("semantic_regression", "planner: goal", "critical"),
    ]


def test_a_crash_tells_nothing_twice_and_forgets_nothing(tmp_path: Path) -> None:
    story = refusals(24)
    whole = core(tmp_path / "whole")
    send(whole, story)
    expected = told(whole)
    assert [severity for _, severity, _ in expected] == ["critical"]
    drop(whole)
    for cut in (2, 7, 10, 20):
        running = core(tmp_path / f"{cut}a")
        send(running, story[:cut])
        crash(running, tmp_path / f"{cut}b")
        drop(running)
        running = core(tmp_path / f"{cut}b")
        send(running, story[cut:])
        assert told(running) == expected
        gauge: Any = gauges(running.sessions, running.control, running.policy, 0, 0, now_ns=0).open_findings
        assert {(of.detector, of.severity, n) for of, n in gauge.items() if of.detector in FLEET} == {
            ("fleet_credential_failure", "critical", 1)
        }
        running.tick()  # an hour has passed
        assert not [of for of in running.snapshot.open_findings if of.detector in FLEET]
        drop(running)


def send(running: Core, story: list[Made]) -> None:
    for made in story:
        running.process([request(made)])


def told(running: Core) -> list[tuple[str, str, int]]:
    found = [f for name in FLEET for f in running.store.findings(FindingQuery(detector=name))]
    return sorted((f.id, f.severity.value, f.at_ns) for f in found)


def test_a_reload_reaches_a_fleet_that_is_watched_already(tmp_path: Path) -> None:
    running = core(tmp_path)
    story = refusals(24)
    send(running, story[:4])
    shown = armed(detectors={"fleet_credential_failure": {"mode": "alert"}})
    running.reconfigure(shown)
    send(running, story[4:])
    found = running.store.findings(FindingQuery(detector="fleet_credential_failure"))
    assert {(one.mode, one.versions.policy) for one in found} == {("alert", shown.fingerprint)}
    drop(running)
