"""Agents that work without errors and no longer reach their goals."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Signal
from detectors.fleet.base import NOTHING, Answers, FleetDetector, kept
from detectors.judgements import reached
from detectors.model import Evaluation, EvidenceLevel, SessionKey, Severity, Step, StepKind
from detectors.text import quote

_CUT: Final = frozenset({"length", "max_tokens", "content_filter", "refusal", "safety", "max_output_tokens"})
"""Finish reasons with which a model did not say what it had to say."""
_MISSES: Final = 50
"""Sessions told apart that missed goals."""
_MEMORY: Final = 2_000.0
"""Judgements that the usual rate rests on at most: it follows slow changes."""
_LASTING: Final = 20
"""A rate that was lower for so many times `learn` judgements is the usual one."""
_UNJUDGED_NS: Final = 2 * 86_400 * 10**9
"""What is judged at all is judged at least once a night."""
_Z: Final = 1.645
"""Standard deviations of a one-sided 95 % interval."""


class SemanticRegressionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When goals are missed more often than before."""

    learn: Annotated[int, Meta(ge=10, le=10_000)] = 30
    """Judgements from which the usual rate is learned."""
    fall: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    """Fall of the rate that matters, 0–1; what was not reached half the time matters from half of its rate on."""
    warn_run: Annotated[float, Meta(ge=10, le=1e12)] = 10_000.0
    """Judgements at the usual rate between two false warnings, on average at least."""
    critical_run: Annotated[float, Meta(ge=10, le=1e15)] = 1_000_000.0
    """The same for a regression beyond doubt."""
    min_sessions: Annotated[int, Meta(ge=1, le=50)] = 3
    """Sessions that must have missed goals: one session that fails again and again is its own affair."""
    max_errors: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Rise of the share of failing calls above which it is a technical matter, for others to tell, 0–1."""


class _Calls:
    """The calls of one agent type so far."""

    __slots__ = ("cause", "failed", "total")

    def __init__(self, agent_type: str) -> None:
        self.total = self.failed = 0
        self.cause = f"{agent_type}: finish reasons"


class _Rate:
    """The judgements of one kind about one agent type: the usual rate, and the evidence that it is lower now.

    `sum` is a cumulative sum of log likelihood ratios: how much better a rate lower by `fall` explains the latest judgements.
    Judgements join the usual rate once the sum is back at zero, good and bad ones together: else only the good would.
    """

    __slots__ = (
        "_bad",
        "_good",
        "_learned_at",
        "before",
        "count",
        "first_seq",
        "good",
        "judged_ns",
        "misses",
        "open",
        "recent",
        "recent_good",
        "scale",
        "sum",
    )

    def __init__(self) -> None:
        self.count = 0.0
        self.good = 0.0
        self.sum = 0.0
        self.first_seq = 0
        self.recent = 0
        self.recent_good = 0.0
        self.before = (0, 0)
        """Calls and failed calls of the agent type when the sum was last zero."""
        self.misses: set[SessionKey] = set()
        """Sessions that missed goals since the sum was zero, some of them."""
        self.open = False
        self.judged_ns = 0
        """When the latest judgement came since the sum was zero."""
        self.scale = 1.0
        """The best score while the usual rate was learned: some judges give five points."""
        self._learned_at = 0.0
        self._good = self._bad = 0.0

    def take(self, value: float, session: SessionKey, fall: float) -> None:
        """Adds a judgement, 0–1, to the sum."""
        if self.count > 1.1 * self._learned_at:
            self._weigh(fall)
        self.recent += 1
        self.recent_good += value
        self.sum += value * self._good + (1.0 - value) * self._bad
        if value < 0.5 and len(self.misses) < _MISSES:
            self.misses.add(session)
        if self.sum <= 0:
            self.learn()

    def _weigh(self, fall: float) -> None:
        """Log likelihood ratios of a goal reached and one missed. The usual rate is taken at the lower end of what was seen."""
        self._learned_at = self.count
        usual = min(_lower_bound(self.good, self.count), 0.995)
        fallen = max(usual - fall, usual / 2)
        self._good, self._bad = (math.log(fallen / usual), math.log((1 - fallen) / (1 - usual))) if fallen > 0 else (0.0, 0.0)

    def learn_one(self) -> None:
        """Lets a goal that was reached while the sum is zero join the usual rate."""
        self.count += 1.0
        self.good += 1.0
        if self.count > _MEMORY:
            self.learn()

    def learn(self) -> None:
        """Lets the judgements since the sum was zero join the usual rate."""
        self.count += self.recent
        self.good += self.recent_good
        self.rest()
        if self.count > _MEMORY:
            self.count, self.good, self._learned_at = self.count / 2, self.good / 2, 0.0

    def rest(self) -> None:
        """Puts the sum back to zero."""
        self.sum, self.recent, self.recent_good = 0.0, 0, 0.0
        self.misses.clear()

    @property
    def usual(self) -> float:
        """The usual rate, 0–1."""
        return self.good / self.count if self.count else 0.0


def _lower_bound(good: float, count: float) -> float:
    """The lower end of the 95 % interval of a rate (one-sided; Wilson 1927)."""
    rate, z2 = good / count, _Z * _Z
    spread = _Z * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count * count))
    return (rate + z2 / (2 * count) - spread) / (1 + z2 / count)


class SemanticRegression(FleetDetector[SemanticRegressionConfig]):
    """The share of goals reached falls while calls succeed as before: a new prompt, model or index does the wrong thing well.

    **Why it costs.** No error, no latency, no alarm: the work is simply wrong, for everyone, until a customer says so.

    **When it is wrong.** It fires when harder tasks arrive, or when whoever judges becomes stricter; and on a score of which
    less is better, unless its name says so (hallucination, toxicity …). It misses what nobody judges: without evaluations and
    feedback there are only the finish reasons of models, which tell little; and a fall so slow that it is learned.

    **Parameters** (`Config`): `learn`, `warn_run`, `critical_run` (judgements), `fall`, `max_errors` (shares, 0–1), `min_sessions`
    (sessions).

    The runs hold where judgements are independent of each other; where one cause spoils several at once, false alarms are more
    frequent.

    **Examples.** Nine in ten goals are reached, then four in ten:

    >>> from detectors.fleet.testing import run
    >>> def judged(goals):
    ...     keys = [SessionKey("default", "", f"s{n % 20}") for n in range(len(goals))]
    ...     return [Evaluation(seq=n, session=keys[n], name="goal", score=float(good), at_ns=n * 10**9) for n, good in enumerate(goals)]
    >>> before, after = [n % 10 > 0 for n in range(100)], [n % 10 > 5 for n in range(100)]
    >>> [(finding.severity.value, round(finding.evidence["usual_rate"], 1)) for finding in run(SemanticRegression, judged(before + after))]
    [('warning', 0.9), ('critical', 0.9)]

    Nine in ten all along:

    >>> run(SemanticRegression, judged(before * 10))
    []

    **References.** Cumulative sums: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954). That the run between
    false alarms is at least the exponential of the threshold: G. Lorden, "Procedures for Reacting to a Change in
    Distribution", Annals of Mathematical Statistics 42 (1971). Interval of a rate: E. B. Wilson, JASA 22 (1927).
    """

    name: ClassVar[str] = "semantic_regression"
    halt_reason: ClassVar[str | None] = None
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.LLM, StepKind.TOOL})
    Config: ClassVar[type[msgspec.Struct]] = SemanticRegressionConfig

    def __init__(self, config: SemanticRegressionConfig) -> None:
        super().__init__(config)
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._calls: OrderedDict[str, _Calls] = OrderedDict()

    def observe(self, step: Step, agent_type: str) -> Answers:
        """Counts failures, and takes the end of a model's answer as a weak judgement."""
        calls = self._calls.get(agent_type)
        if calls is None:
            calls = kept(self._calls, agent_type, lambda: _Calls(agent_type))
        calls.total += 1
        calls.failed += step.error is True
        reasons = step.finish_reasons
        if not reasons or step.asks or step.error:
            return NOTHING
        return self._judge(calls.cause, agent_type, 0.0 if reasons[0] in _CUT else 1.0, step)

    def evaluated(self, event: Evaluation, agent_type: str) -> Answers:
        """Takes in a judgement that says good or bad."""
        cause = f"{agent_type}: {event.name[:80]}"
        rate = kept(self._rates, cause, _Rate)
        if event.score is not None and event.score > rate.scale and rate.count < self.config.learn:
            rate.good *= rate.scale / event.score
            rate.scale = event.score
        value = reached(event, max(rate.scale, event.score or 0.0))
        return NOTHING if value is None else self._judge(cause, agent_type, value, event)

    def _judge(self, cause: str, agent_type: str, value: float, seen: Step | Evaluation) -> Answers:
        config = self.config
        rate = self._rates.get(cause)
        if rate is None:
            rate = kept(self._rates, cause, _Rate)
        calls = self._calls.get(agent_type)
        if rate.count < config.learn:
            rate.count += 1
            rate.good += value
            return NOTHING
        if value == 1.0 and not rate.recent and not rate.open:
            rate.learn_one()  # nearly all judgements are such
            return NOTHING
        if not rate.recent:
            rate.first_seq = seen.seq
            rate.before = (0, 0) if calls is None else (calls.total, calls.failed)
        rate.take(value, seen.session, config.fall)
        rate.judged_ns = seen.ended_ns if isinstance(seen, Step) else seen.at_ns
        if not rate.sum or rate.recent > _LASTING * config.learn:
            was_open, rate.open = rate.open, False
            if rate.sum:
                # It has lasted so long that it is the usual rate: learn anew.
                self._rates[cause] = _Rate()
            return ((cause, CLEAR),) if was_open else NOTHING
        if rate.sum < math.log(config.warn_run) or len(rate.misses) < config.min_sessions:
            return NOTHING
        failing = _rise(rate.before, calls)
        if failing is not None and failing > config.max_errors:
            return NOTHING
        rate.open = True
        critical = rate.sum >= math.log(config.critical_run)
        rate.sum = min(rate.sum, math.log(config.critical_run))
        usual, now = rate.usual, rate.recent_good / rate.recent
        signal = Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=1.0 - math.exp(-rate.sum / 2),
            summary=f"Goals of {quote(agent_type, 60)} are reached in {now:.0%} of cases, usually in {usual:.0%}, while calls succeed.",
            evidence={
                "usual_rate": round(usual, 4),
                "rate_since": round(now, 4),
                "judgements_since": rate.recent,
                "judgements_before": round(rate.count),
                "sessions": sorted(key.session_id[:120] for key in rate.misses)[:12],
                "failing_calls_rise": None if failing is None else round(failing, 4),
            },
            threshold={"critical_run": config.critical_run} if critical else {"warn_run": config.warn_run},
            first_step_seq=rate.first_seq,
            evidence_level=EvidenceLevel.CONTENT,
        )
        return ((cause, signal),)

    def lapsed(self, at_ns: int) -> Sequence[str]:
        """Causes of which nobody judged for so long that nobody can say whether they last."""
        gone = [cause for cause, rate in self._rates.items() if rate.open and at_ns - rate.judged_ns > _UNJUDGED_NS]
        for cause in gone:
            self._rates[cause].open = False
            self._rates[cause].rest()
        return gone


def _rise(before: tuple[int, int], calls: _Calls | None) -> float | None:
    """By how much the share of failing calls is higher since `before`; None where there were none."""
    total, failed = before
    if calls is None or calls.total == total:
        return None
    return (calls.failed - failed) / (calls.total - total) - (failed / total if total else 0.0)
