from decimal import Decimal
from typing import get_args

import pytest

from collector.model import Verb
from collector.policy import Act, BudgetsMode, Mode, Why, decide
from detectors.model import EvidenceLevel, Finding, SessionKey, Severity

KEY = SessionKey("default", "", "s1")


def finding(
    severity: Severity = Severity.CRITICAL, *, halt_eligible: bool = True, halt_reason: str | None = "exact_loop", is_open: bool = True
) -> Finding:
    return Finding(
        id="fnd_1",
        session=KEY,
        detector="exact_loop",
        halt_reason=halt_reason,
        severity=severity,
        halt_eligible=halt_eligible,
        score=1.0,
        step_seq=9,
        first_step_seq=3,
        span_id="",
        trace_id="",
        at_ns=1,
        evidence_level=EvidenceLevel.CONTENT,
        summary="the same call seven times",
        evidence={"cost": Decimal(1)},
        threshold={"repeats": 5.0},
        open=is_open,
    )


@pytest.mark.parametrize(
    ("mode", "act"),
    [("shadow", Act.OBSERVE), ("alert", Act.ALERT), ("compact", Act.COMPACT), ("pause", Act.PAUSE), ("halt", Act.HALT)],
)
def test_a_critical_halt_eligible_finding_goes_as_far_as_its_mode(mode: Mode, act: Act) -> None:
    decision = decide(finding(), mode=mode)
    assert decision.act is act
    assert decision.armed is Act.HALT
    assert decision.shadow is (mode == "shadow")


@pytest.mark.parametrize(
    ("found", "act", "why"),
    [
        (finding(Severity.INFO), Act.OBSERVE, Why.INFORMATIVE),
        (finding(Severity.WARNING), Act.ALERT, Why.NOT_CRITICAL),
        (finding(halt_eligible=False), Act.ALERT, Why.NOT_HALT_ELIGIBLE),
        (finding(is_open=False), Act.OBSERVE, Why.ENDED),
        (finding(halt_reason=None), Act.HALT, Why.ARMED),
    ],
)
def test_only_an_open_critical_halt_eligible_finding_interferes(found: Finding, act: Act, why: Why) -> None:
    decision = decide(found, mode="halt")
    assert (decision.act, decision.why) == (act, why)


@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("halt_eligible", [True, False])
@pytest.mark.parametrize("active", [None, Verb.PAUSE, Verb.HALT])
def test_a_shadow_verdict_is_the_armed_one(severity: Severity, halt_eligible: bool, active: Verb | None) -> None:
    found = finding(severity, halt_eligible=halt_eligible)
    shadow = decide(found, mode="shadow", active=active)
    assert shadow.armed is decide(found, mode="halt", active=active).act
    assert shadow.act is Act.OBSERVE


@pytest.mark.parametrize(
    ("active", "mode", "act"),
    [
        (Verb.HALT, "halt", Act.ALERT),
        (Verb.HALT, "pause", Act.ALERT),
        (Verb.HALT, "compact", Act.ALERT),
        (Verb.PAUSE, "pause", Act.ALERT),
        (Verb.PAUSE, "halt", Act.HALT),
    ],
)
def test_what_holds_a_session_is_only_ever_made_stronger(active: Verb, mode: Mode, act: Act) -> None:
    assert decide(finding(), mode=mode, active=active).act is act


def test_nothing_is_ever_lifted() -> None:
    verbs = {decide(finding(), mode=mode, active=active).act.verb for mode in get_args(Mode) for active in (None, Verb.PAUSE, Verb.HALT)}
    assert verbs <= {None, Verb.COMPACT, Verb.PAUSE, Verb.HALT}


@pytest.mark.parametrize(("budgets_mode", "act"), [("shadow", Act.OBSERVE), ("alert", Act.ALERT), ("halt", Act.HALT)])
def test_a_ceiling_follows_the_mode_of_the_budgets(budgets_mode: BudgetsMode, act: Act) -> None:
    ceiling = finding(halt_reason="cost_ceiling_session")
    assert decide(ceiling, mode="halt", budgets_mode=budgets_mode).act is act
    assert decide(finding(), mode="pause", budgets_mode=budgets_mode).act is Act.PAUSE


def test_the_ladder_is_in_order() -> None:
    assert sorted(Act, key=lambda act: act.rank) == [Act.OBSERVE, Act.ALERT, Act.COMPACT, Act.PAUSE, Act.HALT]
