"""Two records of one call: when they are one, and what the one that counts learns from the other."""

import msgspec

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


def fill(step: Step, other: Step) -> Step:
    """`step` with each fact it lacks taken from `other`."""
    changes = {
        field: getattr(other, field) for field in _FILLED if getattr(step, field) in (None, ()) and getattr(other, field) not in (None, ())
    }
    return msgspec.structs.replace(step, **changes) if changes else step
