"""Recorded payloads of real SDKs: what becomes of every span, and whether it is true."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collector.dialects.base import Fragment
from detectors.model import Step, StepKind
from tests.dialects.captures import SCENARIOS, facts, fragments, name_of, summary

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")


def steps_of(found: list[Fragment], kind: StepKind) -> list[Step]:
    """Steps of one kind, the first of twins only, without what only completes others."""
    twins: set[str] = set()
    steps = []
    for item in found:
        if item.step is None or item.step.kind is not kind or item.supplements or item.twin_key in twins:
            continue
        twins |= {item.twin_key} if item.twin_key else set()
        steps.append(item.step)
    return steps


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_fragments_are_as_written_down(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    found = json.loads(json.dumps([summary(fragment) for fragment in fragments(folder)], default=list))
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        assert one == other, f"fragment {number}"
    assert len(found) == len(expected)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_every_model_call_is_seen_once_with_its_true_tokens(folder: Path) -> None:
    truth = facts(folder)
    calls = [call for call in truth["calls"] if call.get("status") == 200]
    found = [step for step in steps_of(fragments(folder), StepKind.LLM) if step.error is not True]
    assert len(found) == len(calls)
    for field in TOKENS:
        seen = Counter(getattr(step, field) for step in found if getattr(step, field))
        true = Counter(call[field] for call in calls if call.get(field))
        assert not seen - true, field
        if truth["carried"][field] and field in {"input_tokens", "output_tokens"}:
            assert seen == true, field


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_tool_steps_are_calls_that_were_made(folder: Path) -> None:
    true = Counter(call["name"] for call in facts(folder)["tool_calls"])
    found = fragments(folder)
    tools = steps_of(found, StepKind.TOOL)
    asked = Counter(ask.name for fragment in found if fragment.step and fragment.step.kind is StepKind.LLM for ask in fragment.asks)
    if tools and "openai-sdk" not in name_of(folder):  # there a decorator's span has the name of the decorated function
        assert Counter(step.name for step in tools) == true
    if not all(fragment.supplements for fragment in found if fragment.asks):
        assert not true - asked


@pytest.mark.parametrize("folder", [folder for folder in SCENARIOS if folder.name in {"auth_failure", "retry_storm"}], ids=name_of)
def test_failed_tools_are_seen_as_failed(folder: Path) -> None:
    tools = steps_of(fragments(folder), StepKind.TOOL)
    assert tools
    assert all(step.error is True for step in tools)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_agents_carry_no_tokens(folder: Path) -> None:
    for step in steps_of(fragments(folder), StepKind.AGENT):
        assert not any(getattr(step, field) for field in TOKENS)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_arguments_of_calls_are_what_the_model_asked_for(folder: Path) -> None:
    def canonical(text: str | None) -> Any:
        return json.dumps(json.loads(text or "null"), sort_keys=True)

    true = {canonical(call["arguments"]) for call in facts(folder)["tool_calls"]}
    for fragment in fragments(folder):
        for ask in fragment.asks:
            assert canonical(ask.arguments) in true
