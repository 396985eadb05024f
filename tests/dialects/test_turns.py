"""What marks a turn, dialect by dialect: the outermost agent step, as often as the recording had turns, or nothing as the dialect says."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from collector.dialects import DIALECTS
from collector.dialects.reference import sections
from collector.telemetry_data import Span
from detectors.model import StepKind
from tests.core.agents import Run
from tests.dialects.captures import SCENARIOS, items, name_of, requests, steps

SAYS = {dialect.name: sections(dialect)["Turn"] for dialect in DIALECTS}
PLAIN = ("openai-sdk__*", "anthropic-sdk__*", "mcp__openllmetry/*")
"""SDKs without anything around their calls."""
TURNS = {
    "*/multi_turn": 2,
    "*/mixed": 3,
    "claude-code/subagent": 2,
    # The application marks the run, by a decorator or a span of its own.
    "openai-sdk__openllmetry*/*": 1,
    # Below an agent's span the calls of an SDK, which says none, are believed.
    "mcp__native/*": 1,
    "mlflow__openai-genai-semconv/*": 1,
    "pydantic-ai__native-v5-anthropic/*": 1,
    # The span between the workflow's and the agent's was not recorded.
    "openai-agents__otel-v2/normal": 2,
    # One for each model call, as its dialect says.
    "opencode/normal": 4,
}


def outermost(folder: Path) -> int:
    """How many agent steps have no other above them."""
    run = Run().send_each(*requests(folder))
    agents = {step.span_id for step in steps(run) if step.kind is StepKind.AGENT}
    above = {item.span_id: item.parent_span_id for item in items(folder) if isinstance(item, Span)}
    count = 0
    for span_id in agents:
        parent = above.get(span_id)
        while parent is not None and parent not in agents:
            parent = above.get(parent)
        count += parent is None
    return count


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_turns(folder: Path) -> None:
    name = name_of(folder)
    dialects = {step.dialect for step in steps(Run().send_each(*requests(folder))) if step.kind is StepKind.LLM}
    none = all(SAYS[dialect].startswith("none") for dialect in dialects) or any(fnmatch(name, each) for each in PLAIN)
    expected = next((count for pattern, count in TURNS.items() if fnmatch(name, pattern)), 0 if none else 1)
    assert outermost(folder) == expected


def test_every_dialect_says_what_marks_a_turn() -> None:
    assert all(SAYS.values())
    assert any("plain SDKs" in said for said in SAYS.values())
