"""A workflow's budget: what its sessions spend together, whoever is live, evicted, merged or corrected."""

import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collector.config import Config
from collector.core import Core
from collector.errors import Ambiguous, NotFound
from collector.facade import RunningService
from collector.model import Verb
from collector.store.base import FindingQuery
from detectors.model import Finding, SessionKey, SessionsMerged, WorkflowJoined

from .agents import START_NS, Made, Run, agent, llm, request
from .services import core, crash, drop
from .test_facade import Here

DAY = 86_400.0
CENTS = Decimal("0.18")
"""What a call of 100,000 tokens in and 50,000 out costs, at prices the tests set."""


def config(workflow_usd: str | None, **more: Any) -> Config:
    budgets = {} if workflow_usd is None else {"workflow_usd": workflow_usd, "session_usd": workflow_usd}
    price = {"input_per_million": 1, "output_per_million": "1.6"}
    given: dict[str, Any] = {
        "agent_types": {"default": {"budgets": budgets}},
        "prices": {"overrides": {"house": price}},
        "detectors": {"workflow_spend": {"mode": "halt"}},
        "sessions": {"max_live": 2},
    }
    return Config.load(None, {}, given | more)


def calls(count: int, *, apart: float = 60.0, first: int = 0, agents: int = 4) -> list[Made]:
    """Four agents take turns, each in its own service and session, in one trace: each call 18 cents."""
    made = []
    for number in range(first, first + count):
        who = f"agent-{number % agents}"
        where: dict[str, Any] = {"trace": "w", "session": f"{who}-session", "agent": who, "service": who, "at": number * apart}
        made.append(llm(f"call {number}", model="house", tokens=(100_000, 50_000), **where))
    return made


def spend(findings: list[Finding]) -> list[tuple[str, bool, str]]:
    return [(one.severity.value, one.halt_eligible, str(one.evidence["cost_usd"])) for one in findings if one.detector == "workflow_spend"]


def strangers(at: float) -> list[Made]:
    return [llm(f"by {at} {n}", trace=f"by {at} {n}", session=f"by-{at}-{n}", service="others", at=at) for n in range(3)]


@pytest.mark.parametrize("crowded", [False, True], ids=["all live", "evicted between"])
def test_sessions_that_stay_small_are_added_up(crowded: bool) -> None:
    run = Run(config("3.60"), max_live=2 if crowded else 100, idle_timeout_ns=30 * 10**9 if crowded else 10**15)
    for made in calls(30):
        run.send(made, *(strangers(made.at + 1) if crowded else []))
    found = spend(run.findings)
    assert [(severity, halts) for severity, halts, _ in found] == [("warning", False), ("critical", True)]
    assert Decimal(found[1][2]) == 20 * CENTS
    halting = [one for one in run.findings if one.halt_eligible and one.detector == "workflow_spend"][-1]
    assert (halting.session, {key.session_id for key in halting.sessions}) == (None, {f"agent-{n}-session" for n in range(4)})


def test_without_a_budget_nothing_is_said_and_each_workflow_has_its_own() -> None:
    assert not spend(Run(config(None)).send_each(*calls(30)).findings)
    other = [made._replace(trace=f"own {made.name}", name=f"own {made.name}") for made in calls(15)]
    for made in other:
        made.attributes["gen_ai.conversation.id"] += "-other"
    assert not spend(Run(config("3.60")).send_each(*calls(9), *other).findings)


def test_a_workflow_that_lost_its_last_session_to_another_has_nothing_open() -> None:
    workflows = Run(config("3.60")).send_each(*calls(20, agents=2)).sessions.workflows
    assert len(list(workflows.open())) == 1
    for n in range(2):
        other, gone = SessionKey("default", "", f"other-{n}"), SessionKey("default", "", f"agent-{n}-session")
        workflows.note(WorkflowJoined(seq=100 + n, session=other, workflow_id="wf-other"))
        workflows.note(SessionsMerged(seq=200 + n, session=other, absorbed=gone, at_ns=0))
    assert list(workflows.open()) == []


def test_what_turns_out_to_be_a_twin_is_not_charged_twice() -> None:
    story = calls(20)
    for number, made in enumerate(story):
        made.attributes["gen_ai.response.id"] = f"resp-{number}"
    twins = [made._replace(name=f"twin {made.name}") for made in story]
    run = Run(config("3.60"))
    for made, twin in zip(story[:15], twins, strict=False):
        run.send(made).send(twin)
    assert [severity for severity, _, _ in spend(run.findings)] == ["warning"]
    run.send_each(*story[15:])
    assert Decimal(spend(run.findings)[-1][2]) == 20 * CENTS


def test_a_session_that_joins_late_brings_what_it_has_spent() -> None:
    alone = [made._replace(trace="alone") for made in calls(14, agents=1)]
    joined = calls(6, first=14, agents=2)
    run = Run(config("3.60")).send_each(*alone)
    assert not spend(run.findings)
    run.send_each(*joined)
    assert Decimal(spend(run.findings)[-1][2]) == 20 * CENTS


def arrive(running: Core, made: Made) -> None:
    """A call, and other people's sessions that push everybody else out of memory."""
    running.process([request(made, arrival_ns=made.end_ns)])
    running.process([request(*strangers(made.at + 1), arrival_ns=made.end_ns)])


@pytest.mark.slow
@pytest.mark.parametrize("cut", [6, 12, 19, 25])
def test_a_crash_changes_nothing(tmp_path: Path, cut: int) -> None:
    def play(running: Core, story: list[Made]) -> None:
        for made in story:
            arrive(running, made)
            running.flush()

    def told(running: Core) -> list[tuple[Any, ...]]:
        found = running.store.findings(FindingQuery(detector="workflow_spend"))
        halts = [len(running.control.halts(SessionKey("default", "", f"agent-{n}-session"))) for n in range(4)]
        return [*sorted((one.id, one.severity, one.at_ns) for one in found), *halts]

    whole = core(tmp_path / "whole", config("3.60"))
    play(whole, calls(30))
    expected = told(whole)
    assert expected[-4:] == [1, 1, 1, 1]
    drop(whole)
    running = core(tmp_path / "a", config("3.60"))
    play(running, calls(30)[:cut])
    crash(running, tmp_path / "b")
    drop(running)
    running = core(tmp_path / "b", config("3.60"))
    play(running, calls(30)[cut:])
    assert told(running) == expected
    drop(running)


@pytest.mark.slow
def test_eleven_days_of_small_sums_end_at_the_budget(tmp_path: Path) -> None:
    running = core(tmp_path, config("5.00"))
    for day, part in itertools.groupby(calls(44, apart=DAY / 4), key=lambda made: int(made.at // DAY)):
        for made in part:
            arrive(running, made)
        running.flush()
        running.store.expire(START_NS + int((day - 1) * DAY * 1e9))
    halts = [halt for n in range(4) for halt in running.control.halts(SessionKey("default", "", f"agent-{n}-session"))]
    assert [(halt.verb.value, halt.halt_reason, halt.requested_by) for halt in halts] == [
        ("halt", "cost_runaway", "detector:workflow_spend")
    ] * 4

    running.close()


def newcomers(count: int, *, first: int) -> list[Made]:
    """Calls of the same piece of work, each in a session of its own that was not heard of before."""
    return [made._replace(name=f"new {n}") for n, made in enumerate(calls(first + count, agents=first + count)[first:])]


def halted(running: Core, names: list[str]) -> list[list[str]]:
    return [[halt.verb.value for halt in running.control.halts(SessionKey("default", "", name))] for name in names]


def test_sessions_that_join_a_stopped_workflow_are_stopped_too(tmp_path: Path) -> None:
    running = core(tmp_path, config("3.60"))
    for made in calls(20):
        arrive(running, made)
    assert halted(running, [f"agent-{n}-session" for n in range(4)]) == [["halt"]] * 4
    for made in newcomers(3, first=21):
        arrive(running, made)
        arrive(running, made._replace(name=f"{made.name} again"))
    assert halted(running, [f"agent-{n}-session" for n in range(4)]) == [["halt"]] * 4
    assert halted(running, [f"agent-{n}-session" for n in range(21, 24)]) == [["halt"]] * 3
    found = running.store.findings(FindingQuery(detector="workflow_spend"))
    assert len(found) == 1
    assert {key.session_id for key in found[0].sessions} == {f"agent-{n}-session" for n in [*range(4), *range(21, 24)]}
    drop(running)


def test_a_reload_arms_a_workflow_that_is_watched_already(tmp_path: Path) -> None:
    armed, shadow = config("3.60"), config("3.60", detectors={"workflow_spend": {"mode": "shadow"}})
    running = core(tmp_path, shadow)
    for made in calls(10):
        arrive(running, made)
    running.reconfigure(armed)
    for made in calls(10, first=10):
        arrive(running, made)
    (found,) = running.store.findings(FindingQuery(detector="workflow_spend"))
    assert (found.mode, found.versions.policy) == ("halt", armed.fingerprint)
    assert halted(running, [f"agent-{n}-session" for n in range(4)]) == [["halt"]] * 4
    drop(running)


def test_after_a_release_newcomers_are_left_alone(tmp_path: Path) -> None:
    running = core(tmp_path, config("3.60"))
    for made in calls(20):
        arrive(running, made)
    for n in range(4):
        key = SessionKey("default", "", f"agent-{n}-session")
        running.halting.request(key, Verb.RELEASE, halt_reason=None, requested_by="ada")
    arrive(running, newcomers(1, first=21)[0])
    assert halted(running, ["agent-21-session"]) == [[]]
    drop(running)


def about_to_halt(data_dir: Path, last: list[Made]) -> Core:
    """A service whose workflow has spent its budget with `last`, cut off before it could halt anyone."""
    running = core(data_dir, config("3.60"))
    for made in calls(19):
        arrive(running, made)
    running.flush()
    running.halting.enforce = lambda *_, **_more: None  # type: ignore[method-assign]
    for made in last:
        running.process([request(made, arrival_ns=made.end_ns)])
    return running


def test_a_workflow_whose_halts_a_crash_cut_off_is_halted_at_the_start(tmp_path: Path) -> None:
    running = about_to_halt(tmp_path / "a", calls(20)[19:])
    names = [f"agent-{n}-session" for n in range(4)]
    assert halted(running, names) == [[]] * 4
    crash(running, tmp_path / "b")
    drop(running)
    again = core(tmp_path / "b", config("3.60"))
    assert halted(again, names) == [["halt"]] * 4
    for name in names:
        again.halting.request(SessionKey("default", "", name), Verb.RELEASE, halt_reason=None, requested_by="ada")
    crash(again, tmp_path / "c")
    drop(again)
    last = core(tmp_path / "c", config("3.60"))
    assert halted(last, names) == [["halt", "release"]] * 4
    drop(last)


def test_a_crash_after_a_newcomer_was_told_of_halts_the_others_too(tmp_path: Path) -> None:
    running = about_to_halt(tmp_path / "a", [calls(20)[19], *newcomers(1, first=21)])
    names = [f"agent-{n}-session" for n in (*range(4), 21)]
    assert halted(running, names) == [[]] * 5
    crash(running, tmp_path / "b")
    drop(running)
    again = core(tmp_path / "b", config("3.60"))
    assert halted(again, names) == [["halt"]] * 5
    drop(again)


def test_a_workflow_is_shown_with_all_its_sessions(tmp_path: Path) -> None:
    running = core(tmp_path, config("5.00"))
    for made in calls(30):
        arrive(running, made)
    service = RunningService(running, Here())
    first = service.session(service.resolve("agent-0-session"))
    assert first is not None
    assert first.workflow_id is not None
    sessions, findings, budget = service.workflow(first.workflow_id)
    assert [session.key.session_id for session in sessions] == [f"agent-{n}-session" for n in (1, 0, 3, 2)]
    assert (sum(session.cost_usd or 0 for session in sessions), budget) == (30 * CENTS, Decimal("5.00"))
    assert {finding.detector for finding in findings} == {"workflow_spend"}
    (shared,) = findings
    one = first.key
    assert shared in service.findings(session=one, severity="critical", since_ns=shared.at_ns)
    assert shared not in [*service.findings(session=one, severity="warning"), *service.findings(session=one, since_ns=shared.at_ns + 1)]
    seqs = [finding.step_seq for finding in service.findings(session=one)]
    assert seqs == sorted(seqs, reverse=True)
    with pytest.raises(NotFound):
        service.workflow("wf-nobody")
    drop(running)


def test_one_workflow_id_of_two_tenants_is_ambiguous_and_a_session_alone_is_a_workflow(tmp_path: Path) -> None:
    running = core(tmp_path, config("3.60"))
    for tenant in ("a", "b"):
        running.process([request(*calls(2), agent("r", "planner", trace="w", session="agent-0-session"), tenant=tenant)])
    running.process([request(llm("solo", trace="s", session="solo"))])
    service = RunningService(running, Here())
    with pytest.raises(Ambiguous):
        service.workflow("wf-agent-0-session")
    assert [session.key.session_id for session in service.workflow("wf-solo")[0]] == ["solo"]
    drop(running)
