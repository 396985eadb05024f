"""Figures in the answers to one call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.features import FeatureState
from detectors.no_progress import NoProgress
from detectors.progress import Moved, advances, differs, reading
from detectors.soft_loop import SoftLoop
from detectors.step_features import StepFeatures
from detectors.testing import agent, run, session, tool


def observed(answers: list[str]) -> list[StepFeatures]:
    state = FeatureState()
    return [state.observe(step) for step in session(*(tool("shell", {"cmd": "make status"}, answer) for answer in answers))]


@pytest.mark.parametrize(
    ("answers", "onward"),
    [
        (["2 of 11 parts of the long job are there by now", "3 of 11 parts of the long job are there by now"], True),
        (["3 of 11 parts of the long job are there by now", "2 of 11 parts of the long job are there by now"], False),
        (["copied 12%, 40 MB/s", "copied 19%, 38 MB/s"], True),
        (["copied 19%, 40 MB/s", "copied 12%, 41 MB/s"], False),
        (["READY 3/12\nweb 3", "READY 3/12\nweb 3"], False),
        (["890 left", "870 left"], False),
        (["890 left", "870 left", "840 left"], True),
        (["890 left", "870 left", "880 left"], False),
        (["load 4, users 7", "load 5, users 6", "load 6, users 6"], True),
        (["load 4, users 7", "load 5, users 6", "load 6, users 9"], False),
        (["Attempt 1 of 5 failed", "Attempt 2 of 5 failed", "Attempt 3 of 5 failed"], False),
        (["no change after 30 s", "no change after 60 s", "no change after 90 s"], False),
        (["idle, 3 minutes old", "idle, 4 minutes old", "idle, 5 minutes old"], False),
        (['{"state": "open", "request_id": 11}', '{"state": "open", "request_id": 12}', '{"state": "open", "request_id": 13}'], False),
        (["idle at 12:01", "idle at 12:02", "idle at 12:03"], False),
    ],
)
def test_figures_that_move_one_way_are_progress(answers: list[str], onward: bool) -> None:
    *_, last = observed(answers)
    assert (last.moved is Moved.ONWARD) is onward


@pytest.mark.parametrize(
    ("one", "other", "moved"),
    [
        ("latency 80 of web", "latency 71 of web", True),
        ("latency 80 of web", "latency 71 of mail", False),
        ("try 3: nothing", "try 4: nothing", False),
        ("Chunk ID: fb968d, exit 0", "Chunk ID: 0566b9, exit 0", False),
        ("Chunk ID: 210465, exit 0", "Chunk ID: fb968d, exit 1", True),
        ("built v12 of ab34", "built v13 of ab35", False),
        ("0 rows in 31 ms", "0 rows in 48 ms", False),
    ],
)
def test_figures_that_change_by_themselves_are_no_difference(one: str, other: str, moved: bool) -> None:
    assert differs(reading(other), reading(one)) is moved


def test_a_call_that_advanced_is_waited_with_when_it_stands_still() -> None:
    features = observed([f"{ready} of 11 parts of the long job are there by now" for ready in (2, 3, 3, 3)])
    assert [each.polls for each in features] == [False, True, True, True]


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_can_be_read(one: str, other: str) -> None:
    advances(reading(one), [reading(other), reading(one + " 1")])
    differs(reading(one), reading(other))


@given(st.lists(st.text(alphabet="0123456789.,:/%hmsd of\u0663", max_size=40), max_size=8))
def test_any_figures_can_be_read(texts: list[str]) -> None:
    observed(texts)
    readings = [reading(text) for text in texts]
    for place in range(len(readings)):
        advances(readings[place], readings[:place])


@pytest.mark.parametrize(
    ("earlier", "later", "climbs"),
    [
        ("Score: 46/100. Weakest: sentence 5.", "Score: 55/100. Weakest: sentence 2.", True),
        ("46 points of 100. Too long.", "55 points of 100. Dry.", True),
        ("Score: 55/100.", "Score: 46/100.", False),
        ("Score: 55/100.", "Score: 55/100.", False),
        ("Score: 5/10.", "Score: 46/100.", False),
        ("Iteration 3/20: dry.", "Iteration 4/20: dry.", False),
        ("style 3/5, facts 4/5", "style 4/5, facts 2/5", False),  # which of them counts is not known
    ],
)
def test_a_mark_that_goes_up_is_progress(earlier: str, later: str, climbs: bool) -> None:
    state = FeatureState()
    *_, last = [
        state.observe(step) for step in session(agent("critic", "Mark this: a b", earlier), agent("critic", "Mark this: a c", later))
    ]
    assert last.climbs is climbs


@pytest.mark.parametrize(("marks", "loops"), [((46, 55, 58, 63, 68, 70, 76), False), ((46,) * 7, True)])
def test_drafts_whose_mark_goes_up_are_no_loop(marks: tuple[int, ...], loops: bool) -> None:
    words = ["the fixture belongs to ulm", "its payload is 81", "see the notes of 1750", "open the lint", "schema fell to 13"]
    steps = []
    for draft, mark in enumerate(marks):
        text = ". ".join(words[: draft % 5] + words[draft % 5 + 1 :])
        steps += [agent("scribe", "Improve the draft.", text), agent("critic", "Mark this draft.", f"Score: {mark}/100. Still dry.")]
    assert bool(run(SoftLoop, session(*steps))) is loops


def test_ids_alone_are_no_reading() -> None:
    ids = ("fb968d", "fd135d", "90589f", "210465", "d126a7", "6892bf", "96b209", "66e234")
    words = (
        "refund policy annual",
        "annual refund policy",
        "policy on refunds",
        "refunds annual policy",
        "the refund policy",
        "refund annual",
    )
    looks = [
        tool(
            "exec_command",
            {"cmd": f"grep -rn '{asked}' ."},
            f"Chunk ID: {each}\nProcess exited with code 0\nOriginal token count: 0\nOutput:",
        )
        for asked, each in zip((*words, *words[:2]), ids, strict=True)
    ]
    assert run(NoProgress, session(*looks))
