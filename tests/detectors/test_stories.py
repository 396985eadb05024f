"""Whole stories through the host: what must be stopped, and that one cause is told once."""

from collections.abc import Iterator

import pytest

from collector.demo.scenarios import SCENARIOS
from detectors import DETECTORS
from detectors.host import DetectorHost
from detectors.model import Finding, Severity, Step
from detectors.testing import KEY, agent, llm, session, tool


def told(steps: list[Step]) -> list[Finding]:
    host = DetectorHost(KEY)
    return [finding for step in steps for finding in host.observe(step)[1]]


def spoken(who: list[str], says: list[str]) -> list[Step]:
    """Each agent is handed what the one before it said: a model call and the agent's own span, as instrumented agents report."""
    made: list[Step] = []
    for number in range(60):
        name, asked, answered = who[number % len(who)], says[(number - 1) % len(says)], says[number % len(says)]
        made += [llm(text=answered, agent=name, input_text=asked), agent(name, asked, answered)]
    return session(*made)


PING_PONGS = {
    "two, about a schema": (
        ["coder", "planner"],
        [
            "The planner should decide the schema first.",
            "The schema is up to the coder, please propose one.",
            "Go ahead and choose the schema yourself.",
            "I would rather wait for your schema decision.",
            "You own the schema, kindly pick one.",
            "Happy to proceed once you pick the schema.",
            "It is your call, the schema.",
        ],
    ),
    "three desks and a ticket": (
        ["billing", "logistics", "support"],
        [
            "The invoice is a matter for logistics, not for billing.",
            "Parcels are fine; support has to look at the invoice.",
            "Only billing may look at the invoice.",
        ],
    ),
    "four, waiting for approval": (
        ["legal", "security", "finance", "owner"],
        [
            "Security has to approve the contract before legal can.",
            "Finance has to approve the contract before security can.",
            "The owner has to approve the contract before finance can.",
            "Legal has to approve the contract before the owner can.",
            "We have nothing to add until security has approved the contract.",
        ],
    ),
    "two who thank each other": (
        ["tutor", "student"],
        [
            "Thank you, the essay reads very well now.",
            "Thank you for reading the essay. It reads well thanks to you.",
            "You are welcome, the essay is yours after all.",
            "I am glad that the essay reads well.",
            "So am I. Well done with the essay.",
            "Thanks again for all your help with the essay.",
        ],
    ),
    "five in a ring with a hot potato": (
        ["intake", "triage", "network", "storage", "database"],
        [
            "The outage looks like triage should assess it.",
            "Assessed as a network outage, over to network.",
            "No network outage here, storage should look.",
            "Storage is healthy, the database should look at the outage.",
            "The database is healthy, back to intake with the outage.",
            "Nothing new on the outage from intake, triage please assess.",
        ],
    ),
}


@pytest.mark.parametrize("name", PING_PONGS)
def test_a_ping_pong_may_be_halted_within_twelve_rounds(name: str) -> None:
    who, says = PING_PONGS[name]
    steps = spoken(who, says)
    found = [each for each in told(steps) if each.halt_reason == "ping_pong" and each.severity is Severity.CRITICAL and each.halt_eligible]
    assert found, "stayed quiet"
    assert found[0].step <= 2 * 12 * len(who), "two steps a turn"


def test_the_demonstration_is_halted_within_twelve_exchanges() -> None:
    made: list[Step] = []
    for call in SCENARIOS["ping-pong"].calls():
        made += [llm(text=call.result, agent=call.agent), agent(call.agent, call.arguments, call.result)]
        if len(made) >= 100:
            break
    found = [each for each in told(session(*made)) if each.halt_reason == "ping_pong" and each.halt_eligible]
    assert found, "stayed quiet"
    assert found[0].severity is Severity.CRITICAL
    assert found[0].step <= 2 * 2 * 12, "an exchange is two turns of two steps"


def healthy() -> Iterator[tuple[str, list[Step]]]:
    yield "the demonstration's healthy agent", [tool(c.tool or "", c.arguments, c.result) for c in SCENARIOS["healthy"].calls()]
    yield (
        "chapters read",
        [tool("read", {"chapter": n}, f"chapter {n}: " + " ".join(f"w{n * 40 + k}" for k in range(40))) for n in range(60)],
    )
    yield (
        "errands",
        [
            step
            for n in range(30)
            for step in (agent("writer", f"Write part {n * 7}.", f"Part {n * 7} done."), agent("editor", f"Edit part {n * 7}.", "Fine."))
        ],
    )


@pytest.mark.parametrize(("name", "steps"), list(healthy()), ids=lambda each: each if isinstance(each, str) else "")
def test_healthy_sessions_raise_nothing(name: str, steps: list[Step]) -> None:
    assert [each.summary for each in told(session(*steps))] == [], name


def test_one_cause_is_told_once() -> None:
    """A retry of what fails is an exact loop, a soft loop and no progress too: the most precise of them speaks."""
    steps = session(*(tool("invoices", {"id": 7}, "ValidationError: no such parameter", error=True) for _ in range(20)))
    assert {each.detector for each in told(steps) if each.severity is Severity.CRITICAL} == {"retry_storm"}


def test_those_who_speak_first_stand_first() -> None:
    names = [kind.name for kind in DETECTORS]
    for kind in DETECTORS:
        assert all(names.index(other) < names.index(kind.name) for other in kind.yields_to), kind.name
