"""What each step says about repetition."""

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.checks import odd_steps, workload
from detectors.features import FeatureState
from detectors.model import Step
from detectors.step_features import StepFeatures
from detectors.testing import agent, llm, session, tool
from detectors.text import _VOLATILE, canonical, leaves, mask, quote, reads_as_failure, words

_PARTS = ("1.5 s", "2ms", "9\tus", "5\x1dsec", "0xBEEF12", "0x12", "12:30:11", "12:30", "2026-01-02T03:04", "deadbeefdead1", "1234567890",
          "abcdefab-abcd-abcd-abcd-abcdefabcdef", "123", "a", "_", " ", "-", "É", "\u0663 ms", "Z")  # fmt: skip


def observed(*steps: Step) -> list[StepFeatures]:
    state = FeatureState()
    return [state.observe(step) for step in session(*steps)]


def test_the_first_call_has_nothing_to_be_compared_with() -> None:
    (first,) = observed(tool("search", {"q": "robots"}, "three pages about robots"))
    assert (first.first, first.argument_similarity, first.same_call_as, first.result_novelty) == (True, None, None, 0.75)


def test_an_id_and_nothing_else_is_another_answer_each_time() -> None:
    ids = ["5f1c0de4-a1b2-4c3d-8e4f-0123456789ab", "6f1c0de4-a1b2-4c3d-8e4f-0123456789ab"]
    *_, bare = observed(*(tool("draw_id", {}, each) for each in ids))
    *_, told = observed(*(tool("create", {}, f"created {each}") for each in ids))
    assert (bare.same_result_as, told.same_result_as) == (None, 1)


def test_only_equal_arguments_have_a_similarity_of_one() -> None:
    head = "import pandas as pd; " * 20
    calls = [f"{head}print(1)", f"{head}plot(2)", f"{head}print(1)"]
    _, other, same = observed(*(tool("python", {"code": code}, "done") for code in calls))
    assert other.argument_similarity is not None
    assert 0.9 < other.argument_similarity < 1
    assert (same.argument_similarity, same.similar_to, same.same_call_as) == (1.0, 1, 1)


@pytest.mark.parametrize(
    ("first", "then", "settled"),
    [
        ({"error": True, "result": "busy"}, {"result": "the whole of the report"}, True),
        ({"error": True, "error_message": "busy"}, {}, True),
        ({"error": True, "result": "busy"}, {"error": True, "result": "busy"}, False),
        ({"result": "the report"}, {"result": "the report"}, False),
    ],
)
def test_the_same_call_without_an_error_settles_a_failure(first: dict[str, Any], then: dict[str, Any], settled: bool) -> None:
    *_, last = observed(tool("open", {"q": "report"}, **first), tool("open", {"q": "report"}, **then))
    assert last.settles is settled


@pytest.mark.parametrize(
    ("answer", "polls"),
    [
        ("Waiting for the rollout of web to finish: none of the new parts answers any of the questions yet, look again", True),
        ("The oven of the bakery in the old town is a large one, and for the bread it takes a whole hour of waiting", False),
    ],
)
def test_an_answer_that_begins_with_waiting_is_waited_for(answer: str, polls: bool) -> None:
    *_, last = observed(*(tool("s", {"q": "web"}, answer) for _ in range(2)))
    assert last.polls is polls


def test_an_equal_call_names_the_first_and_brings_nothing() -> None:
    *_, last = observed(*(tool("search", {"q": "robots"}, "three pages") for _ in range(3)))
    assert (last.argument_similarity, last.same_call_as, last.same_result_as, last.result_novelty) == (1.0, 1, 2, 0.0)
    assert last.same_outcome


@pytest.mark.parametrize(
    "again",
    [
        {"limit": 5, "q": "acme robots third quarter"},
        {"q": "acme robots third quarter", "limit": 5, "request_id": "7abec539007d1034d726c86b9c3a23cd"},
        {"q": "acme robots third quarter", "limit": 5, "at": "2026-03-02T07:42:59.358Z"},
    ],
)
def test_order_of_keys_and_nonces_make_no_other_call(again: dict[str, Any]) -> None:
    *_, last = observed(tool("s", {"q": "acme robots third quarter", "limit": 5}, "x y z"), tool("s", again, "x y z"))
    assert last.same_call_as == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"order": "5f1c0de4-a1b2-4c3d-8e4f-0123456789ab"}, {"order": "5f1c0de4-a1b2-4c3d-8e4f-0123456789ac"}),
        ({"item": 4072914155}, {"item": 4072914156}),
        ({"hour": "2026-03-02T07:00:00Z"}, {"hour": "2026-03-02T08:00:00Z"}),
        ("close 4bf92f3577b34da6a3ce929d0e0e4736", "close 4bf92f3577b34da6a3ce929d0e0e4737"),
    ],
)
def test_an_id_that_is_no_nonce_makes_another_call(one: object, other: object) -> None:
    *_, last = observed(tool("s", one, "ok"), tool("s", other, "ok"))
    assert last.same_call_as is None


@pytest.mark.parametrize(
    ("arguments", "another"),
    [
        ([{"path": "a/one.txt"}, {"path": "a/two.txt"}, {"path": "b/one.txt"}], True),
        ([{"seat": 1}, {"seat": 2}, {"seat": 3}], True),
        ([{"person": "Ada Brandt"}, {"person": "Bo Conti"}, {"person": "Chiara Orlov"}], True),
        (["Ada Brandt", "Bo Conti", "Chiara Orlov"], True),
        ([{"page": 1}, {"page": 2}, {"page": 3}], False),
        ([{"q": "robots", "limit": 5}, {"q": "robots", "limit": 10}, {"q": "robots", "limit": 50}], False),
        ([{"q": "price of robots in 2024"}, {"q": "robots, their price 2024"}, {"q": "what do robots cost, 2024"}], False),
        ([{"q": "price of robots"}, {"q": "robots, their price"}, {"q": "what do robots cost at acme.example"}], False),
    ],
)
def test_a_call_is_about_another_thing_where_each_names_its_own(arguments: list[object], another: bool) -> None:
    *_, last = observed(*(tool("s", each, "Taken in; the rest follows by mail.") for each in arguments))
    assert last.another is another


def test_what_only_acknowledges_may_have_changed_something() -> None:
    saved, *_, looked_up, refused = observed(
        tool("keep", {"note": "one"}, "ok"),
        tool("keep", {"note": "two"}, "ok"),
        tool("get_note", {"note": "two"}, "ok"),
        tool("get_note", {"note": "three"}, "ok"),
        tool("keep", {"note": "four"}, "ok", error=True),
    )
    _, kept = observed(tool("keep", {"note": "one"}, "ok"), tool("keep", {"note": "two"}, "ok"))
    assert [each.acted for each in (saved, kept, looked_up, refused)] == [False, True, False, False]


def test_another_value_makes_another_call() -> None:
    *_, last = observed(tool("s", {"q": "robots", "page": 1}, "a b c"), tool("s", {"q": "robots", "page": 2}, "d e f"))
    assert last.same_call_as is None
    assert last.argument_similarity is not None
    assert last.argument_similarity > 0.8


def test_what_is_cut_off_still_tells_calls_apart() -> None:
    long = "x" * 5000
    *_, last = observed(tool("write", long + "a", "ok"), tool("write", long + "b", "ok"))
    assert last.same_call_as is None


def test_durations_and_ids_in_a_result_are_nothing_new() -> None:
    *_, last = observed(
        tool("s", {"q": "a"}, "No match. took 31 ms, request 22dd113cc8c4aa at 2026-03-02T00:54:04.628Z"),
        tool("s", {"q": "b"}, "No match. took 99 ms, request 84aa113cc8c4bb at 2026-03-02T01:56:31.294Z"),
    )
    assert (last.result_novelty, last.same_result_as, last.found_nothing) == (0.0, 1, True)


def test_progress_in_digits_is_new() -> None:
    *_, last = observed(tool("job", {"id": 1}, "running 12 of 80"), tool("job", {"id": 1}, "running 25 of 80"))
    assert last.same_result_as is None
    assert last.new_words == 1


def test_echoed_arguments_are_nothing_new() -> None:
    *_, last = observed(tool("f", {"name": "alpha"}, "function alpha not found"), tool("f", {"name": "beta"}, "function beta not found"))
    assert last.result_novelty == 0.0


def test_novelty_is_counted_per_tool() -> None:
    *_, last = observed(tool("a", {"q": 1}, "the very same text"), tool("b", {"q": 1}, "the very same text"))
    assert last.first
    assert last.result_novelty == 1.0


def test_a_list_gone_through_is_told_from_a_question_reworded() -> None:
    *_, listed = observed(*(tool("check", {"company": name}, "no match") for name in ("Hooli", "Initech", "Globex")))
    *_, reworded = observed(*(tool("check", {"q": q}, "no match") for q in ("acme q3 revenue", "q3 revenue acme", "revenue acme q3")))
    assert listed.enumerates
    assert not reworded.enumerates


def found_nothing(*patterns: str) -> StepFeatures:
    *_, last = observed(*(tool("grep", {"pattern": pattern, "path": "."}, "No matches found.") for pattern in patterns))
    assert last.found_nothing
    return last


def test_the_same_words_put_together_anew_are_no_list_when_nothing_is_found() -> None:
    assert not found_nothing("opening hours", "store.*Ghent", "Ghent.*hours").enumerates
    assert found_nothing("opening hours", "store.*Ghent", "Ghent.*parking").enumerates


@pytest.mark.parametrize(
    "names",
    [
        ("small red", "small blue", "large red", "large blue"),
        ("src/cache/pool.py", "src/net/lock.py", "src/net/cache/pool.py"),
        ("ada.byron@example.test", "byron.test@ada.example"),
        ("case 12 north", "case 13 south", "south case 14"),
    ],
)
def test_names_and_combinations_that_are_looked_up_in_vain_are_a_list(names: tuple[str, ...]) -> None:
    assert found_nothing(*names).enumerates


def test_a_result_of_no_bytes_is_empty_and_one_not_captured_is_like_no_other() -> None:
    unknown, empty, again, other = observed(
        tool("sh", {"cmd": "make"}, None, output_bytes=120),
        tool("sh", {"cmd": "make"}, None, output_bytes=0),
        tool("sh", {"cmd": "make"}, None, output_bytes=0),
        tool("sh", {"cmd": "make"}, None, output_bytes=7),
    )
    assert (unknown.unread, unknown.result_novelty, other.unread, other.result_novelty) == (True, None, True, None)
    assert (empty.same_call_as, empty.same_result_as, empty.same_outcome) == (1, None, False)
    assert (again.same_call_as, again.same_result_as, again.same_outcome) == (1, 2, True)


def test_what_an_agent_answers_does_not_show_that_results_of_tools_are_captured() -> None:
    *_, last = observed(agent("writer", "Write.", "Written."), tool("draw", {"from": "urn"}, None), tool("draw", {"from": "urn"}, None))
    assert (last.same_call_as, last.result_novelty) == (2, None)


def test_an_error_s_message_does_not_show_that_results_are_captured() -> None:
    *_, last = observed(tool("sh", {"cmd": "make"}, None, error=True, error_message="failed"), tool("sh", {"cmd": "make"}, None))
    assert last.result_novelty is None


def test_an_error_flag_in_a_good_result_is_no_failure() -> None:
    assert not reads_as_failure('{"isError": false, "error": null, "text": "written"}')
    assert reads_as_failure("Traceback (most recent call last)")
    assert reads_as_failure('{"error": "disk full"}')


def test_an_agent_invocation_is_a_call() -> None:
    *_, last = observed(*(agent("writer", "Write section two.", "Here is section two.") for _ in range(2)))
    assert (last.key, last.is_call, last.same_call_as, last.result_novelty) == ("agent:writer", True, 1, 0.0)


def test_speech_is_compared_with_speech() -> None:
    first, _, last = observed(
        llm(text="I will look into the account now."), llm(text="Done."), llm(text="I will look into the account now.")
    )
    assert (first.argument_similarity, last.argument_similarity, last.is_call) == (None, 1.0, False)


def test_speech_with_a_call_between_is_not_compared() -> None:
    *_, last = observed(llm(text="I will look into it."), tool("look", "it", "nothing there"), llm(text="I will look into it."))
    assert last.argument_similarity is None
    assert not last.first


def test_what_a_model_spoke_before_a_bare_call_is_told_once() -> None:
    _, one, two = observed(llm(output_tokens=7), tool("t"), tool("t"))
    assert (one.tokens_spoken, two.tokens_spoken) == (7, None)


@given(st.lists(st.sampled_from(_PARTS), max_size=8).map("".join))
def test_texts_that_cannot_hold_anything_volatile_are_told_without_searching(text: str) -> None:
    assert mask(text) == _VOLATILE.sub("~", text.lower())


def test_without_content_nothing_is_known() -> None:
    (bare,) = observed(tool("t"))
    assert msgspec.structs.replace(bare, shape=None) == StepFeatures(key="tool:t", is_call=True)
    assert observed(llm()) == [StepFeatures()]


def test_without_content_sizes_are_reckoned_from_the_growth_of_the_context() -> None:
    turns = [llm(input_tokens=tokens, output_tokens=10) for tokens in (100, 160, 220, 999)]
    seen = observed(turns[0], tool("t"), turns[1], tool("t"), turns[2], tool("t"), turns[3], tool("u"))
    shapes = [features.shape for features in seen if features.shape is not None]
    assert [shape.sizes_repeated for shape in shapes] == [None, 0, 1, 0]
    assert [shape.in_a_row for shape in shapes] == [0, 0, 0, 1]


def test_a_call_without_content_has_no_shape_where_others_have_content() -> None:
    *_, empty = observed(tool("read", "a", "b"), *(tool("scroll") for _ in range(3)))
    assert empty.shape is None


def test_a_missing_result_is_empty_where_results_are_captured() -> None:
    _, missing = observed(tool("sh", "ls", "a.txt"), tool("sh", "touch b.txt", None))
    assert missing.result_novelty == 0.0
    (unknown,) = observed(tool("sh", "touch b.txt", None))
    assert unknown.result_novelty is None


def test_odd_content_never_raises() -> None:
    observed(*odd_steps() * 3)


def test_state_survives_pickling_between_any_two_steps() -> None:
    steps = workload(7, 200)
    straight, broken = FeatureState(), FeatureState()
    for step in steps:
        expected, actual = straight.observe(step), broken.observe(step)
        assert expected == actual
        broken = pickle.loads(pickle.dumps(broken))  # noqa: S301


def test_state_is_bounded() -> None:
    state = FeatureState()
    largest = 0
    for number, step in enumerate(
        session(*(tool(f"t{n % 20}", f"{n} " * 400, " ".join(f"w{n}x{k}" for k in range(400))) for n in range(400)))
    ):
        state.observe(step)
        if number % 50 == 49:
            largest = max(largest, len(pickle.dumps(state)))
    assert largest < 600_000


def test_words_of_any_script() -> None:
    assert words("Müller says: HELLO") >= {"says", "hello"}
    assert len(words("東京は今日も雨です")) > 3
    assert words("") == frozenset()


def test_masking_keeps_what_counts() -> None:
    assert mask("order 123456 of 9") == "order 123456 of 9"
    assert mask("span 4bf92f3577b34da6a3ce929d0e0e4736") == "span ~"


def test_text_helpers_are_total() -> None:
    assert leaves("not json") is None
    assert leaves("[1]") is None
    assert leaves('{"a":' + "[" * 500 + "]" * 500 + "}") in (None, {"a": ""})  # deeper than Python can go, in so few characters
    assert canonical("plain  text", None) == "plain text"
    assert quote("\ud800", 10) == "?"
