"""A call that fails, and is made again."""

from collections import deque
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from detectors.base import CLEAR, Answer, Context, Detector, Signal
from detectors.model import ErrorClass, EvidenceLevel, Severity, Step, StepKind
from detectors.schemas import Violation, violation
from detectors.step_features import StepFeatures
from detectors.text import mask, quote

_QUOTE: Final = 160
_UNLIKE: Final = 0.4
"""Similarity of arguments (0–1) below which a call is another one."""
_RUNS: Final = 16
"""Tools whose failures are followed at a time."""
_TELLING: Final = frozenset({ErrorClass.SCHEMA, ErrorClass.AUTH, ErrorClass.TIMEOUT, ErrorClass.RATE_LIMIT})
"""Classes of error that are the same failure whatever the words."""
_PATIENCE: Final = 2.0
"""How many times as many failures justify halting where the agent lets some time pass before each: what it waits for may be coming up."""


class RetryStormConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When retrying becomes a storm. Counts are of failing calls of one tool, the first one included."""

    warn_failures: Annotated[float, Meta(ge=2, le=100)] = 3.0
    """Failures of one kind from which to warn."""
    critical_failures: Annotated[float, Meta(ge=2, le=100)] = 4.6
    """Failures of one kind from which it is a storm."""
    halt_failures: Annotated[float, Meta(ge=2, le=1000)] = 6.0
    """Failures of one kind from which halting is justified, if nothing else happened between."""
    critical_violations: Annotated[int, Meta(ge=1, le=100)] = 3
    """The same as `critical_failures` where the arguments break the tool's schema: that cannot succeed."""
    halt_violations: Annotated[int, Meta(ge=1, le=1000)] = 5
    """The same as `halt_failures` where the arguments break the tool's schema."""
    changed_weight: Annotated[float, Meta(ge=0, le=1)] = 0.9
    """How much a failure counts (0–1) whose arguments were changed."""
    item_weight: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """How much a failure counts (0–1) that is one of a list of items, each tried once."""
    setback: Annotated[float, Meta(ge=0, le=10)] = 0.25
    """Failures that one call of another tool that brings something makes up for."""
    max_novelty: Annotated[float, Meta(ge=0, le=1)] = 0.15
    """Share of unseen words (0–1) up to which a failure is the one already known."""
    min_result_similarity: Annotated[float, Meta(ge=0, le=1)] = 0.8
    """Share of common words (0–1) from which a failure is the one already known."""
    gap_calls: Annotated[int, Meta(ge=1, le=200)] = 10
    """Other calls after which a failure is no longer being retried."""


class _Run(msgspec.Struct):
    """The failures of one tool in one way."""

    since: int
    signature: str
    error_class: ErrorClass | None
    seqs: deque[int]
    last_index: int = 0
    calls: int = 1
    count: float = 1.0
    """Calls, weighed, less what other tools brought between them."""
    pure: bool = True
    """No other tool brought anything since the run began."""
    broken: int = 0
    """Calls whose arguments break the schema."""
    violation: Violation | None = None


class RetryStorm(Detector[RetryStormConfig]):
    """A call that fails the same way each time is made again and again, without a change that could matter.

    **Why it costs.** Each retry is a model call over a context that grows by one more error message. A parameter that the
    tool does not have will not come to exist by asking again: one such session made 847 calls for 2,000 USD.

    **When it is wrong.** It fires on a service that is down for a while and would have come back, and on a test that fails
    for one stubborn reason while the code around it is worked on. Where the agent waits before each attempt, halting takes twice as
    many failures. It misses a failure that reads like success, and one whose message changes from call to call. Where the tool's schema
    is known the parameter at fault is named.

    **Parameters** (`Config`): `warn_failures`, `critical_failures`, `halt_failures`, `setback` (failures, weighed),
    `critical_violations`, `halt_violations` (failures), `changed_weight`, `item_weight`, `max_novelty`,
    `min_result_similarity` (shares, 0–1), `gap_calls` (other calls).

    **Examples.** A parameter that does not exist, with the schema known:

    >>> from detectors.testing import run, session, tool
    >>> schema = '{"type": "object", "properties": {"customer": {"type": "string"}}}'
    >>> refused = [tool("invoices", {"customer": "C-7", "archived": True}, "unknown parameter", error=True) for _ in range(5)]
    >>> fired = run(RetryStorm, session(*refused), schemas={"invoices": schema})
    >>> [(step.seq, signal.severity.value, signal.evidence["parameter"]) for step, signal in fired]
    [(2, 'warning', 'archived'), (3, 'critical', 'archived'), (5, 'critical', 'archived')]

    A retry that succeeds:

    >>> busy = [tool("fetch", {"id": 7}, "503 service unavailable", error=True) for _ in range(2)]
    >>> run(RetryStorm, session(*busy, tool("fetch", {"id": 7}, "the document")))
    []

    **References.** Retrying what cannot succeed: M. Nygard, "Release It!" (2007), on integration points. Schemas: JSON
    Schema, draft 2020-12, validated with the `jsonschema` library.
    """

    name: ClassVar[str] = "retry_storm"
    halt_reason: ClassVar[str | None] = "retry_storm"
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.RETRIEVAL, StepKind.HANDOFF})
    yields_to: ClassVar[tuple[str, ...]] = ("credential_failure",)
    Config: ClassVar[type[msgspec.Struct]] = RetryStormConfig

    __slots__ = ("_index", "_open", "_runs", "_told")

    def __init__(self, config: RetryStormConfig) -> None:
        super().__init__(config)
        self._runs: dict[str, _Run] | None = None
        self._index = 0
        self._open: str | None = None
        self._told: tuple[bool, bool] | None = None

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:
        """Counts the failure, and answers as long as the tool keeps failing the same way."""
        self._index += 1
        key = features.key
        if not features.failed or key is None:
            return self._succeeded(key, features, self._runs) if self._runs else None
        if step.error is not True and (features.enumerates or features.polls):
            return None  # what reads like a failure may be an answer
        signature = mask((step.error_message or features.result)[:_QUOTE]) or step.error_type or ""
        if self._runs is None:
            self._runs = {}
        run = self._runs.get(key)
        if run is not None and self._index - run.last_index > self.config.gap_calls:
            run = None
        if run is None or not self._same_way(run, signature, step, features):
            run = self._begin(self._runs, key, signature, step, features)
        else:
            run.calls += 1
            run.count += self._weight(features)
            if step.error is not True and features.same_call_as is not None and features.new_words and not features.same_outcome:
                run.pure = False  # what only reads like a failure, and changed, may be a page that was worked on
            if step.error is not True and (
                features.another or (features.same_call_as is None and (features.argument_similarity or 0.0) < _UNLIKE)
            ):
                run.pure = False  # what only reads like a failure, and answers unlike calls, may be how a batch is acknowledged
            run.seqs.append(step.seq)
        run.last_index = self._index
        schema = context.schemas.get(step.name or "")
        wrong = violation(schema, step.arguments) if schema is not None else None
        if wrong is not None:
            run.broken, run.violation = run.broken + 1, wrong
        return self._judge(run, key, step, features)

    def _begin(self, runs: dict[str, _Run], key: str, signature: str, step: Step, features: StepFeatures) -> _Run:
        runs.pop(key, None)
        if len(runs) >= _RUNS:
            del runs[next(iter(runs))]
        if self._open == key:
            self._open = self._told = None
        run = runs[key] = _Run(step.seq, signature, step.error_class, deque([step.seq], maxlen=12))
        if step.error is not True and features.same_result_as is not None:
            # the first of its kind could not yet be told from an answer
            run.since, run.calls, run.count = features.same_result_as, 2, 2.0
            run.seqs.appendleft(features.same_result_as)
        return run

    def _same_way(self, run: _Run, signature: str, step: Step, features: StepFeatures) -> bool:
        if features.changed and (step.error is not True or step.error_class not in _TELLING):
            return False  # a failure that is another as a whole is a report: other tests fail, or fewer
        if run.error_class is step.error_class and step.error_class in _TELLING:
            return True
        if signature and signature == run.signature:
            return True
        novelty = features.result_novelty
        if novelty is None:
            return False
        if features.same_result_as is not None and features.same_result_as >= run.since:
            return True
        return novelty <= self.config.max_novelty and (features.result_similarity or 0.0) >= self.config.min_result_similarity

    def _weight(self, features: StepFeatures) -> float:
        if features.same_call_as is not None or features.argument_similarity is None:
            return 1.0
        return self.config.item_weight if features.enumerates else self.config.changed_weight

    def _succeeded(self, key: str | None, features: StepFeatures, runs: dict[str, _Run]) -> Answer:
        """A success of the tool ends its run; of another tool it counts a little against every run."""
        novelty = features.result_novelty
        if key in runs:
            if novelty is not None and novelty <= self.config.max_novelty and not features.first and features.same_call_as is None:
                # the same answer in other words: not known for a success, but something else was tried
                run = runs[key]
                if features.argument_news:
                    run.count, run.pure = max(0.0, run.count - 1.0), False
                return None
            del runs[key]
        elif features.writes or (_may_be_news(features) if novelty is None else novelty > self.config.max_novelty):
            for run in runs.values():
                run.count = max(0.0, run.count - self.config.setback)
                run.pure = False
        if self._open is None:
            return None
        run_open = runs.get(self._open)
        if run_open is None or self._index - run_open.last_index > self.config.gap_calls:
            self._open = self._told = None
            return CLEAR
        return None

    def _judge(self, run: _Run, key: str, step: Step, features: StepFeatures) -> Answer:
        config = self.config
        warn = run.count >= config.warn_failures or run.broken >= min(2, config.critical_violations)
        if not warn:
            return None
        critical = run.count >= config.critical_failures or run.broken >= config.critical_violations
        told_why = step.error_message is not None or features.result_novelty is not None
        limit = config.halt_failures * (_PATIENCE if features.waited else 1.0)
        halt = critical and run.pure and ((told_why and run.count >= limit) or run.broken >= config.halt_violations)
        content = features.result_novelty is not None or step.error_message is not None or step.arguments is not None
        if not content:
            critical = halt = False
        if self._open is not None and self._open != key and not critical:
            return None
        if self._told == (critical, halt) and self._open == key:
            return None
        self._open, self._told = key, (critical, halt)
        return self._signal(run, key, step, features, content=content)

    def _signal(self, run: _Run, key: str, step: Step, features: StepFeatures, *, content: bool) -> Signal:
        config = self.config
        critical, halt = self._told or (False, False)
        name = quote(key.partition(":")[2], 60)
        why = "" if run.violation is None else f": {quote(run.violation.message, 90)}"
        evidence: dict[str, Any] = {
            "call": quote(key, 120),
            "failures": run.calls,
            "weighed": round(run.count, 2),
            "seqs": list(run.seqs),
            "arguments": quote(features.arguments, _QUOTE),
            "error": quote(step.error_message or features.result or step.error_type or "", _QUOTE),
            "error_class": None if step.error_class is None else step.error_class.value,
            "parameter": None if run.violation is None else quote(run.violation.parameter, 80),
            "schema_violations": run.broken,
        }
        limits = {"critical_failures": config.critical_failures} if critical else {"warn_failures": config.warn_failures}
        if run.broken:
            limits["critical_violations"] = float(config.critical_violations)
        return Signal(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            score=min(1.0, run.count / (2 * config.critical_failures)),
            summary=f"{name} failed {run.calls} times the same way and was called again{why}.",
            evidence=evidence,
            threshold=limits,
            first_step_seq=run.since,
            halt_eligible=halt,
            evidence_level=EvidenceLevel.CONTENT if content else EvidenceLevel.STRUCTURE,
        )


def _may_be_news(features: StepFeatures) -> bool:
    """Whether another call was made whose result was not captured."""
    return features.same_call_as is None and bool(features.arguments)
