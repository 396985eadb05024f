"""What a finding's score means: the share of findings like it that were right.

Findings are alike that have detector, level and evidence level in common. In how many scenarios of the tune half of the constructed
corpus there were such, and in how many of these they were right, is counted by `python -m benchmarks.detection.calibrate`, which
writes the counts below; `benchmarks/detection/SCORECARD.md` shows how well they hold on sessions not counted here.

A scenario has one vote, however many sessions and findings there are of it: they are one story in other words, and a detector that
is right about one of them is right about all. Few scenarios prove little: each share is drawn towards that of its whole level, as
if `PRIOR_SCENARIOS` more had been seen.

The counts are of default thresholds, and of a corpus in which about half of the sessions are in trouble: where trouble is rarer,
more of the findings are false than the score says.
"""

from collections.abc import Callable, Mapping
from typing import Final

from detectors.model import EvidenceLevel, Severity

PRIOR_SCENARIOS: Final = 1
"""Scenarios that a level's overall share counts for beside those of the detector itself. Between 1 and 3 it makes no difference to how
well scenarios that were not counted are foreseen; more foresee them worse."""

_LEVELS: Final = (*(severity.value for severity in Severity), "halt")

Kind = tuple[str, str, str]
"""Detector, level, evidence level."""

# Written by `python -m benchmarks.detection.calibrate`: do not edit.
COUNTED: Final[dict[Kind, tuple[float, int]]] = {
    ("abandoned", "warning", "structure"): (1.0, 1),
    ("context_overflow", "critical", "structure"): (2.0, 2),
    ("context_overflow", "warning", "structure"): (2.0, 2),
    ("cost_runaway", "critical", "structure"): (2.0, 2),
    ("cost_runaway", "halt", "structure"): (2.0, 2),
    ("cost_runaway", "warning", "structure"): (3.0, 3),
    ("credential_failure", "warning", "content"): (2.0, 2),
    ("exact_loop", "critical", "content"): (8.0, 8),
    ("exact_loop", "halt", "content"): (6.0, 6),
    ("exact_loop", "warning", "content"): (15.0, 19),
    ("exact_loop", "warning", "structure"): (3.0, 24),
    ("max_steps", "critical", "structure"): (1.0, 1),
    ("max_steps", "halt", "structure"): (1.0, 1),
    ("max_steps", "warning", "structure"): (1.0, 1),
    ("no_progress", "critical", "content"): (1.0, 1),
    ("no_progress", "warning", "content"): (1.0, 3),
    ("ping_pong", "critical", "content"): (21.0, 21),
    ("ping_pong", "halt", "content"): (21.0, 21),
    ("ping_pong", "warning", "content"): (18.0, 18),
    ("ping_pong", "warning", "structure"): (13.0, 37),
    ("retry_storm", "critical", "content"): (17.0, 17),
    ("retry_storm", "halt", "content"): (13.0, 13),
    ("retry_storm", "warning", "content"): (17.0, 18),
    ("soft_loop", "critical", "content"): (32.0, 33),
    ("soft_loop", "halt", "content"): (24.0, 24),
    ("soft_loop", "warning", "content"): (37.0, 60),
    ("soft_loop", "warning", "structure"): (15.0, 17),
    ("timeout", "critical", "structure"): (1.0, 1),
    ("timeout", "warning", "structure"): (1.0, 1),
    ("zombie", "critical", "structure"): (1.0, 1),
    ("zombie", "warning", "structure"): (1.0, 1),
}
"""(Detector, level, evidence level) → (scenarios in which such findings were right, scenarios in which there were such). In a scenario
in which some are right and some not, the share of those that are counts."""


def level_of(severity: Severity, *, halt_eligible: bool) -> str:
    """Names the level: a finding that may halt is beyond critical."""
    return "halt" if halt_eligible else severity.value


def shares(counted: Mapping[Kind, tuple[float, int]], prior: float) -> Callable[[Kind], float]:
    """From counts by scenario to the score of a kind of finding; one of which there are no counts gets the share of its level.

    A worse level is never less sure: levels of a detector whose shares say otherwise are pooled (pool adjacent violators: M. Ayer
    et al., Annals of Mathematical Statistics 26, 1955).
    """
    levels: dict[str, tuple[float, int]] = {}
    for (_, level, _), (right, scenarios) in counted.items():
        before = levels.get(level, (1.0, 2))  # one right and one wrong to begin with, so that nothing is certain
        levels[level] = (before[0] + right, before[1] + scenarios)

    def drawn(kind: Kind) -> tuple[float, float]:
        right, scenarios = counted.get(kind, (0.0, 0))
        of_level = levels.get(kind[1], (1.0, 2))
        return right + prior * of_level[0] / of_level[1], scenarios + prior

    known: dict[Kind, float] = {}
    for detector, evidence in {(detector, evidence) for detector, _, evidence in counted}:
        pools: list[tuple[float, float, tuple[str, ...]]] = []
        for level in _LEVELS:
            pool: tuple[float, float, tuple[str, ...]] = (*drawn((detector, level, evidence)), (level,))
            while pools and pools[-1][0] * pool[1] > pool[0] * pools[-1][1]:
                surer = pools.pop()
                pool = (surer[0] + pool[0], surer[1] + pool[1], surer[2] + pool[2])
            pools.append(pool)
        known |= {(detector, level, evidence): right / scenarios for right, scenarios, pooled in pools for level in pooled}

    def share(kind: Kind) -> float:
        right, scenarios = drawn(kind)
        return known.get(kind, right / scenarios)

    return share


_share: Final = shares(COUNTED, PRIOR_SCENARIOS)


def calibrated(detector: str, severity: Severity, *, halt_eligible: bool, evidence_level: EvidenceLevel) -> float:
    """The share of findings like this that were right; where none was counted, the share of its level.

    >>> sure = calibrated("soft_loop", Severity.CRITICAL, halt_eligible=True, evidence_level=EvidenceLevel.CONTENT)
    >>> unsure = calibrated("exact_loop", Severity.WARNING, halt_eligible=False, evidence_level=EvidenceLevel.STRUCTURE)
    >>> sure > 0.95, unsure < 0.6
    (True, True)
    """
    return _share((detector, level_of(severity, halt_eligible=halt_eligible), evidence_level.value))
