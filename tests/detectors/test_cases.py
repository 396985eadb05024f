"""Runs the cases of every detector: `tests/detectors/<name>/cases.yaml`, firing and quiet ones side by side.

A step is one line: `{tool: name, args: …, result: …}`, `{llm: model, text: …}`, `{agent: name, asked: …, answered: …}` or
`{kind: handoff, name: …}`, with any other field of `Step` beside it; `{silence: S}` lets S seconds pass. `times: N` repeats a
step and `{repeat: N, steps: […]}` several; in their texts `{n}` counts from 1. A firing case says the worst `severity` it
reaches and may say `at`, the step at which it first fires. A case may set `config` of the detector and `context`.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.baseline import Baseline
from detectors.checks import AnyDetector
from detectors.model import ErrorClass, Step, StepKind, ToolAsk
from detectors.testing import KEY, agent, llm, run, timeline, tool

EVERY = tuple(dict.fromkeys((*DETECTORS, *WORKFLOW_DETECTORS)))
_HERE = Path(__file__).parent
_NAMES = {"args": "arguments", "tokens": "input_tokens", "window": "context_window"}


def filled(value: Any, n: int) -> Any:
    """Puts `n` in place of `{n}` and `n` × `k` in place of `{n*k}`."""
    if isinstance(value, dict):
        return {key: filled(item, n) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, n) for item in value]
    if not isinstance(value, str) or "{n" not in value:
        return value
    before, _, rest = value.partition("{n")
    factor, _, after = rest.partition("}")
    number = n * int(factor.removeprefix("*") or 1)
    text = f"{before}{number}{filled(after, n)}"
    return number if text == str(number) else text


def built(lines: list[dict[str, Any]], n: int = 1) -> Iterator[Step | float]:
    for line in lines:
        if "repeat" in line:
            for count in range(1, line["repeat"] + 1):
                yield from built(line["steps"], count)
            continue
        if "silence" in line:
            yield float(line["silence"])
            continue
        for count in range(1, line.get("times", 1) + 1):
            fields = filled(line, count if "times" in line else n)
            fields = {_NAMES.get(key, key): value for key, value in fields.items() if key != "times"}
            if "asks" in fields:
                fields["asks"] = tuple(ToolAsk(**ask) for ask in fields["asks"])
            if "error_class" in fields:
                fields["error_class"] = ErrorClass(fields["error_class"])
            if "tool" in fields:
                yield tool(fields.pop("tool"), fields.pop("arguments", None), fields.pop("result", None), **fields)
            elif "kind" in fields:
                yield Step(seq=0, session=KEY, kind=StepKind(fields.pop("kind")), started_ns=0, ended_ns=0, **fields)
            elif "llm" in fields:
                yield llm(fields.pop("llm"), fields.pop("text", None), **fields)
            else:
                yield agent(fields.pop("agent"), fields.pop("asked", None), fields.pop("answered", None), **fields)


def cases() -> Iterator[Any]:
    for kind in EVERY:
        path = _HERE / kind.name / "cases.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf8")) if path.exists() else {}
        for expected in ("fires", "quiet"):
            for case in document.get(expected, []):
                yield pytest.param(kind, case, expected == "fires", id=f"{kind.name}-{expected}-{case['case'][:60]}")


@pytest.mark.parametrize(("kind", "case", "fires"), list(cases()))
def test_case(kind: AnyDetector, case: dict[str, Any], fires: bool) -> None:
    config = msgspec.convert(case.get("config", {}), kind.Config)
    context = dict(case.get("context", {}))
    if "ceiling_usd" in context:
        context["ceiling_usd"] = Decimal(str(context["ceiling_usd"]))
    if "polling_tools" in context:
        context["polling_tools"] = frozenset(context["polling_tools"])
    if "baseline" in context:
        context["baseline"] = msgspec.convert(context["baseline"], Baseline)
    steps = timeline(*built(case["steps"]))
    if "halted_before_step" in context:
        halted = steps[context.pop("halted_before_step") - 1]
        assert isinstance(halted, Step)
        context["halted_at_ns"] = halted.started_ns - 1
    fired = run(kind, steps, config, **context)
    told = [(step.seq, signal.severity.value, signal.summary) for step, signal in fired]
    if not fires:
        allowed = {"warning"} if case.get("may_warn") else set()
        assert [each for each in told if each[1] not in allowed] == []
        return
    assert told, "stayed quiet"
    assert max(signal.severity.rank for _, signal in fired) == {"info": 0, "warning": 1, "critical": 2}[case["severity"]], told
    assert "at" not in case or told[0][0] == case["at"], told
    assert "halt" not in case or any(signal.halt_eligible for _, signal in fired) == case["halt"], told


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_every_detector_has_cases_of_both_sorts(kind: AnyDetector) -> None:
    path = _HERE / kind.name / "cases.yaml"
    assert path.exists(), f"{kind.name} has no {path.relative_to(_HERE)}"
    document = yaml.safe_load(path.read_text(encoding="utf8"))
    assert set(document) == {"fires", "quiet"}
    assert len(document["fires"]) >= 2
    assert len(document["quiet"]) >= 2


def test_no_cases_without_a_detector() -> None:
    names = {kind.name for kind in EVERY}
    assert {path.parent.name for path in _HERE.glob("*/cases.yaml")} <= names
