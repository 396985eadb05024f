"""The labelled corpus of the detection scorecard: complete, reproducible, and quiet where nothing is wrong."""

import pytest

from benchmarks.detection import corpus, front_door, report, running, together
from benchmarks.detection.calibrate import count, unforeseen, watched
from benchmarks.detection.calibrate import together as judged_together
from benchmarks.detection.labelled import LOOPS, Labelled
from benchmarks.detection.loops import POSITIVE
from benchmarks.detection.scoring import Judged, calibrate, overall, upper_bound
from benchmarks.detection.together import GOES_WRONG, HEALTHY
from benchmarks.detection.writer import HALVES, Writer, lexicon
from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.calibration import COUNTED, PRIOR_SCENARIOS, shares
from detectors.checks import AnyDetector
from detectors.fleet import FLEET_DETECTORS
from detectors.model import Severity

DIGEST = "e663b4b44660f33056619db0b8519deb"
"""Of the corpus made from the default seed. A change of scenarios or words changes it: write the scorecard anew with it."""


@pytest.fixture(scope="module")
def made() -> list[Labelled]:
    return corpus.sessions()


@pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.name)
def test_every_detector_has_a_scenario(kind: AnyDetector) -> None:
    expected = {cause for causes, _ in POSITIVE.values() for cause in causes}
    assert expected & {kind.name, kind.halt_reason}, f"no scenario in benchmarks/detection expects {kind.name}"


@pytest.mark.parametrize("name", [kind.name for kind in (*FLEET_DETECTORS, *WORKFLOW_DETECTORS)])
def test_every_detector_of_many_sessions_has_scenarios_of_both_sorts(name: str) -> None:
    assert [one for one, (detector, _) in GOES_WRONG.items() if detector == name], f"no scenario expects {name}"
    assert [one for one, (misled, _) in HEALTHY.items() if name in misled], f"no healthy scenario looks like what {name} looks for"


def test_stories_of_many_sessions_are_found_once_and_healthy_ones_are_left_alone() -> None:
    told = [(story, together.watch(story)) for story in corpus.together(each=2)]
    for name in together.TOGETHER:
        figures, once = together.measure(told, name, "warning")
        assert (figures.early, figures.false) == (0, 0), name
        if name != "ping_pong":  # in fresh words it is often missed, and ends and begins anew
            assert (figures.missed, once) == (0, figures.found), name


def test_a_healthy_story_halts_nobody() -> None:
    told = [(story, together.watch(story)) for story in corpus.together("another", each=2) if story.expects is None]
    assert not [story.id for story, found in told if any(one.halt_eligible for _, one in found)]


def test_large_enough(made: list[Labelled]) -> None:
    positives = [session for session in made if session.positive]
    assert len(made) >= 200
    assert len(positives) >= 100
    assert len(made) - len(positives) >= 100


def test_seed_reproduces(made: list[Labelled]) -> None:
    assert corpus.digest(made) == DIGEST
    assert corpus.digest(corpus.sessions("another", each=1)) == corpus.digest(corpus.sessions("another", each=1))
    assert corpus.digest(corpus.sessions("another", each=1)) != corpus.digest(corpus.sessions(each=1))


def test_labels_are_sound(made: list[Labelled]) -> None:
    assert len({session.id for session in made}) == len(made)
    for session in made:
        assert session.positive == (session.onset is not None), session.id
        assert session.onset is None or session.onset < len(session.steps), session.id
        assert len({step.span_id for step in session.steps}) == len(session.steps), session.id


def test_halves_share_no_words() -> None:
    tune, test = (lexicon(half) for half in HALVES)
    for slot in ("facts", "questions", "nothing", "stale", "thoughts", "roots", "common"):
        assert not set(tune[slot]) & set(test[slot]), slot
    assert not set(tune["other_tools"].values()) & set(test["other_tools"].values())
    assert not set(tune["languages"]) & set(test["languages"])
    agents = [{agent for words in half["domains"].values() for agent in words["agents"]} for half in (tune, test)]
    assert not agents[0] & agents[1]
    for domain, words in tune["domains"].items():
        others = test["domains"][domain]
        assert not set(words["tools"].values()) & set(others["tools"].values()), domain
        assert not set(words["subjects"]) & set(others["subjects"]), domain


def test_a_writer_says_the_same_again() -> None:
    first, second = (Writer("tune", "coding", "x").text(20) for _ in range(2))
    assert first == second
    assert first != Writer("tune", "coding", "y").text(20)


def test_healthy_sessions_are_not_halted(made: list[Labelled]) -> None:
    runs = running.watch_all([*corpus.healthy(150), *(session for session in made if not session.positive)])
    assert len(runs) > 500
    assert {run.session.id: run.session.scenario for run in runs if any(fire.halt_eligible for fire in run.fires)} == {}


def test_scores_mean_what_they_say(made: list[Labelled]) -> None:
    test = [session for session in made if session.half == "test"][::3]
    findings = judged_together(*watched(test))
    found = calibrate([(each.fire.score, each.right) for each in findings])
    assert found is not None
    assert found.ece <= 0.05


def test_a_worse_level_is_surer() -> None:
    share = shares(COUNTED, PRIOR_SCENARIOS)
    for (detector, level, evidence), (right, scenarios) in COUNTED.items():
        assert 0 <= right <= scenarios, detector
        worse = (detector, "halt" if level == "critical" else "critical", evidence)
        if level != "halt" and worse in COUNTED:
            assert share(worse) >= share((detector, level, evidence)), worse


def test_a_scenario_has_one_vote() -> None:
    fire = running.Fire(
        detector="d", cause="d", at=1, severity=Severity.WARNING, halt_eligible=False, evidence="content", score=0.5, strength=0.5
    )
    findings = [Judged(fire, right, scenario) for right, scenario in ((True, "a"), (True, "a"), (True, "a"), (False, "b"))]
    assert count(findings) == {fire.kind: (1.0, 2)}
    assert shares(count(findings), 1)(fire.kind) == pytest.approx((1 + 2 / 4) / 3)
    assert unforeseen(findings, 1) > unforeseen(findings[:3], 1)


def test_every_detector_was_counted() -> None:
    assert {kind.name for kind in DETECTORS if kind.scope == "session"} <= {detector for detector, _, _ in COUNTED}


@pytest.mark.slow
def test_front_door_finds_the_same(made: list[Labelled]) -> None:
    sample = [session for session in made if not session.circumstances][::17]
    direct, through = running.watch_all(sample), front_door.watch_all(sample)
    for ours, theirs in zip(direct, through, strict=True):
        told = [[(fire.detector, fire.at, fire.severity, fire.halt_eligible) for fire in run.fires] for run in (ours, theirs)]
        assert told[0] == told[1], ours.session.id


def test_known_loops_are_found(made: list[Labelled]) -> None:
    runs = running.watch_all([session for session in made if LOOPS.intersection(session.expects) or not session.positive][::5])
    figures = overall(runs, "critical")
    assert figures.recall is not None
    assert figures.recall >= 0.85
    assert figures.precision is not None
    assert figures.precision >= 0.85
    assert "exact_loop" in report.by_detector(runs)


def test_calibration_adds_up() -> None:
    found = calibrate([(0.25, False), (0.25, True), (0.95, True)])
    assert found is not None
    assert [each.count for each in found.bins] == [2, 1]
    assert found.brier == pytest.approx((0.0625 + 0.5625 + 0.0025) / 3)
    assert found.ece == pytest.approx((2 * 0.25 + 0.05) / 3)


@pytest.mark.parametrize(("failures", "trials", "expected"), [(0, 3000, 0.000998), (1, 100, 0.04656), (5, 5, 1.0)])
def test_upper_bound_is_clopper_pearson(failures: int, trials: int, expected: float) -> None:
    assert upper_bound(failures, trials) == pytest.approx(expected, rel=1e-3)
