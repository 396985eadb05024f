"""Whether a halted session stopped: what its runtime says, what comes after, and silence."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from collector.core import Core
from collector.enforcement.action import Answer, Reply
from collector.enforcement.messages import Limits, Message
from collector.model import HaltState, SessionState, Verb
from collector.telemetry import Telemetry
from detectors.model import SessionKey

from .agents import START_NS, llm, loop, request
from .services import armed

URL = "http://127.0.0.1:9/"
KEY = SessionKey("default", "", "s")
SECOND = 10**9
HOUR = 3_600 * SECOND


class Story:
    """A session that loops and is halted a thousand seconds after its start; time is let pass by hand."""

    def __init__(self, folder: Path) -> None:
        self.now_ns = START_NS + 1_000 * SECOND
        config = armed(actions={"runtimes": [{"url": URL, "secret": "s"}]})
        self.core = Core(config, folder, Telemetry(CollectorRegistry()), clock_ns=lambda: self.now_ns)
        for made in loop("t", session="s", rounds=12):
            self.core.process([request(made)])

    def answer(self, reply: Reply) -> list[Message]:
        """What was sent, answered so."""
        sent = self.core.control.claim(URL, now_ns=self.now_ns, lease_ns=SECOND, limit=9)
        for message in sent:
            self.core.control.finish(message, Answer(reply=reply), now_ns=self.now_ns, retry_ns=self.now_ns + SECOND, limits=Limits())
        return sent

    def goes_on(self, steps: int, *, at_s: float) -> None:
        for n in range(steps):
            self.core.process([request(llm(f"late {at_s} {n}", trace="t", session="s", at=at_s + n))])

    def state(self) -> HaltState:
        (halt,) = self.core.control.halts(KEY)
        return halt.state


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path)
    yield made
    made.core.close()


def test_a_session_that_goes_on_although_its_runtime_took_the_halt_is_halted_again(story: Story) -> None:
    (first,) = story.answer(Reply.STOPPED)
    assert story.state() is HaltState.CONFIRMED_STOPPED
    story.goes_on(1, at_s=1_100)
    assert story.state() is HaltState.DISOBEYED
    story.core.tick()
    assert story.core.snapshot.halts["disobeyed"] == 1
    (second,) = story.answer(Reply.STOPPING)
    assert (second.halt_id, second.message_id != first.message_id) == (first.halt_id, True)
    assert story.state() is HaltState.ACKNOWLEDGED
    story.goes_on(1, at_s=1_110)
    assert story.state() is HaltState.ACKNOWLEDGED
    story.goes_on(1, at_s=1_120)  # the third: there is no doubt any more
    assert story.state() is HaltState.DISOBEYED
    assert len(story.answer(Reply.STOPPED)) == 1
    assert not story.answer(Reply.STOPPED)


def test_what_was_begun_before_the_halt_may_end_after_it(story: Story) -> None:
    story.answer(Reply.STOPPED)
    story.goes_on(3, at_s=1_020)
    assert story.state() is HaltState.CONFIRMED_STOPPED


def test_a_halt_that_nobody_took_is_tried_on_and_not_sent_twice(story: Story) -> None:
    story.answer(Reply.FAILED)
    story.goes_on(3, at_s=1_100)
    assert story.state() is HaltState.REQUESTED
    story.now_ns += 10 * SECOND
    assert len(story.answer(Reply.FAILED)) == 1


def test_silence_after_an_answer_is_proof(story: Story) -> None:
    story.answer(Reply.STOPPING)
    story.now_ns += HOUR
    for _ in range(3):  # time passes, the session leaves memory, what is known is written
        story.core.tick()
        story.now_ns += 20 * SECOND
    assert story.state() is HaltState.QUIET
    story.goes_on(1, at_s=4_700)
    assert story.state() is HaltState.DISOBEYED


def test_silence_without_an_answer_is_none(story: Story) -> None:
    story.answer(Reply.FAILED)
    story.now_ns += HOUR
    for _ in range(3):
        story.core.tick()
        story.now_ns += 20 * SECOND
    assert story.state() is HaltState.REQUESTED
    assert len(story.answer(Reply.STOPPED)) == 1


def test_one_that_was_never_heard_of_has_not_stopped(story: Story) -> None:
    story.answer(Reply.STOPPED)
    unseen = SessionKey("default", "", "to come")
    story.core.halting.request(unseen, Verb.HALT, halt_reason="operator", requested_by="ada")
    story.answer(Reply.STOPPING)
    story.now_ns += HOUR
    for _ in range(3):
        story.core.tick()
        story.now_ns += 20 * SECOND
    (halt,) = story.core.control.halts(unseen)
    assert halt.state is HaltState.ACKNOWLEDGED
    session = story.core.session(unseen)
    assert session is not None
    assert session.state is SessionState.HALTING


def test_releases_are_not_counted_among_halts(story: Story) -> None:
    story.answer(Reply.STOPPED)
    story.core.halting.request(KEY, Verb.RELEASE, halt_reason=None, requested_by="ada")
    counts = story.core.control.counts()
    assert {state for state, count in counts.items() if count} == {HaltState.CONFIRMED_STOPPED}
