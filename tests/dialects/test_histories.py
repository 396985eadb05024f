"""Of a history only what is new is read, and of the dialects few are asked: what comes of it must not change."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import dialects
from collector.dialects import DIALECTS, messages
from collector.dialects.messages import Message
from collector.telemetry_data import Span
from tests.dialects.captures import SCENARIOS, items, name_of

texts = st.sampled_from(["", "a", "b c", "é\u2028", "[Scrubbed due to x]"])
ids = st.sampled_from(["call_0000001", "call_0000002", ""])
parts = st.one_of(
    st.builds(lambda text: {"type": "text", "content": text}, texts),
    st.builds(lambda id_: {"type": "tool_call", "id": id_, "name": "t", "arguments": {"q": 1}}, ids),
    st.builds(lambda id_, text: {"type": "tool_call_response", "id": id_, "response": text}, ids, texts),
)
entries = st.one_of(
    st.builds(
        lambda role, found: {"role": role, "parts": found},
        st.sampled_from(["user", "assistant", "tool", "system"]),
        st.lists(parts, max_size=2),
    ),
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), texts),
    st.builds(lambda id_: {"type": "function_call", "call_id": id_, "name": "t", "arguments": "{}"}, ids),
    st.builds(lambda id_, text: {"type": "function_call_output", "call_id": id_, "output": text}, ids, texts),
    st.none(),
    texts,
)


@given(st.lists(entries, max_size=8), st.booleans(), st.booleans())
def test_a_long_history_is_read_as_a_short_one(history: list[Any], batch: bool, spaced: bool) -> None:
    value = [history] if batch else history
    text = json.dumps(value, indent=1 if spaced else None)
    padded = text[:1] + " " * 3000 + text[1:]
    assert messages.trailing(padded) == messages.trailing(text) == messages.trailing(value)


@pytest.mark.parametrize("text", ["[" * 3000, "[" * 900 + "]" * 900 + " " * 3000, "[1," + " " * 3000, '["\\ud800", {}]' + " " * 3000])
def test_a_long_history_that_is_none_is_read_as_far_as_it_can_be(text: str) -> None:
    assert all(isinstance(message, Message) for message in messages.trailing(text))


@given(st.lists(entries.filter(lambda entry: isinstance(entry, dict)), max_size=30), st.booleans())
def test_new_messages_do_not_depend_on_how_much_came_before(history: list[dict[str, Any]], alternating: bool) -> None:
    asked = {"role": "assistant", "content": "before"}
    found = messages.new(history, messages.read, alternating=alternating)
    assert messages.new([asked, asked, *history], messages.read, alternating=alternating) == found
    assert found == list(map(messages.read, history))[len(history) - len(found) :]


def test_messages_before_the_last_answer_are_not_read() -> None:
    read: list[int] = []

    def note(fields: dict[str, Any]) -> Message:
        read.append(fields["n"])
        return Message(fields["role"], "text")

    history = [{"n": number, "role": "assistant" if number % 2 else "user"} for number in range(1000)]
    assert len(messages.new([*history, {"n": 1000, "role": "user"}], note)) == 1
    assert read == [1000, 999]


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_whoever_is_not_asked_would_not_have_claimed_the_span(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = [item for item in items(folder) if isinstance(item, Span)]
    found = [dialects.fragment_of(span) for span in spans]
    monkeypatch.setattr(dialects, "_candidates", lambda *_: DIALECTS)
    assert [dialects.fragment_of(span) for span in spans] == found
