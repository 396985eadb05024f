"""The story that started it: agents that hand the same thing round are stopped within twelve exchanges, whoever they are."""

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.demo.agent import Agent
from collector.demo.scenarios import ARMED, SCENARIOS, Call, Scenario
from collector.model import Request, Session

from .agents import Run

README = Path(__file__).parents[2] / "README.md"
EXCHANGES = 12


class Told(Agent):
    """The demonstration's agent, heard by a pipeline in this process; the first finding that an armed detector may halt on stops it."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario, "http://127.0.0.1:0", pause_s=0)
        self.heard = Run()

    def _send(self, *spans: Span) -> None:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = self.scenario.agent
        resource.scope_spans.add().spans.extend(spans)
        self.heard.send(Request(signal="traces", encoding="protobuf", body=request.SerializeToString()))
        if any(found.halt_eligible and found.detector in ARMED for found in self.heard.findings):
            self.halted.set()

    def session(self) -> Session:
        return self.heard.by_id()[self.session_id]


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_story_ends_as_it_is_meant_to(name: str) -> None:
    agent = Told(SCENARIOS[name])
    agent.run()
    assert agent.halted.is_set() == SCENARIOS[name].trips
    if name == "healthy":
        assert not agent.heard.findings


def test_readme_says_what_the_demonstration_costs() -> None:
    agent = Told(SCENARIOS["ping-pong"])
    agent.run()
    cost = agent.session().cost_usd or Decimal(0)
    said = re.search(r"halted after (\d+) turns,\s+at (\d+\.\d\d) USD", README.read_text())
    assert said is not None
    assert (int(said[1]), Decimal(said[2])) == (agent.calls, round(cost, 2))


STORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "two, a contract": {
        "Drafter": (
            "Clause nine of the lease is redrafted, please approve it.",
            "I have worked on clause nine again, is it approved now?",
            "Here is clause nine of the lease once more for your approval.",
        ),
        "Counsel": (
            "Clause nine cannot be approved as it stands, redraft it please.",
            "It still reads wrong to me; redraft clause nine of the lease.",
            "Not approved. Another draft of clause nine, please.",
        ),
    },
    "two, a build": {
        "coder-bot": ("The build is fixed, run the tests.", "Fixed it again, tests please."),
        "tester-bot": ("Tests do not start, fix the build.", "Build is broken, the tests cannot start."),
    },
    "three, a journey": {
        "router": ("Which flights suit the customer? Ask pricing.", "Pricing has to say which flights suit the customer."),
        "pricing": ("Prices depend on the seats; ask inventory.", "I need the seats from inventory for a price."),
        "inventory": ("Seats depend on the route; ask the router.", "No seats without a route, the router decides."),
    },
    "four, a claim": {
        "intake": ("Claim 77 is complete, please assess it.", "Please assess claim 77, it is complete."),
        "assessor": ("Claim 77 needs a fraud check first.", "A fraud check comes first for claim 77."),
        "fraud-desk": ("The fraud check of claim 77 needs the policy.", "For the fraud check of claim 77 I lack the policy."),
        "policy-desk": (
            "The policy is released after intake confirms claim 77.",
            "Intake must confirm claim 77 before I release it.",
        ),
    },
    "two, courtesies": {
        "Alice": ("Thank you so much for your kind words!", "You are too kind, thank you!", "That is lovely of you, many thanks!"),
        "Bob": ("You are most welcome, thank you as well!", "No, thank you, it was a pleasure!", "The pleasure is mine, thank you!"),
    },
}


@pytest.mark.parametrize("story", STORIES)
def test_other_words_other_agents_other_periods_are_stopped_as_soon(story: str) -> None:
    agents = STORIES[story]

    def calls() -> Iterator[Call]:
        said = {name: cycle(texts) for name, texts in agents.items()}
        before = "Please begin."
        for name in cycle(agents):
            answer = next(said[name])
            yield Call(name, None, before, answer)
            before = answer

    period = len(agents)
    told = Told(Scenario(story, "pipeline", "goes round", lambda: islice(calls(), 40 * period), patience=40 * period))
    told.run()
    assert told.halted.is_set(), [(found.detector, found.severity) for found in told.heard.findings]
    assert told.calls <= EXCHANGES * period
