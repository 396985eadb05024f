"""The host of one session's detectors: episodes, replays, releases, broken detectors."""

import pickle
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pytest

from detectors import testing
from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.exact_loop import ExactLoop
from detectors.host import DetectorHost
from detectors.model import Finding, Severity, Step, StepKind, Tick, finding_id
from detectors.step_features import StepFeatures
from detectors.testing import KEY, agent, llm, session, tool


class NoConfig(msgspec.Struct, frozen=True):
    pass


class ToldByName(Detector[Any]):
    """Answers as the tool of the step is named."""

    name: ClassVar[str] = "told_by_name"
    halt_reason: ClassVar[str | None] = None

    Config: ClassVar[type[msgspec.Struct]] = NoConfig

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002
        if step.name == "clear":
            return CLEAR
        if step.name == "raise":
            msg = "broken"
            raise ValueError(msg)
        if step.name not in {"warning", "critical", "halt"}:
            return None
        return Signal(
            severity=Severity.WARNING if step.name == "warning" else Severity.CRITICAL,
            score=0.5,
            summary="Told.",
            evidence={"step": step.seq},
            threshold={"x": 1.0},
            first_step_seq=step.seq,
            halt_eligible=step.name == "halt",
        )

    def tick(self, tick: Tick, context: Context) -> Answer:  # noqa: ARG002
        return Signal(
            severity=Severity.WARNING, score=0.1, summary="Silent.", evidence={"at": tick.at_ns}, threshold={"x": 1.0}, first_step_seq=0
        )


def host(**options: Any) -> DetectorHost:
    return DetectorHost(KEY, detectors=(ToldByName,), **options)


def seen(watched: DetectorHost, *names: str, first_seq: int = 1) -> list[tuple[int, int, str, bool]]:
    found: list[Finding] = []
    for step in session(*(tool(name) for name in names), first_seq=first_seq):
        found += watched.observe(step)[1]
    return [(each.step_seq, each.episode, each.severity.value, each.halt_eligible) for each in found]


def test_an_episode_is_told_when_it_opens_and_when_it_gets_worse() -> None:
    told = seen(host(), "warning", "warning", "critical", "warning", "critical", "halt", "halt")
    assert told == [(1, 1, "warning", False), (3, 1, "critical", False), (6, 1, "critical", True)]


def test_clear_closes_and_the_next_signal_opens_another() -> None:
    watched = host()
    assert seen(watched, "warning", "clear", "clear", "other", "critical") == [(1, 1, "warning", False), (5, 2, "critical", False)]
    assert watched.open_episodes()["told_by_name"].number == 2


def test_a_finding_names_everything() -> None:
    watched = host(modes={"told_by_name": "armed"}, agent_type="research", workflow_id="w")
    (step,) = session(tool("critical"))
    (finding,) = watched.observe(step)[1]
    assert finding.id == finding_id(KEY, "told_by_name", 1)
    assert (finding.mode, finding.agent_type, finding.workflow_id) == ("armed", "research", "w")
    assert (finding.span_id, finding.trace_id, finding.at_ns) == (step.span_id, step.trace_id, step.ended_ns)


def test_a_detector_that_raises_is_dropped_and_reported() -> None:
    reported: list[tuple[str, str]] = []
    watched = DetectorHost(
        KEY, detectors=(ToldByName, ExactLoop), on_error=lambda name, _, error: reported.append((name, type(error).__name__))
    )
    assert seen(watched, "raise", "critical") == []
    assert reported == [("told_by_name", "ValueError")]
    assert watched.dropped == {"told_by_name"}


def test_a_session_of_agent_spans_alone_is_judged() -> None:
    watched = DetectorHost(KEY)
    steps = session(*(agent("verifier", "Please verify the figures once more.", "Verified them: all fine, as before.") for _ in range(8)))
    assert [each.detector for step in steps for each in watched.observe(step)[1]]


def test_rebuilding_tells_nothing_twice() -> None:
    watched = host()
    steps = session(*(tool(name) for name in ("warning", "clear", "critical", "other")))
    for step in steps:
        watched.observe(step)
    assert watched.rebuild(steps) == []
    assert watched.open_episodes()["told_by_name"].number == 2


def test_rebuilding_tells_what_got_worse_under_the_same_id() -> None:
    watched = host()
    steps = session(tool("warning"), tool("other"))
    first = [finding for step in steps for finding in watched.observe(step)[1]]
    worse = watched.rebuild([steps[0], msgspec.structs.replace(steps[1], name="critical")])
    assert [(each.severity, each.episode) for each in worse] == [(Severity.CRITICAL, 1)] or worse[0].episode == 1
    assert worse[0].id == first[0].id


def test_rebuilding_closes_what_is_no_longer_there_and_numbers_go_on() -> None:
    watched = host()
    steps = session(tool("critical"), tool("other"))
    for step in steps:
        watched.observe(step)
    amended = [msgspec.structs.replace(steps[0], name="other"), steps[1]]
    assert watched.rebuild(amended) == []
    assert watched.open_episodes() == {}
    assert seen(watched, "critical", first_seq=3) == [(3, 2, "critical", False)]


def test_rebuilding_leaves_the_counts_alone() -> None:
    watched = host()
    steps = session(llm(cost_usd=1), tool("x"), llm(cost_usd=2))
    for step in steps:
        watched.observe(step)
    watched.rebuild(steps[1:])
    context = watched.context
    assert (context.steps, context.llm_calls, context.tool_calls, context.cost_usd) == (3, 2, 1, Decimal(3))


def test_a_release_closes_and_keeps_quiet_for_its_grace() -> None:
    watched = host()
    seen(watched, "critical")
    watched.release(2)
    assert watched.open_episodes() == {}
    assert seen(watched, "critical", "critical", "critical", first_seq=2) == [(4, 2, "critical", False)]


def test_what_was_released_is_not_told_again_on_rebuilding() -> None:
    watched = host()
    steps = session(tool("critical"), tool("other"), tool("other"))
    watched.observe(steps[0])
    watched.release(0)
    for step in steps[1:]:
        watched.observe(step)
    assert watched.rebuild(steps) == []
    assert watched.open_episodes() == {}


def test_a_loop_goes_on_through_pickling() -> None:
    steps = session(*(tool("read", {"path": "a"}, "no such file") for _ in range(10)))
    straight, broken = DetectorHost(KEY), DetectorHost(KEY, on_error=lambda *_: pytest.fail("raised"))
    expected = [straight.observe(step) for step in steps]
    answers = []
    for step in steps:
        answers.append(broken.observe(step))
        broken = pickle.loads(pickle.dumps(broken))  # noqa: S301
    assert answers == expected


def test_ticks_reach_detectors() -> None:
    (finding,) = host().tick(Tick(seq=9, at_ns=77))
    assert (finding.step_seq, finding.at_ns, finding.span_id) == (9, 77, "")


def test_the_owner_may_know_cost_and_steps_better() -> None:
    watched = host()
    (step,) = session(llm(cost_usd=1))
    watched.observe(step, cost_usd=Decimal(7), steps=40)
    assert (watched.context.cost_usd, watched.context.steps) == (Decimal(7), 40)
    watched.observe(step, count=False)
    assert watched.context.steps == 40


def test_run_counts_as_the_host_does() -> None:
    steps = session(llm(cost_usd="0.5"), tool("x"), agent("a"))
    watched, context = host(), Context()
    for step in steps:
        watched.observe(step)
        testing.count(context, step)
    mine = (context.steps, context.llm_calls, context.tool_calls, context.cost_usd)
    assert mine == (watched.context.steps, watched.context.llm_calls, watched.context.tool_calls, watched.context.cost_usd)


class OnlyModels(ToldByName):
    """The same, for model calls alone, and quiet while the other has spoken."""

    name: ClassVar[str] = "only_models"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM})
    yields_to: ClassVar[tuple[str, ...]] = ("told_by_name",)


def test_a_detector_sees_only_its_kinds() -> None:
    watched = DetectorHost(KEY, detectors=(OnlyModels,))
    steps = session(tool("critical"), llm("critical"))
    assert [[each.step_seq for each in watched.observe(step)[1]] for step in steps] == [[], [2]]


def test_what_another_says_more_precisely_is_not_said_again() -> None:
    watched = DetectorHost(KEY, detectors=(ToldByName, OnlyModels))
    found = [(each.detector, each.severity.value) for step in session(llm("warning"), llm("halt")) for each in watched.observe(step)[1]]
    assert found == [("told_by_name", "warning"), ("told_by_name", "critical")]


def test_findings_number_the_steps_of_the_session_whatever_their_sequence() -> None:
    watched = host()
    steps = [msgspec.structs.replace(step, seq=step.seq * 100) for step in session(*(tool(n) for n in ("a", "b", "critical")))]
    (finding,) = [each for step in steps for each in watched.observe(step)[1]]
    assert (finding.step, finding.first_step, finding.step_seq) == (3, 3, 300)
    assert watched.numbered == 3
    assert watched.rebuild([steps[0], steps[2]]) == []
    assert watched.numbered == 2


def test_long_sessions_are_numbered_on() -> None:
    watched = host()
    for step in session(*(tool("x") for _ in range(1000))):
        watched.observe(step)
    (finding,) = watched.observe(session(tool("critical"), first_seq=1001)[0])[1]
    assert finding.step == 1001


def test_a_release_ends_the_halt_that_zombies_are_measured_by() -> None:
    watched = host()
    watched.context.halted_at_ns = 5
    watched.release(0)
    assert watched.context.halted_at_ns is None
