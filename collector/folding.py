"""Two records of one call: when they are one, and what the one that counts learns from the other."""

from typing import Any

import msgspec

from collector.dialects.base import Fragment
from detectors.model import Step, StepKind

_OWN = frozenset(
    {
        "seq",
        "session",
        "kind",
        "started_ns",
        "ended_ns",
        "trace_id",
        "span_id",
        "parent_span_id",
        "dialect",
        "cost_usd",
        "cost_basis",
    }
)
_FILLED = tuple(field for field in Step.__struct_fields__ if field not in _OWN)


def same_call(kind: StepKind, name: str | None, other: str | None) -> bool:
    """Whether nested spans of one kind are one call: model calls do not nest, tools do under other names."""
    return kind is StepKind.LLM or name is None or other is None or name == other


def fill(step: Step, other: Step, **changes: Any) -> Step:
    """`step` with each fact it lacks taken from `other`, and with `changes`."""
    changes |= {
        field: getattr(other, field) for field in _FILLED if getattr(step, field) in (None, ()) and getattr(other, field) not in (None, ())
    }
    if step.asks and other.asks and not any(ask.call_id for ask in step.asks):
        changes.setdefault("asks", other.asks)
    return msgspec.structs.replace(step, **changes) if changes else step


def completed(fragment: Fragment, late: Fragment) -> None:
    """Adds to a fragment what another record says about the same span."""
    if fragment.step is not None and late.step is not None:
        fragment.step = fill(fragment.step, late.step)
    fragment.session_id = fragment.session_id or late.session_id
    fragment.twin_key = fragment.twin_key or late.twin_key
    fragment.agent = fragment.agent or late.agent
    fragment.asks = fragment.asks or late.asks
    fragment.answers += tuple(answer for answer in late.answers if answer not in fragment.answers)
    fragment.joins += tuple(join for join in late.joins if join not in fragment.joins)
    fragment.tool_schemas = fragment.tool_schemas or late.tool_schemas
