"""Builders of steps for tests, examples and documentation. `session` gives them numbers and times: two seconds a step."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from detectors.base import Clear, Context, Detector, Signal
from detectors.features import FeatureState
from detectors.model import SessionKey, Step, StepKind, Tick

KEY: Final = SessionKey("default", "default", "s-1")
_EPOCH_NS: Final = 1_767_225_600_000_000_000
_STEP_NS: Final = 2_000_000_000

C = TypeVar("C", bound=msgspec.Struct)


def _step(kind: StepKind, name: str | None, fields: dict[str, Any]) -> Step:
    return Step(seq=0, session=KEY, kind=kind, name=name, started_ns=0, ended_ns=0, **fields)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def tool(name: str, arguments: Any = None, result: Any = None, **fields: Any) -> Step:
    """Makes a tool call. What is neither text nor None is written as JSON."""
    return _step(StepKind.TOOL, name, {"arguments": _text(arguments), "result": _text(result), **fields})


def llm(model: str = "gpt-4o", text: str | None = None, **fields: Any) -> Step:
    """Makes a model call that answered `text`. `cost_usd` may be given as text or number."""
    if "cost_usd" in fields:
        fields["cost_usd"] = Decimal(str(fields["cost_usd"]))
    return _step(StepKind.LLM, model, {"model": model, "output_text": text, **fields})


def agent(name: str, asked: Any = None, answered: Any = None, **fields: Any) -> Step:
    """Makes an agent invocation that was `asked` and `answered` something."""
    return _step(StepKind.AGENT, name, {"agent": name, "input_text": _text(asked), "output_text": _text(answered), **fields})


def session(*steps: Step, key: SessionKey = KEY, first_seq: int = 1) -> list[Step]:
    """Puts steps one after the other: seq from `first_seq`, each two seconds after the one before, span ids to match."""
    return [
        msgspec.structs.replace(
            step,
            seq=seq,
            session=key,
            started_ns=_EPOCH_NS + seq * _STEP_NS,
            ended_ns=_EPOCH_NS + seq * _STEP_NS + _STEP_NS // 2,
            trace_id="0" * 31 + "1",
            span_id=f"{seq:016x}",
        )
        for seq, step in enumerate(steps, first_seq)
    ]


def timeline(*items: Step | float, key: SessionKey = KEY) -> list[Step | Tick]:
    """Does what `session` does, with silences: a number lets so many seconds pass, and ends in a tick."""
    made: list[Step | Tick] = []
    shift_ns = 0
    for seq, item in enumerate(items, 1):
        if isinstance(item, Step):
            (step,) = session(item, key=key, first_seq=seq)
            made.append(msgspec.structs.replace(step, started_ns=step.started_ns + shift_ns, ended_ns=step.ended_ns + shift_ns))
        else:
            shift_ns += int(item * 1e9)
            made.append(Tick(seq=seq, at_ns=_EPOCH_NS + seq * _STEP_NS + shift_ns))
    return made


def run(
    detector_class: type[Detector[C]], steps: Iterable[Step | Tick], config: C | None = None, **context: Any
) -> list[tuple[Step, Signal]]:
    """Drives one detector over `steps` and returns where an episode opened or got worse.

    `context` fills `Context`; counts and costs are kept as the owner of a session does. A tick's answer stands by the step before it.
    """
    detector = detector_class(config if config is not None else detector_class.Config())  # type: ignore[arg-type]
    state, known = FeatureState(), Context(**context)
    transitions: list[tuple[Step, Signal]] = []
    worst = (-1, False)
    last: Step | None = None
    for each in steps:
        if isinstance(each, Tick):
            answer = detector.tick(each, known)
        else:
            count(known, each)
            last, features = each, state.observe(each)
            answer = detector.observe(each, features, known) if each.kind in detector.kinds else None
        if isinstance(answer, Clear):
            worst = (-1, False)
        elif isinstance(answer, Signal) and last is not None:
            level = (answer.severity.rank, answer.halt_eligible)
            if level[0] > worst[0] or level[1] > worst[1]:
                transitions.append((last, answer))
                worst = (max(level[0], worst[0]), level[1] or worst[1])
    return transitions


def count(context: Context, step: Step) -> None:
    """Brings the counts and costs of `context` up to `step`."""
    context.steps += step.counts
    context.llm_calls += step.kind is StepKind.LLM
    context.tool_calls += step.kind is StepKind.TOOL
    context.tokens += (step.input_tokens or 0) + (step.output_tokens or 0)
    context.started_ns = step.started_ns if context.started_ns is None else min(context.started_ns, step.started_ns)
    if step.cost_usd is not None:
        context.cost_usd += step.cost_usd
