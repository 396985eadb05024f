"""A store that refuses for a while costs time, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import core as core_module
from collector import halting
from collector.core import Core
from collector.errors import StoreUnavailable
from collector.model import SessionState, Verb
from collector.session_sums import steps_of
from collector.store.base import Commit
from collector.store.duckdb import DuckDBStore
from detectors.model import Halted, SessionKey

from .agents import agent, llm, loop, request
from .services import armed, core

KEY = SessionKey("default", "", "s")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Core]:
    made = core(tmp_path)
    yield made
    made.close()


def test_what_the_control_store_refused_is_done_when_it_answers_again(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(running.control, "request_halt", refuse)
        for made in loop("t", session="s", rounds=12):
            assert not isinstance(running.process([request(made)])[0], StoreUnavailable)
    assert running.control.halts(KEY) == []
    running.tick()
    assert [halt.verb for halt in running.control.halts(KEY)] == [Verb.HALT]


def test_halts_that_waited_in_vain_are_made_up_for(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(halting, "_OWED", 2)
    with monkeypatch.context() as patch:
        patch.setattr(running.control, "request_halt", refuse)
        for made in loop("t", session="s", rounds=12):
            running.process([request(made)])
        for name in "xyz":  # three sessions learn their names late, which is owed too
            running.process([request(llm(f"{name} a", trace=name, parent=f"{name} r"))])
            running.process([request(agent(f"{name} r", trace=name, session=name))])
    running.tick()
    assert running.not_ready() == []
    assert [halt.verb for halt in running.control.halts(KEY)] == [Verb.HALT]
    assert not running.halting.missed


def test_senders_wait_once_too_many_sessions_wait_for_the_control_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(core_module, "UNLISTED", 3)
    running = core(tmp_path, armed(sessions={"max_live": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(running.index, "write", refuse)
        answers = []
        for number in range(8):
            answers += running.process([request(llm(f"call {number}", trace=f"t{number}", session=f"s{number}"))])
            running.tick()
    assert [isinstance(answer, StoreUnavailable) for answer in answers] == [False] * 4 + [True] * 4
    running.tick()
    assert not isinstance(running.process([request(llm("call 5", trace="t5", session="s5"))])[0], StoreUnavailable)
    running.flush()
    assert {session.key.session_id for session in running.index.page(limit=10)} == {"s0", "s1", "s2", "s3", "s5"}
    running.close()


def test_a_halt_that_the_telemetry_store_refuses_is_sent_all_the_same_and_recorded_later(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, woken = running.store.append, []

    def refuse_halts(commit: Commit) -> None:
        if any(isinstance(event, Halted) for event in commit.events):
            raise StoreUnavailable("the disk is full")
        append(commit)

    running.halting.on_halt = lambda: woken.append("outbox")
    with monkeypatch.context() as patch:
        patch.setattr(running.store, "append", refuse_halts)
        for made in loop("t", session="s", rounds=12):
            running.process([request(made)])
        assert [halt.verb for halt in running.control.halts(KEY)] == [Verb.HALT]
        assert woken
    running.tick()
    assert running.not_ready() == []
    assert [halt.verb for halt in running.control.halts(KEY)] == [Verb.HALT]
    session = running.session(KEY)
    assert session is not None
    assert (session.state, session.generation) == (SessionState.HALTING, 1)


def test_a_telemetry_store_that_could_not_be_opened_again_at_once_is_later(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    running.process([request(llm("a", session="s"))])

    def refuse(_store: DuckDBStore) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(DuckDBStore, "_open", refuse)
        running.store._connection.close()  # as DuckDB does itself after a fatal error
        for _ in range(2):
            assert isinstance(running.process([request(llm("b", session="s"))])[0], StoreUnavailable)
    assert not isinstance(running.process([request(llm("b", session="s"))])[0], StoreUnavailable)
    assert running.not_ready() == []
    assert len(steps_of(running.history.events(KEY))) == 2
