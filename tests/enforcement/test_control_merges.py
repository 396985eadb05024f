"""A session that turns out to be another one: its halts follow it, and the strongest of them stands."""

import json

import pytest

from collector.enforcement.control import ControlStore
from collector.enforcement.rows import Subject
from collector.model import HaltState, Identifiers, Verb
from detectors.model import SessionKey

from .asking import KEY, OTHER, RUNTIME, Ask


@pytest.mark.parametrize("halted", [KEY, OTHER])
def test_a_halt_follows_a_merge_and_is_sent_again(control: ControlStore, ask: Ask, halted: SessionKey) -> None:
    subject = Subject(agent_type="research", identifiers=Identifiers(trace_ids=["abc"]), cost_usd="1.5")
    halt = ask(Verb.HALT, halted, subject=subject)
    [before] = control.claim(RUNTIME.url, now_ns=10**12, lease_ns=1, limit=9)
    merged = control.merge(OTHER, KEY, now_ns=10**12, runtimes=[RUNTIME])
    assert merged is not None
    assert (merged.halt_id, merged.session, merged.generation) == (halt.halt_id, KEY, 2)
    assert control.active(OTHER) == control.active(KEY) == merged
    [message] = control.claim(RUNTIME.url, now_ns=10**12, lease_ns=1, limit=9)
    assert message.message_id != before.message_id
    data = json.loads(message.body)["data"]
    assert (data["session_id"], data["generation"], data["cost_usd"]) == ("s/1", 2, "1.5")
    assert data["identifiers"]["trace_ids"] == ["abc"]
    assert data["identifiers"]["merged_from"] == ["trace:abc"]
    again = control.merge(OTHER, KEY, now_ns=10**12, runtimes=[RUNTIME])
    assert again is not None
    assert (again.generation, control.outbox_size()) == (2, 1), "harmless to repeat"


def test_of_two_held_sessions_the_stronger_verb_survives(control: ControlStore, ask: Ask) -> None:
    pause, halt = ask(Verb.PAUSE, KEY), ask(Verb.HALT, OTHER)
    merged = control.merge(OTHER, KEY, now_ns=9, runtimes=[RUNTIME])
    assert merged is not None
    assert merged.halt_id == halt.halt_id
    assert control.get(pause.halt_id).state is HaltState.SUPERSEDED
    assert control.outbox_size() == 1
    assert len(control.halts(KEY)) == 2


def test_merges_of_merges_lead_to_the_one_that_stands(control: ControlStore, ask: Ask) -> None:
    first, second, third = (SessionKey("t", "", name) for name in "abc")
    halt = ask(Verb.HALT, first)
    control.merge(first, second, now_ns=1)
    control.merge(second, third, now_ns=2)
    for key in (first, second, third):
        active = control.active(key)
        assert active is not None
        assert (active.halt_id, active.session) == (halt.halt_id, third)
    ask(Verb.RELEASE, second)
    assert control.active(third) is None


def test_a_merge_without_halts_changes_nothing(control: ControlStore) -> None:
    assert control.merge(OTHER, KEY, now_ns=1) is None
    assert control.generation(KEY) == 0
    assert control.audit() == []
