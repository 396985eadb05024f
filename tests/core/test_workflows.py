"""Workflows: what agents in several sessions and services do to each other is seen, however slow and however long."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.config import Config
from collector.core import Core
from collector.gauges import open_findings
from detectors.model import Finding, Identified, Released, SessionKey, WorkflowJoined

from .agents import START_NS, Made, Run, agent, llm, request, tool
from .services import core, crash, drop

MINUTE = 60.0
HOUR = 3_600.0
DAY = 86_400.0
ASKS = (
    "Please verify the market report once more, the figures in section two look off.",
    "Section two of the market report seems off to me, could you verify the figures again?",
    "Could you take another look at the figures of section two in the market report?",
    "The figures in section two may still be off; please verify the report again.",
)
ANSWERS = (
    "The figures in section two look off, please analyse the report again.",
    "I could not verify section two; please analyse the market report again.",
    "Please analyse the report once more, section two could not be verified.",
    "Section two looks off to me again, another analysis of the figures please.",
)


def turn(number: int, who: str, said: str, *, at: float, **where: Any) -> Made:
    """One agent's turn, in its own service and session."""
    made = agent(f"{who} {number}", who, service=f"{who}-service", session=f"{who}-session", at=at, lasts=20, **where)
    asked = (ANSWERS if who == "analyzer" else ASKS)[number % 4]
    made.attributes["gen_ai.input.messages"] = f'[{{"role":"user","parts":[{{"type":"text","content":"{asked}"}}]}}]'
    made.attributes["gen_ai.output.messages"] = f'[{{"role":"assistant","parts":[{{"type":"text","content":"{said}"}}]}}]'
    return made


def opening(**where: Any) -> Iterator[Made]:
    """The planner has the researcher collect something, and hands over."""
    where = {"trace": "w0"} | where
    yield turn(0, "planner", "Collect what the market report needs: prices, volumes, competitors.", at=0, **where)
    yield turn(0, "researcher", "Collected prices, volumes and competitors for the market report.", at=60, parent="planner 0", **where)


def exchange(count: int, apart: float, *, connect: str = "trace") -> Iterator[Made]:
    """Analyzer and Verifier, each exchange a turn of both, `apart` seconds from one to the next."""
    before = ("w0", "researcher 0")
    for number in range(1, count + 1):
        at = number * apart
        where: dict[str, Any] = {"trace": f"w{number}" if connect in {"link", "id"} else "w0"}
        if connect == "link":
            where["links"] = (before,)
        asked = turn(number, "analyzer", ASKS[number % 4], at=at, parent=None if connect != "trace" else "planner 0", **where)
        back = turn(number, "verifier", ANSWERS[number % 4], at=at + apart / 2, parent=f"analyzer {number}", **where)
        before = (where["trace"], f"verifier {number}")
        for made in (asked, back):
            if connect == "id":
                made.attributes["session.id"] = made.attributes["gen_ai.conversation.id"]
                made.attributes["gen_ai.conversation.id"] = "conversation-4711"
            yield made


def bystanders(at: float, count: int = 4) -> list[Made]:
    """Other people's sessions, which push everybody else out of memory."""
    return [llm(f"by {at} {n}", trace=f"by {at} {n}", session=f"by-{at}-{n}", at=at, service="others") for n in range(count)]


def about_workflows(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.workflow_id is not None and finding.session is None]


def exchanges_until(finding: Finding, apart: float) -> int:
    return int((finding.at_ns - START_NS) / 1e9 // apart)


@pytest.mark.parametrize("connect", ["trace", "link", "id"])
@pytest.mark.parametrize(("apart", "count"), [(4 * MINUTE, 200), (5 * HOUR, 53)], ids=["minutes", "hours"])
def test_the_founding_case_is_caught_within_twelve_exchanges(connect: str, apart: float, count: int) -> None:
    run = Run(max_live=3, idle_timeout_ns=1_800 * 10**9).send_each(*opening())
    for number, made in enumerate(exchange(count, apart, connect=connect)):
        run.send(made)
        if number % 2:
            run.send(*bystanders(made.at + 1))
    found = about_workflows(run.findings)
    assert found
    assert {finding.detector for finding in found} == {"ping_pong"}
    critical = next(finding for finding in found if finding.severity == "critical")
    halting = next(finding for finding in found if finding.halt_eligible)
    assert exchanges_until(critical, apart) <= 8
    assert exchanges_until(halting, apart) <= 12
    assert {key.session_id for key in halting.sessions} == {"analyzer-session", "verifier-session"}
    assert len({finding.id for finding in found}) == 1


@pytest.mark.parametrize(("apart", "shown_s", "over_s"), [(4 * MINUTE, 25 * MINUTE, 32 * MINUTE), (5 * HOUR, 9 * HOUR, 11 * HOUR)])
def test_what_is_open_about_a_workflow_that_is_over_is_shown_no_more(apart: float, shown_s: float, over_s: float) -> None:
    run = Run(max_live=3, idle_timeout_ns=1_800 * 10**9).send_each(*opening(), *exchange(12, apart))
    last_s = exchange_end(12, apart)
    for silent_s, shown in ((shown_s, ["ping_pong"]), (over_s, [])):
        run.send(*bystanders(last_s + silent_s))
        assert [one.detector for one in open_findings(run.sessions) if one.workflow_id is not None and one.session is None] == shown
    assert [one.detector for one in run.sessions.workflows.open()] == ["ping_pong"]
    run.send(turn(14, "analyzer", ASKS[2], at=last_s + over_s + MINUTE, trace="w0", parent="planner 0"))
    assert "ping_pong" in [one.detector for one in open_findings(run.sessions) if one.session is None]


def exchange_end(count: int, apart: float) -> float:
    return count * apart + apart / 2 + 20


def test_what_one_session_does_alone_is_its_own() -> None:
    run = Run().send_each(*opening())
    for number, made in enumerate(exchange(20, 60)):
        made.attributes["gen_ai.conversation.id"] = "planner-session"
        run.send(made._replace(name=f"{made.name} {number}"))
    assert [finding for finding in run.findings if finding.session is not None]
    assert not about_workflows(run.findings)


def test_agents_that_get_somewhere_are_left_alone() -> None:
    topics = ["prices", "volumes", "competitors", "regulation", "logistics", "weather", "currencies", "tariffs", "labour", "energy"]
    run = Run().send_each(*opening())
    for number, topic in enumerate(topics, 1):
        asked = turn(number, "analyzer", f"Please verify chapter {number} about {topic}.", at=number * 100, trace="w0")
        back = turn(
            number,
            "verifier",
            f"Chapter {number} on {topic} verified: {topic} rose by {number * 7} percent.",
            at=number * 100 + 50,
            trace="w0",
        )
        asked.attributes["gen_ai.input.messages"] = f'[{{"role":"user","parts":[{{"type":"text","content":"Analyse {topic}."}}]}}]'
        back.attributes["gen_ai.input.messages"] = (
            f'[{{"role":"user","parts":[{{"type":"text","content":"Verify chapter {number}, {topic}."}}]}}]'
        )
        run.send(asked, back)
    assert not about_workflows(run.findings)


def test_grouping_changes_nothing() -> None:
    story = [*opening(), *exchange(30, 60)]
    apart, together = Run().send_each(*story), Run()
    for place in range(0, len(story), 7):
        together.send(*story[place : place + 7])
    told = [[(f.id, f.severity, f.halt_eligible, f.at_ns) for f in about_workflows(run.findings)] for run in (apart, together)]
    assert told[0] == told[1]


def test_sessions_of_one_conversation_id_are_one_workflow() -> None:
    run = Run()
    for number, service in enumerate(("a", "b", "c")):
        made = llm(f"l{number}", trace=f"t{number}", service=service, at=number)
        made.attributes.update({"session.id": f"session-{service}", "gen_ai.conversation.id": "conversation-1"})
        run.send(made)
    sessions = run.by_id()
    assert len({sessions[f"session-{service}"].workflow_id for service in "abc"} - {None}) == 1
    assert sessions["session-a"].identifiers.conversation_ids == ["conversation-1"]
    assert sum(isinstance(event, Identified) for event in run.events) == 3


def chats() -> list[Made]:
    """A chat, and the one of a sub-agent it handed over to, in a trace of its own: it names the first."""
    where: dict[str, Any] = {"service": "copilot-chat"}
    first = agent("chat", "copilot", trace="t1", session="chat-first", **where)
    second = agent("sub-agent", "search", trace="t2", session="chat-second", at=5, **where)
    second.attributes["copilot_chat.parent_chat_session_id"] = "chat-first"
    return [first, second]


@pytest.mark.parametrize("turned", [False, True])
def test_a_session_that_names_its_parents_is_of_the_same_workflow(turned: bool) -> None:
    run = Run().send_each(*(reversed(chats()) if turned else chats()))
    sessions = run.by_id()
    assert sessions.keys() == {"chat-first", "chat-second"}
    assert len({session.workflow_id for session in sessions.values()} - {None}) == 1


def test_the_parent_is_known_after_a_restart(tmp_path: Path) -> None:
    first, second = chats()
    running = core(tmp_path)
    running.process([request(first, arrival_ns=first.end_ns)])
    drop(running)
    running = core(tmp_path)
    running.process([request(second, arrival_ns=second.end_ns)])
    joined = [
        event for key in running.store.sessions_after(0) for event in running.history.events(key) if isinstance(event, WorkflowJoined)
    ]
    assert {event.session.session_id for event in joined} == {"chat-first", "chat-second"}
    drop(running)


def test_the_same_id_in_another_namespace_is_no_parent() -> None:
    first, second = chats()
    run = Run().send_each(first, second._replace(namespace="elsewhere"))
    assert {session.workflow_id for session in run.by_id().values()} == {None}


def everything(running: Core, story: list[Made], *, since: int = 0, until: int | None = None) -> None:
    for made in story[since:until]:
        running.process([request(made, arrival_ns=made.end_ns)])
        running.process([request(*bystanders(made.at + 1, 2), arrival_ns=made.end_ns)])


def halting(**more: Any) -> Config:
    detectors = {"ping_pong": {"mode": "halt"}}
    return Config.load(None, {}, {"detectors": detectors, "sessions": {"max_live": 2}, **more})


@pytest.mark.slow
@pytest.mark.parametrize("kept_days", [0, 1, 3])
def test_eleven_days_with_retention_are_halted_once_each(tmp_path: Path, kept_days: int) -> None:
    running = core(tmp_path, halting())
    story = [*opening(), *exchange(44, 6 * HOUR)]
    for day, part in itertools.groupby(story, key=lambda made: int(made.at // DAY)):
        everything(running, list(part))
        running.store.expire(START_NS + int((day + 1 - kept_days) * DAY * 1e9))
    for who in ("analyzer", "verifier"):
        halts = running.control.halts(SessionKey("default", "", f"{who}-session"))
        assert [halt.halt_reason for halt in halts] == ["ping_pong"]
    for who in ("planner", "researcher"):
        assert not running.control.halts(SessionKey("default", "", f"{who}-session"))
    running.close()


@pytest.mark.slow
@pytest.mark.parametrize("cut", [3, 8, 12, 16, 22, 30])
def test_a_crash_changes_nothing(tmp_path: Path, cut: int) -> None:
    story = [*opening(), *exchange(24, 300)]
    whole = core(tmp_path / "whole", halting())
    everything(whole, story)
    expected = told(whole)
    assert expected
    drop(whole)
    running = core(tmp_path / "a", halting())
    everything(running, story, until=cut)
    crash(running, tmp_path / "b")
    drop(running)
    running = core(tmp_path / "b", halting())
    everything(running, story, since=cut)
    assert told(running) == expected
    assert {key: len(running.control.halts(SessionKey("default", "", f"{key}-session"))) for key in ("analyzer", "verifier")} == {
        "analyzer": 1,
        "verifier": 1,
    }
    drop(running)


def told(running: Core) -> list[tuple[Any, ...]]:
    workflow = next(event.workflow_id for event in running.store.tail(10_000) if isinstance(event, WorkflowJoined))
    return sorted((f.id, f.severity, f.halt_eligible, f.at_ns) for f in running.history.workflow_findings("default", workflow))


def test_a_release_lets_the_workflow_go_on() -> None:
    run = Run().send_each(*opening(), *exchange(12, 60))
    before = len(about_workflows(run.findings))
    assert before
    key = SessionKey("default", "", "analyzer-session")

    run.pipeline.record(lambda seq: [Released(seq=seq, session=key, generation=2, grace_steps=4, at_ns=1)])
    assert not list(run.sessions.workflows.open())
    again = [
        turn(100 + n, who, text, at=2_000.0 + 60 * n, trace="w0")
        for n in range(12)
        for who, text in (("analyzer", ASKS[n % 4]), ("verifier", ANSWERS[n % 4]))
    ]
    run.send_each(*again)
    later = about_workflows(run.findings)[before:]
    assert later
    assert {finding.episode for finding in later} == {2}


def test_a_tool_call_between_costs_nothing() -> None:
    run = Run().send(
        *opening(), tool("t", "search", {"q": 1}, "many words of something new", trace="w0", session="researcher-session", at=70)
    )
    assert not run.findings
