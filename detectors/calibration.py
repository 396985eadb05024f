"""What a finding's score means: the share of findings like it that were right.

Findings are alike that have detector, level and evidence level in common. How many of them there were, and how many were right,
was counted on the tune half of the constructed corpus by `python -m benchmarks.detection.calibrate`, which writes the counts
below; `benchmarks/detection/SCORECARD.md` shows how well they hold on sessions not counted here. Few findings prove little: each
share is drawn towards that of its whole level, as if `PRIOR_FINDINGS` more had been seen.

The counts are of default thresholds, and of a corpus in which about half of the sessions are in trouble: where trouble is rarer,
more of the findings are false than the score says.
"""

from typing import Final

from detectors.model import EvidenceLevel, Severity

PRIOR_FINDINGS: Final = 6
"""Findings that a level's overall share counts for beside those of the detector itself."""

# Written by `python -m benchmarks.detection.calibrate`: do not edit.
COUNTED: Final[dict[tuple[str, str, str], tuple[int, int]]] = {
    ("abandoned", "warning", "structure"): (6, 6),
    ("context_overflow", "critical", "structure"): (12, 12),
    ("context_overflow", "warning", "structure"): (12, 12),
    ("cost_runaway", "critical", "structure"): (11, 11),
    ("cost_runaway", "halt", "structure"): (9, 9),
    ("cost_runaway", "warning", "structure"): (18, 18),
    ("credential_failure", "warning", "content"): (12, 12),
    ("exact_loop", "critical", "content"): (26, 34),
    ("exact_loop", "halt", "content"): (28, 28),
    ("exact_loop", "warning", "content"): (62, 82),
    ("exact_loop", "warning", "structure"): (5, 18),
    ("max_steps", "critical", "structure"): (6, 6),
    ("max_steps", "halt", "structure"): (5, 5),
    ("max_steps", "warning", "structure"): (6, 6),
    ("no_progress", "critical", "content"): (1, 1),
    ("no_progress", "warning", "content"): (1, 1),
    ("ping_pong", "critical", "content"): (87, 87),
    ("ping_pong", "halt", "content"): (73, 73),
    ("ping_pong", "warning", "content"): (58, 58),
    ("ping_pong", "warning", "structure"): (4, 4),
    ("retry_storm", "critical", "content"): (66, 66),
    ("retry_storm", "halt", "content"): (47, 47),
    ("retry_storm", "warning", "content"): (73, 79),
    ("soft_loop", "critical", "content"): (161, 166),
    ("soft_loop", "halt", "content"): (106, 106),
    ("soft_loop", "warning", "content"): (191, 206),
    ("timeout", "critical", "structure"): (6, 6),
    ("timeout", "warning", "structure"): (6, 6),
    ("zombie", "critical", "structure"): (6, 6),
    ("zombie", "warning", "structure"): (6, 6),
}
"""(Detector, level, evidence level) → (findings that were right, findings)."""


def level_of(severity: Severity, *, halt_eligible: bool) -> str:
    """Names the level: a finding that may halt is beyond critical."""
    return "halt" if halt_eligible else severity.value


def _of_level(level: str) -> float:
    """The share of right findings of a level, one right and one wrong added, so that nothing is certain."""
    counts = [each for (_, of, _), each in COUNTED.items() if of == level]
    return (sum(right for right, _ in counts) + 1) / (sum(findings for _, findings in counts) + 2)


_LEVELS: Final = {level: _of_level(level) for level in ("halt", *(severity.value for severity in Severity))}
_SHARES: Final = {
    (detector, level, evidence): (right + PRIOR_FINDINGS * _LEVELS[level]) / (findings + PRIOR_FINDINGS)
    for (detector, level, evidence), (right, findings) in COUNTED.items()
}


def calibrated(detector: str, severity: Severity, *, halt_eligible: bool, evidence_level: EvidenceLevel) -> float:
    """The share of findings like this that were right; where none was counted, the share of its level.

    >>> sure = calibrated("soft_loop", Severity.CRITICAL, halt_eligible=True, evidence_level=EvidenceLevel.CONTENT)
    >>> unsure = calibrated("exact_loop", Severity.WARNING, halt_eligible=False, evidence_level=EvidenceLevel.STRUCTURE)
    >>> sure > 0.95, unsure < 0.6
    (True, True)
    """
    level = level_of(severity, halt_eligible=halt_eligible)
    return _SHARES.get((detector, level, evidence_level.value), _LEVELS[level])
