"""What is normal: learned from sessions that finished, held back, published in the stream, and there again after a restart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from collector.baselines import Baselines, Learned, held
from collector.live import Live
from collector.model import Session
from detectors.host import DetectorHost
from detectors.model import BaselineSnapshot, SessionKey

from .agents import START_NS, llm, request
from .services import core, crash, drop

DAY_NS = 86_400 * 10**9


def finished(number: int, steps: int = 10, *, day: float = 0, agent_type: str = "planner") -> Live:
    key = SessionKey("default", "", f"s{number}")
    end_ns = START_NS + int(day * DAY_NS)
    session = Session(
        key=key, agent_type=agent_type, steps=steps, input_tokens=steps * 100, started_ns=end_ns - steps * 10**9, last_seen_ns=end_ns
    )
    return Live(session=session, host=DetectorHost(key, detectors=()), recent=None)


def p99(snapshots: list[BaselineSnapshot]) -> float:
    return snapshots[-1].measures["steps"]["p99"]


def test_nothing_is_said_from_fewer_than_twenty_sessions() -> None:
    baselines = Baselines()
    for number in range(19):
        baselines.learn(finished(number))
    assert not baselines.due(START_NS)
    baselines.learn(finished(20))
    (snapshot,) = baselines.due(START_NS)
    assert (snapshot.agent_type, snapshot.sessions) == ("planner", 20)
    assert snapshot.measures["steps"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}
    assert snapshot.measures["tokens"]["p50"] == 1_000
    assert snapshot.measures["duration_s"]["p99"] == 10
    assert "cost_usd" not in snapshot.measures


def test_quantiles_are_those_of_the_sessions() -> None:
    baselines = Baselines()
    for number in range(1, 1_001):
        baselines.learn(finished(number, steps=number))
    (snapshot,) = baselines.due(START_NS)
    assert snapshot.measures["steps"]["p50"] == pytest.approx(500, rel=0.02)
    assert snapshot.measures["steps"]["p95"] == pytest.approx(950, rel=0.02)
    assert snapshot.measures["steps"]["p99"] == pytest.approx(990, rel=0.02)


def test_sessions_that_went_wrong_teach_nothing() -> None:
    baselines = Baselines()
    for number in range(30):
        live = finished(number)
        live.flagged = number % 2 == 0
        live.session.generation = number % 2
        baselines.learn(live)
    assert not baselines.due(START_NS)


def test_a_slow_drift_does_not_make_a_runaway_normal() -> None:
    baselines = Baselines()
    snapshots: list[BaselineSnapshot] = []
    number = 0
    for day in range(60):
        for _ in range(50):
            number += 1
            baselines.learn(finished(number, steps=int(10 * 1.1**day), day=day))
        snapshots += baselines.due(START_NS + day * DAY_NS)
    by_day = {(one.at_ns - START_NS) // DAY_NS: one.measures["steps"]["p99"] for one in snapshots}
    assert by_day[10] <= 10 * 1.21 * 1.03**10
    assert by_day[30] <= 2.5 * by_day[2]
    assert by_day[59] < 60 < 10 * 1.1**30
    assert all(after <= before * 1.031 for before, after in zip(list(by_day.values())[3:], list(by_day.values())[4:], strict=False))


def test_a_settled_figure_falls_slowly_too() -> None:
    assert held({"p99": 1.0}, {"p99": 100.0}, {"p99": 100.0}, days=1) == {"p99": 90.0}


def test_what_was_learned_is_stored_and_read_again() -> None:
    baselines = Baselines()
    for number in range(150):
        baselines.learn(finished(number, steps=number))
    first = baselines.due(START_NS)
    again = Baselines(
        lambda: {name: Learned(**{f: getattr(one, f) for f in one.__struct_fields__}) for name, one in baselines.stored().items()}
    )
    assert not again.due(START_NS + DAY_NS)
    again.learn(finished(151))
    baselines.learn(finished(151))
    assert again.due(START_NS + DAY_NS) == baselines.due(START_NS + DAY_NS)
    assert first


def test_learned_from_sessions_that_fell_idle_and_known_after_a_crash(tmp_path: Path) -> None:
    running = core(tmp_path / "a")
    for number in range(25):
        spans = [llm(f"{number} {n}", trace=f"t{number}", session=f"s{number}", agent="planner", at=number + n) for n in range(3)]
        running.process([request(*spans)])
    running.tick()
    assert not running.baselines.changed
    running.process([request(llm("late", trace="late", session="late", agent="other", at=4_000))])
    running.tick()
    known = running.sessions.knowledge.baseline("planner")
    assert known is not None
    assert known.baseline.sessions == 25
    usual = known.baseline.of("steps")
    assert usual is not None
    assert usual.p99 == 3
    assert running.snapshot.baselines["planner", "steps", "0.99"] == 3
    crash(running, tmp_path / "b")
    drop(running)
    again = core(tmp_path / "b")
    assert again.sessions.knowledge.baseline("planner") == known
    again.process([request(llm("new", trace="new", session="new", agent="planner", at=4_001))])
    context = again.sessions.live[SessionKey("default", "", "new")].host.context
    assert context.baseline == known.baseline
    again.close()


@pytest.mark.slow
def test_a_replay_is_cold_unless_it_is_told(tmp_path: Path) -> None:
    spans = [llm(f"{n}", session="s", agent="planner", at=n, tokens=(10, 1)) for n in range(60)]
    recording = tmp_path / "r.traces.pb"
    recording.write_bytes(request(*spans).body)
    known = tmp_path / "baselines.json"
    known.write_text(json.dumps({"planner": {"sessions": 200, "measures": {"steps": {"p50": 6, "p95": 9, "p99": 10}}}}))

    def found(*options: str) -> set[str]:
        command = [sys.executable, "-m", "collector.cli", "replay", "--format", "json", *options, str(recording)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in answer.stdout.splitlines()]
        return {line["detector"] for line in lines if line["type"] == "finding"}

    assert "max_steps" not in found()
    assert "max_steps" in found("--baselines", str(known))
