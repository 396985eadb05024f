"""Recorded payloads of real SDKs: what becomes of every span, and whether it is true."""

import json
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from detectors.model import Step, StepKind
from tests.core.agents import Run
from tests.dialects.captures import SCENARIOS, facts, fragments, name_of, outcome, requests, steps, written

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")


SILENT = {"openai-sdk__openllmetry/normal_nocontent", "crewai__openllmetry/normal", "claude-code/retrystorm"}
"""Decorators name functions, not tools; calls that no prompt and no record tells of stay unknown."""
CONTROL = {"final_answer"}
UNHEARD = {"openai-sdk__otel-v2-latest-responses/normal"}
"""The instrumentation sends nothing for the Responses API."""


CUT_SHORT = {"opencode/normal"}
"""The process ended before the last model call was exported."""
UNMETERED = {"llamaindex__openinference/normal", "llamaindex__openinference/handoff"}
"""No counts while streaming."""


@cache
def run_of(folder: Path) -> Run:
    return Run().send_each(*requests(folder))


def steps_in(folder: Path) -> list[Step]:
    return steps(run_of(folder))


def steps_of(folder: Path, kind: StepKind) -> list[Step]:
    return [step for step in steps_in(folder) if step.kind is kind]


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_steps_are_as_written_down(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    found = json.loads(written(outcome(run_of(folder))))
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        assert one == other, f"step {number}"
    assert len(found) == len(expected)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_a_sessions_cost_is_the_sum_of_its_calls(folder: Path) -> None:
    run = run_of(folder)
    costs: dict[str, Decimal] = {}
    for step in steps(run):
        session = run.assembler.survivor(step.session).session_id
        costs[session] = costs.get(session, Decimal(0)) + (step.cost_usd or Decimal(0))
        assert step.cost_usd is None or step.kind is StepKind.LLM
    charged = {session.key.session_id: session.cost_usd or Decimal(0) for session in run.by_id().values()}
    assert {name: cost for name, cost in costs.items() if cost} == {name: cost for name, cost in charged.items() if cost}


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_every_model_call_is_seen_once_with_its_true_tokens(folder: Path) -> None:
    truth = facts(folder)
    calls = [call for call in truth["calls"] if call.get("status") == 200]
    found = [step for step in steps_of(folder, StepKind.LLM) if step.error is not True]
    assert len(found) == (0 if name_of(folder) in UNHEARD else len(calls) - (name_of(folder) in CUT_SHORT))
    for field in TOKENS:
        seen = Counter(getattr(step, field) for step in found if getattr(step, field))
        true = Counter(call[field] for call in calls if call.get(field))
        assert not seen - true, field
        if (
            truth["carried"][field]
            and field in {"input_tokens", "output_tokens"}
            and name_of(folder) not in CUT_SHORT | UNMETERED | UNHEARD
        ):
            assert seen == true, field


@pytest.mark.parametrize("folder", [folder for folder in SCENARIOS if folder.name == "handoff"], ids=name_of)
def test_a_handoff_is_one_step(folder: Path) -> None:
    handed, tools = steps_of(folder, StepKind.HANDOFF), steps_of(folder, StepKind.TOOL)
    assert len(handed) == len(facts(folder)["tool_calls"])
    assert not tools
    assert len({step.call_id for step in handed}) == len(handed)


@pytest.mark.parametrize("folder", [folder for folder in SCENARIOS if folder.name != "handoff"], ids=name_of)
def test_tool_steps_are_calls_that_were_made(folder: Path) -> None:
    truth = facts(folder)
    true = Counter(call["name"] for call in truth["tool_calls"])
    found = Counter(step.name for step in steps_of(folder, StepKind.TOOL) if step.name)
    assert not found - true
    if truth["carried"]["tool_names"] and name_of(folder) not in SILENT | UNHEARD:
        assert found == true


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_arguments_of_steps_are_those_of_calls(folder: Path) -> None:
    true = Counter(json.dumps(json.loads(call["arguments"]), sort_keys=True) for call in facts(folder)["tool_calls"])
    known = (step.arguments for step in steps_of(folder, StepKind.TOOL) if step.arguments is not None)
    assert not Counter(json.dumps(json.loads(told), sort_keys=True) for told in known) - true


@pytest.mark.parametrize("folder", [folder for folder in SCENARIOS if folder.name in {"auth_failure", "retry_storm"}], ids=name_of)
def test_failed_tools_are_seen_as_failed(folder: Path) -> None:
    tools = steps_of(folder, StepKind.TOOL)
    assert tools
    assert all(step.error is True for step in tools)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_agents_carry_no_tokens(folder: Path) -> None:
    for step in steps_of(folder, StepKind.AGENT):
        assert not any(getattr(step, field) for field in TOKENS)


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_arguments_of_calls_are_what_the_model_asked_for(folder: Path) -> None:
    def canonical(text: str | None) -> Any:
        return json.dumps(json.loads(text or "null"), sort_keys=True)

    true = {canonical(call["arguments"]) for call in facts(folder)["tool_calls"]}
    for fragment in fragments(folder):
        for ask in (one for one in fragment.asks if one.name not in CONTROL):
            assert canonical(ask.arguments) in true
