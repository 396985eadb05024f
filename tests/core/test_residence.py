"""Who is live: how many, how many bytes, who leaves first; and that those who return are as if they had stayed."""

import random
from pathlib import Path
from typing import Any

import pytest

from collector.config import Config
from collector.live import Live
from collector.model import SessionState
from detectors.model import Event, SessionKey

from .agents import Made, Run, agent, llm, loop, request, tool
from .services import armed, core, drop, outcome


def conversation(name: str, *, turns: int = 4, first: float = 0) -> list[Made]:
    """An agent that works through something, each turn under a root of its own."""
    made = []
    for turn in range(turns):
        at = first + turn * 100.0
        where: dict[str, Any] = {"trace": f"{name} {turn}", "parent": f"{name} root {turn}", "session": name, "agent": "worker"}
        made += [
            llm(f"{name} llm {turn}", at=at, tokens=(1_000 + turn, 10), **where),
            tool(f"{name} tool {turn}", "search", {"query": f"{name} {turn}"}, f"Found {turn} of {name}.", at=at + 2, **where),
            agent(f"{name} root {turn}", "worker", trace=f"{name} {turn}", session=name, at=at, lasts=5),
        ]
    return made


def crowd(count: int, seed: int = 3) -> list[list[Made]]:
    """Commits of many sessions that speak in turns, some of which loop, one of which turns out to be another."""
    dice = random.Random(seed)  # noqa: S311 — a story, not a secret
    scripts = [conversation(f"c{n}") if n % 4 else list(loop(f"t{n}", session=f"c{n}", rounds=8)) for n in range(count)]
    scripts.append([llm("lost", trace="m", parent="m root", at=1), agent("m root", trace="m", session="c1", at=1, lasts=2)])
    said: list[Made] = []
    while scripts:
        script = dice.choice(scripts)
        said.append(script.pop(0))
        if not script:
            scripts.remove(script)
    return [said[place : place + 7] for place in range(0, len(said), 7)]


def came_to(run: Run) -> Any:
    emitted = sorted((f.id, f.severity.value, f.halt_eligible, f.step_seq, f.step, f.first_step) for f in run.findings)
    states = {name: (session.state, session.agents, session.identifiers, session.merged_from) for name, session in run.by_id().items()}
    return run.sums(), states, emitted


@pytest.mark.parametrize("bounds", [{"max_live": 2}, {"max_bytes": 1}, {"max_bytes": 40_000, "recent_bytes": 5_000}])
def test_a_crowd_that_does_not_fit_comes_to_the_same(bounds: dict[str, int]) -> None:
    bounded, free = Run(**bounds), Run()
    for commit in crowd(12):
        bounded.send(commit)
        free.send(commit)
    assert bounded.sessions.reloads > 20
    assert free.sessions.reloads == 0
    assert came_to(bounded) == came_to(free)
    assert came_to(free)[2]


def test_those_that_return_are_read_together() -> None:
    run = Run(max_live=1)
    names = [f"s{n}" for n in range(200)]
    run.send(llm(f"{name} a", trace=name, session=name) for name in names)
    asked: list[int] = []
    read = run.store.events

    def events(sessions: Any, **how: Any) -> list[Event]:
        keys = list(sessions)
        asked.append(len(keys))
        return read(keys, **how)

    run.store.events = events  # type: ignore[method-assign]
    run.send(llm(f"{name} b", trace=name, session=name, at=9) for name in names)
    assert run.sessions.reloads >= 199
    assert len(asked) <= 8
    assert {session.llm_calls for session in run.by_id().values()} == {2}


def test_what_sessions_take_is_bounded_and_what_left_is_counted() -> None:
    run = Run(max_bytes=300_000)
    for number in range(60):
        run.send(conversation(f"s{number}", turns=1))
        assert run.sessions.residence.bytes <= 300_000
        assert run.sessions.residence.bytes == sum(live.weight for live in run.sessions.live.values())
    assert 5 < len(run.sessions.live) < 60
    assert run.sessions.residence.evictions == {"idle": 0, "capacity": 60 - len(run.sessions.live)}
    for number in range(60):
        run.sessions.drop(SessionKey("default", "", f"s{number}"))
    assert (run.sessions.residence.bytes, run.sessions.residence.recent.total) == (0, 0)


def test_one_session_may_take_more_than_there_is_rather_than_be_read_at_each_step() -> None:
    run = Run(max_bytes=1)
    for made in loop("t", session="s", rounds=5):
        run.send(made)
    assert list(run.sessions.live) == [SessionKey("default", "", "s")]
    assert run.sessions.reloads == 0


def test_those_that_ended_leave_before_those_that_run() -> None:
    run = Run(max_live=2)
    run.send(llm("a", trace="r", session="running"))
    run.send(conversation("ended", turns=1))
    run.send(llm("b", trace="n", session="new", at=50))
    assert {key.session_id for key in run.sessions.live} == {"running", "new"}
    assert run.by_id()["ended"].state is SessionState.COMPLETED


def test_one_that_goes_on_after_its_end_is_no_longer_among_those_that_ended() -> None:
    run = Run(max_live=2)
    run.send(conversation("on", turns=1)).send(llm("a", trace="r", session="old", at=1)).send(llm("more", trace="o", session="on", at=60))
    run.send(llm("b", trace="n", session="new", at=70))
    assert {key.session_id for key in run.sessions.live} == {"on", "new"}


def test_one_that_ended_and_left_is_over_once() -> None:
    over: list[Live] = []
    run = Run(max_live=1, finished=over.append)
    run.send(conversation("s", turns=1)).send(llm("x", trace="x", session="other", at=20))
    assert [live.session.key.session_id for live in over] == ["s"]
    run.send(conversation("s", turns=2)[3:]).send(llm("y", trace="x", session="other", at=300))
    run.pipeline.idle(10**18 * 2)
    assert [live.session.key.session_id for live in over].count("s") == 1


def test_sessions_come_back_from_the_stores_of_a_service(tmp_path: Path) -> None:
    bounds: dict[str, Any] = {"sessions": {"max_live": 2}}
    outcomes = []
    for name, more in (("bounded", bounds), ("free", {})):
        config: Config = armed(**more)
        running = core(tmp_path / name, config)
        for commit in crowd(6):
            running.process([request(*commit)])
        outcomes.append(outcome(running))
        drop(running)
    assert outcomes[0] == outcomes[1]
