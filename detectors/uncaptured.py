"""What is told of calls whose results, or whose content at all, were not captured: warnings at most."""

from typing import Final

from detectors.base import Signal
from detectors.model import EvidenceLevel, Severity, Step
from detectors.step_features import StepFeatures
from detectors.structure import SIZES, Shape
from detectors.text import quote

_QUOTE: Final = 120


def one_tool_over_and_over(step: Step, shape: Shape, limit: int) -> Signal:
    """Tells of one tool called at least `limit` times in a row, content not captured."""
    sized = shape.sizes_repeated is not None
    tool = quote(step.name or "a tool", 60)
    how = f"{shape.sizes_repeated} of the last {SIZES} results as large as earlier ones" if sized else "sizes are not known"
    return Signal(
        severity=Severity.WARNING,
        score=min(1.0, shape.in_a_row / (4 * limit)),
        summary=f"{tool} was called {shape.in_a_row} times in a row; content is not captured, {how}.",
        evidence={"call": tool, "calls_in_a_row": shape.in_a_row, "sizes_repeated": shape.sizes_repeated, "seq": step.seq},
        threshold={("warn_calls_of_equal_sizes" if sized else "warn_calls_without_content"): float(limit)},
        first_step_seq=shape.row_since,
        evidence_level=EvidenceLevel.STRUCTURE,
    )


def asked_nearly_the_same(step: Step, features: StepFeatures, count: int, window: int, limit: int) -> Signal:
    """Tells of `count` calls among the last `window`, at least `limit`, that resemble earlier ones, results not captured."""
    return Signal(
        severity=Severity.WARNING,
        score=min(1.0, count / (2 * limit)),
        summary=f"{count} of the last {window} calls ask nearly what was asked before, the latest of "
        f"{quote(step.name or 'a tool', 60)}; results are not captured.",
        evidence={
            "resembling_calls": count,
            "call": quote(features.key or "", _QUOTE),
            "arguments": quote(features.arguments, _QUOTE),
            "resembles_seq": features.similar_to,
            "argument_similarity": round(features.argument_similarity or 0.0, 2),
        },
        threshold={"warn_calls_without_results": float(limit)},
        first_step_seq=features.similar_to or step.seq,
    )
