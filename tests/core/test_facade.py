"""What the edges are answered by a real core."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

from collector.core import Core
from collector.errors import Ambiguous, NotFound, OvercurrentError, Refused, StoreUnavailable
from collector.facade import RunningService
from collector.model import SessionState, Verb
from detectors.model import SessionKey

from .agents import agent, llm, loop, request, tool
from .services import armed, core

T = TypeVar("T")
KEY = SessionKey("default", "", "s")


class Here:
    """Does the work of the ingest thread where it is asked for."""

    @staticmethod
    def call(function: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(function())
        except OvercurrentError as error:
            future.set_exception(error)
        return future


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Core]:
    made = core(tmp_path, armed(detectors={}))
    yield made
    made.close()


@pytest.fixture
def service(running: Core) -> RunningService:
    return RunningService(running, Here())


def halt(service: RunningService, key: SessionKey = KEY, verb: Verb = Verb.HALT) -> None:
    service.request(key, verb, halt_reason="operator", requested_by="ada")


def test_a_session_is_found_under_every_name_it_ever_had(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", parent="r"))])
    (nameless,) = running.sessions.live
    running.process([request(agent("r", session="s"))])
    for name in ("s", nameless.session_id, "default//s"):
        assert service.resolve(name) == KEY
    session = service.session(KEY)
    assert session is not None
    assert session.merged_from == [str(nameless)]


def test_an_id_of_several_sessions_is_ambiguous_until_one_is_named(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"), llm("b", trace="u", session="s", namespace="dev"))])
    running.process([request(llm("c", trace="v", session="s"), tenant="acme")])
    with pytest.raises(Ambiguous) as raised:
        service.resolve("s")
    assert raised.value.candidates == ["acme//s", "default//s", "default/dev/s"]
    for name in raised.value.candidates:
        assert str(service.resolve(name)) == name
    assert service.resolve("s", tenant="acme") == SessionKey("acme", "", "s")


def test_an_unknown_name_is_not_found(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"))])
    for name in ("nobody", "default//nobody", "a/b/c/d", "", "//", "%ff", "s\0"):
        with pytest.raises(NotFound):
            service.resolve(name)


def test_an_id_that_looks_like_a_full_key_is_found_as_it_is(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="org/team/7"))])
    assert service.resolve("org/team/7") == SessionKey("default", "", "org/team/7")


def test_a_session_not_seen_yet_may_be_halted_and_is_born_halted(running: Core, service: RunningService) -> None:
    halt(service)
    assert service.resolve("s") == KEY
    running.process([request(llm("a", session="s"))])
    session = service.session(KEY)
    assert session is not None
    assert (session.state, session.halt_reason, session.llm_calls) == (SessionState.HALTING, "operator", 1)


def test_an_answered_halt_shows_as_halted_and_is_found_as_such(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"), llm("b", trace="u", session="u"))])
    halt(service)
    (asked,) = service.halts(KEY)
    assert [one.key for one in service.sessions(state=SessionState.HALTING)[0]] == [KEY]
    service.acknowledge(asked.halt_id, "stopped")
    session = service.session(KEY)
    assert session is not None
    assert session.state is SessionState.HALTED
    assert [one.key for one in service.sessions(state=SessionState.HALTED)[0]] == [KEY]
    assert service.sessions(state=SessionState.HALTING)[0] == []
    assert len(service.sessions()[0]) == 2


def test_asking_twice_is_one_halt_and_a_release_frees(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"))])
    halt(service)
    halt(service)
    assert len(service.halts(KEY)) == 1
    with pytest.raises(Refused):
        halt(service, verb=Verb.PAUSE)
    halt(service, verb=Verb.RELEASE)
    session = service.session(KEY)
    assert session is not None
    assert (session.state, session.halt_reason, session.generation) == (SessionState.RUNNING, None, 2)


def test_nothing_to_release_is_refused(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"))])
    with pytest.raises(Refused):
        halt(service, verb=Verb.RELEASE)


def test_pages_of_sessions_hold_each_once_while_more_arrive(running: Core, service: RunningService) -> None:
    running.process([request(*(llm(f"a{n}", trace=f"t{n}", session=f"s{n:02}", at=n // 3) for n in range(20)))])
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = service.sessions(limit=6, cursor=cursor)
        seen += [one.key.session_id for one in page]
        running.process([request(llm(f"late {len(seen)}", trace=f"l{len(seen)}", session=f"late{len(seen)}", at=900 + len(seen)))])
        if cursor is None:
            break
    assert sorted(seen) == [f"s{n:02}" for n in range(20)]


def test_a_cursor_that_is_not_ours_is_refused(service: RunningService) -> None:
    for cursor in ("x", "1", "|", "1|", "|a", "²|default//s", "-1|a", "\0", f"{10**30}|a"):
        with pytest.raises(NotFound):
            service.sessions(cursor=cursor)


def test_a_time_after_the_end_of_time_finds_nothing(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"))])
    assert service.sessions(since_ns=253_402_300_799 * 10**9) == ([], None)
    assert service.findings(since_ns=253_402_300_799 * 10**9) == []


def test_since_the_beginning_of_time_finds_everything(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"))])
    assert [session.key for session in service.sessions(since_ns=-62_135_596_800 * 10**9)[0]] == [KEY]


def test_steps_are_paged_by_number_and_shown_in_event_order(running: Core, service: RunningService) -> None:
    running.process([request(llm("late", session="s", at=50))])
    running.process([request(tool("early", "search", {"q": 1}, "x", session="s", at=1), llm("middle", session="s", at=20))])
    everything = service.steps(KEY)
    assert [step["step"] for step in everything] == [3, 1, 2]
    assert [step["seq"] for step in everything] == sorted(step["seq"] for step in everything)
    paged: list[dict[str, object]] = []
    while page := service.steps(KEY, after_seq=int(str(paged[-1]["seq"])) if paged else 0, limit=1):
        paged += page
    assert paged == everything


def test_steps_of_a_merged_session_are_all_its_steps(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", parent="r"), tool("b", parent="r"))])
    running.process([request(agent("r", session="s"))])
    assert [step["kind"] for step in service.steps(KEY)] == ["llm", "tool", "agent"]
    assert {step["session_id"] for step in service.steps(KEY)} == {"s"}


def test_repeated_calls_show_how_alike_they_are(running: Core, service: RunningService) -> None:
    for made in loop("t", session="s", rounds=2):
        running.process([request(made)])
    first, second = [step for step in service.steps(KEY) if step["kind"] == "tool"]
    assert (first["argument_similarity"], second["argument_similarity"]) == (None, 1.0)
    assert second["result_novelty"] == 0.0


def test_findings_are_asked_for_by_all_they_are(running: Core, service: RunningService) -> None:
    for made in loop("t", rounds=12):
        running.process([request(made)])
    (nameless,) = running.sessions.live
    running.process([request(llm("named", trace="t", session="s", at=500))])
    found = service.findings(session=KEY)
    assert found
    assert {one.session for one in found} <= {KEY, nameless}
    detector = found[0].detector
    assert service.findings(session=KEY, detector=detector)
    assert service.findings(session=SessionKey("default", "", "other")) == []
    assert [one.key for one in service.sessions(finding=detector)[0]] == [KEY]
    assert service.sessions(finding="no_such_detector")[0] == []
    still = service.findings(open_only=True)
    assert {one.detector for one in still} <= {one.detector for one in found}
    eligible = service.halt_eligible(running.sessions.live[KEY].session.agent_type, "exact_loop")
    assert {one.id for one in eligible} <= {one.id for one in still}
    assert service.detector_mode(detector, "any") == "shadow"
    with pytest.raises(NotFound):
        service.detector_mode("no_such_detector", "any")


def test_what_is_shown_is_a_copy(running: Core, service: RunningService) -> None:
    running.process([request(llm("a", session="s"))])
    shown = service.session(KEY)
    assert shown is not None
    shown.identifiers.trace_ids.clear()
    running.process([request(llm("b", session="s"))])
    again = service.session(KEY)
    assert again is not None
    assert (shown.llm_calls, again.llm_calls, len(again.identifiers.trace_ids)) == (1, 2, 1)


def test_an_ingest_thread_that_does_not_answer_is_unavailable(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        @staticmethod
        def call(_function: Callable[[], T]) -> "Future[T]":
            return Future()

    monkeypatch.setattr("collector.facade._PATIENCE_S", 0.01)
    with pytest.raises(StoreUnavailable, match="busy"):
        RunningService(running, Nobody()).session(KEY)
