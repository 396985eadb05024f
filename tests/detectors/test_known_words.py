"""Sessions in which hardly a word is new: what differs as a whole is no loop, and what repeats as a whole is one."""

from collections.abc import Iterable, Iterator
from itertools import combinations, cycle, islice, permutations
from typing import Any

import pytest

from detectors import DETECTORS
from detectors.features import FeatureState, StepFeatures
from detectors.host import DetectorHost
from detectors.model import Severity, Step
from detectors.testing import KEY, agent, llm, session, tool

TESTS = [f"test_{word}" for word in ("parser", "lexer", "pool", "cache", "token", "shard")]
RECEIPT = "Thank you, we have taken this in; a letter goes out with the round of tonight."


def levels(steps: Iterable[Step]) -> tuple[bool, bool]:
    """Whether anything was critical, and whether anything may halt."""
    host = DetectorHost(KEY, detectors=DETECTORS)
    found = [finding for step in session(*steps) for finding in host.observe(step)[1]]
    return any(each.severity is Severity.CRITICAL for each in found), any(each.halt_eligible for each in found)


def observed(*steps: Step) -> list[StepFeatures]:
    state = FeatureState()
    return [state.observe(step) for step in session(*steps)]


def reports() -> Iterator[str]:
    """Reports of ever other two failing tests out of six."""
    for number, failing in enumerate(cycle(combinations(TESTS, 2))):
        yield "\n".join(f"FAILED {name}" for name in failing) + f"\n2 failed, {10 + number % 3} passed in {number % 7}.3s"


def edited_and_tested() -> Iterator[Step]:
    for number, report in enumerate(islice(reports(), 30)):
        yield tool("edit_file", {"file": "a.py", "content": " ".join(TESTS[number % 4 :])}, "The file was updated.")
        yield tool("run_tests", {"target": "all"}, report)


def edited_and_tested_by_agents() -> Iterator[Step]:
    said = "Make the tests pass."
    for failing in islice(cycle(permutations(TESTS, 2)), 30):
        changed = f"I changed the {failing[1][5:]} and then the {failing[0][5:]}. Please run the tests again."
        yield agent("coder", said, changed)
        said = f"Failing: {failing[0]}, {failing[1]}. 2 of 6 fail."
        yield agent("tester", "Please run the tests again.", said)


def invited() -> Iterator[Step]:
    for number in range(20):
        yield tool("invite", {"people": [{"first": f"Ann{chr(97 + number)}", "last": f"Bee{chr(98 + number)}"}], "role": "guest"}, RECEIPT)


def listed() -> Iterator[Step]:
    for number in range(20):
        names = [f"Ann{chr(97 + number)} Bee{chr(97 + number)}", f"Carl{chr(97 + number)} Dee{chr(97 + number)}"]
        yield tool("invite", {"names": names}, RECEIPT)


def windows() -> Iterator[Step]:
    for hour in range(22):
        window = {"from": f"2026-03-02T{hour:02}:00:00Z", "to": f"2026-03-02T{hour + 1:02}:00:00Z"}
        yield tool("get_events", window, "No events were recorded by any of the sensors in the window that was asked for.")


def sorted_by_a_model() -> Iterator[Step]:
    form = "Answer with a JSON object that holds the label, one of praise, blame and other, and nothing else at all, please, not a word."
    for number in range(20):
        text = " ".join(f"w{number * 7 + each}" for each in range(9))
        yield llm(text='{"label": "praise", "confidence": 0.9}', input_text=f"Sort this.\n\n{text}\n\n{form}", agent="sorter")


def screens() -> Iterator[Step]:
    for number in range(20):
        yield tool("screenshot", {}, "[image]")
        yield tool("click", {"x": number * 31 % 700, "y": number * 17 % 400}, "")


def person_asked() -> Iterator[Step]:
    for number in range(20):
        yield llm(text=f"Let me ask about {TESTS[number % 6]}.", agent="guesser")
        yield tool("ask_user", {"question": f"Is it like {TESTS[number % 6]}?"}, ("Yes, it is.", "No, it is not.")[number * 7 % 5 % 2])


@pytest.mark.parametrize(
    "steps", [edited_and_tested, edited_and_tested_by_agents, invited, listed, windows, sorted_by_a_model, screens, person_asked]
)
def test_what_differs_as_a_whole_is_no_loop(steps: Any) -> None:
    assert levels(steps()) == (False, False)


def stuck_tests() -> Iterator[Step]:
    for number in range(14):
        yield tool("edit_file", {"file": "a.py", "content": f"return {number * 37} or w{number * 11}"}, "ok")
        yield tool(
            "run_tests",
            {"target": "all"},
            f"FAILED test_pool: expected 3, got 4 in the pool of the shard\n1 failed, 9 passed in {number}.1s",
        )


def test_a_report_that_stays_the_same_is_still_found() -> None:
    assert levels(stuck_tests()) == (True, False)


def test_tools_in_turn_are_halted_though_stamps_and_ids_differ() -> None:
    steps = []
    for number in range(10):
        stamp = f"at 2026-03-02T10:{number:02}:31.{number}17Z, request {number * 7 + 4096:016x}"
        steps.append(tool("search", {"q": "pool size"}, f"One hit: the size of the pool is set by its owner ({stamp})"))
        steps.append(tool("open", {"page": "pool"}, f"Ask the owner of the pool for its size, or search for it ({stamp})"))
    assert levels(steps) == (True, True)


def test_a_model_that_repeats_itself_in_a_growing_conversation_is_halted() -> None:
    said = "Next I look at the pool and then decide on its size."
    history = ["Find out how large the pool may be."]
    steps = []
    for _ in range(12):
        steps.append(llm(text=said, input_text="\n".join(history), agent="planner"))
        history += [said, "continue"]
    assert levels(steps) == (True, True)


def test_what_a_model_was_asked_must_be_known_to_halt_it() -> None:
    said = "Next I look at the pool and then decide on its size."
    assert levels(llm(text=said, agent="planner") for _ in range(20)) == (True, False)


def test_an_answer_made_of_known_words_changed() -> None:
    first, second, third, again = observed(*(tool("run", {}, text) for text in ("a b c d e", "b c d e a", "b c d e a", "a b c d e")))
    assert [each.changed for each in (first, second, third, again)] == [False, True, False, True]
    assert [each.unsteady for each in (first, second, third, again)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("arguments", "wrote"),
    [
        ({"key": "depth", "value": "low"}, True),
        ({"value": "high", "key": "depth"}, False),
        ({"key": "high", "value": "depth"}, False),
    ],
)
def test_a_write_of_known_words_is_an_act_unless_they_only_changed_places(arguments: dict[str, str], wrote: bool) -> None:
    before = [{"key": "depth", "value": "high"}, {"key": "width", "value": "low"}, {"key": "width", "value": "high"}]
    *_, last = observed(*(tool("set_option", each, "The option was set and stored.") for each in (*before, arguments)))
    assert (last.wrote, last.argument_news) == (wrote, 0)


def test_a_report_of_what_a_write_came_to_is_no_receipt() -> None:
    said = "Lines were written. There are 2 tests of this project that fail with them."
    *_, last = observed(*(tool("write_fix", {"line": text}, said) for text in ("a b", "b c", "a c")))
    assert (last.writes, last.receipt, last.wrote) == (True, False, False)


@pytest.mark.parametrize("result", ["[image]", "<redacted>", "[screenshot omitted]", "(binary data)"])
def test_what_was_left_out_is_not_known(result: str) -> None:
    *_, last = observed(*(tool("look", {"at": "it"}, result) for _ in range(3)))
    assert (last.unread, last.result_novelty, last.same_result_as) == (True, None, None)


def test_signs_alone_say_what_they_say_as_a_whole() -> None:
    *_, moved, same = observed(*(tool("step", {"to": str(n)}, board) for n, board in enumerate(("#..@", "#.@.", "#@..", "#@.."))))
    assert (moved.new_words, same.new_words, same.found_nothing) == (1, 0, False)


def test_known_answers_to_different_calls_vary() -> None:
    calls = observed(
        *(
            tool("guess", {"word": word}, said)
            for word, said in (("a", "too short"), ("b", "too long"), ("c", "too short"), ("d", "too short"))
        )
    )
    assert [each.varied for each in calls[2:]] == [True, False]
