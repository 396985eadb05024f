"""Agents that work without errors and no longer reach their goals."""

from collections import OrderedDict
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Signal
from detectors.fleet.base import NOTHING, Answers, FleetDetector, Window, kept
from detectors.model import Evaluation, EvidenceLevel, Severity, Step, StepKind
from detectors.text import quote

_GOOD: Final = frozenset({"pass", "passed", "correct", "good", "success", "true", "yes", "thumbs_up", "positive", "complete", "completed"})
_BAD: Final = frozenset({"fail", "failed", "incorrect", "bad", "failure", "false", "no", "thumbs_down", "negative", "incomplete"})
_CUT: Final = frozenset({"length", "max_tokens", "content_filter", "refusal", "safety", "max_output_tokens"})
"""Finish reasons with which a model did not say what it had to say."""


class SemanticRegressionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When goals are missed more often than before."""

    learn: Annotated[int, Meta(ge=10, le=10_000)] = 30
    """Judgements from which the usual rate is learned."""
    allowance: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """Fall of the rate that is let pass, 0–1."""
    warn_sum: Annotated[float, Meta(gt=0, le=1_000)] = 4.0
    """Missed goals beyond what is usual, summed, from which to warn."""
    critical_sum: Annotated[float, Meta(gt=0, le=1_000)] = 10.0
    """The same from which it is a regression beyond doubt."""
    max_errors: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Share of failing calls above which it is a technical matter, for others to tell, 0–1."""


class _Rate:
    """The judgements of one kind about one agent type: the usual rate, and a cumulative sum of what falls below it."""

    __slots__ = ("count", "first_seq", "good", "open", "recent", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.good = 0.0
        self.sum = 0.0
        self.first_seq = 0
        self.recent = 0
        self.open = False


class SemanticRegression(FleetDetector[SemanticRegressionConfig]):
    """The share of goals reached falls while calls succeed as before: a new prompt, model or index does the wrong thing well.

    **Why it costs.** No error, no latency, no alarm: the work is simply wrong, for everyone, until a customer says so.

    **When it is wrong.** It fires when harder tasks arrive, or when whoever judges becomes stricter. It misses what nobody
    judges: without evaluations there are only the finish reasons of models, which tell little.

    **Parameters** (`Config`): `learn` (judgements), `allowance`, `max_errors` (shares, 0–1), `warn_sum`, `critical_sum`
    (missed goals, summed).

    **Examples.** Nine in ten goals are reached, then four in ten:

    >>> from detectors.fleet.testing import run
    >>> from detectors.model import SessionKey
    >>> def judged(goals):
    ...     key = SessionKey("default", "", "s")
    ...     return [Evaluation(seq=n, session=key, name="goal", score=float(good), at_ns=n * 10**9) for n, good in enumerate(goals, 1)]
    >>> before, after = [n % 10 > 0 for n in range(60)], [n % 10 > 5 for n in range(60)]
    >>> [(finding.severity.value, round(finding.evidence["usual_rate"], 1)) for finding in run(SemanticRegression, judged(before + after))]
    [('warning', 0.9), ('critical', 0.9)]

    Nine in ten all along:

    >>> run(SemanticRegression, judged(before * 4))
    []

    **References.** Cumulative sums: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954).
    """

    name: ClassVar[str] = "semantic_regression"
    halt_reason: ClassVar[str | None] = None
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM, StepKind.TOOL})
    Config: ClassVar[type[msgspec.Struct]] = SemanticRegressionConfig

    def __init__(self, config: SemanticRegressionConfig) -> None:
        super().__init__(config)
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._errors: OrderedDict[str, Window] = OrderedDict()

    def observe(self, step: Step, agent_type: str) -> Answers:
        """Counts failures, and takes the end of a model's answer as a weak judgement."""
        errors = self._errors.get(agent_type)
        if errors is None:
            errors = kept(self._errors, agent_type, lambda: Window(3_600.0))
        errors.add(step.ended_ns, bad=step.error is True)
        reasons = step.finish_reasons
        if not reasons or step.asks or step.error:
            return NOTHING
        return self._judge(f"{agent_type}: finish reasons", agent_type, 0.0 if reasons[0] in _CUT else 1.0, step.seq)

    def evaluated(self, event: Evaluation, agent_type: str) -> Answers:
        """Takes in a judgement that says good or bad."""
        label = (event.label or "").strip().lower()
        value = 1.0 if label in _GOOD else 0.0 if label in _BAD else event.score
        if value is None or not 0 <= value <= 1:
            return NOTHING
        return self._judge(f"{agent_type}: {event.name[:80]}", agent_type, value, event.seq)

    def _judge(self, cause: str, agent_type: str, value: float, seq: int) -> Answers:
        config = self.config
        rate = self._rates.get(cause)
        if rate is None:
            rate = kept(self._rates, cause, _Rate)
        if rate.count < config.learn:
            rate.count += 1
            rate.good += value
            return NOTHING
        usual = rate.good / rate.count
        before, rate.sum = rate.sum, max(0.0, rate.sum + usual - config.allowance - value)
        if not rate.sum:
            rate.count += 1
            rate.good += value
            if rate.count > 20 * config.learn:
                rate.count, rate.good = rate.count // 2, rate.good / 2
            if rate.open:
                rate.open = False
                return ((cause, CLEAR),)
            return NOTHING
        if not before:
            rate.first_seq, rate.recent = seq, 0
        rate.recent += 1
        errors = self._errors.get(agent_type)
        if rate.sum < config.warn_sum or (errors is not None and errors.share > config.max_errors):
            return NOTHING
        rate.open = True
        critical = rate.sum >= config.critical_sum
        rate.sum = min(rate.sum, 2 * config.critical_sum)
        signal = Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, rate.sum / (2 * config.critical_sum)),
            summary=f"Goals of {quote(agent_type, 60)} are missed more often than usual ({usual:.0%} reached), while calls succeed.",
            evidence={
                "usual_rate": round(usual, 4),
                "missed_beyond_usual": round(rate.sum, 2),
                "judgements_since": rate.recent,
                "judgements_before": rate.count,
                "failing_calls": round(errors.share, 4) if errors is not None else None,
            },
            threshold={"critical_sum": config.critical_sum} if critical else {"warn_sum": config.warn_sum},
            first_step_seq=rate.first_seq,
            evidence_level=EvidenceLevel.CONTENT,
        )
        return ((cause, signal),)
