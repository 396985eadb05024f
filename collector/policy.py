"""From a finding to what is done about it. Pure: the same finding, modes and state give the same decision.

The ladder (R17) is observe → alert → compact → pause → halt. A detector's mode says how far up it may go; only a critical,
halt-eligible finding goes beyond an alert. Nothing here lifts a halt: only a person does.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from collector.model import Verb
from detectors.model import Finding, Severity

Mode = Literal["shadow", "alert", "compact", "pause", "halt"]
BudgetsMode = Literal["shadow", "alert", "halt"]

BUDGET_REASONS: Final = frozenset({"cost_ceiling_task", "cost_ceiling_session", "cost_ceiling_fleet"})
"""Causes that `budgets_mode` governs instead of a detector's own mode."""
GRACE_STEPS: Final = 5
"""Counted steps after a release in which detectors report nothing."""


class Act(StrEnum):
    """What is done, mildest first."""

    OBSERVE = "observe"
    ALERT = "alert"
    COMPACT = "compact"
    PAUSE = "pause"
    HALT = "halt"

    @property
    def rank(self) -> int:
        """0 to 4: larger interferes more."""
        return _RANK[self]

    @property
    def verb(self) -> Verb | None:
        """What is asked of the runtime; None where it is left alone."""
        return _VERBS.get(self)


_RANK: Final = {act: rank for rank, act in enumerate(Act)}
_VERBS: Final = {Act.COMPACT: Verb.COMPACT, Act.PAUSE: Verb.PAUSE, Act.HALT: Verb.HALT}
_ACTS: Final = {verb: act for act, verb in _VERBS.items()}


class Why(StrEnum):
    """Why the decision is no stronger, or that it is as strong as the mode allows. A closed set: it may be a label."""

    ARMED = "armed"
    SHADOW = "shadow"
    ALERT_ONLY = "alert_only"
    INFORMATIVE = "informative"
    NOT_CRITICAL = "not_critical"
    NOT_HALT_ELIGIBLE = "not_halt_eligible"
    ENDED = "ended"
    ALREADY_HELD = "already_held"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is done about one finding.

    `armed` is what the same finding would lead to under mode `halt`, computed by the same rules: in shadow it is the
    record on which a person decides to arm.
    """

    act: Act
    armed: Act
    why: Why
    mode: Mode
    halt_reason: str | None

    @property
    def shadow(self) -> bool:
        """Whether the mode kept anything from happening at all."""
        return self.mode == "shadow"


def effective_mode(finding: Finding, mode: Mode, budgets_mode: BudgetsMode) -> Mode:
    """Returns the mode that governs this finding: a budget's own where a ceiling was reached, else its detector's."""
    return budgets_mode if finding.halt_reason in BUDGET_REASONS else mode


def may_interfere(finding: Finding) -> bool:
    """Whether a mode could lead to more than an alert about it."""
    return _verdict(finding, "halt", None)[0].verb is not None


def decide(finding: Finding, *, mode: Mode, budgets_mode: BudgetsMode = "shadow", active: Verb | None = None) -> Decision:
    """Decides about one emission of a finding. `active` is the halt or pause that already holds its session."""
    governing = effective_mode(finding, mode, budgets_mode)
    act, why = _verdict(finding, governing, active)
    armed, _ = _verdict(finding, "halt", active)
    return Decision(act=act, armed=armed, why=why, mode=governing, halt_reason=finding.halt_reason)


def _verdict(finding: Finding, mode: Mode, active: Verb | None) -> tuple[Act, Why]:
    if mode == "shadow":
        return Act.OBSERVE, Why.SHADOW
    if not finding.open:
        return Act.OBSERVE, Why.ENDED
    if finding.severity is Severity.INFO:
        return Act.OBSERVE, Why.INFORMATIVE
    if finding.severity is not Severity.CRITICAL:
        return Act.ALERT, Why.NOT_CRITICAL
    if not finding.halt_eligible:
        return Act.ALERT, Why.NOT_HALT_ELIGIBLE
    act = Act(mode)
    if act is Act.ALERT:
        return act, Why.ALERT_ONLY
    if active is not None and _ACTS[active].rank >= act.rank:
        return Act.ALERT, Why.ALREADY_HELD
    return act, Why.ARMED
