"""A service that loses its process loses nothing else, and does nothing twice."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from collector.config import Config
from collector.core import Core
from collector.errors import StoreUnavailable
from collector.model import Request, SessionState, Verb
from collector.session_sums import steps_of
from collector.store.base import FindingQuery
from detectors.model import Halted, SessionKey, StepKind

from .agents import START_NS, Made, agent, content_log, llm, loop, plumbing, request, tool
from .services import armed, core, crash, drop, outcome

KEY = SessionKey("default", "", "s")
ASK = [("call-1", "search", {"query": "x"})]


def story() -> list[Request]:
    """Several agents at once: loops that are to be halted, late ids, wrappers, tool calls from prompts, links."""
    work: list[Made | Request] = []
    for rounds in itertools.zip_longest(loop("t", rounds=14), loop("u", session="u", rounds=12, called="fetch")):
        work += [made for made in rounds if made is not None]
    work[9:9] = [llm("w inner", trace="w", parent="w between", session="w", lasts=1, tokens=(100, None), asks=ASK)]
    work[14:14] = [plumbing("w between", trace="w", parent="w outer", lasts=2)]
    work[19:19] = [llm("w outer", trace="w", lasts=3, tokens=(100, 10))]
    work[24:24] = [llm("w next", trace="w", session="w", at=6, told=[("call-1", "rejected")])]
    work[29:29] = [tool("w late", "search", {"query": "x"}, "rejected", trace="w", session="w", at=4, call="call-1")]
    work[34:34] = [llm("v", trace="v", parent="v root", links=(("u", "u llm 1"),), response="r9"), llm("v twin", trace="v2", response="r9")]
    work[39:39] = [agent("v root", trace="v", session="v", lasts=8), content_log("w next", trace="w", says="So be it.")]
    work += [agent("t root", trace="t", session="t-named", lasts=500)]
    return [
        made if isinstance(made, Request) else request(made, arrival_ns=START_NS + number * 5 * 10**9) for number, made in enumerate(work)
    ]


STORY = story()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it comes to without any interruption."""
    running = core(tmp_path_factory.mktemp("uninterrupted"))
    for sent in STORY:
        running.process([sent])
    came_to = outcome(running)
    running.close()
    return came_to


def test_the_story_is_worth_telling(expected: dict[str, Any]) -> None:
    assert set(expected["sessions"]) == {"default//t-named", "default//u", "default//v", "default//w"}
    assert expected["sessions"]["default//w"][:3] == (3, 2, 1)
    assert {key for key, halts in expected["halts"].items() if halts} >= {"default//u"}
    assert len(expected["findings"]) >= 2


def restarted(tmp_path: Path, cuts: list[int], *, tick: int = 0, busy: bool = False) -> dict[str, Any]:
    """The story with a crash after each number of requests in `cuts`; the last requests before each are sent again.

    After every `tick` requests a second passes, and the index is written. Where it is `busy`,
    sessions look at each commit while the next one is written, and a crash comes before the look.
    """
    running = core(tmp_path / "0")
    running.pipeline.answers_first = busy
    sent = 0
    for life, cut in enumerate([*cuts, len(STORY)], 1):
        for place in range(max(0, sent - 3), cut):
            running.process([STORY[place]])
            if tick and place % tick == 0:
                running.tick()
        sent = max(sent, cut)
        if life <= len(cuts):
            crash(running, tmp_path / str(life))
            drop(running)
            running = core(tmp_path / str(life))
            running.pipeline.answers_first = busy
    came_to = outcome(running)
    running.close()
    return came_to


@pytest.mark.slow
@pytest.mark.parametrize("cut", range(2, len(STORY), 6))
def test_a_crash_anywhere_changes_nothing(tmp_path: Path, expected: dict[str, Any], cut: int) -> None:
    assert restarted(tmp_path, [cut]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [[], [9, 30], [17], [24, 25]])
def test_looking_while_the_next_commit_is_written_changes_nothing(tmp_path: Path, expected: dict[str, Any], cuts: list[int]) -> None:
    assert restarted(tmp_path, cuts, busy=True) == expected


@pytest.mark.slow
def test_a_session_merged_twice_before_a_crash_is_made_again_whole(tmp_path: Path, expected: dict[str, Any]) -> None:
    # The index is written between the two merges of session v, and not again.
    assert restarted(tmp_path, [42], tick=7) == expected


@pytest.mark.slow
@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(STORY) - 1), min_size=2, max_size=4, unique=True), tick=st.integers(0, 9))
def test_many_crashes_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, expected: dict[str, Any], cuts: list[int], tick: int
) -> None:
    assert restarted(tmp_path_factory.mktemp("crashes"), sorted(cuts), tick=tick) == expected


@pytest.mark.slow
def test_grouping_changes_nothing_either(tmp_path: Path, expected: dict[str, Any]) -> None:
    running = core(tmp_path / "a")
    for group in range(0, len(STORY), 5):
        running.process(STORY[group : group + 5])
    came_to = outcome(running)
    running.close()
    assert came_to["sessions"].keys() == expected["sessions"].keys()
    for key, sums in came_to["sessions"].items():
        assert sums[:7] == expected["sessions"][key][:7]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Core]:
    made = core(tmp_path / "data")
    yield made
    made.close()


def reopened(running: Core, tmp_path: Path) -> Core:
    crash(running, tmp_path / "after")
    return core(tmp_path / "after")


def test_an_orderly_stop_and_start_changes_nothing(tmp_path: Path) -> None:
    first = core(tmp_path)
    first.process([request(llm("a", session="s"), tool("b", session="s"))])
    before = outcome(first)
    first.close()
    again = core(tmp_path)
    assert outcome(again) == before
    again.process([request(llm("a", session="s"), tool("b", session="s"))])
    assert outcome(again) == before
    again.close()


def test_a_start_finds_what_the_crash_left_unsaid(running: Core, tmp_path: Path) -> None:
    """Telemetry was committed, its findings were not: the start finds and halts."""
    running.store.append_findings = lambda _findings: None  # type: ignore[method-assign]
    running.halting.request = None  # type: ignore[assignment,method-assign]
    running.halting.enforce = lambda _finding: None  # type: ignore[method-assign]
    for made in loop("t", session="s", rounds=12):
        running.process([request(made)])
    again = reopened(running, tmp_path)
    state = again.session(KEY)
    assert state is not None
    assert state.state is SessionState.HALTING
    assert [halt.verb for halt in again.control.halts(KEY)] == [Verb.HALT]
    again.close()


def test_silence_that_began_before_a_crash_is_noticed_after_it(tmp_path: Path) -> None:
    first = core(tmp_path / "0", Config())
    first.process([request(llm("a", session="s", asks=ASK), arrival_ns=START_NS)])
    first.flush()
    crash(first, tmp_path / "1")
    drop(first)
    again = core(tmp_path / "1", Config())
    assert KEY not in again.sessions.live
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_args: object, **_named: object) -> None:
            raise StoreUnavailable("the disk is slow")

        patch.setattr(again.store, "events", refuse)
        again.tick()
    assert KEY not in again.sessions.live
    again.tick()
    assert [finding.detector for finding in again.store.findings(FindingQuery(sessions=(KEY,)))] == ["abandoned"]
    again.close()


def test_a_halt_whose_event_was_cut_off_is_recorded_at_start(running: Core, tmp_path: Path) -> None:
    running.process([request(llm("a", session="s"))])
    running.halting.record_halt = lambda *_: None  # type: ignore[method-assign]
    running.halting.request(KEY, Verb.HALT, halt_reason="operator", requested_by="ada")
    again = reopened(running, tmp_path)
    session = again.session(KEY)
    assert session is not None
    assert (session.state, session.halt_reason) == (SessionState.HALTING, "operator")
    events = [event for event in again.store.events([KEY]) if isinstance(event, Halted)]
    assert len(events) == 1
    again.close()


def test_a_release_whose_event_was_cut_off_is_recorded_at_start(running: Core, tmp_path: Path) -> None:
    running.process([request(llm("a", session="s"))])
    running.halting.request(KEY, Verb.HALT, halt_reason="operator", requested_by="ada")
    running.flush()
    running.halting.record_halt = lambda *_: None  # type: ignore[method-assign]
    running.halting.request(KEY, Verb.RELEASE, halt_reason=None, requested_by="ada")
    again = reopened(running, tmp_path)
    session = again.session(KEY)
    assert session is not None
    assert session.state is SessionState.RUNNING
    assert session.generation == 2
    again.close()


def test_a_halt_whose_merge_was_cut_off_follows_at_start(running: Core, tmp_path: Path) -> None:
    running.process([request(llm("a", parent="r"))])
    (nameless,) = running.sessions.live
    running.halting.request(nameless, Verb.HALT, halt_reason="operator", requested_by="ada")
    running.flush()
    running.halting.follow = lambda *_: None  # type: ignore[method-assign]
    running.process([request(agent("r", session="s"))])
    again = reopened(running, tmp_path)
    active = again.control.active(KEY)
    assert active is not None
    assert active.session == KEY
    assert [str(session.key) for session in again.index.page()] == ["default//s"]
    state = again.session(KEY)
    assert state is not None
    assert state.state is SessionState.HALTING
    again.close()


def test_a_merge_the_index_never_saw_is_found_after_a_crash(running: Core, tmp_path: Path) -> None:
    running.process([request(llm("a", parent="r"))])
    (nameless,) = running.sessions.live
    running.flush()
    running.process([request(agent("r", session="s"))])
    again = reopened(running, tmp_path)
    assert again.index.survivor(nameless) == KEY
    assert [str(session.key) for session in again.index.page()] == ["default//s"]
    again.close()


def test_a_session_halted_before_it_was_seen_is_born_halted_after_a_crash_too(running: Core, tmp_path: Path) -> None:
    running.halting.request(KEY, Verb.HALT, halt_reason="operator", requested_by="ada")
    again = reopened(running, tmp_path)
    again.process([request(llm("a", session="s"))])
    session = again.session(KEY)
    assert session is not None
    assert (session.state, session.llm_calls) == (SessionState.HALTING, 1)
    again.close()


@pytest.mark.parametrize("folded", [0, 1])
def test_wrappers_and_twins_on_both_sides_of_a_crash_count_once(tmp_path: Path, folded: int) -> None:
    pairs = [
        (llm("in", parent="out", session="s"), llm("out", session="s", lasts=3)),
        (llm("one", session="s", response="r", at=20), llm("two", session="s", response="r", at=20)),
        (tool("tin", "x", parent="tout", session="s", at=40), tool("tout", "x", session="s", at=40, lasts=3)),
    ]
    running = core(tmp_path / "data")
    running.process([request(*(pair[folded] for pair in pairs))])
    crash(running, tmp_path / "after")
    drop(running)
    again = core(tmp_path / "after")
    again.process([request(*(pair[1 - folded] for pair in pairs))])
    session = again.session(KEY)
    assert session is not None
    assert (session.steps, session.llm_calls, session.tool_calls) == (3, 2, 1)
    again.close()


@pytest.mark.parametrize("cut", range(1, 4))
@pytest.mark.parametrize("call", ["call-1", None])
def test_tool_calls_from_prompts_count_once_across_a_crash(tmp_path: Path, cut: int, call: str | None) -> None:
    spans = [
        llm("a", at=0, session="s", asks=ASK),
        llm("b", at=5, session="s", told=[("call-1", "found")]),
        tool("x", "search", {"query": "x"}, "found", at=2, lasts=2, call=call, session="s"),
        llm("c", at=8, session="s", told=[("call-1", "found")]),
    ]
    running = core(tmp_path / "data")
    for made in spans[:cut]:
        running.process([request(made)])
    crash(running, tmp_path / "after")
    drop(running)
    again = core(tmp_path / "after")
    for made in spans[cut:]:
        again.process([request(made)])
    session = again.session(KEY)
    assert session is not None
    assert (session.llm_calls, session.tool_calls) == (3, 1)
    again.close()


def test_nameless_traces_that_share_a_call_are_joined_across_a_crash(running: Core, tmp_path: Path) -> None:
    running.process([request(llm("a", trace="t", asks=ASK))])
    again = reopened(running, tmp_path)
    again.process([request(tool("b", trace="u", call="call-1", at=2))])
    again.flush()
    assert [(session.llm_calls, session.tool_calls) for session in again.index.page()] == [(1, 1)]
    again.close()


def test_reading_the_files_changes_nothing(running: Core, tmp_path: Path) -> None:
    for made in loop("t", session="s", rounds=12):
        running.process([request(made)])
    running.flush()
    crash(running, tmp_path / "after")
    reader = core(tmp_path / "after", only_read=True)
    last, halts = reader.store.last_seq(), len(reader.control.halts(KEY))
    reader.flush()
    reader.close()
    again = core(tmp_path / "after")
    assert (again.store.last_seq(), len(again.control.halts(KEY))) == (last, halts)
    again.close()


def test_a_shadow_service_halts_nothing(tmp_path: Path) -> None:
    quiet = core(tmp_path, armed(detectors={}))
    for made in loop("t", session="s", rounds=14):
        quiet.process([request(made)])
    assert quiet.control.halts(KEY) == []
    assert any(step.kind is StepKind.TOOL for step in quiet.sessions.live[KEY].recent or ())
    quiet.close()


@pytest.mark.parametrize("crashes", [False, True])
def test_content_that_came_before_its_span_survives_a_crash(running: Core, tmp_path: Path, crashes: bool) -> None:
    running.process([content_log("a", asks=ASK, says="Let me look.")])
    if crashes:
        running = reopened(running, tmp_path)
    running.process([request(llm("a", session="s"))])
    running.process([content_log("a", says="Of a span that is there it waits for nothing.")])
    if crashes:
        (tmp_path / "later").mkdir()
        running = reopened(running, tmp_path / "later")
    running.process([request(llm("b", session="s", at=9))])
    found = steps_of(running.history.events(KEY))
    assert [(step.kind, step.output_text) for step in found if step.kind is StepKind.LLM] == [
        (StepKind.LLM, "Let me look."),
        (StepKind.LLM, None),
    ]
    assert [ask.name for step in found for ask in step.asks] == ["search"]
